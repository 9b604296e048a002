"""Why trials went bad: causes counted by outcome, and one worked example."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sweep.explanation import Cause, Explanation
from sweep.records import Outcome


@dataclass(frozen=True)
class OutcomeCauses:
    """Causes of the trials of one outcome."""

    outcome: Outcome
    num_trials: int
    causes: tuple[tuple[Cause, int], ...]
    """The most frequent first."""
    num_unexplained: int
    """Trials whose cause nobody looked for."""


def causes_by_outcome(trials: pd.DataFrame, explanations: Mapping[str, Explanation]) -> list[OutcomeCauses]:
    """Counts the causes of bad trials, in the outcomes' order; empty where nothing was explained.

    Args:
        trials: the table of trials.
        explanations: by trial id.
    """
    found = []
    for outcome in Outcome:
        ids = [str(t) for t in trials["trial_id"][trials["verdict"] == outcome.value]]
        explained = [explanations[t] for t in ids if t in explanations]
        if outcome.is_stable or not ids or not explanations:
            continue
        counts = Counter(e.cause for e in explained)
        order = sorted(counts.items(), key=lambda item: (-item[1], list(Cause).index(item[0])))
        found.append(OutcomeCauses(outcome, len(ids), tuple(order), len(ids) - len(explained)))
    return found


def worked_example(trials: pd.DataFrame, explanations: Mapping[str, Explanation]) -> str | None:
    """The trial whose explanation shows most: replays that rescue, then replays at all, then a first bad value.

    None where no explanation has either. Of equals the first by number.
    """
    bad = [str(t) for t in trials["trial_id"][~trials["stable"].astype(bool)] if str(t) in explanations]
    shown = [t for t in bad if explanations[t].counterfactuals or explanations[t].first_nonfinite is not None]
    return max(shown, key=lambda t: _worth(explanations[t]), default=None)


def _worth(explanation: Explanation) -> tuple[bool, bool, bool]:
    replays = explanation.counterfactuals
    return any(c.rescues for c in replays), bool(replays), explanation.first_nonfinite is not None
