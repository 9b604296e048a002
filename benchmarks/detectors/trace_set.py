"""Labelled traces: real trainings as stored in `traces/`, and the type that injected faults share with them."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.detectors.truth import Truth, ends_above_start, lost_share
from sweep.judging.detectors import RunContext
from sweep.records import SkipReason, StepRecord

TRACES_DIR = Path(__file__).resolve().parent / "traces"


@dataclass(frozen=True)
class Label:
    """What is known of a trace without its steps."""

    name: str
    kind: str
    is_real: bool
    is_tuned: bool
    """Whether its kind was there when thresholds were chosen."""
    is_held_out: bool
    """Of a tuned kind: whether it belongs to the half that no threshold was chosen on."""
    truth: Truth
    onset: int | None
    last_step: int
    lost_share: float
    """Of a doubtful one: how much of a failure it is; NaN of any other."""
    is_plain: bool
    """Whether it is bad and shows it to anyone: not finite, or its end lies above the median of its first losses."""


@dataclass(frozen=True)
class Trace:
    """One training with known truth."""

    name: str
    kind: str
    """What was injected, or the study of a real training."""
    is_real: bool
    context: RunContext
    truth: Truth
    onset: int | None
    """First bad step; None of a healthy training."""
    records: tuple[StepRecord, ...]
    lost_share: float = math.nan
    """Of a doubtful training: how much of a failure it is (`truth.py`)."""
    is_tuned: bool = True
    """Whether thresholds may be chosen on traces of its kind."""

    @property
    def is_held_out(self) -> bool:
        """Whether the trace belongs to the half that no threshold was tuned on: a hash of its name decides."""
        return hashlib.sha256(self.name.encode()).digest()[0] % 2 == 1

    @property
    def label(self) -> Label:
        """All but its steps."""
        losses = np.array([math.nan if r.loss is None else r.loss for r in self.records])
        return Label(
            name=self.name,
            kind=self.kind,
            is_real=self.is_real,
            is_tuned=self.is_tuned,
            is_held_out=self.is_held_out,
            truth=self.truth,
            onset=self.onset,
            last_step=self.records[-1].step,
            lost_share=self.lost_share,
            is_plain=self.truth is Truth.NONFINITE or (self.truth.is_bad and ends_above_start(losses)),
        )


def load_real(folder: Path = TRACES_DIR) -> list[Trace]:
    """The stored real trainings, doubtful ones included."""
    trials = pd.read_parquet(folder / "trials.parquet")
    steps = pd.read_parquet(folder / "steps.parquet").groupby("name", observed=True, sort=False)
    return [_real_trace(trial, steps.get_group(str(trial["name"]))) for _, trial in trials.iterrows()]


def _real_trace(trial: "pd.Series[Any]", steps: pd.DataFrame) -> Trace:
    context = RunContext(
        l_const=float(trial["l_const"]),
        l_unif=float(trial["l_unif"]),
        budget_steps=int(trial["budget_steps"]),
        has_scaler=bool(trial["has_scaler"]),
    )
    truth = Truth(trial["truth"])
    share = math.nan
    if truth is Truth.DOUBTFUL:
        share = lost_share(steps["loss"].to_numpy(dtype=np.float64), context.l_const, float(trial["val_loss"]))
    return Trace(
        name=str(trial["name"]),
        kind=str(trial["study"]),
        is_real=True,
        context=context,
        truth=truth,
        onset=None if math.isnan(trial["onset"]) else int(trial["onset"]),
        records=records_of(steps),
        lost_share=share,
    )


def records_of(steps: pd.DataFrame) -> tuple[StepRecord, ...]:
    """The rows of a step table as records. A NaN loss was logged, and so was a NaN norm where any norm was."""
    columns: dict[str, list[Any]] = {name: steps[name].tolist() for name in ("step", "loss", "grad_norm", "applied")}
    if steps["grad_norm"].isna().all():
        columns["grad_norm"] = [None] * len(steps)
    for name in ("loss_scale", "lr", "blank_rate", "input_dependence"):
        columns[name] = [None if math.isnan(value) else value for value in steps[name].tolist()]
    reasons = [SkipReason(reason) if isinstance(reason, str) else None for reason in steps["skip_reason"]]
    finite = steps["params_finite"].tolist()
    rows = zip(*columns.values(), reasons, finite, strict=True)
    return tuple(
        StepRecord(
            step=step,
            loss=loss,
            grad_norm=norm,
            loss_scale=scale,
            applied=applied,
            skip_reason=reason,
            lr=lr,
            blank_rate=blank,
            input_dependence=dependence,
            params_finite=params_finite,
        )
        for step, loss, norm, applied, scale, lr, blank, dependence, reason, params_finite in rows
    )
