"""The chosen columns of a log, read as numbers."""

import math
from collections.abc import Iterable

import numpy as np

from slr_models.errors import UserError
from sweep.logs.choice import Chooser, Chosen, ColumnChoice
from sweep.logs.columns import meaning_of
from sweep.logs.raw import Bools, NumberCells, RawLog, filled
from sweep.logs.words import AmbiguousError, comma_style, parse
from sweep.records import SkipReason

LOST_IN_ROW = 5
"""Empty cells in a row that stand for NaN in a column that is usually filled; fewer were just not logged."""
_COUNTS = ("step", "num_infeasible")
"""Fields that have no fraction."""
REASONS = tuple(SkipReason)


class Table:
    """Values of each field that the log holds, [rows]."""

    def __init__(self, raw: RawLog, choice: ColumnChoice, name: str) -> None:
        """Chooses the columns and reads them.

        Raises:
            UserError: there is no loss, or a cell is not what its column should hold; the message names `name`, line
                and column.
        """
        self.num_rows = raw.num_rows
        self.num_lost: dict[str, int] = {}
        """Field -> empty cells that are taken for NaN."""
        self._raw, self._name = raw, name
        self.chosen: Chosen = Chooser(raw, choice, name).choose()
        self._fields: dict[str, NumberCells] = {}
        for field, column in self.chosen.columns.items():
            if field != "skip_reason":
                self._fields[field] = self.column(column)
        self.losses = [self.column(column) for column in self.chosen.losses]
        self.validation = [self.column(column) for column in self.chosen.validation]
        if raw.is_table and not raw.is_own:
            self._mark_lost()
        for field, said in raw.said.items():
            if field == "loss" and self.losses:
                self.losses = [_with_said(loss, said) for loss in self.losses]
            elif field != "skip_reason":
                self._fields[field] = _with_said(self._fields[field], said) if field in self._fields else said
        if not self.losses and "loss" in raw.said:
            self.losses = [raw.said["loss"]]

    def __contains__(self, field: str) -> bool:
        return field in self._fields

    def field(self, field: str) -> NumberCells:
        """The values of a field; where there are none, nothing is logged."""
        empty = self._fields.get(field)
        return empty if empty is not None else _nothing(self.num_rows)

    @property
    def loss_logged(self) -> Bools:
        """Where a loss was logged, or a part of one."""
        return _any(self.num_rows, [loss.logged for loss in self.losses])

    @property
    def said(self) -> Bools:
        """Rows that tell something in words."""
        return _any(self.num_rows, [said.logged for said in self._raw.said.values()])

    def skip_reasons(self) -> "np.ndarray[tuple[int], np.dtype[np.int8]]":
        """The reasons of skipped steps by their place in `SkipReason`, else -1; other words say nothing."""
        reasons = np.full(self.num_rows, -1, dtype=np.int8)
        if (column := self.chosen.columns.get("skip_reason")) is not None:
            known = {reason.value: place for place, reason in enumerate(REASONS)}
            cells = self._raw.columns[column]
            if not isinstance(cells, NumberCells):
                for row, cell in enumerate(cells):
                    reasons[row] = known.get(str(cell).strip().lower(), -1)
        if (said := self._raw.said.get("skip_reason")) is not None:
            reasons[said.logged] = said.values[said.logged].astype(np.int8)
        return reasons

    def column(self, name: str) -> NumberCells:
        """The numbers of a column.

        Raises:
            UserError: a cell is none.
        """
        cells = self._raw.columns[name]
        if isinstance(cells, NumberCells):
            return cells
        logged = filled(cells)
        values = np.full(len(cells), np.nan)
        texts: list[int] = []
        for row in np.flatnonzero(logged).tolist():
            cell = cells[row]
            if isinstance(cell, str):
                texts.append(row)
            else:
                assert cell is not None, "it is filled"
                values[row] = _float(cell)
        words = [str(cells[row]) for row in texts]
        try:
            values[texts] = np.array(words, dtype=np.float64)
        except ValueError:
            comma = self._comma_style(name, words)
            for row, word in zip(texts, words, strict=True):
                values[row] = self._number(row, name, word, comma)
        return NumberCells(values, logged)

    def _comma_style(self, name: str, words: list[str]) -> str | None:
        meaning = meaning_of(name)
        return "thousands" if meaning is not None and meaning.field in _COUNTS else comma_style(words)

    def _number(self, row: int, column: str, word: str, comma: str | None) -> float:
        try:
            return parse(word, comma)
        except AmbiguousError as error:
            possible = " or ".join(f"{value:.15g}" for value in error.readings)
            raise UserError(
                f"{self._where(row)}, column {column}: {word!r} is ambiguous, as it may be {possible}; "
                f"write numbers with a decimal point and without thousands separators"
            ) from None
        except ValueError:
            raise UserError(
                f"{self._where(row)}, column {column}: {word!r} is not a number; correct or empty that cell"
            ) from None

    def _where(self, row: int) -> str:
        return f"{self._name}: line {self._raw.lines[row]}" if self._raw.lines else f"{self._name}: row {row + 1}"

    def _mark_lost(self) -> None:
        """Takes for NaN what was one before it was written: pandas, for one, writes NaN as an empty cell.

        A value is lost where its column is filled row after row, and then `LOST_IN_ROW` rows or more lack it that
        hold nothing else than training steps hold. A logger that has nothing to say of the loss (at a validation,
        or between its logging steps) leaves other patterns.
        """
        has_loss = self.loss_logged
        suspects = {"loss": ~has_loss}
        if "grad_norm" in self:
            suspects["grad_norm"] = ~self._fields["grad_norm"].logged
        suspects = {field: gaps for field, gaps in suspects.items() if _long_runs(gaps).any() and _is_dense(~gaps)}
        if not suspects:
            return
        is_training = np.ones(self.num_rows, dtype=bool)
        if has_loss.any():
            num_losses = int(has_loss.sum())
            for marks in (*(filled(column) for column in self._raw.columns.values()), *self._raw.filled()):
                if 2 * int((marks & has_loss).sum()) < num_losses:
                    is_training &= ~marks
        for field, gaps in suspects.items():
            lost = _long_runs(gaps & is_training)
            if not lost.any():
                continue
            self.num_lost[field] = int(lost.sum())
            if field == "loss":
                self.losses = [NumberCells(loss.values, loss.logged | lost) for loss in self.losses]
            else:
                norm = self._fields[field]
                self._fields[field] = NumberCells(norm.values, norm.logged | lost)


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        # JSON's whole numbers have no limit.
        return math.inf if number > 0 else -math.inf


def _any(num_rows: int, marks: Iterable[Bools]) -> Bools:
    """Where any of several marks stands."""
    found = np.zeros(num_rows, dtype=np.bool_)
    for one in marks:
        found |= one
    return found


def _nothing(num_rows: int) -> NumberCells:
    return NumberCells(np.full(num_rows, np.nan), np.zeros(num_rows, dtype=bool))


def _with_said(column: NumberCells, said: NumberCells) -> NumberCells:
    """A column with what was said in words where the column itself has nothing."""
    adds = said.logged & ~column.logged
    return NumberCells(np.where(adds, said.values, column.values), column.logged | said.logged)


def _is_dense(logged: Bools) -> bool:
    """Whether most values follow directly on another; True without any."""
    return bool(2 * (logged[1:] & logged[:-1]).sum() >= logged.sum() - 1)


def _long_runs(marks: Bools) -> Bools:
    """The marks that stand in rows of `LOST_IN_ROW` or more."""
    if not marks.any():
        return marks
    edges = np.diff(np.concatenate([[0], marks.astype(np.int8), [0]]))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    long = stops - starts >= LOST_IN_ROW
    kept = np.zeros(len(marks) + 1, dtype=np.int8)
    kept[starts[long]] += 1
    kept[stops[long]] -= 1
    return np.cumsum(kept)[:-1].astype(bool)
