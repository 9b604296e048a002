"""TensorBoard event files: a protobuf message a record, with its length and checksums (TFRecord framing).

    uint64 length, uint32 masked CRC-32C of these 8 bytes, `length` bytes of data, uint32 masked CRC-32C of the data

Source: tensorflow/core/lib/io/record_writer.h. The message classes are those of tensorboardX, which Ray Tune brings.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.raw import Cell, RawLog, from_rows

_HEADER = struct.Struct("<QI")
_CHECKSUM = struct.Struct("<I")
_PATTERN = "*.tfevents.*"
_MAX_RUNS_NAMED = 10
_LARGEST = 2**40
"""No record has as many bytes."""
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
"""TensorFlow's number of a dtype -> numpy's name: float, double, int32, int64."""


def are_events(head: bytes, size: int | None) -> bool:
    """Whether a file begins with a record; `size` is that of the file in bytes, None where it is not known."""
    if len(head) < _HEADER.size:
        return False
    length, checksum = _HEADER.unpack_from(head)
    # Of any other file these bytes make a number far too large, and nothing has to be imported to know that.
    return length < (size or _LARGEST) and int(checksum) == _masked_crc32c(head[:8])


def files_of_run(folder: Path, run: str | None = None) -> tuple[list[Path], tuple[str, ...]]:
    """The event files of one run, in the folder or in one right below it, in order; and notes of what was left out.

    Args:
        folder: of the run, or of several.
        run: the name of the run's folder, where there are several.

    Raises:
        UserError: There are none, or those of several runs.
    """
    if run is not None:
        if not (folder / run).is_dir():
            raise UserError(f"{folder} has no run {run}; leave --run out to be told what there is")
        return files_of_run(folder / run)[0], (f"the run is {run}",)
    own = sorted(path for path in folder.glob(_PATTERN) if path.is_file())
    # Not deeper: a folder of many projects would take long, and what it holds would be no one run.
    below = sorted(path for path in folder.glob(f"*/{_PATTERN}") if path.is_file())
    runs = sorted({str(path.parent) for path in below})
    named = ", ".join(runs[:_MAX_RUNS_NAMED]) + (", ..." if len(runs) > _MAX_RUNS_NAMED else "")
    if own:
        # Its own files are a run; writers of hyperparameters put files of their own below it.
        notes = (f"only the event files in {folder} itself are read, not those in {named}",) if runs else ()
        return own, notes
    if not below:
        raise UserError(
            f"{folder} holds no TensorBoard event file ({_PATTERN}), nor do the folders right below it; "
            f"give a log file, or the folder of one run"
        )
    if len(runs) > 1:
        raise UserError(f"{folder} holds the event files of {len(runs)} runs: give one of {named}")
    return below, ()


def read_files(files: Iterable[tuple[Path, bytes]], choice: ColumnChoice, notes: Sequence[str] = ()) -> RawLog:
    """The scalars of a run by step. Where a continued run went back, its later values count."""
    # Here, because few logs need it and it is slow to import.
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]

    rows: dict[int, dict[str, Cell]] = {}
    other_tags: dict[str, Cell] = {}
    told = list(notes)
    for path, content in files:
        for data in _records(path, content, told):
            event = Event.FromString(data)
            for value in event.summary.value:
                number = _scalar(value)
                if number is None:
                    continue
                if choice.wants(value.tag):
                    rows.setdefault(event.step, {})[value.tag] = number
                else:
                    other_tags[value.tag] = None
    # The other tags are wanted for messages only: a row of their own, which tells nothing, names them.
    named = [(0, other_tags)] if other_tags else []
    in_order = [(step, {"step": step, **rows[step]}) for step in sorted(rows)]
    raw = from_rows("TensorBoard", [*named, *in_order], choice.wants, is_table=False, notes=tuple(told))
    return replace(raw, lines=None)


def _records(path: Path, content: bytes, notes: list[str]) -> Iterator[bytes]:
    """The data of each record; a file that breaks off ends there, with a note.

    Raises:
        UserError: A checksum is wrong.
    """
    position = 0
    while position < len(content):
        start = position + _HEADER.size
        length, checksum = _HEADER.unpack_from(content, position) if start <= len(content) else (0, 0)
        end = start + length
        if start > len(content) or end + _CHECKSUM.size > len(content):
            # A writer that was killed leaves its last record unfinished.
            notes.append(f"{path.name} breaks off after {position} bytes")
            return
        data = content[start:end]
        (data_checksum,) = _CHECKSUM.unpack_from(content, end)
        if checksum != _masked_crc32c(content[position : position + 8]) or data_checksum != _masked_crc32c(data):
            raise UserError(f"{path} is damaged: the record at byte {position} has a wrong checksum; copy it again")
        yield data
        position = end + _CHECKSUM.size


def _masked_crc32c(data: bytes) -> int:
    from tensorboardX.crc32c import crc32c  # type: ignore[import-untyped]

    value = int(crc32c(data))
    return (((value >> 15) | (value << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _scalar(value: Any) -> float | None:
    """The number of a summary value, old style or new (a tensor of one entry); None for anything else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.tensor.dtype not in _DTYPES:
        return None
    tensor = value.tensor
    packed = np.frombuffer(tensor.tensor_content, dtype=_DTYPES[tensor.dtype])
    listed = [*tensor.float_val, *tensor.double_val, *tensor.int_val, *tensor.int64_val]
    entries = packed.tolist() or listed
    return float(entries[0]) if len(entries) == 1 else None
