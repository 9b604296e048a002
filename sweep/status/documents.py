"""What `status` needs of study.yaml and recipe.yaml. To validate all of a study takes as long as all else together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from slr_models.errors import ResultsError
from sweep.own.program import Goal
from sweep.records import Share
from sweep.store.documents import RECIPE_FILE, STUDY_FILE, read_recipe, read_study
from sweep.store.files import said


@dataclass(frozen=True)
class StoredBudget:
    """As `sweep.study.settings.Budget`."""

    trials: int | None = None
    """None with a design."""
    steps: int | None = None


@dataclass(frozen=True)
class StoredSafety:
    """As `sweep.study.settings.Safety`."""

    lr_factor: float
    p_stable: Share
    credibility: Share = 0.9


@dataclass(frozen=True)
class StudyDocument:
    """Of study.yaml."""

    name: str | None = None
    objective: Goal | str | None = None
    budget: StoredBudget = StoredBudget()
    safety: StoredSafety | None = None
    training: dict[str, Any] | None = None
    """None where a program of the user's own trains, and in an empty folder."""
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Verdict:
    why: str


@dataclass(frozen=True)
class RecipeEvidence:
    """What a recipe rests on."""

    status: Literal["confirmed", "unconfirmed"]
    result: str | None = None
    trials: tuple[str, ...] = ()
    safety: _Verdict | None = None


@dataclass(frozen=True)
class _Origin:
    evidence: RecipeEvidence


@dataclass(frozen=True)
class Recipe:
    """Of recipe.yaml."""

    provenance: _Origin


class Documents:
    """Reads both files again where they were changed."""

    def __init__(self, folder: Path) -> None:
        """Reads nothing yet."""
        self._folder = folder
        self._known: dict[str, tuple[tuple[int, int], Any]] = {}

    def study(self) -> StudyDocument:
        """The study; one of defaults where there is no file yet.

        Raises:
            ResultsError: the file is damaged.
        """
        found: StudyDocument | None = self._read(STUDY_FILE)
        return found or StudyDocument()

    def evidence(self) -> RecipeEvidence | None:
        """What the recommendation rests on that was written last; None where nothing was recommended.

        Raises:
            ResultsError: the file is damaged.
        """
        found: Recipe | None = self._read(RECIPE_FILE)
        return None if found is None else found.provenance.evidence

    def _read(self, name: str) -> Any:
        try:
            state = (self._folder / name).stat()
        except OSError:
            return None
        seen = (state.st_mtime_ns, state.st_size)
        if name not in self._known or self._known[name][0] != seen:
            self._known[name] = (seen, self._validated(name))
        return self._known[name][1]

    def _validated(self, name: str) -> Any:
        content: Mapping[str, Any] | None
        content = read_study(self._folder) if name == STUDY_FILE else (read_recipe(self._folder) or ("", None))[1]
        try:
            return None if content is None else _FORMS[name].validate_python(content)
        except ValidationError as error:
            raise ResultsError(
                f"{self._folder / name}: {said(error)}: this version cannot read that; bring the file back as it was "
                f"written"
            ) from error


_FORMS: dict[str, TypeAdapter[Any]] = {STUDY_FILE: TypeAdapter(StudyDocument), RECIPE_FILE: TypeAdapter(Recipe)}
