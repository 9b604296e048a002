"""The files of a results folder besides its study and its table of trials: the page does without those damaged."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy.typing as npt
import pandas as pd

from slr_models.errors import ResultsError
from sweep import store
from sweep.records import EvalRecord, Explanation, StepRecord
from sweep.store.ledger_lines import elapsed_s
from sweep.store.prior import NOTHING, CarriedOver, read_prior

T = TypeVar("T")
Columns = dict[str, npt.NDArray[Any]]


class Files:
    """Reads files of a results folder. One that is damaged counts as one that is not there, and is remembered."""

    def __init__(self, folder: Path, *, strict: bool = False) -> None:
        """Reads nothing yet.

        Args:
            folder: the results folder.
            strict: raise ResultsError for a damaged file instead.
        """
        self.folder = folder
        self._strict = strict
        self._damaged: dict[str, None] = {}

    @property
    def damaged(self) -> tuple[str, ...]:
        """What is wrong with the damaged files met so far, and what to do: a sentence each."""
        return tuple(self._damaged)

    def prior(self) -> CarriedOver:
        """The trainings of other studies that the study begins with."""
        return self._or(NOTHING, read_prior, self.folder)

    def has(self, kind: store.RecordKind, trial_id: str) -> bool:
        """Whether a trial left records of a kind."""
        return self._or(False, store.has_records, self.folder, kind, trial_id)

    def columns(self, kind: store.RecordKind, trial_id: str, names: Sequence[str]) -> Columns | None:
        """Some columns of a trial's records; None where it left none."""
        return self._or(None, store.read_columns, self.folder, kind, trial_id, names)

    def steps(self, trial_id: str) -> list[StepRecord]:
        """A trial's steps; none where it left none."""
        return self._or([], store.load_steps, self.folder, trial_id) if self.has("steps", trial_id) else []

    def step_frame(self, trial_id: str) -> pd.DataFrame | None:
        """A trial's steps as a frame; None where it left none."""
        return self._or(None, store.read_steps, self.folder, trial_id) if self.has("steps", trial_id) else None

    def evals(self, trial_id: str) -> list[EvalRecord]:
        """A trial's evaluations; none where it left none."""
        return self._or([], store.load_evals, self.folder, trial_id) if self.has("evals", trial_id) else []

    def eval_frame(self, trial_id: str) -> pd.DataFrame:
        """A trial's evaluations as a frame.

        Raises:
            ResultsError: there are none, or they are damaged, which is remembered too.
        """
        try:
            return store.read_evals(self.folder, trial_id)
        except ResultsError as error:
            if self.has("evals", trial_id):
                self._damaged[str(error)] = None
            raise

    def health(self, trial_id: str) -> pd.DataFrame | None:
        """A trial's health samples; None where none were taken."""
        return self._or(None, store.read_health, self.folder, trial_id) if self.has("health", trial_id) else None

    def explanation(self, trial_id: str) -> Explanation | None:
        """Why a trial went bad; None where nobody has explained it."""
        return self._or(None, store.read_explanation, self.folder, trial_id)

    def importance(self) -> dict[str, dict[str, float]]:
        """Which settings matter; empty where nobody has estimated it."""
        return self._or({}, store.read_importance, self.folder)

    def recipe(self) -> tuple[str, dict[str, Any]] | None:
        """recipe.yaml, as text and what it holds; None where there is none."""
        return self._or(None, store.read_recipe, self.folder)

    def elapsed_s(self) -> float:
        """Wall time of the study; NaN where nobody knows."""
        return self._or(math.nan, elapsed_s, self.folder)

    def _or(self, otherwise: T, read: Callable[..., T], *arguments: Any) -> T:
        try:
            return read(*arguments)
        except ResultsError as error:
            if self._strict:
                raise
            self._damaged[str(error)] = None
            return otherwise
