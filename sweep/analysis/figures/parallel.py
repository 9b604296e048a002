"""Trials as lines over parallel axes: one for each searched setting, then loss, WER and outcome."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sweep.analysis.figures.learning_rate import LOST_ABOVE, with_results
from sweep.analysis.trials.columns import common_value
from sweep.analysis.trials.dimensions import Dimension, plain
from sweep.analysis.trials.outcomes import OUTCOME_ORDER, judged, share
from sweep.own.program import Score
from sweep.records import NotKnown, Outcome
from sweep.wording import number, percent, value_text

MAX_LINES = 300
"""Lines at most: more are but a surface, and every line makes the page larger."""
_LEAST = 12
"""Lines of an outcome at least, if it has so many trials."""
_LOSS_FLOOR = 1e-3
"""A smaller loss is drawn here, nats a label."""


@dataclass(frozen=True)
class ParallelAxis:
    """One axis."""

    name: str
    """With its unit."""
    kind: Literal["number", "category"]
    log: bool
    low: float
    high: float
    """Ends of the range (numbers only)."""
    levels: tuple[str, ...]
    """From bottom to top (categories only)."""
    below: str | None = None
    """What a line below the range means: the setting was inactive; None where there is none."""
    above: str | None = None
    """What a line above the range means: no such value, or too high a one; None where there is none."""
    is_share: bool = False
    """Whether its numbers are told as percentages."""


@dataclass(frozen=True)
class ParallelLine:
    """One trial."""

    trial_id: str
    outcome: Outcome
    values: tuple[float, ...]
    """For each axis: a value, or the index of a level; -inf below and inf above the range."""
    text: str
    """What a reader sees who points at it."""


@dataclass(frozen=True)
class ParallelInfo:
    """All that is drawn."""

    axes: tuple[ParallelAxis, ...]
    lines: tuple[ParallelLine, ...]
    """Frequent outcomes first, so that rare ones lie on top."""
    num_trials: int
    """Of which the lines are a part, where there are more than MAX_LINES."""


def parallel_info(
    trials: pd.DataFrame, dims: Sequence[Dimension], score: Score | None = None
) -> ParallelInfo | NotKnown:
    """The lines of these trials; `score`: what those of the user's own are ranked by."""
    if trials.empty:
        return NotKnown("No trial has finished yet.")
    if not dims:
        return NotKnown("The study searches no setting.")
    trials = with_results(trials, score)
    chosen = _sample(trials)
    l_unif = common_value(trials, "l_unif")
    # Diverged losses have no place on the axis.
    lost = trials["verdict"].isin([o.value for o in Outcome if o.is_diverged])
    loss = trials["val_loss"].astype(float)
    lost |= ~np.isfinite(loss)
    if math.isfinite(l_unif):
        lost |= loss > LOST_ABOVE * l_unif
    wer = trials["wer"].astype(float)
    columns: list[tuple[ParallelAxis, pd.Series[float]]] = [_of_setting(trials, dim) for dim in dims]
    foregone = bool((trials["verdict"] == Outcome.FOREGONE.value).any())
    loss_name = "val. loss (nats/label)" if score is None else "loss"
    columns.append(_of_loss(loss, lost, "no final loss" if foregone else "diverged or failed", loss_name))
    columns.append(_of_result(wer, score))
    seen = [o for o in OUTCOME_ORDER if (trials["verdict"] == o.value).any()]
    order = {o.value: float(i) for i, o in enumerate(seen)}
    levels = tuple(o.value for o in seen)
    columns.append(
        (ParallelAxis("outcome", "category", False, 0.0, 1.0, levels), trials["verdict"].map(order).astype(float))
    )
    counts = trials["verdict"].value_counts()
    rows = sorted(chosen, key=lambda i: (-int(counts[trials["verdict"].iloc[i]]), i))
    values = np.array([series.to_numpy(dtype=float) for _, series in columns]).T
    return ParallelInfo(
        tuple(axis for axis, _ in columns),
        tuple(_line(trials.iloc[i].to_dict(), values[i], dims, score) for i in rows),
        len(trials),
    )


def _sample(trials: pd.DataFrame) -> list[int]:
    """Rows of at most MAX_LINES trials, evenly over their numbers; every outcome has its part, a rare one a larger."""
    if len(trials) <= MAX_LINES:
        return list(range(len(trials)))
    outcomes = trials["verdict"].astype(str).to_numpy()
    chosen: list[int] = []
    counts = {outcome: int((outcomes == outcome).sum()) for outcome in sorted(set(outcomes))}
    rare = {outcome: min(count, _LEAST) for outcome, count in counts.items()}
    left = MAX_LINES - sum(rare.values())
    spare = sum(counts[outcome] - rare[outcome] for outcome in counts)
    for outcome, count in counts.items():
        num = rare[outcome] + int(left * (count - rare[outcome]) / spare)
        rows = np.flatnonzero(outcomes == outcome)
        chosen += rows[np.linspace(0, count - 1, num).round().astype(int)].tolist()
    return sorted(set(chosen))


def _of_setting(trials: pd.DataFrame, dim: Dimension) -> tuple[ParallelAxis, "pd.Series[float]"]:
    known = trials[dim.path] if dim.path in trials else pd.Series([None] * len(trials), index=trials.index)
    inactive = "off" if known.isna().any() else None
    if dim.kind == "number":
        values = pd.to_numeric(known).astype(float)
        return (
            ParallelAxis(dim.name, "number", dim.log, dim.low, dim.high, (), inactive),
            values.clip(dim.low, dim.high).fillna(-math.inf),
        )
    levels = tuple(value_text(level) for level in dim.levels)
    place = {text: float(i) for i, text in enumerate(levels)}
    values = known.map(lambda v: place.get(value_text(plain(v)), -math.inf)).astype(float)
    return ParallelAxis(dim.name, "category", False, 0.0, 1.0, levels, inactive), values


def _of_loss(
    loss: "pd.Series[float]", lost: "pd.Series[bool]", without: str, name: str
) -> tuple[ParallelAxis, "pd.Series[float]"]:
    ends = loss[~lost].clip(lower=_LOSS_FLOOR)
    low, high = (float(ends.min()), float(ends.max())) if len(ends) else (1.0, 10.0)
    above = without if lost.any() else None
    axis = ParallelAxis(name, "number", True, low * 0.95, high * 1.05, (), None, above)
    return axis, loss.clip(lower=_LOSS_FLOOR).where(~lost, math.inf)


def _of_result(wer: "pd.Series[float]", score: Score | None) -> tuple[ParallelAxis, "pd.Series[float]"]:
    known = wer[np.isfinite(wer)]
    low, high = 0.0, max([1.0, *known])
    if score is not None:
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    name = "WER" if score is None else score.name
    axis = ParallelAxis(name, "number", False, low, high, (), None, _if_any(wer, "none"), is_share=score is None)
    return axis, wer.where(np.isfinite(wer), math.inf)


def _if_any(values: "pd.Series[float]", text: str) -> str | None:
    return text if (~np.isfinite(values)).any() else None


def _line(
    row: dict[Any, Any],
    values: "np.ndarray[Any, np.dtype[np.float64]]",
    dims: Sequence[Dimension],
    score: Score | None,
) -> ParallelLine:
    setting = ", ".join(f"{dim.name} {value_text(plain(row.get(dim.path)))}" for dim in dims)
    loss, wer = (plain(row[name]) for name in ("val_loss", "wer"))
    loss, wer = (math.nan if value is None else value for value in (loss, wer))
    result = f"val. loss {number(loss)}, WER {percent(wer)}"
    if score is not None:
        result = f"loss {number(loss)}, {score.name} {number(wer)}"
    text = f"Trial {int(row['number'])}: {row['verdict']}. {setting}; {result}"
    return ParallelLine(str(row["trial_id"]), Outcome(row["verdict"]), tuple(values.tolist()), text)


def common_text(trials: pd.DataFrame, dims: Sequence[Dimension]) -> str:
    """Where the stable trials lie on each axis and where the failed ones: the figure for one who cannot see it."""
    trials = judged(trials)
    stable = trials["stable"].astype(bool)
    parts = []
    for dim in dims:
        if dim.path not in trials:
            continue
        sides = [_middle(trials.loc[mask, dim.path], dim) for mask in (stable, ~stable)]
        parts.append(f"{dim.name}: {sides[0]} of the stable trials, {sides[1]} of the others")
    return "; ".join(parts)


def _middle(values: "pd.Series[Any]", dim: Dimension) -> str:
    known = values.dropna()
    if known.empty:
        return "none"
    if dim.kind == "number":
        low, high = pd.to_numeric(known).astype(float).quantile([0.1, 0.9], interpolation="nearest")
        return f"{number(low, 2)} to {number(high, 2)} holds 80 %"
    top = known.map(lambda v: value_text(plain(v))).value_counts()
    counted = share([True] * int(top.iloc[0]) + [False] * int(len(known) - top.iloc[0]))
    return f"{top.index[0]} is {percent(counted.rate)}"
