"""Trainings in fp16: how far their values stayed from overflow, and how their loss scale went."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.analysis.figures.course import thin
from sweep.records import HealthMetric, Outcome, SkipReason
from sweep.study.settings import Study

PRECISION = "training.precision.kind"
HALF, SCALED = ("fp16", "fp16_unscaled"), ("fp16",)
"""Precisions that compute in float16, and those of them that have a loss scaler."""
MAX_FAILED, MAX_STABLE = 16, 12
"""Lines of a figure at most: more cannot be told apart, and each costs a file to read."""
MAX_SKIPS = 60
"""Marks of skipped updates on one line, at most."""
_FLOAT16_BITS = 40.0
"""Doublings between the smallest and the largest float16: more headroom has another format."""


@dataclass(frozen=True)
class HalfTrial:
    """A training in fp16."""

    trial_id: str
    number: int
    outcome: Outcome


@dataclass(frozen=True)
class HeadroomCourse:
    """How near the largest output of any module came to overflow, at each sampled step."""

    trial: HalfTrial
    step: tuple[int, ...]
    bits: tuple[float, ...]
    """Doublings left before overflow, of the module nearest to it; minus infinite where one overflowed."""
    path: tuple[str, ...]
    """That module."""
    lowest: Mapping[str, float]
    """Module -> the least that it had at any sampled step."""

    @property
    def nearest(self) -> str:
        """The module that came nearest to overflow at any sampled step, the first to do so."""
        return self.path[self.bits.index(min(self.bits))]


@dataclass(frozen=True)
class ModuleHeadroom:
    """A module that came nearest to overflow in at least one training."""

    path: str
    num_failed: int
    """Failed trials in which no module came nearer; of several that overflow at one step, the first in the model."""
    num_stable: int
    failed: float
    """Its least headroom in any failed trial, in doublings; minus infinite where it overflowed, NaN without one."""
    stable: float
    """Its least headroom in any stable trial."""


@dataclass(frozen=True)
class ScaleCourse:
    """The loss scale of one training, at the steps at which it changed and at the last one."""

    trial: HalfTrial
    step: tuple[int, ...]
    scale: tuple[float, ...]
    skips: tuple[tuple[int, float, SkipReason], ...]
    """(step, scale in force, why) of the skipped updates, MAX_SKIPS at most."""


def half_trials(trials: pd.DataFrame, study: Study, kinds: Sequence[str]) -> pd.DataFrame:
    """The trials whose precision is one of these."""
    if study.is_own:
        # What their settings mean, nobody knows.
        return trials.iloc[:0]
    fixed = study.training.precision.kind
    if PRECISION not in trials:
        return trials if fixed in kinds else trials.iloc[:0]
    return trials[trials[PRECISION].fillna(fixed).isin(kinds)]


def drawn(trials: pd.DataFrame) -> list[HalfTrial]:
    """Which trials have a line: MAX_FAILED failed ones, of all outcomes as evenly as can be, and MAX_STABLE stable."""
    stable = trials[trials["stable"].astype(bool)]
    failed = trials[~trials["stable"].astype(bool)]
    # The first of every outcome, then the second of every outcome, and so on.
    turn = failed.groupby("verdict").cumcount()
    failed = failed.iloc[np.argsort(turn.to_numpy(), kind="stable")[:MAX_FAILED]]
    spread = np.linspace(0, len(stable) - 1, min(MAX_STABLE, len(stable))).round().astype(int)
    rows = [*stable.iloc[spread].to_dict("records"), *failed.to_dict("records")]
    return [HalfTrial(str(r["trial_id"]), int(r["number"]), Outcome(r["verdict"])) for r in rows]


def headroom_course(trial: HalfTrial, rows: pd.DataFrame) -> HeadroomCourse | None:
    """The course of a trial's headroom; None where none was sampled.

    Args:
        trial: whose it is.
        rows: columns step, metric, path and value, as `store.read_health` gives them.
    """
    bits = rows[rows["metric"] == HealthMetric.HEADROOM_BITS][["step", "path", "value"]]
    # What is NaN has overflowed on the way.
    bits = bits.assign(value=bits["value"].astype(float).fillna(-math.inf), path=bits["path"].astype(str))
    bits = bits[bits["value"] <= _FLOAT16_BITS].sort_values(["step", "value"], kind="stable")
    if bits.empty:
        return None
    nearest = bits.drop_duplicates("step")
    lowest = bits.sort_values("value", kind="stable").drop_duplicates("path")
    return HeadroomCourse(
        trial=trial,
        step=tuple(int(s) for s in nearest["step"]),
        bits=tuple(round(float(b), 2) for b in nearest["value"]),
        path=tuple(nearest["path"]),
        lowest=dict(zip(lowest["path"], lowest["value"].astype(float), strict=True)),
    )


def nearest_modules(courses: Sequence[HeadroomCourse]) -> list[ModuleHeadroom]:
    """The modules that came nearest to overflow in any trial, those of most failed trials first."""
    parts: dict[bool, list[HeadroomCourse]] = {
        good: [c for c in courses if c.trial.outcome.is_stable is good] for good in (False, True)
    }
    nearest = {good: Counter(c.nearest for c in part) for good, part in parts.items()}
    found = [
        ModuleHeadroom(
            path, nearest[False][path], nearest[True][path], _least(parts[False], path), _least(parts[True], path)
        )
        for path in nearest[False] | nearest[True]
    ]
    return sorted(found, key=lambda m: (-m.num_failed, -m.num_stable, m.path))


def _least(courses: Iterable[HeadroomCourse], path: str) -> float:
    return min((c.lowest[path] for c in courses if path in c.lowest), default=math.nan)


def scale_course(trial: HalfTrial, steps: pd.DataFrame) -> ScaleCourse | None:
    """The course of a trial's loss scale; None where it has none.

    Args:
        trial: whose it is.
        steps: as `store.read_steps` gives them.
    """
    known = steps[steps["loss_scale"].notna()]
    if known.empty:
        return None
    changed = known[(known["loss_scale"].diff() != 0) | (known["step"] == known["step"].max())]
    changed = changed.iloc[thin(len(changed))]
    skipped = known[known["skip_reason"].notna()]
    kept = thin(len(skipped), MAX_SKIPS)
    at = (skipped.iloc[kept][name].tolist() for name in ("step", "loss_scale", "skip_reason"))
    return ScaleCourse(
        trial=trial,
        step=tuple(int(s) for s in changed["step"]),
        scale=tuple(float(s) for s in changed["loss_scale"]),
        skips=tuple((int(step), float(scale), SkipReason(why)) for step, scale, why in zip(*at, strict=True)),
    )
