"""Why trials went bad: causes by outcome, the operations that failed first, and the trial to trace as an example."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.failures.by_setting import causes_of
from sweep.analysis.trials.outcomes import failed
from sweep.records import Cause, Explanation, FirstNonfinite, Outcome, Place

FORMAT_MAX = {"float16": 65504.0, "bfloat16": 2.0**128 - 2.0**120, "float32": 2.0**128 - 2.0**104}
"""Largest finite value of a format, by torch's name of it."""


@dataclass(frozen=True)
class OutcomeCauses:
    """Causes of the trials of one outcome."""

    outcome: Outcome
    num_trials: int
    causes: tuple[tuple[Cause, int], ...]
    """The most frequent first."""
    num_unexplained: int
    """Trials whose cause nobody looked for."""


@dataclass(frozen=True)
class FailingOperation:
    """Where values were first not finite, in all trials in which it was the same operation of the same module."""

    place: Place
    operation: str
    """Empty where no operation made it (features, weights)."""
    path: str
    """Dotted name of the module or parameter, or the utterance; empty if unknown."""
    dtype: str
    trials: tuple[tuple[str, int, int], ...]
    """(trial id, number, step) of each trial."""
    outcomes: tuple[Outcome, ...]
    """How these trials ended."""
    input_absmax: float
    """Largest finite absolute input in any of them; NaN if unknown."""
    output_absmax: float
    """Largest finite absolute output in any of them; NaN if there is none."""

    @property
    def limit(self) -> float:
        """Largest finite value of the format; NaN for one that is not known."""
        return FORMAT_MAX.get(self.dtype, math.nan)


def causes_by_outcome(trials: pd.DataFrame, explanations: Mapping[str, Explanation]) -> list[OutcomeCauses]:
    """Counts the causes of bad trials, in the outcomes' order; empty where nothing was explained.

    Args:
        trials: the table of trials.
        explanations: by trial id.
    """
    found = []
    for outcome in Outcome:
        ids = [str(t) for t in trials["trial_id"][trials["verdict"] == outcome.value]]
        # Of a memorised training the verdict itself is the answer.
        is_asked = not (outcome.is_stable or outcome.is_open or outcome is Outcome.MEMORISED)
        if not is_asked or not ids or not explanations:
            continue
        num_unexplained = sum(t not in explanations for t in ids)
        found.append(OutcomeCauses(outcome, len(ids), causes_of(ids, explanations), num_unexplained))
    return found


def failing_operations(trials: pd.DataFrame, explanations: Mapping[str, Explanation]) -> list[FailingOperation]:
    """The operations that were first not finite, those of most trials first."""
    alike: dict[tuple[Place, str, str, str], list[tuple[dict[Any, Any], FirstNonfinite]]] = {}
    explained = trials[trials["trial_id"].isin(list(explanations))]
    for row in explained[["trial_id", "number", "verdict"]].to_dict("records"):
        first = explanations[str(row["trial_id"])].first_nonfinite
        if first is not None:
            alike.setdefault((first.place, first.operation, first.path, first.dtype), []).append((row, first))
    found = [
        FailingOperation(
            *key,
            trials=tuple((str(row["trial_id"]), int(row["number"]), first.step) for row, first in members),
            outcomes=tuple(o for o in Outcome if o.value in {row["verdict"] for row, _ in members}),
            input_absmax=_largest(first.input_absmax for _, first in members),
            output_absmax=_largest(first.output_absmax for _, first in members),
        )
        for key, members in alike.items()
    ]
    return sorted(found, key=lambda op: (-len(op.trials), list(Place).index(op.place), op.trials[0][1]))


def _largest(values: Iterable[float]) -> float:
    return max((v for v in values if not math.isnan(v)), default=math.nan)


def worked_example(trials: pd.DataFrame, explanations: Mapping[str, Explanation]) -> str | None:
    """The trial whose explanation shows most: replays that rescue, then replays at all, then a first bad value.

    Where no explanation has either: a typical trial of the failure that most trials share, one that is explained if
    any is. None where no trial failed. Of equals the first by number.
    """
    bad = failed(trials)
    ids = [str(t) for t in bad["trial_id"]]
    shown = [t for t in ids if t in explanations and any(_worth(explanations[t]))]
    if shown:
        return max(shown, key=lambda t: _worth(explanations[t]))
    if bad.empty:
        return None
    most = bad["verdict"].value_counts(sort=False)
    alike = bad[bad["verdict"] == most.idxmax()]
    explained = alike[alike["trial_id"].isin(list(explanations))]
    candidates = explained if len(explained) else alike
    num_steps = candidates["num_steps"].fillna(0).to_numpy(dtype=np.float64)
    return str(candidates["trial_id"].iloc[int(np.abs(num_steps - np.median(num_steps)).argmin())])


def _worth(explanation: Explanation) -> tuple[bool, bool, bool]:
    replays = explanation.counterfactuals
    return any(c.rescues for c in replays), bool(replays), explanation.first_nonfinite is not None
