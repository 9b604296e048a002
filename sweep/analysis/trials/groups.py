"""Settings over their seeds: a setting is stable only if every seed was."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import bootstrap, t

from sweep.analysis.trials.columns import finite_or_nan
from sweep.analysis.trials.dimensions import Dimension, plain
from sweep.analysis.trials.outcomes import Share, judged, share
from sweep.records import Metric, Outcome, Phase

BOOTSTRAP_FROM = 20
"""Values from which on their own spread is enough to resample."""


@dataclass(frozen=True)
class Spread:
    """A value over seeds."""

    mean: float
    low: float
    high: float
    """Smallest and largest value."""
    num: int
    ci_low: float = math.nan
    ci_high: float = math.nan
    """Interval of the mean, 95 % if nothing else is said (`mean_interval`); NaN for one value, which tells nothing."""


@dataclass(frozen=True)
class SettingGroup:
    """All trials of one setting."""

    group: int
    setting: dict[str, Any]
    """Dotted path -> value; None where a conditional setting was inactive."""
    trial_ids: tuple[str, ...]
    stable: Share
    """Over all seeds."""
    fresh: Share
    """Over the seeds of the confirm phase, which the search never chose by."""
    outcomes: dict[Outcome, int]
    wer: Spread | None
    """Final WER: over the fresh seeds where there are any, else over all seeds; None where unknown."""
    score: Spread | None
    """Of trainings of the user's own: their final score, smaller is better; the same seeds as `wer`."""
    val_loss: Spread | None
    """Final validation loss, nats a label; the same seeds as `wer`."""
    applied: Spread | None
    """Share of steps that changed the weights, in [0, 1]; the same seeds as `wer`."""
    best_trial_id: str
    """The trial with the lowest objective, of those that ran to their end if there are any."""
    fresh_results: Mapping[Metric, Mapping[int, float]]
    """Final WER and validation loss of each fresh seed, by seed; NaN where unknown."""

    @property
    def all_stable(self) -> bool:
        """Whether every seed was stable."""
        return self.stable.count == self.stable.total

    @property
    def ran_to_end(self) -> bool:
        """Whether a stable training of it was not ended where it was as good as stable."""
        return any(outcome.is_stable and outcome is not Outcome.FOREGONE for outcome in self.outcomes)

    @property
    def confirmed(self) -> bool:
        """Whether fresh seeds were tried and all seeds, fresh or not, were stable."""
        return self.fresh.total > 0 and self.all_stable

    def picked_from(self, num: int) -> "SettingGroup":
        """The same, chosen by its fresh seeds among so many settings: intervals that hold for all of them at once.

        That is Bonferroni's correction, which asks nothing of how the settings depend on each other.
        """
        if num == 1 or not self.fresh.total:
            return self
        wer, val_loss, score = (
            spread(self.fresh_results[name].values(), 1 - 0.05 / num) for name in ("wer", "val_loss", "score")
        )
        return replace(self, wer=wer, val_loss=val_loss, score=score)

    def measured(self, metric: Metric) -> Spread | None:
        """What it came to, as the metric has it."""
        found: Spread | None = getattr(self, metric)
        return found


def setting_groups(trials: pd.DataFrame, dims: Sequence[Dimension]) -> list[SettingGroup]:
    """One entry a setting, in the order in which they were first tried; open ends are no part of it."""
    parts: dict[int, list[dict[Any, Any]]] = {}
    for row in judged(trials).to_dict("records"):  # thousands of small tables would take seconds
        parts.setdefault(int(row["group"]), []).append(row)
    return [_setting_group(group, rows, dims) for group, rows in parts.items()]


def _setting_group(group: int, rows: Sequence[Mapping[Any, Any]], dims: Sequence[Dimension]) -> SettingGroup:
    fresh = [row for row in rows if row["phase"] == Phase.CONFIRM]
    measured = fresh or rows
    counts = Counter(str(row["verdict"]) for row in rows)
    return SettingGroup(
        group=group,
        setting={d.path: plain(rows[0].get(d.path)) for d in dims},
        trial_ids=tuple(str(row["trial_id"]) for row in rows),
        stable=share(row["stable"] for row in rows),
        fresh=share(row["stable"] for row in fresh),
        outcomes={o: counts[o.value] for o in Outcome if counts[o.value]},
        wer=spread(row["wer"] for row in measured),
        score=spread(row["score"] for row in measured),
        val_loss=spread(row["val_loss"] for row in measured),
        applied=spread(row["applied_update_rate"] for row in measured),
        best_trial_id=str(min(rows, key=_worth)["trial_id"]),
        fresh_results={
            name: {int(row["seed"]): finite_or_nan(row[name]) for row in fresh} for name in get_args(Metric)
        },
    )


def _worth(row: Mapping[Any, Any]) -> tuple[bool, float]:
    """What a trial came to, to be compared; those that were ended where they were as good as stable come last."""
    return row["verdict"] == Outcome.FOREGONE.value, float(row["objective"])


def spread(values: Iterable[float | None], level: float = 0.95) -> Spread | None:
    """Mean and range of the finite values; None if there is none, or if any of them is infinite.

    Args:
        values: of the seeds.
        level: chance that the interval of the mean holds it.
    """
    measured = [float(value) for value in values if value is not None and value == value]
    if not measured or not all(map(math.isfinite, measured)):
        return None
    if len(measured) == 1:
        return Spread(measured[0], measured[0], measured[0], 1)
    known = np.array(measured)
    return Spread(float(known.mean()), float(known.min()), float(known.max()), len(known), *mean_interval(known, level))


def mean_interval(values: npt.NDArray[np.floating[Any]], level: float = 0.95) -> tuple[float, float]:
    """The two-sided interval of the mean of some seeds' values; NaN for fewer than two.

    Where none is negative, neither is it: an error rate or a loss cannot be.

    From BOOTSTRAP_FROM values on: percentile bootstrap, seed 0. Below that Student's t: resampling three values cannot
    show what a fourth may be like. Of 4,000 simulated samples of three, the bootstrap's interval held the true mean
    in 75 % (normal), 68 % (log-normal, sigma 0.8) and 70 % (beta(0.5, 2)) of them, Student's in 95 %, 88 % and 86 %.
    """
    if len(values) < 2:
        return math.nan, math.nan
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    if len(values) >= BOOTSTRAP_FROM:
        rng = np.random.default_rng(0)
        found = bootstrap((values,), np.mean, confidence_level=level, method="percentile", n_resamples=4999, rng=rng)
        return float(found.confidence_interval.low), float(found.confidence_interval.high)
    reach = float(t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    least = 0.0 if values.min() >= 0 else -math.inf
    return max(float(values.mean()) - reach, least), float(values.mean()) + reach
