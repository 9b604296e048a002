"""From the columns of a log to step records.

What a log does not say is filled in so that it counts for nothing. A row that logs neither loss nor gradient norm is
no step. A logged NaN is a NaN; a value that was not logged at a step (an empty cell, null, a missing key) is unknown,
and the latest finite one stands for it. Blank rate and input dependence are samples anyway. Where most steps log no
loss, `Trace.with_losses` leaves those out, lest one spike count as many.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sweep.logs.raw import RawLog
from sweep.logs.table import Bools, Floats, Table, no_loss
from sweep.records import NAN, SkipReason, StepRecord

Ints = npt.NDArray[np.int64]

_FILLER = 1.0
"""Stands for a loss or norm of which the log says nothing finite."""
_SAMPLED = ("loss_scale", "lr", "blank_rate", "input_dependence")
"""Fields that need not be known at a step."""
_DEFAULTS = {"params_finite": 1.0, "num_infeasible": 0.0}


@dataclass(frozen=True)
class Trace:
    """The steps of a log, in order."""

    format: str
    """For a person: CSV, Parquet, ..."""
    steps: Ints
    """As the log counts them; 1, 2, ... where it does not."""
    values: dict[str, Floats]
    """The columns of `StepRecord` that the log tells of, [steps]; booleans as 0 and 1."""
    skip_reasons: tuple[SkipReason | None, ...]
    has_losses: bool
    """False for a log of gradient norms alone: its losses are a filler."""
    losses_logged: Bools
    """Where a loss was logged, [steps]; a NaN counts."""
    read_as: dict[str, str]
    """Field -> the column that it was read from."""
    notes: tuple[str, ...]
    """How the log was understood, where that is not plain."""

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def has_scaler(self) -> bool:
        """Whether the log tells of a loss scale."""
        return "loss_scale" in self.values

    @property
    def is_sparse(self) -> bool:
        """Whether there are losses, but most steps log none."""
        return _is_sparse(self.losses_logged)

    def with_losses(self) -> "Trace":
        """The steps that log a loss, with the samples that were logged since the one before."""
        rows = np.flatnonzero(self.losses_logged)
        values = {
            field: _latest_between(column, rows) if field in _SAMPLED else column[rows]
            for field, column in self.values.items()
        }
        reasons = tuple(self.skip_reasons[row] for row in rows.tolist())
        return replace(
            self,
            steps=self.steps[rows],
            values=values,
            skip_reasons=reasons,
            losses_logged=self.losses_logged[rows],
        )

    def records(self) -> Iterator[StepRecord]:
        """The steps one by one."""

        def column(name: str, default: float) -> list[float]:
            values: list[float] = self.values[name].tolist() if name in self.values else [default] * len(self)
            return values

        rows = zip(
            self.steps.tolist(),
            self.skip_reasons,
            column("applied", 1.0),
            column("loss", NAN),
            column("grad_norm", NAN),
            column("loss_scale", NAN),
            column("lr", NAN),
            column("num_infeasible", 0.0),
            column("blank_rate", NAN),
            column("input_dependence", NAN),
            column("params_finite", 1.0),
            strict=True,
        )
        for step, reason, applied, loss, norm, scale, lr, infeasible, blank, dependence, finite in rows:
            yield StepRecord(
                step=step,
                loss=loss,
                grad_norm=norm,
                loss_scale=scale,
                applied=bool(applied),
                skip_reason=reason,
                lr=lr,
                num_infeasible=int(infeasible),
                blank_rate=blank,
                input_dependence=dependence,
                params_finite=bool(finite),
            )


def understand(raw: RawLog, name: str) -> Trace:
    """The trace that a log holds; `name` stands for its file in messages.

    Raises:
        UserError: There is no loss, or a cell is not what its column should hold.
    """
    table = Table(raw, name)
    has_losses = "loss" in table
    if not has_losses and (raw.is_table or "grad_norm" not in table):
        raise no_loss(tuple(raw.filled), name)
    steps = _Steps(table)
    notes = [
        *raw.notes,
        *(f"{column} is read as {field}" for field, column in table.read_as.items() if field != column),
    ]
    for field, count in table.num_lost.items():
        notes.append(
            f"{count} empty cells in a row in {table.read_as[field]}, which is filled elsewhere, are taken for NaN"
        )
    values = {field: steps.latest(field)[0] for field in _SAMPLED if field in table}
    values = {field: found for field, found in values.items() if not np.isnan(found).all()}
    for field, default in _DEFAULTS.items():
        if field in table:
            found, _ = steps.latest(field)
            values[field] = np.where(np.isfinite(found), found, default)
    losses_logged = np.zeros(len(steps), dtype=bool)
    for field in ("loss", "grad_norm"):
        if field in table:
            found, logged = steps.latest(field)
            values[field] = _carried(found, logged)
            losses_logged = logged if field == "loss" else losses_logged
            if not logged.all():
                sparse = field == "loss" and _is_sparse(logged)
                then = "only the others are judged by it" if sparse else "the latest finite one stands for it"
                notes.append(f"{int((~logged).sum())} of {len(logged)} steps log no {field}; {then}")
    if not has_losses:
        values["loss"] = np.full(len(steps), _FILLER)
        notes.append("there are gradient norms but no losses, so only gradients and skips are judged")
    reasons = steps.skip_reasons()
    values["applied"] = steps.applied() * np.array([reason is None for reason in reasons])
    numbers, note = steps.numbers()
    return Trace(raw.format, numbers, values, reasons, has_losses, losses_logged, table.read_as, (*notes, *note))


class _Steps:
    """The steps that the rows of a table tell of: several rows may tell of one, and some of none."""

    def __init__(self, table: Table) -> None:
        self._table = table
        groups = np.cumsum(_begins_step(table)) - 1
        size = int(groups[-1]) + 1 if len(groups) else 0
        tells = np.zeros(size, dtype=bool)
        tells[groups[table.logged("loss") | table.logged("grad_norm")]] = True
        self._rows = np.flatnonzero(tells[groups])
        self._steps = (np.cumsum(tells) - 1)[groups[self._rows]]
        self._size = int(tells.sum())

    def __len__(self) -> int:
        return self._size

    def latest(self, field: str) -> tuple[Floats, Bools]:
        """The last logged value of a field at each step (NaN without any), and where one was logged."""
        logged_rows = self._table.logged(field)[self._rows]
        values = np.full(self._size, np.nan)
        logged = np.zeros(self._size, dtype=bool)
        # Of several values for one place, numpy keeps the last.
        values[self._steps[logged_rows]] = self._table.values(field)[self._rows][logged_rows]
        logged[self._steps[logged_rows]] = True
        return values, logged

    def applied(self) -> Floats:
        """1 where the weights were updated, as far as the log tells; 0 where any row of the step says no."""
        applied = np.ones(self._size)
        for field, no in (("applied", 0.0), ("skipped", 1.0)):
            values = self._table.values(field)[self._rows]
            applied[self._steps[values == no]] = 0.0
        return applied

    def skip_reasons(self) -> tuple[SkipReason | None, ...]:
        """Why a step was skipped; None where it was not, or the log does not say."""
        reasons: list[SkipReason | None] = [None] * self._size
        known = self._table.skip_reasons()
        for row, step in zip(self._rows.tolist(), self._steps.tolist(), strict=True):
            reasons[step] = known[row] or reasons[step]
        return tuple(reasons)

    def numbers(self) -> tuple[Ints, list[str]]:
        """What the log calls its steps if that counts upward, else 1, 2, ...; and a note of it."""
        counted = np.arange(1, self._size + 1)
        if "step" not in self._table:
            return counted, []
        numbers, _ = self.latest("step")
        if np.isfinite(numbers).all() and (numbers % 1 == 0).all() and (np.diff(numbers) > 0).all():
            return numbers.astype(np.int64), []
        column = self._table.read_as["step"]
        return counted, [f"{column} does not count upward throughout, so the steps are counted from 1"]


def _begins_step(table: Table) -> Bools:
    """Where a row begins a new step: not where it adds what the rows before it, of the same step, left out.

    Loggers write a step's loss and its gradient norm in rows of their own, or a warning before the step's line.
    """
    steps, has_loss, has_norm = table.values("step"), table.logged("loss"), table.logged("grad_norm")
    begins = np.ones(table.num_rows, dtype=bool)
    # NaN is equal to nothing.
    follows = np.flatnonzero(steps[1:] == steps[:-1]) + 1
    loss_seen = norm_seen = False
    last = -1
    for row in follows.tolist():
        if last != row - 1 or begins[last]:
            loss_seen, norm_seen = bool(has_loss[row - 1]), bool(has_norm[row - 1])
        loss, norm = bool(has_loss[row]), bool(has_norm[row])
        # A warning of the norm, without a loss, goes with the line that gives both.
        repeats = (loss and loss_seen) or (norm and norm_seen and not (loss or loss_seen))
        begins[row] = repeats
        loss_seen, norm_seen = loss_seen or loss, norm_seen or norm
        last = row
    return begins


def _is_sparse(logged: Bools) -> bool:
    return 0 < 2 * int(logged.sum()) < len(logged)


def _latest_between(column: Floats, rows: Ints) -> Floats:
    """At each of the rows, the latest finite value since the row before it; NaN where there was none."""
    latest = np.maximum.accumulate(np.where(np.isfinite(column), np.arange(len(column)), -1))[rows]
    return np.where(latest > np.r_[-1, rows[:-1]], column[latest], np.nan)


def _carried(values: Floats, logged: Bools) -> Floats:
    """The values, with the latest finite one (else the next, else a filler) in place of what was not logged."""
    positions = np.arange(len(values))
    finite = np.isfinite(values) & logged
    if not finite.any():
        return np.where(logged, values, _FILLER)
    before = np.maximum.accumulate(np.where(finite, positions, -1))
    source = np.where(before >= 0, before, np.argmax(finite))
    return np.where(logged, values, values[source])
