"""How often trainings were stable, by any factor, with exact intervals."""

import functools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from scipy.stats import beta

from sweep.records import Outcome

OUTCOME_ORDER: tuple[Outcome, ...] = tuple(Outcome)
"""Good ends first, as `Outcome` lists them."""

OPEN_ENDS: dict[str, str] = {
    Outcome.CALIBRATING.value: "still calibrating the loss scale",
    Outcome.UNJUDGED.value: "without what it takes to judge them",
    Outcome.TOO_SHORT.value: "too short to tell",
    Outcome.PRUNED.value: "ended by a scheduler or by hand",
}
"""Ends of which nobody can tell whether they would have been good or bad (`Outcome.is_open`), in a few words."""


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with the exact two-sided 95 % interval of the underlying rate."""

    count: int
    total: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """count / total; NaN where nothing was counted."""
        return self.count / self.total if self.total else math.nan


@dataclass(frozen=True)
class OutcomeCounts:
    """Outcomes of the trials at one level of a factor."""

    level: Any
    """The factor's value; None where the setting was inactive, or where all trials are counted together."""
    num_trials: int
    stable: Share
    """Of the judged trials: open ends are in `num_trials` and `counts` alone."""
    counts: dict[Outcome, int]
    """Only outcomes that occurred, in OUTCOME_ORDER."""


@functools.cache
def clopper_pearson(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """The exact two-sided confidence interval of a binomial rate; (0, 1) where total is 0.

    Source: Clopper and Pearson, Biometrika 26 (1934). It never undercovers, so it is a little wide.
    """
    if not 0 <= count <= total:
        raise ValueError(f"count must lie in 0..total, but got {count} of {total}")
    if total == 0:
        return 0.0, 1.0
    alpha = 1.0 - level
    low = 0.0 if count == 0 else float(beta.ppf(alpha / 2, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(1 - alpha / 2, count + 1, total - count))
    return low, high


def share(flags: Iterable[bool]) -> Share:
    """How many flags are set, with the exact interval."""
    values = [bool(flag) for flag in flags]
    low, high = clopper_pearson(sum(values), len(values))
    return Share(sum(values), len(values), low, high)


def judged(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that ended well or badly: without open ends, of which nobody can tell (`Outcome.is_open`)."""
    return trials[~trials["verdict"].isin(OPEN_ENDS)]


def failed(trials: pd.DataFrame) -> pd.DataFrame:
    """The judged trials that were not stable."""
    known = judged(trials)
    return known[~known["stable"].astype(bool)]


def open_ends_text(trials: pd.DataFrame) -> str:
    """How many trials ended open, and why: `3 too short to tell, 1 ended by ...`; empty where none did."""
    counts = Counter(str(v) for v in trials["verdict"])
    return ", ".join(f"{counts[end]} {why}" for end, why in OPEN_ENDS.items() if counts[end])


def mapped(trials: pd.DataFrame) -> pd.DataFrame:
    """The judged trials whose settings held from their first step, so that the outcome is one of these settings."""
    known = judged(trials)
    return known[known["settings_changed_at_step"].isna()] if "settings_changed_at_step" in known else known


def finished(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials without those that were ended where they were as good as stable: of these no result is known."""
    return trials[trials["verdict"] != Outcome.FOREGONE.value]


def outcome_counts(trials: pd.DataFrame, level: Any = None) -> OutcomeCounts:
    """Counts the verdicts of some trials."""
    counts = Counter(str(v) for v in trials["verdict"])
    return OutcomeCounts(
        level=level,
        num_trials=len(trials),
        stable=share(judged(trials)["stable"]),
        counts={o: counts[o.value] for o in OUTCOME_ORDER if counts[o.value]},
    )


def at_level(trials: pd.DataFrame, column: str, level: Any) -> pd.DataFrame:
    """The trials whose column has the given value; None picks missing values."""
    if column not in trials:
        return trials.iloc[0:0]
    if level is None:
        mask = trials[column].isna()
    elif not isinstance(level, str) and pd.api.types.is_string_dtype(trials[column]):
        mask = trials[column] == str(level)  # the store keeps a column of mixed types as text
    else:
        mask = trials[column] == level
    return trials[mask.astype(bool)]
