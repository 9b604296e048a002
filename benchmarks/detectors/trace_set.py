"""Labelled traces: real trainings as stored in `traces/`, and the type that injected faults share with them."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import SkipReason, StepRecord

TRACES_DIR = Path(__file__).resolve().parent / "traces"


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

    @property
    def is_held_out(self) -> bool:
        """Whether the trace belongs to the half that no threshold was tuned on: a hash of its name decides."""
        return hashlib.sha256(self.name.encode()).digest()[0] % 2 == 1

    @property
    def num_steps(self) -> int:
        """Its length."""
        return self.records[-1].step


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
    return Trace(
        name=str(trial["name"]),
        kind=str(trial["study"]),
        is_real=True,
        context=context,
        truth=Truth(trial["truth"]),
        onset=None if math.isnan(trial["onset"]) else int(trial["onset"]),
        records=records_of(steps),
    )


def records_of(steps: pd.DataFrame) -> tuple[StepRecord, ...]:
    """The rows of a step table as records."""
    columns = {
        name: steps[name].tolist()
        for name in ("step", "loss", "grad_norm", "loss_scale", "applied", "lr", "blank_rate", "input_dependence")
    }
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
        for step, loss, norm, scale, applied, lr, blank, dependence, reason, params_finite in rows
    )
