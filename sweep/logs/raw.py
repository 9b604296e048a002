"""A log as its format's reader gives it: named columns, not yet understood."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Cell = str | float | int | bool | None
"""None or empty: not logged. Text is read later, where its line can be named."""
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_EMPTY = frozenset(("", "none", "null", "n/a", "na", "-", "--", "<na>", "nil", "no log"))


@dataclass(frozen=True)
class NumberCells:
    """A column that holds numbers and nothing else, [rows]."""

    values: Floats
    """NaN where nothing was logged."""
    logged: Bools
    """Where something was logged; a NaN counts."""


Column = NumberCells | list[Cell]


@dataclass(frozen=True)
class RawLog:
    """Columns side by side, [rows] each."""

    format: str
    """For a person: CSV, Parquet, JSON lines, TensorBoard, text."""
    num_rows: int
    names: tuple[str, ...]
    """Of every column that there is."""
    columns: Mapping[str, Column]
    """Those that the reader's `wanted` names."""
    lines: Sequence[int] | None = None
    """Line of each row in the file; None where it has no lines."""
    is_table: bool = True
    """Whether each row is a step of its own accord, so that an empty cell may stand for a NaN that its writer did not
    write; False where rows exist only for what was said."""
    is_own: bool = False
    """Whether a study of ours wrote it: null was not measured, and everything else was."""
    is_text: bool = False
    """Whether it is prose, in which a number may stand for anything."""
    filled: Callable[[], Iterable[Bools]] = tuple
    """Where each of the other columns has a value; read only if need be."""
    said: Mapping[str, NumberCells] = field(default_factory=dict)
    """Field -> what lines say of it in words; a reason is its place in `SkipReason`."""
    candidates: Sequence[str] = ()
    """Of a text in which nothing needed was found: what its numbers are called, most frequent first."""
    notes: tuple[str, ...] = ()


def is_empty(cell: Cell) -> bool:
    """Whether a cell tells nothing; NaN does."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _EMPTY)


def filled(column: Column) -> Bools:
    """Where a column tells something."""
    if isinstance(column, NumberCells):
        return column.logged
    return np.fromiter((not is_empty(cell) for cell in column), dtype=np.bool_, count=len(column))


def from_rows(
    format: str,
    rows: Iterable[tuple[int, Mapping[str, Cell]]],
    wanted: Callable[[str], bool],
    *,
    is_table: bool,
    notes: tuple[str, ...] = (),
) -> RawLog:
    """Columns from rows (line number and cells by name), of which each may lack some."""
    columns: dict[str, list[Cell]] = {}
    others: dict[str, bytearray] = {}
    lines: list[int] = []
    for count, (line, row) in enumerate(rows):
        lines.append(line)
        for name, cell in row.items():
            column = columns.get(name)
            if column is None and name not in others:
                if wanted(name):
                    column = columns[name] = []
                else:
                    others[name] = bytearray()
            if column is None:
                marks = others[name]
                marks.extend(bytes(count - len(marks)))
                marks.append(not is_empty(cell))
            else:
                column.extend([None] * (count - len(column)))
                column.append(cell)
    for marks in others.values():
        marks.extend(bytes(len(lines) - len(marks)))
    for column in columns.values():
        column.extend([None] * (len(lines) - len(column)))
    return RawLog(
        format,
        len(lines),
        (*columns, *others),
        columns,
        lines,
        is_table,
        filled=lambda: [np.frombuffer(marks, dtype=np.bool_) for marks in others.values()],
        notes=notes,
    )
