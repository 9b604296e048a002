"""One reader a format, and which of them a file needs."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from slr_models.errors import UserError
from sweep.traces import events, text
from sweep.traces.columns import field_of
from sweep.traces.raw import Cell, RawLog, from_rows, is_empty
from sweep.traces.trace import Trace, understand

_DELIMITERS = (",", "\t", ";", "|")


def read_trace(path: Path) -> Trace:
    """The steps that a file logs, maybe none; also of a folder that holds TensorBoard event files.

    The name's ending tells the format (.csv, .tsv, .parquet, .jsonl, .ndjson, events.out.tfevents...), else the
    content does.

    Raises:
        UserError: The file cannot be read, or holds no losses.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; give a log file, or a folder with a TensorBoard event file")
    try:
        raw = _read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    return understand(raw, str(path))


def _read(path: Path) -> RawLog:
    if path.is_dir():
        return events.read_folder(path)
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty; give a log with at least one loss")
    if events.is_event_file(path):
        return events.read_files([path])
    with path.open("rb") as file:
        if file.read(4) == b"PAR1" or path.suffix in (".parquet", ".pq"):
            return _read_parquet(path)
    content = _decoded(path)
    if path.suffix in (".jsonl", ".ndjson", ".json"):
        return _read_json_lines(path, content)
    first_line = content.lstrip().partition("\n")[0]
    if path.suffix in (".csv", ".tsv") or _is_header(first_line):
        return _read_csv(path, content, _delimiter(first_line))
    return text.read_text(path, content)


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    if b"\0" in content[:4096] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(
            f"{path} is none of the known formats: CSV, Parquet, JSON lines, a TensorBoard event file, or a text log"
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    # Names and numbers are ASCII; what else a log holds must not stop its reading.
    return content.decode("utf-8-sig", errors="replace")


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _is_header(line: str) -> bool:
    """Whether a line names columns, one of them a loss, and holds no values."""
    names = [name.strip().strip("\"'") for name in line.split(_delimiter(line))]
    if len(names) < 2 or any(mark in line for mark in "=:{"):
        return False
    return any((known := field_of(name)) is not None and known[0] == "loss" for name in names)


def _read_csv(path: Path, content: str, delimiter: str) -> RawLog:
    reader = csv.reader(content.splitlines(), delimiter=delimiter, skipinitialspace=True)
    lines: list[int] = []
    try:
        names = [name.strip() or f"column {number}" for number, name in enumerate(next(reader), start=1)]
        used = {column: name for column, name in enumerate(names) if field_of(name) is not None}
        columns: dict[str, list[Cell]] = {name: [] for name in used.values()}
        if (twice := next((name for name in columns if names.count(name) > 1), None)) is not None:
            raise UserError(f"{path} has two columns {twice}; rename or remove one")
        filled: dict[str, bytearray] = {name: bytearray() for name in names}
        for fields in reader:
            if len(fields) > len(names):
                raise UserError(
                    f"{path}: line {reader.line_num} has {len(fields)} fields, but the first line names {len(names)}"
                )
            lines.append(reader.line_num)
            fields.extend([""] * (len(names) - len(fields)))
            for name, cell in dict(zip(names, fields, strict=True)).items():
                filled[name].append(not is_empty(cell))
                if name in columns:
                    columns[name].append(cell)
    except StopIteration:
        raise UserError(f"{path} is empty; give a log with at least one loss") from None
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} cannot be read as CSV ({error})") from error
    return RawLog("CSV", columns, filled, lines)


def _read_json_lines(path: Path, content: str) -> RawLog:
    lines = [(number, line) for number, line in enumerate(content.splitlines(), start=1) if line.strip()]
    notes: tuple[str, ...] = ()
    if lines and not _is_json(lines[-1][1]) and len(lines) > 1:
        notes = (f"line {lines[-1][0]} is cut off and left out",)
        lines.pop()
    return from_rows("JSON lines", _json_rows(path, lines), is_table=True, notes=notes)


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _json_rows(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Cell]]]:
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error}); write one object a line") from error
        if not isinstance(row, dict):
            raise UserError(f'{path}: line {number} is not an object; write one a line, such as {{"loss": 3.2}}')
        # Lists and nested objects are no values of a step.
        yield number, {name: cell for name, cell in row.items() if cell is None or isinstance(cell, str | float | int)}


def _read_parquet(path: Path) -> RawLog:
    # Not by pandas: it takes a null (not logged) and a NaN (a NaN loss) for the same.
    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({' '.join(str(error).split())})") from error
    names = table.column_names
    return RawLog(
        "Parquet",
        {name: table.column(name).to_pylist() for name in names if field_of(name) is not None},
        {name: bytearray(table.column(name).is_valid().to_numpy()) for name in names},
    )
