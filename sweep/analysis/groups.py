"""Settings over their seeds: a setting is stable only if every seed was."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.dimensions import Dimension, plain
from sweep.analysis.outcomes import Share, share
from sweep.records import Outcome

CONFIRM_PHASE = "confirm"
"""Trials of this phase repeat a chosen setting with fresh seeds."""


@dataclass(frozen=True)
class Spread:
    """A value over seeds."""

    mean: float
    low: float
    high: float
    """Smallest and largest value."""
    num: int


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
    val_loss: Spread | None
    """Final validation loss, nats a label; the same seeds as `wer`."""
    applied: Spread | None
    """Share of steps that changed the weights, in [0, 1]; the same seeds as `wer`."""
    best_trial_id: str
    """The trial with the lowest objective."""

    @property
    def all_stable(self) -> bool:
        """Whether every seed was stable."""
        return self.stable.count == self.stable.total

    @property
    def confirmed(self) -> bool:
        """Whether fresh seeds were tried and all seeds, fresh or not, were stable."""
        return self.fresh.total > 0 and self.all_stable


def setting_groups(trials: pd.DataFrame, dims: Sequence[Dimension]) -> list[SettingGroup]:
    """One entry a setting, in the order in which they were first tried."""
    return [_setting_group(int(str(key)), part, dims) for key, part in trials.groupby("group", sort=False)]


def _setting_group(key: int, part: pd.DataFrame, dims: Sequence[Dimension]) -> SettingGroup:
    first = part.iloc[0]
    fresh = part[part["phase"] == CONFIRM_PHASE]
    measured = fresh if len(fresh) else part
    counts = Counter(str(v) for v in part["verdict"])
    return SettingGroup(
        group=key,
        setting={d.path: plain(first[d.path]) if d.path in part else None for d in dims},
        trial_ids=tuple(str(t) for t in part["trial_id"]),
        stable=share(part["stable"]),
        fresh=share(fresh["stable"]),
        outcomes={o: counts[o.value] for o in Outcome if counts[o.value]},
        wer=spread(measured["wer"]),
        val_loss=spread(measured["val_loss"]),
        applied=spread(measured["applied_update_rate"]),
        best_trial_id=str(part["trial_id"].iloc[int(part["objective"].to_numpy().argmin())]),
    )


def spread(values: "pd.Series[float]") -> Spread | None:
    """Mean and range of the finite values; None if there is none, or if any of them is infinite."""
    known = values.dropna().to_numpy(dtype=np.float64)
    if not len(known) or not all(math.isfinite(v) for v in known):
        return None
    return Spread(float(known.mean()), float(known.min()), float(known.max()), len(known))
