"""A trial's course for a figure: few points, but every peak, skip and non-finite value kept visible."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweep.records import Outcome

MAX_POINTS = 300
"""Points of a curve at most."""
MIN_POINTS = 60
"""Points of a curve that are kept whatever the number of trials."""
ALL_POINTS = 1_200_000
"""Points of one kind of curve over all trials together; with more trials, each is drawn with fewer."""
MAX_TRACES = 20_000
"""Trials whose course is kept at most."""

STEP_COLUMNS = ("step", "loss", "grad_norm", "loss_scale", "skip_reason")
EVAL_COLUMNS = ("step", "val_loss", "wer", "score")
"""What a course is made of."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Columns = Mapping[str, npt.NDArray[Any]]
"""Name -> values, all of the same length."""


@dataclass(frozen=True, eq=False)
class CourseRows:
    """The course of one trial. NaN stands for a value that is not finite."""

    trial_id: str
    num_steps: int
    """Recorded steps; more than `len(step)` where points were dropped."""
    step: Ints
    loss: Floats
    """Training loss, nats a label."""
    grad_norm: Floats
    """Before clipping."""
    scale_step: Ints
    scale: Floats
    """The loss scale at the steps where it changed (and at the last one); empty without a scaler."""
    events: dict[str, Ints]
    """What happened -> at which steps: skipped updates by reason, and non-finite losses and gradients."""
    event_counts: dict[str, int]
    """How often it happened; more than the steps kept where those were thinned out."""
    eval_step: Ints
    val_loss: Floats
    wer: Floats
    score: Floats
    """Of trainings of the user's own; smaller is better."""


def points_kept(num_trials: int) -> int:
    """How many points each curve keeps in a report of so many trials."""
    return max(MIN_POINTS, min(MAX_POINTS, ALL_POINTS // max(num_trials, 1)))


def trace(trial_id: str, steps: Columns, evals: Columns | None, max_points: int = MAX_POINTS) -> CourseRows:
    """Reduces a trial's steps (STEP_COLUMNS) and evaluations (EVAL_COLUMNS) to at most `max_points` points a curve."""
    step, loss, norm = (steps[name] for name in ("step", "loss", "grad_norm"))
    kept = kept_rows(loss, norm, max_points)
    events = {name: step[at].astype(np.int64) for name, at in _events(steps)}
    with_scale = np.flatnonzero(np.isfinite(steps["loss_scale"]))
    scale = steps["loss_scale"][with_scale]
    changed = np.flatnonzero(np.diff(scale, prepend=np.nan) != 0)
    changed = np.union1d(changed, len(scale) - 1) if len(scale) else changed
    changed = changed[thin(len(changed), max_points)]
    evaluated = thin(0 if evals is None else len(evals["step"]), max_points)
    return CourseRows(
        trial_id=trial_id,
        num_steps=len(step),
        step=step[kept].astype(np.int64),
        loss=_finite(loss[kept]),
        grad_norm=_finite(norm[kept]),
        scale_step=step[with_scale][changed].astype(np.int64),
        scale=scale[changed].astype(np.float64),
        events={name: at[thin(len(at), max_points)] for name, at in events.items()},
        event_counts={name: len(at) for name, at in events.items()},
        eval_step=np.empty(0, np.int64) if evals is None else evals["step"][evaluated].astype(np.int64),
        val_loss=np.empty(0) if evals is None else _finite(evals["val_loss"][evaluated]),
        wer=np.empty(0) if evals is None else _finite(evals["wer"][evaluated]),
        score=np.empty(0) if evals is None else _finite(evals["score"][evaluated]),
    )


def kept_rows(loss: npt.NDArray[Any], norm: npt.NDArray[Any], max_points: int = MAX_POINTS) -> Ints:
    """Rows to draw: all if they are few, else from each of max_points / 3 spans the last one and both peaks.

    The peaks are the rows with the largest loss and the largest gradient norm; a non-finite value is largest.
    """
    if len(loss) <= max_points:
        return np.arange(len(loss))
    num_spans = max_points // 3
    width = math.ceil(len(loss) / num_spans)
    kept = [np.minimum(np.arange(1, num_spans + 1) * width, len(loss)) - 1]
    for values in (loss, norm):
        padded = np.full(num_spans * width, -np.inf)
        padded[: len(values)] = np.where(np.isfinite(values), values, np.inf)
        kept.append(np.minimum(np.arange(num_spans) * width + padded.reshape(-1, width).argmax(axis=1), len(loss) - 1))
    return np.unique(np.concatenate(kept))


def thin(count: int, max_points: int = MAX_POINTS) -> Ints:
    """At most `max_points` indices below `count`, evenly spread, ends included."""
    if count <= max_points:
        return np.arange(count)
    return np.linspace(0, count - 1, max_points).round().astype(np.int64)


def _events(steps: Columns) -> list[tuple[str, Ints]]:
    """What happened, and at which rows."""
    reasons = steps["skip_reason"]
    skipped = np.flatnonzero([reason is not None for reason in reasons])
    found = [(f"skipped: {r}", skipped[reasons[skipped] == r]) for r in sorted(set(reasons[skipped]))]
    for column, name in (("loss", "loss not finite"), ("grad_norm", "gradient not finite")):
        bad = ~np.isfinite(steps[column])
        # A column that nobody filled says nothing.
        if bad.any() and not np.isnan(steps[column]).all():
            found.append((name, np.flatnonzero(bad)))
    return found


def _finite(values: npt.NDArray[Any]) -> Floats:
    numbers = values.astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def examples(trials: pd.DataFrame, best_trial_id: str | None) -> list[tuple[str, str]]:
    """Trials worth a look as (label, trial id): the best one, then a typical one for each outcome.

    Typical is the trial whose number of steps lies nearest to the median of its outcome.
    """
    found = [] if best_trial_id is None else [("Recommended", best_trial_id)]
    for outcome in Outcome:
        part = trials[(trials["verdict"] == outcome.value) & (trials["trial_id"] != best_trial_id)]
        if len(part):
            num_steps = part["num_steps"].fillna(0).to_numpy(dtype=np.float64)
            nearest = int(np.abs(num_steps - np.median(num_steps)).argmin())
            found.append((f"Typical {outcome.value}", str(part["trial_id"].iloc[nearest])))
    return found


def traced_trials(trials: pd.DataFrame, first: Sequence[str]) -> list[str]:
    """Which trials' courses to keep: the given ones, then by number, MAX_TRACES in all."""
    every = [*first, *(str(t) for t in trials["trial_id"])]
    return list(dict.fromkeys(every))[:MAX_TRACES]
