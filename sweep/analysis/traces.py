"""A trial's course for a figure: few points, but every peak, skip and non-finite value kept visible."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.dimensions import plain
from sweep.records import Outcome

MAX_POINTS = 300
"""Points of a curve at most."""
MAX_TRACES = 200
"""Trials whose course is kept at most."""


@dataclass(frozen=True)
class Trace:
    """The course of one trial. None stands for a value that is not finite."""

    trial_id: str
    num_steps: int
    """Recorded steps; more than `len(step)` where points were dropped."""
    step: tuple[int, ...]
    loss: tuple[float | None, ...]
    """Training loss, nats a label."""
    grad_norm: tuple[float | None, ...]
    """Before clipping."""
    scale_step: tuple[int, ...]
    scale: tuple[float, ...]
    """The loss scale at the steps where it changed (and at the last one); empty without a scaler."""
    events: dict[str, tuple[int, ...]]
    """What happened -> at which steps: skipped updates by reason, and non-finite losses and gradients."""
    event_counts: dict[str, int]
    """How often it happened; more than the steps kept where those were thinned out."""
    eval_step: tuple[int, ...]
    val_loss: tuple[float | None, ...]
    wer: tuple[float | None, ...]
    steps_s: float
    """What all steps took together; evaluations likewise."""
    evals_s: float


def trace(trial_id: str, steps: pd.DataFrame, evals: pd.DataFrame | None) -> Trace:
    """Reduces a trial's steps to at most MAX_POINTS points."""
    kept = steps.iloc[kept_rows(steps)]
    events = {name: [int(s) for s in at["step"]] for name, at in _events(steps) if len(at)}
    scale = steps[steps["loss_scale"].notna()]
    changed = scale[(scale["loss_scale"].diff() != 0) | (scale["step"] == scale["step"].max())]
    changed = changed.iloc[thin(len(changed))]
    return Trace(
        trial_id=trial_id,
        num_steps=len(steps),
        step=tuple(int(s) for s in kept["step"]),
        loss=_rounded(kept["loss"]),
        grad_norm=_rounded(kept["grad_norm"]),
        scale_step=tuple(int(s) for s in changed["step"]),
        scale=tuple(float(s) for s in changed["loss_scale"]),
        events={name: tuple(at[i] for i in thin(len(at))) for name, at in events.items()},
        event_counts={name: len(at) for name, at in events.items()},
        eval_step=() if evals is None else tuple(int(s) for s in evals["step"]),
        val_loss=() if evals is None else _rounded(evals["val_loss"]),
        wer=() if evals is None else _rounded(evals["wer"]),
        steps_s=float(steps["time_s"].astype(float).sum()),
        evals_s=0.0 if evals is None else float(evals["time_s"].astype(float).sum()),
    )


def kept_rows(steps: pd.DataFrame) -> list[int]:
    """Rows to draw: all if they are few, else from each of MAX_POINTS / 3 spans the last one and both peaks.

    The peaks are the rows with the largest loss and the largest gradient norm; a non-finite value is largest.
    """
    if len(steps) <= MAX_POINTS:
        return list(range(len(steps)))
    peaks = [steps[name].to_numpy(dtype=np.float64, na_value=np.nan) for name in ("loss", "grad_norm")]
    peaks = [np.where(np.isfinite(values), values, np.inf) for values in peaks]
    kept: set[int] = set()
    for span in np.array_split(np.arange(len(steps)), MAX_POINTS // 3):
        kept.add(int(span[-1]))
        kept.update(int(span[np.argmax(values[span])]) for values in peaks)
    return sorted(kept)


def thin(count: int) -> list[int]:
    """At most MAX_POINTS indices below `count`, evenly spread, ends included."""
    if count <= MAX_POINTS:
        return list(range(count))
    return [int(i) for i in np.linspace(0, count - 1, MAX_POINTS).round()]


def _events(steps: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    reasons = sorted(str(r) for r in steps["skip_reason"].dropna().unique())
    found = [(f"skipped: {reason}", steps[steps["skip_reason"] == reason]) for reason in reasons]
    for column, name in (("loss", "loss not finite"), ("grad_norm", "gradient not finite")):
        if steps[column].notna().any():  # a column that nobody filled says nothing
            found.append((name, steps[~np.isfinite(steps[column].astype(float))]))
    return found


def _rounded(values: "pd.Series[Any]") -> tuple[float | None, ...]:
    """Four significant digits are more than a screen shows, and keep the page small."""
    numbers = [plain(v) for v in values]
    return tuple(float(f"{v:.4g}") if v is not None and math.isfinite(v) else None for v in numbers)


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
