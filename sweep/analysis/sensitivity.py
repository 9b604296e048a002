"""Final validation loss and WER against the learning rate, with every diverged trial kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.dimensions import Dimension, plain
from sweep.analysis.outcomes import at_level
from sweep.records import Outcome

LOST_ABOVE = 2.0
"""A final loss above this many times `L_unif` says only that the training failed."""


@dataclass(frozen=True)
class LrPoint:
    """One trial in the figure."""

    trial_id: str
    number: int
    seed: int
    lr: float
    outcome: Outcome
    val_loss: float
    """Nats a label; NaN where the trial has no finite value."""
    wer: float
    """NaN where the trial has no value."""
    reason: str
    lost: bool
    """Whether there is no meaningful end value: it diverged, none was measured, or it is above LOST_ABOVE."""


@dataclass(frozen=True)
class LrPanel:
    """The trials of one level (a precision)."""

    level: Any
    """None where trials are not split."""
    points: tuple[LrPoint, ...]


@dataclass(frozen=True)
class LrInfo:
    """What the figure shows."""

    lr_name: str
    log: bool
    panel_name: str | None
    panels: tuple[LrPanel, ...]
    l_const: float
    """Best loss of a predictor that ignores its input, nats a label; NaN if not known for all."""
    l_unif: float
    """Loss of a uniform output, nats a label; NaN if unknown or not the same for all."""


def lr_info(trials: pd.DataFrame, lr: Dimension, panel: Dimension | None) -> LrInfo:
    """Collects one point a trial that has a learning rate."""
    known = trials[trials[lr.path].notna()] if lr.path in trials else trials.iloc[0:0]
    l_unif = common_value(trials, "l_unif")
    if panel is None:
        panels: tuple[LrPanel, ...] = (LrPanel(None, _points(known, lr, l_unif)),)
    else:
        panels = tuple(LrPanel(v, _points(at_level(known, panel.path, v), lr, l_unif)) for v in levels_of(panel, known))
    return LrInfo(
        lr_name=lr.name,
        log=lr.log,
        panel_name=panel.name if panel else None,
        panels=panels,
        l_const=common_value(trials, "l_const"),
        l_unif=l_unif,
    )


def levels_of(panel: Dimension, trials: pd.DataFrame) -> Sequence[Any]:
    """The levels in the study's order, and `None` where some trials had the setting inactive."""
    inactive = panel.path in trials and bool(trials[panel.path].isna().any())
    return [*(v for v in panel.levels if v is not None), *([None] if inactive else [])]


def common_value(trials: pd.DataFrame, column: str) -> float:
    """The value that all trials share (within 0.1 %); NaN if they do not share one."""
    known = trials[column].dropna()
    if known.empty or float(known.max() - known.min()) > 1e-3 * abs(float(known.mean())):
        return math.nan
    return float(known.mean())


def _points(trials: pd.DataFrame, lr: Dimension, l_unif: float) -> tuple[LrPoint, ...]:
    return tuple(_point(row, lr, l_unif) for row in trials.to_dict("records"))


def _point(row: dict[Any, Any], lr: Dimension, l_unif: float) -> LrPoint:
    outcome, val_loss = Outcome(row["verdict"]), finite_or_nan(row["val_loss"])
    too_high = math.isfinite(l_unif) and val_loss > LOST_ABOVE * l_unif
    return LrPoint(
        trial_id=str(row["trial_id"]),
        number=int(row["number"]),
        seed=int(row["seed"]),
        lr=float(row[lr.path]),
        outcome=outcome,
        val_loss=val_loss,
        wer=finite_or_nan(row["wer"]),
        reason=str(plain(row["reason"]) or ""),
        lost=outcome.is_diverged or not math.isfinite(val_loss) or too_high,
    )


def finite_or_nan(value: Any) -> float:
    """The value as a float; NaN where it is missing or infinite."""
    return float(value) if plain(value) is not None and math.isfinite(float(value)) else math.nan
