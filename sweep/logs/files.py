"""Which reader a file needs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from slr_models.errors import UserError
from slr_models.memory import check_memory
from sweep.logs import events, json_files, mlflow, tables, text
from sweep.logs.choice import ColumnChoice
from sweep.logs.raw import Bools, Column, NumberCells, RawLog, from_rows
from sweep.logs.runs import of_one_run, with_sets_apart
from sweep.logs.source import Source
from sweep.logs.trace import Trace, understand
from sweep.logs.words import parse
from sweep.store.line_sums import line_sum
from sweep.store.tables import STREAM_SUFFIX, read_step_stream

_HEAD = 2**16
"""Characters in which a header is looked for."""
_JSON = (".jsonl", ".ndjson", ".json")
_TABLES = (".csv", ".tsv")
_OWN_UNKNOWN = ("grad_norm", "loss_scale", "lr", "blank_rate", "input_dependence")
"""Columns of our own steps/*.parquet in which version 1 wrote NaN for what was not measured."""


def read_trace(path: Path, choice: ColumnChoice = ColumnChoice()) -> Trace:  # noqa: B008
    """The steps that a file logs, maybe none; also of a folder that holds TensorBoard event files or MLflow metrics.

    The name's ending tells the format (.csv, .tsv, .parquet, .json, .jsonl, .ndjson), else the content does. Each may
    be compressed by gzip.

    Raises:
        UserError: The file cannot be read, holds no losses, or an option names nothing that it holds.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; give a log file, or a folder with a TensorBoard event file")
    if not (path.is_dir() or path.is_file()):
        raise UserError(f"{path} is a pipe or a device; write what it gives to a file")
    try:
        raw = _read(path, choice)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error})") from error
    trace = understand(with_sets_apart(of_one_run(path, raw, choice)), str(path), choice)
    return replace(trace, notes=(*trace.notes, *_loss_notes(trace)))


def _loss_notes(trace: Trace) -> list[str]:
    """Says of losses what no CTC loss is."""
    if not trace.has_losses:
        return []
    losses = trace.values["loss"][np.isfinite(trace.values["loss"])]
    if (losses < 0).any():
        return [
            f"{int((losses < 0).sum())} of {len(losses)} losses are negative, so this is no CTC loss (-ln p); "
            f"the rules work on ln loss and see little of these"
        ]
    if len(losses) and not losses.any():
        return [
            "all losses are exactly 0: zero_infinity=True hides targets that CTC cannot align in such zeros; "
            "the rules work on ln loss and see little here"
        ]
    return []


def _read(path: Path, choice: ColumnChoice) -> RawLog:
    if path.is_dir():
        return _read_folder(path, choice)
    source = Source(path)
    if not source.head:
        raise UserError(f"{path} is empty; give a log with at least one loss")
    if events.are_events(source.head, path.stat().st_size if not source.is_zipped else None):
        return events.read_files([(path, source.content())], choice)
    if source.head.startswith(b"PAR1") or source.suffix in (".parquet", ".pq"):
        return _read_parquet(path, source.content(), choice)
    if _is_own_stream(source):
        return _of_table("JSON lines", read_step_stream(path), choice)
    if mlflow.is_metric(source.head):
        return mlflow.read_metrics([path], choice)
    head = source.head.decode("utf-8", errors="replace")
    if source.suffix in _TABLES or (
        source.suffix not in _JSON and (tables.begins_with_header(head) or tables.are_numbers_alone(head))
    ):
        return tables.read_table(source, choice)
    decoded = source.text()
    if source.suffix in _JSON or json_files.are_json_lines(decoded):
        return json_files.read_json(path, decoded, choice)
    if tables.begins_with_header(decoded[:_HEAD]):
        return tables.read_table(source, choice)
    drawn = decoded.translate(tables.BOXES) if "\u2502" in decoded else decoded
    if "|" in drawn and (table := tables.markdown_table(drawn.split("\n"))) is not None:
        return replace(tables.read_lines(path, table, "|", choice), format="Markdown")
    if (history := json_files.printed_history(decoded)) is not None:
        found = json_files.read_value(path, history, choice)
        if found is not None:
            return found
    if (numbers := _numbers_alone(decoded)) is not None:
        note = "lines of a number each have no names; they are taken for the training losses"
        rows = ((line, {"loss": number}) for line, number in numbers)
        return from_rows("text", rows, choice.wants, is_table=True, notes=(note,))
    return text.read_text(path, decoded, choice)


def _numbers_alone(content: str) -> list[tuple[int, str]] | None:
    """Number and text of the lines of a text that holds a number a line and nothing else; None of any other."""
    lines = [(number, line.strip()) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    if len(lines) < 2:
        return None
    for _, line in lines:
        try:
            parse(line)
        except ValueError:
            return None
    return lines


def _read_folder(path: Path, choice: ColumnChoice) -> RawLog:
    if metrics := mlflow.metrics_of(path):
        return mlflow.read_metrics(metrics, choice)
    files, notes = events.files_of_run(path, choice.run)
    return events.read_files(((file, Source(file).content()) for file in files), choice, notes)


def _read_parquet(path: Path, content: bytes, choice: ColumnChoice) -> RawLog:
    # Not by pandas: it takes a null (not logged) and a NaN (a NaN loss) for the same.
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        # A run of equal values takes nothing on disk.
        num_bytes = 8.0 * file.metadata.num_rows * file.metadata.num_columns
        check_memory(2 * num_bytes, f"the {file.metadata.num_rows} rows of {path}", "give a part of them")
        table = file.read()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({' '.join(str(error).split())})") from error
    return _of_table("Parquet", table, choice)


def _is_own_stream(source: Source) -> bool:
    """Whether these are the steps of a training under way in a results folder."""
    is_there = source.suffix == STREAM_SUFFIX and source.path.resolve().parent.name == "steps"
    return is_there and not source.is_zipped and line_sum(source.head.partition(b"\n")[0]) is not None


def _of_table(form: str, table: pa.Table, choice: ColumnChoice) -> RawLog:
    metadata = table.schema.metadata or {}
    version = metadata.get(b"schema_version")
    unknown = _OWN_UNKNOWN if version == b"1" else ()
    columns = {name: _column(table.column(name), name in unknown) for name in table.column_names if choice.wants(name)}
    others = [name for name in table.column_names if name not in columns]

    def filled() -> Iterable[Bools]:
        return [table.column(name).is_valid().to_numpy() for name in others]

    return RawLog(form, table.num_rows, tuple(table.column_names), columns, is_own=version is not None, filled=filled)


def _column(column: pa.ChunkedArray, nan_is_unknown: bool) -> Column:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return list(column.to_pylist())
    logged = column.is_valid().to_numpy()
    # Whole numbers that float64 does not tell apart, such as times in nanoseconds, are rounded.
    values = column.cast(pa.float64(), safe=False).to_numpy()
    return NumberCells(values, logged & ~np.isnan(values) if nan_is_unknown else logged)
