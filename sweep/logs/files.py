"""One reader a format, and which of them a file needs."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from slr_models.errors import UserError
from sweep.logs import events, text
from sweep.logs.columns import field_of, normal_form
from sweep.logs.raw import Cell, RawLog, from_rows, is_empty
from sweep.logs.trace import Trace, understand

_DELIMITERS = (",", "\t", ";", "|")
_CURSOR_MOVE = re.compile(r"\x1b\[[0-9;]*[A-Hf]")
"""Terminal code after which a progress bar draws itself anew, as after a carriage return."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^-~])")
"""Any other terminal code: colours, titles, links."""
_HELD_OUT = frozenset(("val", "valid", "validation", "eval", "evaluation", "test", "dev"))


def read_trace(path: Path) -> Trace:
    """The steps that a file logs, maybe none; also of a folder that holds TensorBoard event files.

    The name's ending tells the format (.csv, .tsv, .parquet, .json, .jsonl, .ndjson), else the content does. Each may
    be compressed by gzip.

    Raises:
        UserError: The file cannot be read, or holds no losses.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; give a log file, or a folder with a TensorBoard event file")
    try:
        raw = _read(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    trace = understand(raw, str(path))
    return replace(trace, notes=(*trace.notes, *_loss_notes(trace)))


def _loss_notes(trace: Trace) -> list[str]:
    """Says of losses what no CTC loss is."""
    losses = trace.values["loss"][np.isfinite(trace.values["loss"])]
    if not trace.has_losses or not len(losses):
        return []
    if (losses < 0).any():
        return [
            f"{int((losses < 0).sum())} of {len(losses)} losses are negative, so this is no CTC loss (-ln p); "
            f"the rules work on ln loss and see little of these"
        ]
    if not losses.any():
        return [
            "all losses are exactly 0: zero_infinity=True hides targets that CTC cannot align in such zeros; "
            "the rules work on ln loss and see little here"
        ]
    return []


def _read(path: Path) -> RawLog:
    if path.is_dir():
        files, notes = events.files_of_run(path)
        return events.read_files(((file, _content(file)) for file in files), notes)
    content = _content(path)
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if not content:
        raise UserError(f"{path} is empty; give a log with at least one loss")
    if events.are_events(content):
        return events.read_files([(path, content)])
    if content.startswith(b"PAR1") or suffix in (".parquet", ".pq"):
        return _read_parquet(path, content)
    decoded = _decoded(path, content)
    if suffix in (".jsonl", ".ndjson", ".json"):
        return _read_json(path, decoded)
    first_line = decoded.lstrip().partition("\n")[0]
    if suffix in (".csv", ".tsv") or _is_header(first_line):
        return _read_csv(path, decoded, _delimiter(first_line))
    return text.read_text(path, decoded)


def _content(path: Path) -> bytes:
    """The bytes of a file, unzipped."""
    content = path.read_bytes()
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path} cannot be unzipped ({error}); copy it again, or unzip it yourself") from error


def _decoded(path: Path, content: bytes) -> str:
    """The text of a file as a reader sees it: without colours."""
    if b"\0" in content[:4096] and not content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(
            f"{path} is none of the known formats: CSV, Parquet, JSON lines, a TensorBoard event file, or a text log"
        )
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        decoded = content.decode("utf-16", errors="replace")
    else:
        # Names and numbers are ASCII; what else a log holds must not stop its reading.
        decoded = content.decode("utf-8-sig", errors="replace")
    return _ESCAPE.sub("", _CURSOR_MOVE.sub("\r", decoded)) if "\x1b" in decoded else decoded


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _is_header(line: str) -> bool:
    """Whether a line names columns, one of them a loss, and holds no values."""
    names = [name.strip().strip("\"'") for name in line.split(_delimiter(line))]
    if len(names) < 2 or any(mark in line for mark in "=:{"):
        return False
    return any((known := field_of(name)) is not None and known[0] == "loss" for name in names)


def _exported(path: Path, names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """The columns' names without what the pages of W&B and TensorBoard make of them at an export, and notes of that.

    Raises:
        UserError: The export holds several runs.
    """
    if [normal_form(name) for name in names] == ["wall_time", "step", "value"]:
        return ["wall_time", "step", "loss"], (
            "TensorBoard exports one metric a file without its name; Value is taken for the training loss",
        )
    parts = [name.rpartition(" - ") for name in names]
    runs = sorted({run for run, _, _ in parts[1:]})
    # W&B: an axis, then `RUN - METRIC`. Someone's own `val - loss` is none of that.
    if not runs or parts[0][0] or "" in runs or not _HELD_OUT.isdisjoint(map(normal_form, runs)):
        return names, ()
    if len(runs) > 1:
        raise UserError(f"{path} holds {len(runs)} runs ({', '.join(runs)}); keep the columns of one")
    return [metric for _, _, metric in parts], (f"the run is {runs[0]}",)


def _read_csv(path: Path, content: str, delimiter: str) -> RawLog:
    reader = csv.reader(content.splitlines(), delimiter=delimiter, skipinitialspace=True)
    lines: list[int] = []
    try:
        names = [name.strip() or f"column {number}" for number, name in enumerate(next(reader), start=1)]
        names, notes = _exported(path, names)
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
    return RawLog("CSV", columns, filled, lines, notes=notes)


def _read_json(path: Path, content: str) -> RawLog:
    if (listed := _listed(content)) is not None:
        raw = from_rows("JSON", ((number, _flat(row)) for number, row in enumerate(listed, start=1)), is_table=True)
        return replace(raw, lines=None)
    return _read_json_lines(path, content)


def _listed(content: str) -> list[dict[str, Any]] | None:
    """The steps of a file that is one JSON value: a list of objects, or Hugging Face's trainer_state.json."""
    try:
        value = json.loads(content)
    except ValueError:
        return None
    rows = value.get("log_history") if isinstance(value, dict) else value
    return rows if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows) else None


def _flat(row: dict[str, Any], prefix: str = "") -> dict[str, Cell]:
    """The values of an object, those of nested ones by path ("train/loss"). Lists are no values of a step."""
    cells: dict[str, Cell] = {}
    for name, value in row.items():
        if isinstance(value, dict):
            cells.update(_flat(value, f"{prefix}{name}/"))
        elif value is None or isinstance(value, str | float | int):
            cells[prefix + name] = value
    return cells


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
        yield number, _flat(row)


def _read_parquet(path: Path, content: bytes) -> RawLog:
    # Not by pandas: it takes a null (not logged) and a NaN (a NaN loss) for the same.
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({' '.join(str(error).split())})") from error
    names = table.column_names
    return RawLog(
        "Parquet",
        {name: table.column(name).to_pylist() for name in names if field_of(name) is not None},
        {name: bytearray(table.column(name).is_valid().to_numpy()) for name in names},
    )
