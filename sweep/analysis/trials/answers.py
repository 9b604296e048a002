"""The three answers of each verdict: are the numbers sound, was anything learned, and what was it judged with?"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from sweep.analysis.trials.dimensions import plain
from sweep.analysis.trials.outcomes import OUTCOME_ORDER
from sweep.records import Learning, Numbers, Outcome
from sweep.wording import plural

_BROKEN = (Outcome.DIVERGED_NONFINITE, Outcome.SCALER_COLLAPSE)
_NOBODY_KNOWS = tuple(o for o in Outcome if o.is_broken_off)
_LEARNING = {
    Outcome.STABLE: Learning.LEARNED,
    Outcome.SPIKY_RECOVERING: Learning.LEARNED,
    Outcome.FOREGONE: Learning.LEARNED,
    Outcome.BLANK_COLLAPSE: Learning.NOTHING,
    Outcome.STALLED: Learning.NOTHING,
    Outcome.MEMORISED: Learning.MEMORISED,
}
"""What an outcome says of it by itself."""


@dataclass(frozen=True)
class Answers:
    """Of one trial; empty where nobody said."""

    numbers: Numbers | None
    learning: Learning | None
    judged_with: str

    @property
    def basis_in_short(self) -> str:
        """`300 losses and 6 others`: how many losses and how many other kinds of evidence; empty where nobody said."""
        losses, *others = self.judged_with.split(", ")
        return f"{losses} and {plural(len(others), 'other')}" if others else losses


@dataclass(frozen=True)
class OutcomeAnswers:
    """Of all trials of one outcome."""

    outcome: Outcome
    num_trials: int
    numbers: str
    """`sound`, or counted where they differ: `3 sound, 1 unknown`; empty where nobody said."""
    learning: str
    """Likewise."""
    num_losses: str
    """How many losses each was judged by: `300`, or `20 to 300`; empty where nobody said."""
    judged_with: tuple[tuple[str, int], ...]
    """What else, and of how many of them; such as `the budget`."""


def answers(trials: pd.DataFrame) -> list[Answers]:
    """One a trial; of those that an earlier version judged, what follows from the outcome."""
    columns = zip(trials["verdict"], trials["numbers"], trials["learning"], trials["judged_with"], strict=True)
    return [_answers(Outcome(verdict), plain(numbers), plain(learning), plain(basis) or "")
            for verdict, numbers, learning, basis in columns]  # fmt: skip


def _answers(outcome: Outcome, numbers: str | None, learning: str | None, judged_with: str) -> Answers:
    if judged_with and numbers and learning:
        return Answers(Numbers(numbers), Learning(learning), judged_with)
    if outcome in _NOBODY_KNOWS:
        return Answers(None, None, "")
    return Answers(Numbers.BROKEN if outcome in _BROKEN else Numbers.SOUND, _LEARNING.get(outcome), "")


def answers_by_outcome(trials: pd.DataFrame) -> list[OutcomeAnswers]:
    """One entry an outcome that occurred, good ends first."""
    every = list(zip((Outcome(v) for v in trials["verdict"]), answers(trials), strict=True))
    found = []
    for outcome in OUTCOME_ORDER:
        mine = [one for verdict, one in every if verdict is outcome]
        if mine:
            bases = [one.judged_with.split(", ") for one in mine if one.judged_with]
            found.append(
                OutcomeAnswers(
                    outcome,
                    len(mine),
                    _counted([one.numbers for one in mine]),
                    _counted([one.learning for one in mine]),
                    _span([losses for losses, *_ in bases]),
                    tuple(Counter(what for _, *others in bases for what in others).items()),
                )
            )
    return found


def basis_text(found: Sequence[OutcomeAnswers]) -> str:
    """What the trials were judged with besides their losses, in a sentence; empty where nobody said."""
    total = sum(one.num_trials for one in found)
    counts: Counter[str] = Counter()
    for one in found:
        counts.update(dict(one.judged_with))
    every = [what for what, count in counts.items() if count == total]
    some = [f"{count} with {what}" for what, count in counts.items() if count < total]
    parts = [f"each was judged with {', '.join(every)}"] if every else []
    parts += [f"of {plural(total, 'trial')} {', '.join(some)}"] if some else []
    return f"Besides its losses {'; '.join(parts)}." if parts else ""


def _counted(values: Sequence[Numbers | Learning | None]) -> str:
    counts = Counter(value.value for value in values if value is not None)
    if len(counts) == 1 and counts.total() == len(values):
        return next(iter(counts))
    return ", ".join(f"{count} {value}" for value, count in counts.most_common())


def _span(texts: Sequence[str]) -> str:
    """`300 losses`, `1,000 losses alone` -> `300 to 1,000`."""
    counts = [int(re.sub(r"\D", "", text)) for text in texts]
    if not counts:
        return ""
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
