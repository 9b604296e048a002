"""The columns of a log, found by their spellings and read as numbers."""

import re
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from slr_models.errors import UserError
from sweep.logs.columns import candidates, field_of
from sweep.logs.raw import Cell, RawLog
from sweep.records import SkipReason

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LOST_IN_ROW = 5
"""Empty cells in a row that stand for NaN in a column that is usually filled; fewer were just not logged."""
_WORDS = {"true": 1.0, "yes": 1.0, "t": 1.0, "false": 0.0, "no": 0.0, "f": 0.0}
_MAX_NAMES_SHOWN = 20
_COUNTS = ("step", "num_infeasible")
"""Fields that have no fraction."""
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?(?:e[-+]?\d+)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?(?:\d*|\d{1,3}(?:\.\d{3})+),\d+(?:e[-+]?\d+)?", re.IGNORECASE)


class Table:
    """Values of each field that the log holds, [rows]; a value that was not logged is NaN and marked so."""

    def __init__(self, raw: RawLog, name: str) -> None:
        """Reads all cells.

        Raises:
            UserError: A cell is not what its column should hold; the message names `name`, line and column.
        """
        self.num_rows = max((len(column) for column in raw.columns.values()), default=0)
        self.read_as: dict[str, str] = {}
        """Field -> the column that it was read from."""
        self.num_lost: dict[str, int] = {}
        """Field -> empty cells that are taken for NaN."""
        self._raw, self._name = raw, name
        self._values: dict[str, Floats] = {}
        self._logged: dict[str, Bools] = {}
        for field, columns in candidates(raw.columns).items():
            # The best spelling that holds anything at all; a loss that was NaN from the start may hold nothing.
            chosen = next((column for column in columns if any(raw.filled[column])), None)
            if chosen is None and field == "loss" and raw.is_table:
                chosen = columns[0]
            if chosen is None:
                continue
            self.read_as[field] = chosen
            if field != "skip_reason":
                self._values[field] = self._numbers(chosen)
                self._logged[field] = np.frombuffer(raw.filled[chosen], dtype=np.bool_).copy()
        if raw.is_table:
            self._mark_lost()

    def __contains__(self, field: str) -> bool:
        return field in self.read_as

    def values(self, field: str) -> Floats:
        """The values of a field; NaN where it was not logged."""
        return self._values[field] if field in self._values else np.full(self.num_rows, np.nan)

    def logged(self, field: str) -> Bools:
        """Where a field was logged; a NaN counts."""
        return self._logged[field] if field in self._logged else np.zeros(self.num_rows, dtype=bool)

    def skip_reasons(self) -> list[SkipReason | None]:
        """The reasons of skipped steps; words that are none of ours say nothing here."""
        if "skip_reason" not in self.read_as:
            return [None] * self.num_rows
        known = {reason.value: reason for reason in SkipReason}
        return [known.get(str(cell).strip().lower()) for cell in self._raw.columns[self.read_as["skip_reason"]]]

    def _numbers(self, column: str) -> Floats:
        cells, filled = self._raw.columns[column], self._raw.filled[column]
        try:
            return np.array([float(cell) if full else np.nan for cell, full in zip(cells, filled, strict=True)])  # type: ignore[arg-type]
        except (TypeError, ValueError):
            # Words, or a mistake: one by one.
            comma = _comma_style(column, cells)
            return np.array([self._number(row, column, comma) if full else np.nan for row, full in enumerate(filled)])

    def _number(self, row: int, column: str, comma: str | None) -> float:
        cell = self._raw.columns[column][row]
        try:
            return float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            pass
        word = str(cell).strip().lower()
        if word in _WORDS:
            return _WORDS[word]
        readings = _comma_readings(word)
        if len(readings) == 1:
            return next(iter(readings.values()))
        if comma in readings:
            return readings[comma]
        where = f"{self._name}: line {self._raw.lines[row]}" if self._raw.lines else f"{self._name}: row {row + 1}"
        if readings:
            possible = " or ".join(f"{value:.15g}" for value in readings.values())
            raise UserError(
                f"{where}, column {column}: {cell!r} is ambiguous, as it may be {possible}; "
                f"write numbers with a decimal point and without thousands separators"
            )
        raise UserError(f"{where}, column {column}: {cell!r} is not a number; correct or empty that cell")

    def _mark_lost(self) -> None:
        """Takes for NaN what was one before it was written: pandas, for one, writes NaN as an empty cell.

        A value is lost where its column is filled row after row, and then `LOST_IN_ROW` rows or more lack it that
        hold nothing else than training steps hold. A logger that has nothing to say of the loss (at a validation,
        or between its logging steps) leaves other patterns.
        """
        if "loss" not in self:
            return
        has_loss = self._logged["loss"]
        filled = {name: np.frombuffer(marks, dtype=np.bool_) for name, marks in self._raw.filled.items()}
        is_training = np.ones(self.num_rows, dtype=bool)
        for marks in filled.values():
            if has_loss.any() and marks[has_loss].mean() < 0.5:
                is_training &= ~marks
        for field in ("loss", "grad_norm"):
            if field in self:
                lost = _long_runs(~self._logged[field] & is_training) & _is_dense(self._logged[field])
                self._logged[field] |= lost
                if lost.any():
                    self.num_lost[field] = int(lost.sum())


def _comma_readings(word: str) -> dict[str, float]:
    """What a number with a comma may be, by what the comma is: 4,1234 and 1,234.5 are plain, 1,234 is both."""
    readings: dict[str, float] = {}
    if _THOUSANDS.fullmatch(word):
        readings["thousands"] = float(word.replace(",", ""))
    if _DECIMAL_COMMA.fullmatch(word):
        readings["decimal"] = float(word.replace(".", "").replace(",", "."))
    return readings


def _comma_style(column: str, cells: Iterable[Cell]) -> str | None:
    """What the commas of a column are, as its plain numbers tell; None where they tell nothing, or different things."""
    if (known := field_of(column)) is not None and known[0] in _COUNTS:
        return "thousands"
    styles: set[str] = set()
    for cell in cells:
        word = str(cell).strip()
        readings = _comma_readings(word)
        if len(readings) == 1:
            styles.update(readings)
        elif "." in word:
            # With a decimal point in use, a comma is none.
            styles.add("thousands")
    return styles.pop() if len(styles) == 1 else None


def _is_dense(logged: Bools) -> bool:
    """Whether most values follow directly on another; True without any."""
    return bool(2 * (logged[1:] & logged[:-1]).sum() >= logged.sum() - 1)


def _long_runs(marks: Bools) -> Bools:
    """The marks that stand in rows of `LOST_IN_ROW` or more."""
    edges = np.diff(np.concatenate([[0], marks.astype(np.int8), [0]]))
    kept = np.zeros_like(marks)
    for start, stop in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        kept[start:stop] = stop - start >= LOST_IN_ROW
    return kept


def no_loss(names: Sequence[str], name: str) -> UserError:
    """What to tell a user whose log has no loss."""
    shown = ", ".join(names[:_MAX_NAMES_SHOWN]) or "none"
    more = f" and {len(names) - _MAX_NAMES_SHOWN} more" if len(names) > _MAX_NAMES_SHOWN else ""
    return UserError(
        f"{name} has no column loss (or train_loss, train/loss, ...); its columns are: {shown}{more}. "
        f"Name the training loss `loss`"
    )
