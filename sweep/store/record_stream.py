"""Records of a training under way: a file that grows by the lines of new records, until a table takes its place.

A line is one record as a JSON object, with a checksum (`line_sums`). A field at its default, such as a number that was
not logged, is left out; a number that is NaN or infinite is text. A last line without its end is one that is being
written, or that a killed training began: it is left out.
"""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from sweep.records import EvalRecord, StepRecord
from sweep.store.files import append, atomic_path, said
from sweep.store.line_sums import check_sum, with_sum

T = TypeVar("T")
MAX_STREAM_MIB = 4096
"""Twenty million steps have less."""
_MAX_LINE = 2**14
"""Bytes; a record has some 200."""
_BEGINNING = b'{"step":'
"""Of each line."""
_PIECE = 10_000
"""Records that are read at a time."""


class RecordStream:
    """Writes the records of one kind of one training, all of which it is given each time, and appends those new."""

    def __init__(self, path: Path, table: Path) -> None:
        """Writes nothing yet.

        Args:
            path: the file, which the first records replace.
            table: that of an earlier training, which they take the place of too.
        """
        self._path, self._table = path, table
        self._num_written = self._num_bytes = 0

    def write(self, records: Sequence[StepRecord] | Sequence[EvalRecord]) -> None:
        """Brings the file up to date.

        Args:
            records: all of the training so far: those of the call before, and new ones behind them.

        Raises:
            OSError: they cannot be written; what was written before stays as it was.
        """
        if not self._num_bytes or not self._is_as_written():
            self._begin(records)
            return
        new = b"".join(_lines(records, self._num_written))
        with self._path.open("ab", buffering=0) as file:
            append(file, new)
        self._num_bytes += len(new)
        self._num_written = len(records)

    def _begin(self, records: Sequence[StepRecord] | Sequence[EvalRecord]) -> None:
        with atomic_path(self._path) as temporary, temporary.open("wb") as file:
            file.writelines(_lines(records, 0))
        self._num_bytes, self._num_written = self._path.stat().st_size, len(records)
        self._table.unlink(missing_ok=True)

    def _is_as_written(self) -> bool:
        try:
            return self._path.stat().st_size == self._num_bytes
        except FileNotFoundError:
            return False


def _lines(records: Sequence[StepRecord] | Sequence[EvalRecord], start: int) -> Iterator[bytes]:
    """The lines of the records from a place on."""
    for place in range(start, len(records)):
        record = records[place]
        fields = _DEFAULTS[type(record)].items()
        content = {name: value for name, default in fields if (value := getattr(record, name)) != default}
        yield with_sum(to_json(content, inf_nan_mode="strings"), place + 1)


_DEFAULTS = {kind: {one.name: one.default for one in dataclasses.fields(kind)} for kind in (StepRecord, EvalRecord)}


def read_stream(path: Path, record: TypeAdapter[list[T]]) -> Iterator[list[T]]:
    """The records of such a file, some thousands at a time.

    Raises:
        ValueError: a line is damaged.
    """
    lines: list[bytes] = []
    number = 0
    with path.open("rb") as file:
        while (line := file.readline(_MAX_LINE)).endswith(b"\n"):
            number += 1
            try:
                check_sum(line, number)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
            lines.append(line)
            if len(lines) == _PIECE:
                yield _records(lines, number, record)
                lines = []
    if len(line) == _MAX_LINE:
        raise ValueError(f"line {number + 1} has more than {_MAX_LINE} bytes")
    if not line.startswith(_BEGINNING[: len(line)]):
        raise ValueError(f"line {number + 1} holds no record")
    yield _records(lines, number, record)


def last_record(path: Path, record: TypeAdapter[T]) -> T | None:
    """The last whole record of such a file, whose training may be under way; None where there is none to be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - 2 * _MAX_LINE, 0))
            *lines, _ = file.read().split(b"\n")
            return record.validate_json(lines[-1]) if lines else None
    except (OSError, ValueError):
        # The training ended at this moment, and a table took the file's place.
        return None


def _records(lines: Sequence[bytes], last: int, record: TypeAdapter[list[T]]) -> list[T]:
    """The records of some lines, of which the last has that number."""
    try:
        return record.validate_json(b"[" + b",".join(lines) + b"]")
    except ValidationError as error:
        first = last - len(lines) + 1
        place, *_ = error.errors(include_url=False, include_input=False)[0]["loc"] or (None,)
        if place is None:
            raise ValueError(f"one of its lines {first} to {last} is not JSON") from error
        raise ValueError(f"line {first + int(place)}: {said(error).partition('.')[2] or said(error)}") from error
