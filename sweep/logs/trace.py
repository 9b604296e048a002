"""From the columns of a log to step records.

A row that logs neither loss nor gradient norm is no step. In a record None was not logged (an empty cell, null, a
missing key), and NaN is a NaN that was logged. What is no number of a training step (a validation loss) stands beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sweep.judging.detectors.base import PlainSteps
from sweep.logs.choice import ColumnChoice
from sweep.logs.columns import normal_form
from sweep.logs.counting import Ints, best_counter, numbered
from sweep.logs.raw import Bools, Floats, NumberCells, RawLog
from sweep.logs.table import REASONS, Table
from sweep.records import SkipReason, StepRecord
from sweep.wording import plural

_MEASURED = ("loss", "grad_norm", "loss_scale", "lr", "blank_rate", "input_dependence")
"""Fields of a record that are None where they were not logged."""
_DEFAULTS = {"params_finite": 1.0, "num_infeasible": 0.0}
_NO_SCALES = (-1.0, 0.0, 1.0)
"""What a program logs as the loss scale, step by step, that has none."""
_MOST_PARTS = 60
"""Parts of a loss that are told apart, so that each row gives one of them."""
_MANY = 10
"""Losses with a number of their step, beside which those without are strays."""
_ZEROS_IN_ROW = 10
"""Losses and gradient norms of exactly 0 in a row that are told."""
_CHUNK = 4096
"""Steps whose records are made at a time: a million Python numbers a column would take much memory."""


@dataclass(frozen=True)
class Trace:
    """The steps of a log, in order."""

    format: str
    """For a person: CSV, Parquet, ..."""
    steps: Ints
    """As the log counts them; 1, 2, ... where it does not."""
    values: dict[str, Floats]
    """The fields of `StepRecord` that the log tells of, [steps]; booleans as 0 and 1, NaN where not logged."""
    logged: dict[str, Bools]
    """Where each of them was logged, [steps]; a NaN counts."""
    reasons: npt.NDArray[np.int8]
    """Why each step was skipped: its place in `SkipReason`, else -1."""
    read_as: dict[str, str]
    """Field -> the column that it was read from."""
    validation: tuple[tuple[int, float], ...] = ()
    """Step and loss of each evaluation on held-out data."""
    is_adversarial: bool = False
    """Whether the loss is one of several that work against each other, so that its level says nothing."""
    is_held_out: bool = False
    """Whether the loss is a validation loss, as the log has no other."""
    notes: tuple[str, ...] = field(default=())
    """How the log was understood, where that is not plain."""

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def has_losses(self) -> bool:
        """False for a log of gradient norms alone."""
        return "loss" in self.values

    @property
    def has_scaler(self) -> bool:
        """Whether the log tells of a loss scale."""
        return "loss_scale" in self.values

    def records(self, start: int = 0, stop: int | None = None) -> Iterator[StepRecord]:
        """The steps one by one, of all or of some positions."""
        end = len(self) if stop is None else min(stop, len(self))
        for begin in range(start, end, _CHUNK):
            yield from self._records(slice(begin, min(begin + _CHUNK, end)))

    def plain_steps(self, start: int) -> PlainSteps:
        """The steps from a position on that are plain and alike; there may be none."""
        part = slice(start, start + _CHUNK)
        is_plain = self._is_plain[part]
        scale = None
        if self.has_scaler and is_plain.any():
            scales = self.values["loss_scale"][part]
            scale, is_plain = float(scales[0]), is_plain & (scales == scales[0])
        num = len(is_plain) if is_plain.all() else int(np.argmin(is_plain))
        part = slice(start, start + num)
        losses = self.values["loss"][part] if self.has_losses else np.empty(0)
        return PlainSteps(self.steps[part], losses, "grad_norm" in self.values, scale)

    @cached_property
    def _is_plain(self) -> Bools:
        """Where nothing is to be told but a finite loss and norm, [steps]."""
        plain = self.reasons < 0
        if not self.has_losses:
            return np.zeros_like(plain)
        for name, values in self.values.items():
            match name:
                case "loss" | "loss_scale":
                    plain &= self.logged[name] & np.isfinite(values) & (values > 0)
                case "grad_norm":
                    plain &= self.logged[name] & np.isfinite(values)
                case "blank_rate" | "input_dependence":
                    plain &= ~self.logged[name]
                case "num_infeasible":
                    plain &= values == 0
                case "applied" | "params_finite":
                    plain &= values == 1
        return plain

    def _records(self, part: slice) -> Iterator[StepRecord]:
        steps = self.steps[part].tolist()

        def column(name: str, default: float) -> list[float]:
            values: list[float] = self.values[name][part].tolist() if name in self.values else [default] * len(steps)
            return values

        measured: dict[str, list[float | None]] = {}
        for name in _MEASURED:
            if name not in self.values:
                measured[name] = [None] * len(steps)
                continue
            measured[name] = list(self.values[name][part].tolist())
            for row in np.flatnonzero(~self.logged[name][part]).tolist():
                measured[name][row] = None
        reasons: list[SkipReason | None] = [None] * len(steps)
        for row in np.flatnonzero(self.reasons[part] >= 0).tolist():
            reasons[row] = REASONS[int(self.reasons[part][row])]
        rows = zip(
            steps,
            reasons,
            column("applied", 1.0),
            column("num_infeasible", 0.0),
            column("params_finite", 1.0),
            *measured.values(),
            strict=True,
        )
        for step, reason, applied, infeasible, finite, loss, norm, scale, lr, blank, dependence in rows:
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


def understand(raw: RawLog, name: str, choice: ColumnChoice = ColumnChoice()) -> Trace:  # noqa: B008
    """The trace that a log holds; `name` stands for its file in messages.

    Raises:
        UserError: There is no loss, a cell is not what its column should hold, or an option names no column.
    """
    table = Table(raw, choice, name)
    chosen = table.chosen
    steps = _Steps(table, is_text=raw.is_text)
    read_as = {"loss": " + ".join(chosen.losses)} if chosen.losses else {}
    read_as |= {of: column for of, column in chosen.columns.items() if of != "epoch"}
    if steps.counter is not None:
        read_as["step"] = steps.counter
    notes = [*raw.notes]
    notes += [
        f"{column} is read as {of}" for of, column in read_as.items() if "+" not in column and _differs(column, of)
    ]
    notes += chosen.notes
    for of, count in table.num_lost.items():
        notes.append(f"{count} empty cells in a row in {read_as[of]}, which is filled elsewhere, are taken for NaN")
    values: dict[str, Floats] = {}
    logged: dict[str, Bools] = {}
    if table.losses:
        values["loss"], logged["loss"] = steps.total(table.losses)
    for of in _MEASURED[1:]:
        if of in table:
            found = steps.latest(table.field(of))
            if found.logged.any():
                values[of], logged[of] = found.values, found.logged
    for of, default in _DEFAULTS.items():
        if of in table:
            found = steps.latest(table.field(of))
            values[of] = np.where(np.isfinite(found.values), found.values, default)
    notes += [] if raw.is_own else _drop_what_is_not_measured(values, logged)
    for of in ("loss", "grad_norm"):
        if of in logged and not logged[of].all():
            notes.append(f"{int((~logged[of]).sum())} of {len(steps)} steps log no {of}")
    if not table.losses:
        notes.append("there are gradient norms but no losses, so only gradients and skips are judged")
    reasons = steps.skip_reasons()
    values["applied"] = steps.applied() * (reasons < 0)
    notes += [*steps.notes, *_notes_of_zeros(values, logged)]
    return Trace(
        raw.format,
        steps.numbers,
        values,
        logged,
        reasons,
        read_as,
        steps.validation(),
        chosen.is_adversarial,
        chosen.is_held_out,
        tuple(dict.fromkeys(notes)),
    )


def _differs(column: str, of: str) -> bool:
    return normal_form(column) != of


def _drop_what_is_not_measured(values: dict[str, Floats], logged: dict[str, Bools]) -> list[str]:
    """Takes away columns that hold a constant for want of a measurement, and says so."""
    notes = []
    if "loss_scale" in values:
        scales = values["loss_scale"][logged["loss_scale"]]
        if (scales == scales[0]).all() and scales[0] in _NO_SCALES:
            notes.append(f"the loss scale is {scales[0]:g} in every row, so there is no loss scaler")
            del values["loss_scale"], logged["loss_scale"]
    if "grad_norm" in values and "loss" in values:
        norms, losses = values["grad_norm"][logged["grad_norm"]], values["loss"][logged["loss"]]
        if len(norms) > 1 and not norms.any() and len(losses) > 1 and not (losses == losses[0]).all():
            notes.append("the gradient norm is 0 in every row though the loss changes, so it was not measured")
            del values["grad_norm"], logged["grad_norm"]
    return notes


def _notes_of_zeros(values: dict[str, Floats], logged: dict[str, Bools]) -> list[str]:
    """Says of losses of exactly 0 what they usually are."""
    if "loss" not in values or "grad_norm" not in values:
        return []
    zero = (values["loss"] == 0) & logged["loss"]
    hidden = zero & logged["grad_norm"] & ~np.isfinite(values["grad_norm"])
    if hidden.any():
        return [
            f"{int(hidden.sum())} losses of exactly 0 stand beside a gradient norm that is not finite: so Hugging "
            f"Face's logging_nan_inf_filter hides a NaN"
        ]
    both = zero & logged["grad_norm"] & (values["grad_norm"] == 0)
    if _longest(both) >= _ZEROS_IN_ROW:
        return [
            f"loss and gradient norm are both exactly 0 in {_longest(both)} steps in a row: nothing is trained there"
        ]
    return []


def _longest(marks: Bools) -> int:
    edges = np.diff(np.concatenate([[0], marks.astype(np.int8), [0]]))
    return int(max(np.flatnonzero(edges == -1) - np.flatnonzero(edges == 1), default=0))


class _Steps:
    """The steps that the rows of a table tell of: several rows may tell of one, and some of none."""

    def __init__(self, table: Table, *, is_text: bool) -> None:
        self._table = table
        self.notes: list[str] = []
        tells = table.loss_logged | table.field("grad_norm").logged
        self.counter, self._counts = self._count(tells, is_text)
        if is_text and self.counter is not None:
            tells = self._without_strays(tells)
        order_by = table.field("epoch").values if self.counter is None else self._counts
        falls = not is_text and _falls(order_by[tells])
        self._is_plain = not falls and tells.all() and not _follows_any(self._counts, is_text)
        """Whether each row is a step: the usual case, in which columns stay as they are."""
        if self._is_plain:
            self._size = table.num_rows
            self.numbers, self._counts_through = self._number()
            return
        self._order = np.arange(table.num_rows)
        if falls:
            self._order = self._order[::-1]
            by = self.counter or table.chosen.columns["epoch"]
            self.notes.append(f"the rows stand in falling order of {by}, so they are read from the last to the first")
        self._file_order = self._order
        if is_text:
            # What says nothing of a step and has no number goes with none.
            self._order = self._order[(tells | ~np.isnan(self._counts))[self._order]]
        has_norm = table.field("grad_norm").logged[self._order]
        losses = np.zeros(table.num_rows, dtype=np.int64)
        for place, loss in enumerate(table.losses[:_MOST_PARTS]):
            losses |= loss.logged.astype(np.int64) << place
        begins = _begins_step(
            self._counts[self._order], losses[self._order], has_norm, table.said[self._order], is_text
        )
        if is_text:
            begins &= ~self._says_again()
        groups = np.cumsum(begins) - 1
        size = int(groups[-1]) + 1 if len(groups) else 0
        group_tells = np.zeros(size, dtype=bool)
        group_tells[groups[tells[self._order]]] = True
        kept = group_tells[groups]
        self._rows = self._order[kept]
        self._steps = (np.cumsum(group_tells) - 1)[groups[kept]]
        self._size = int(group_tells.sum())
        self.numbers, self._counts_through = self._number()

    def __len__(self) -> int:
        return self._size

    def _says_again(self) -> Bools:
        """Lines that give the step and the losses of the line before once more: many programs print to two handlers."""
        again = np.zeros(len(self._order), dtype=np.bool_)
        again[1:] = self._counts[self._order][1:] == self._counts[self._order][:-1]
        for loss in self._table.losses:
            values, logged = loss.values[self._order], loss.logged[self._order]
            is_same = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
            again[1:] &= is_same & logged[1:] & logged[:-1]
        return again & self._table.loss_logged[self._order]

    def _count(self, tells: Bools, is_text: bool) -> tuple[str | None, Floats]:
        """The column that counts the steps, and its value in each row."""
        counters = {name: self._table.column(name) for name in self._table.chosen.counters}
        if is_text and (block := self._block_counter(counters, tells)) is not None:
            return block
        best = best_counter({name: counter.values[tells] for name, counter in counters.items()})
        if best is None:
            return None, np.full(self._table.num_rows, np.nan)
        counts = counters[best].values
        unlike = []
        for name, counter in counters.items():
            if name == best:
                continue
            if is_text and not (counter.logged & counters[best].logged).any():
                # Lines of another kind call the same number otherwise, unless it would not fit between the others.
                both = np.where(np.isnan(counts) & tells, counter.values, counts)
                known = both[tells & ~np.isnan(both)]
                if (np.diff(known) >= 0).all() or not (np.diff(counts[tells & ~np.isnan(counts)]) >= 0).all():
                    counts = both
            elif _moves(counter.values[tells]) and not np.array_equal(
                counter.values[tells], counts[tells], equal_nan=True
            ):
                unlike.append(name)
        if unlike:
            self.notes.append(f"steps are counted by {best}, not by {', '.join(unlike[:6])} (--step overrules it)")
        return best, counts

    def _block_counter(self, counters: Mapping[str, NumberCells], tells: Bools) -> tuple[str, Floats] | None:
        """Where a line of its own gives the step before the lines of its values: that counter, carried on to these."""
        num_losses = max((int(loss.logged.sum()) for loss in self._table.losses), default=0)
        positions = np.arange(self._table.num_rows)
        carried = {}
        for name, counter in counters.items():
            if 2 * int((counter.logged & tells).sum()) >= num_losses:
                # The lines of values have a number themselves.
                return None
            heads = counter.logged & ~tells
            latest = np.maximum.accumulate(np.where(heads, positions, -1))
            values = np.where(latest >= 0, counter.values[np.maximum(latest, 0)], np.nan)
            used = np.unique(latest[tells & ~self._table.said])
            if 2 * len(used) > num_losses and bool((np.diff(counter.values[used[used >= 0]]) > 0).all()):
                carried[name] = np.where(self._table.said, np.nan, values)
        if not carried:
            return None
        name = next(iter(carried))
        return name, carried[name]

    def _without_strays(self, tells: Bools) -> Bools:
        """The rows that tell of a step, without the few lines of a text that give a loss and no number of a step."""
        numbered = ~np.isnan(self._counts)
        losses = tells & self._table.loss_logged
        strays = losses & ~numbered & ~self._table.said
        for loss in self._table.losses:
            # What is not finite is never a stray.
            strays &= ~loss.logged | np.isfinite(loss.values)
        if not strays.any() or int((losses & numbered).sum()) < max(_MANY, 10 * int(strays.sum())):
            return tells
        self.notes.append(f"left out: {plural(int(strays.sum()), 'line')} with a loss but without a number of a step")
        return tells & ~strays

    def _number(self) -> tuple[Ints, bool]:
        """The numbers of the steps, and whether they are the log's own."""
        if self.counter is None:
            return np.arange(1, self._size + 1), False
        found = self.latest(NumberCells(self._counts, ~np.isnan(self._counts))).values
        numbers, note, is_own = numbered(found, self.counter)
        if note:
            self.notes.append(note)
        return numbers, is_own

    def latest(self, column: NumberCells) -> NumberCells:
        """The last logged value of a column at each step (NaN without any), and where one was logged."""
        if self._is_plain:
            return column
        logged_rows = column.logged[self._rows]
        values = np.full(self._size, np.nan)
        logged = np.zeros(self._size, dtype=bool)
        # Of several values for one place, numpy keeps the last.
        values[self._steps[logged_rows]] = column.values[self._rows][logged_rows]
        logged[self._steps[logged_rows]] = True
        return NumberCells(values, logged)

    def total(self, columns: Sequence[NumberCells]) -> tuple[Floats, Bools]:
        """The sum of columns at each step that logs all of them."""
        found = [self.latest(column) for column in columns]
        if len(found) == 1:
            return found[0].values, found[0].logged
        logged = np.ones(self._size, dtype=np.bool_)
        for one in found:
            logged &= one.logged
        return np.sum([one.values for one in found], axis=0), logged

    def applied(self) -> Floats:
        """1 where the weights were updated, as far as the log tells; 0 where any row of the step says no."""
        applied = np.ones(self._size)
        for of, no in (("applied", 0.0), ("skipped", 1.0)):
            if of in self._table:
                values = self._table.field(of).values
                said_no = _increases(values) if of == "skipped" and np.nanmax(values, initial=0) > 1 else values == no
                applied[said_no if self._is_plain else self._steps[said_no[self._rows]]] = 0.0
        return applied

    def skip_reasons(self) -> npt.NDArray[np.int8]:
        """Why a step was skipped; -1 where it was not, or the log does not say."""
        known = self._table.skip_reasons()
        if self._is_plain:
            return known
        reasons = np.full(self._size, -1, dtype=np.int8)
        known = known[self._rows]
        reasons[self._steps[known >= 0]] = known[known >= 0]
        return reasons

    def validation(self) -> tuple[tuple[int, float], ...]:
        """Step and loss of each evaluation: of the row's own step, else after the latest one; the mean of several."""
        columns = self._table.validation
        if not columns or not self._size:
            return ()
        logged = np.logical_and.reduce([column.logged for column in columns])
        if self._is_plain:
            rows = np.flatnonzero(logged)
            place = latest = rows
        else:
            positions = np.flatnonzero(logged[self._file_order])
            rows = self._file_order[positions]
            places = np.full(self._table.num_rows, -1)
            places[self._rows] = self._steps
            # In the file's order: the step that the row tells of, else the one before it.
            place, latest = places[rows], np.maximum.accumulate(places[self._file_order])[positions]
        if not len(rows):
            return ()
        losses = np.sum([column.values[rows] for column in columns], axis=0)
        steps = np.where(latest >= 0, self.numbers[np.maximum(latest, 0)], 0)
        if self._counts_through:
            # A count that falls behind is that of the batches held out.
            own = self._counts[rows]
            is_own = np.isfinite(own) & (own % 1 == 0) & (place < 0) & ((own >= steps) | (latest < 0))
            steps = np.where(is_own, np.nan_to_num(own), steps).astype(np.int64)
        begins = np.concatenate([[True], steps[1:] != steps[:-1]])
        starts = np.flatnonzero(begins)
        means = np.add.reduceat(losses, starts) / np.diff(np.r_[starts, len(losses)])
        return tuple(zip(steps[starts].tolist(), means.tolist(), strict=True))


def _increases(counts: Floats) -> Bools:
    """Where a count of skipped steps is larger than the one before it."""
    known = np.flatnonzero(~np.isnan(counts))
    increases = np.zeros(len(counts), dtype=np.bool_)
    increases[known] = np.diff(counts[known], prepend=0) > 0
    return increases


def _moves(counts: Floats) -> bool:
    known = counts[np.isfinite(counts)]
    return len(known) > 1 and bool((known != known[0]).any())


def _falls(counts: Floats) -> bool:
    return len(counts) > 2 and bool((np.diff(counts) < 0).all())


def _follows_any(counts: Floats, is_text: bool) -> bool:
    """Whether a row may go with the one before it."""
    return bool((counts[1:] == counts[:-1]).any() or (is_text and np.isnan(counts).any()))


def _begins_step(counts: Floats, losses: Ints, has_norm: Bools, said: Bools, is_text: bool) -> Bools:
    """Where a row begins a new step: not where it adds what the rows before it, of the same step, left out.

    Loggers write a step's loss, its parts and its gradient norm in rows of their own, or a warning before the step's
    line. `losses` has a bit for each of the losses that a row logs.
    """
    begins = np.ones(len(counts), dtype=bool)
    # NaN is equal to nothing.
    follows = counts[1:] == counts[:-1]
    if is_text:
        told = 2 * losses + has_norm
        # A line without a number goes with the line before, if that left out what it gives.
        follows |= np.isnan(counts[1:]) & (told[1:] != 0) & (told[:-1] != 0) & ((told[1:] & told[:-1]) == 0) & ~said[1:]
        # A message goes with the line of the next step where there is no number left for a step of its own.
        before = np.concatenate([[np.nan], counts[:-1]])[:-1]
        has_room = counts[1:] - np.where(np.isnan(before), np.minimum(counts[1:] - 1, 0), before) > 1
        of_next = said[:-1] & (losses[:-1] == 0) & np.isnan(counts[:-1]) & (losses[1:] != 0) & ~np.isnan(counts[1:])
        follows |= of_next & ~has_room
    losses_seen, norm_seen = 0, False
    last = -1
    for row in (np.flatnonzero(follows) + 1).tolist():
        if last != row - 1 or begins[last]:
            losses_seen, norm_seen = int(losses[row - 1]), bool(has_norm[row - 1])
        loss, norm = int(losses[row]), bool(has_norm[row])
        # A warning of the norm, without a loss, goes with the line that gives both.
        is_warning = bool(loss or losses_seen) and not np.isnan(counts[row])
        begins[row] = bool(loss & losses_seen) or (norm and norm_seen and not is_warning)
        losses_seen, norm_seen = (loss, norm) if begins[row] else (losses_seen | loss, norm_seen or norm)
        last = row
    return begins
