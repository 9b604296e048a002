"""A log as its format's reader gives it: named columns of cells, not yet understood."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sweep.logs.columns import field_of

Cell = str | float | int | bool | None
"""None or empty: not logged. Text is read later, where its line can be named."""


@dataclass(frozen=True)
class RawLog:
    """Columns side by side, [rows] each."""

    format: str
    """For a person: CSV, Parquet, JSON lines, TensorBoard, text."""
    columns: dict[str, list[Cell]]
    """Only those whose name says something (see `columns.SPELLINGS`)."""
    filled: dict[str, bytearray]
    """Of every column that there is: 1 where a row has a value."""
    lines: list[int] | None = None
    """Line of each row in the file; None where it has no lines."""
    is_table: bool = True
    """Whether each row is a step of its own accord, so that an empty cell may stand for a NaN that its writer did not
    write; False where rows exist only for what was said."""
    notes: tuple[str, ...] = ()


def is_empty(cell: Cell) -> bool:
    """Whether a cell tells nothing; NaN does."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _EMPTY)


_EMPTY = frozenset(("", "none", "null", "n/a", "na", "-"))


def from_rows(
    format: str, rows: Iterable[tuple[int, Mapping[str, Cell]]], *, is_table: bool, notes: tuple[str, ...] = ()
) -> RawLog:
    """Columns from rows (line number and cells by name), of which each may lack some."""
    columns: dict[str, list[Cell]] = {}
    filled: dict[str, bytearray] = {}
    lines: list[int] = []
    for count, (line, row) in enumerate(rows):
        lines.append(line)
        for name, cell in row.items():
            if name not in filled:
                filled[name] = bytearray()
                if field_of(name) is not None:
                    columns[name] = []
            filled[name].extend(bytes(count - len(filled[name])))
            filled[name].append(not is_empty(cell))
            if name in columns:
                columns[name].extend([None] * (count - len(columns[name])))
                columns[name].append(cell)
    for name in filled:
        filled[name].extend(bytes(len(lines) - len(filled[name])))
    for column in columns.values():
        column.extend([None] * (len(lines) - len(column)))
    return RawLog(format, columns, filled, lines, is_table, notes)
