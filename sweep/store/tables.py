"""The tables of a results folder: trials, steps, evaluations, health samples, the map; read and written."""

import dataclasses
import functools
import math
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from slr_models.errors import ResultsError
from sweep.records import DERIVED_COLUMNS, EvalRecord, HealthRecord, StepRecord, TrialResult
from sweep.store.files import atomic_path, check_is_file, check_is_folder, check_size, said, trial_name
from sweep.store.ledger_lines import LEDGER_FILE, table_remedy, tells_results
from sweep.store.parquet import is_text, read_table, refused
from sweep.store.record_stream import MAX_STREAM_MIB, RecordStream, read_stream
from sweep.store.schemas import (
    EDGE_SCHEMA,
    EVAL_SCHEMA,
    HEALTH_SCHEMA,
    MAP_SCHEMA,
    STEP_SCHEMA,
    TRIAL_SCHEMA,
)

_NAN_WHERE_NOT_LOGGED = ("grad_norm", "loss_scale", "lr", "time_s", "blank_rate", "input_dependence")
"""Columns of the steps in which a NaN of schema version 1 may say that nothing was logged."""
RecordKind = Literal["steps", "evals", "health"]
StreamedKind = Literal["steps", "evals"]
STREAMED: tuple[StreamedKind, ...] = ("steps", "evals")
"""What grows with a training; of its health, only so many samples are kept."""
STREAM_SUFFIX = ".jsonl"
RECORDS: Mapping[RecordKind, pa.Schema] = {"steps": STEP_SCHEMA, "evals": EVAL_SCHEMA, "health": HEALTH_SCHEMA}
"""What trials leave in a file of their own: the folder, and the columns."""
_IN_EVERY = {kind: frozenset(schema.names) - {"score", "wer_raw"} for kind, schema in RECORDS.items()}
"""Columns that a table of any version has."""
_REMEDY = "delete it: the report does without it"
_CALLED = {"steps": "steps", "evals": "evaluations", "health": "health samples"}
T = TypeVar("T")

MOVE_AWAY = "move it away, and restore the folder from a backup if you have one"
TRIALS_FILE = "trials.parquet"
MAP_FILE, EDGES_FILE = "stability_map.parquet", "edges.parquet"


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def records_path(results_dir: Path, kind: RecordKind, trial_id: str) -> Path:
    """Where the table of a trial's records lies.

    Raises:
        ResultsError: the id cannot name a trial.
    """
    return results_dir / kind / f"{trial_name(trial_id)}.parquet"


def stream_path(results_dir: Path, kind: StreamedKind, trial_id: str) -> Path:
    """Where the records of a trial lie until they make a table; see `record_stream`.

    Raises:
        ResultsError: the id cannot name a trial.
    """
    return records_path(results_dir, kind, trial_id).with_suffix(STREAM_SUFFIX)


def _found(results_dir: Path, kind: RecordKind, trial_id: str) -> Path:
    """The file that holds a trial's records; that of the table where there is none, or both."""
    table = records_path(results_dir, kind, trial_id)
    if kind == "health" or os.path.lexists(table):
        return table
    stream = stream_path(results_dir, kind, trial_id)
    return stream if os.path.lexists(stream) else table


def has_records(results_dir: Path, kind: RecordKind, trial_id: str) -> bool:
    """Whether a trial left records of a kind; whatever lies in their place is to be told of.

    Raises:
        ResultsError: the id cannot name a trial, or something else lies in place of the folder of all trials' records.
    """
    path = _found(results_dir, kind, trial_id)
    check_is_folder(path.parent, MOVE_AWAY)
    return os.path.lexists(path)


def _records(
    results_dir: Path, kind: RecordKind, trial_id: str, names: Sequence[str] | None = None, *, threads: bool = True
) -> pa.Table:
    if not has_records(results_dir, kind, trial_id):
        raise ResultsError(
            f"{records_path(results_dir, kind, trial_id)} does not exist, so there are no {_CALLED[kind]} of trial "
            f"{trial_id}: is this a results folder of a study?"
        )
    path = _found(results_dir, kind, trial_id)
    try:
        if path.suffix == STREAM_SUFFIX:
            table = _read_stream(path, kind, names)
        else:
            table = read_table(path, RECORDS[kind], _REMEDY, names, needed=_IN_EVERY[kind], threads=threads)
    except (ResultsError, FileNotFoundError):
        if os.path.lexists(path) or not has_records(results_dir, kind, trial_id):
            raise
        # The training ended, or went on, at this moment: the other file has taken its place.
        return _records(results_dir, kind, trial_id, names, threads=threads)
    for name in RECORDS[kind].names if names is None else names:
        if name not in table.column_names:
            # Of a version that did not have it yet.
            table = table.append_column(RECORDS[kind].field(name), pa.nulls(len(table), RECORDS[kind].field(name).type))
    with refused(path, _REMEDY, _form(path)):
        steps = table.column("step").to_numpy() if "step" in table.column_names else np.zeros(0)
        if not (steps >= 0).all():
            raise ValueError("some of its steps are missing or below 0")
        # Samples of a model's health are looked up by their step.
        if kind != "health" and not (np.diff(steps) >= 0).all():
            raise ValueError("its steps do not ascend")
    return table


def _read_stream(path: Path, kind: RecordKind, names: Sequence[str] | None) -> pa.Table:
    """What a stream holds, as the table that will take its place."""
    check_is_file(path, _REMEDY)
    check_size(path, path.stat().st_size, MAX_STREAM_MIB, _REMEDY)
    with refused(path, _REMEDY, _form(path)):
        if kind == "steps":
            pieces = [_step_table(records) for records in read_stream(path, _STEPS)]
        else:
            pieces = [_eval_table(records) for records in read_stream(path, _EVALS)]
        table = pa.concat_tables(pieces).combine_chunks()
    return table if names is None else table.select(list(names))


def read_step_stream(path: Path) -> pa.Table:
    """The steps of a training under way, as its table will have them.

    Raises:
        ResultsError: the file is damaged.
    """
    return _read_stream(path, "steps", None)


def _form(path: Path) -> str:
    return "lines of JSON" if path.suffix == STREAM_SUFFIX else "Parquet"


def places_of(results_dir: Path, trial_id: str) -> list[Path]:
    """Files and folders that a training may have left, apart from its lines of the ledger and its row.

    Raises:
        ResultsError: the id cannot name a trial.
    """
    own = (results_dir / folder / trial_name(trial_id) for folder in ("checkpoints", "evidence", "files"))
    tables = (records_path(results_dir, kind, trial_id) for kind in RECORDS)
    streams = (stream_path(results_dir, kind, trial_id) for kind in STREAMED)
    return [*tables, *streams, *own]


def remove_trial(results_dir: Path, trial_id: str) -> None:
    """Removes all that a training left, apart from its lines of the ledger and its row."""
    for place in places_of(results_dir, trial_id):
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)


def write_steps(results_dir: Path, trial_id: str, records: Sequence[StepRecord]) -> None:
    """Writes all step records of a trial, as a table."""
    _write_records(results_dir, "steps", trial_id, _step_table(records))


def write_evals(results_dir: Path, trial_id: str, records: Sequence[EvalRecord]) -> None:
    """Writes all evaluation records of a trial, as a table."""
    _write_records(results_dir, "evals", trial_id, _eval_table(records))


def settle_records(results_dir: Path, trial_id: str) -> None:
    """Makes tables of the records of a training that ended without doing so itself; damaged ones stay as they are."""
    for kind in STREAMED:
        if os.path.lexists(stream_path(results_dir, kind, trial_id)):
            with suppress(ResultsError):
                _write_records(results_dir, kind, trial_id, _records(results_dir, kind, trial_id))


def _write_records(results_dir: Path, kind: StreamedKind, trial_id: str, table: pa.Table) -> None:
    """Writes all records of a trial; only then the stream goes, so that they are never nowhere."""
    _write_table(records_path(results_dir, kind, trial_id), table)
    stream_path(results_dir, kind, trial_id).unlink(missing_ok=True)


def record_stream(results_dir: Path, kind: StreamedKind, trial_id: str) -> RecordStream:
    """Where a training writes its records as they come, until `write_steps` or `write_evals` ends it."""
    return RecordStream(stream_path(results_dir, kind, trial_id), records_path(results_dir, kind, trial_id))


def _step_table(records: Sequence[StepRecord]) -> pa.Table:
    columns = {name: [getattr(r, name) for r in records] for name in STEP_SCHEMA.names}
    columns["skip_reason"] = [None if r.skip_reason is None else r.skip_reason.value for r in records]
    return pa.table(columns, schema=STEP_SCHEMA)


def _eval_table(records: Sequence[EvalRecord]) -> pa.Table:
    return pa.Table.from_pylist([{**dataclasses.asdict(r), "wer": r.wer} for r in records], schema=EVAL_SCHEMA)


def write_health(results_dir: Path, trial_id: str, records: Sequence[HealthRecord]) -> None:
    """Writes all sampled numbers of a trial's model."""
    columns = {name: [getattr(r, name) for r in records] for name in HEALTH_SCHEMA.names}
    columns["metric"] = [r.metric.value for r in records]
    _write_table(records_path(results_dir, "health", trial_id), pa.table(columns, schema=HEALTH_SCHEMA))


def write_trials(results_dir: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the table of finished trials: TRIAL_SCHEMA's columns, then the settings.

    A setting's column is float where every value is a number, boolean where every value is one, else text.
    """
    settings = sorted({key for row in rows for key in row} - set(TRIAL_SCHEMA.names))
    columns: dict[str, pa.Array] = {
        field.name: pa.array([row.get(field.name) for row in rows], type=field.type) for field in TRIAL_SCHEMA
    }
    for name in settings:
        columns[name] = _setting_column([row.get(name) for row in rows])
    table = pa.table(columns).replace_schema_metadata(TRIAL_SCHEMA.metadata)
    _write_table(results_dir / TRIALS_FILE, table)


def write_map(results_dir: Path, grid: pd.DataFrame, edges: pd.DataFrame) -> None:
    """Writes the map of the stable region: P(stable) on a grid, and the edges; see MAP_SCHEMA and EDGE_SCHEMA."""
    _write_table(results_dir / MAP_FILE, _with_settings(grid, MAP_SCHEMA))
    _write_table(results_dir / EDGES_FILE, _with_settings(edges, EDGE_SCHEMA))


def remove_map(results_dir: Path) -> None:
    """Removes a map that the trials no longer show."""
    for name in (MAP_FILE, EDGES_FILE):
        (results_dir / name).unlink(missing_ok=True)


def _with_settings(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    """A table whose columns outside the schema hold values of settings."""
    columns = {}
    for name in frame:
        values = [None if value is None or value != value else value for value in frame[name].tolist()]
        known = name in schema.names
        columns[str(name)] = pa.array(values, type=schema.field(name).type) if known else _setting_column(values)
    return pa.table(columns).replace_schema_metadata(schema.metadata)


def _setting_column(values: list[Any]) -> pa.Array:
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known):
        return pa.array(values, type=pa.bool_())
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return pa.array([None if v is None else float(v) for v in values], type=pa.float64())
    return pa.array([None if v is None else str(v) for v in values], type=pa.string())


def read_trials(results_dir: Path) -> pd.DataFrame:
    """The table of finished trials, in their order of number; columns that an older table lacks are empty.

    Raises:
        ResultsError: there is no such table, or it cannot be read, or says what cannot be.
    """
    path = results_dir / TRIALS_FILE
    if not path.exists():
        if tells_results(results_dir):
            raise ResultsError(
                f"{path} is missing, but {LEDGER_FILE} holds results: run the study's command again, it writes the "
                f"table anew"
            )
        raise ResultsError(f"{path} does not exist, so there are no trials: is this a results folder of a study?")
    table = _trials_table(path)
    _results(path, table)
    frame: pd.DataFrame = table.to_pandas().sort_values("number", ignore_index=True)
    for name in TRIAL_SCHEMA.names:
        if name not in frame:
            frame[name] = False if name == "audited" else None
    return frame


def read_results(results_dir: Path) -> list[TrialResult]:
    """The rows of the table of finished trials as results, in their order of number; none where there is no table.

    Raises:
        ResultsError: the table cannot be read, or says what cannot be.
    """
    path = results_dir / TRIALS_FILE
    return sorted(_results(path, _trials_table(path)), key=lambda r: r.number) if path.exists() else []


def finished_ids(results_dir: Path) -> set[str]:
    """Ids of the trials in the table; none where there is no table.

    Raises:
        ResultsError: the table cannot be read.
    """
    path = results_dir / TRIALS_FILE
    if not path.exists():
        return set()
    return set(_trials_table(path, ["trial_id"]).column("trial_id").to_pylist())


def _trials_table(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    remedy = functools.partial(table_remedy, path.parent)
    return read_table(path, TRIAL_SCHEMA, remedy, names, needed=_NEEDED, others=_is_setting)


_NEEDED = frozenset(field.name for field in dataclasses.fields(TrialResult) if field.default is dataclasses.MISSING) - {
    "settings"
}
"""Columns that a table of any version has."""
_RESULTS = TypeAdapter(list[TrialResult])


def _is_setting(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, is_text))


def _results(path: Path, table: pa.Table) -> list[TrialResult]:
    """The rows as results: what the model of a result refuses is refused here."""
    with refused(path, functools.partial(table_remedy, path.parent)):
        rows = table.to_pylist()
        fixed = [name for name in table.column_names if name in TRIAL_SCHEMA.names and name not in DERIVED_COLUMNS]
        settings = [name for name in table.column_names if name not in TRIAL_SCHEMA.names]
        try:
            found = _RESULTS.validate_python(
                [
                    {name: row[name] for name in fixed if row[name] is not None}
                    | {"settings": {name: row[name] for name in settings if row[name] is not None}}
                    for row in rows
                ]
            )
        except ValidationError as error:
            raise ValueError(_of_row(error)) from error
        for what in ("trial_id", "number"):
            twice = [one for one, count in Counter(getattr(r, what) for r in found).items() if count > 1]
            if twice:
                raise ValueError(f"two of its rows have the {what} {twice[0]}")
        return found


def _of_row(error: ValidationError) -> str:
    """What is wrong, with the row counted from 1."""
    row = error.errors(include_url=False, include_input=False)[0]["loc"][0]
    return f"row {int(row) + 1}, {said(error).partition('.')[2]}"


def read_columns(
    results_dir: Path, kind: RecordKind, trial_id: str, names: Sequence[str]
) -> dict[str, npt.NDArray[Any]] | None:
    """Some columns of a trial's records as arrays; None where it left none. Six times as fast as a frame of all.

    A missing number is NaN; a missing text is None.

    Raises:
        ResultsError: the table cannot be read.
    """
    if not has_records(results_dir, kind, trial_id):
        return None
    table = _records(results_dir, kind, trial_id, names, threads=False)
    return {name: table.column(name).to_numpy() for name in names}


def read_steps(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's steps, in order; NaN where a number was not logged, or was NaN.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _frame(results_dir, "steps", trial_id)


def read_evals(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's evaluations, in order.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _frame(results_dir, "evals", trial_id)


def read_health(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's sampled numbers of its model, in order; metric and path are categorical.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _frame(results_dir, "health", trial_id)


def _frame(results_dir: Path, kind: RecordKind, trial_id: str) -> pd.DataFrame:
    frame: pd.DataFrame = _records(results_dir, kind, trial_id).to_pandas()
    return frame


def _loaded(results_dir: Path, kind: RecordKind, trial_id: str, record: TypeAdapter[list[T]]) -> list[T]:
    """A trial's records, each as its model has it."""
    table, path = _records(results_dir, kind, trial_id), _found(results_dir, kind, trial_id)
    with refused(path, _REMEDY, _form(path)):
        rows: list[dict[str, Any]] = table.to_pylist()
        is_earlier = kind == "steps" and (table.schema.metadata or {}).get(b"schema_version", b"1") == b"1"
        for row in rows:
            # Said by the counts of errors.
            row.pop("wer", None)
            if is_earlier:
                row |= {name: None for name in _NAN_WHERE_NOT_LOGGED if row[name] is not None and math.isnan(row[name])}
        try:
            return record.validate_python(rows)
        except ValidationError as error:
            raise ValueError(_of_row(error)) from error


def load_steps(results_dir: Path, trial_id: str) -> list[StepRecord]:
    """A trial's steps as records, to go on with an interrupted training.

    A table of an earlier version does not tell a number that was not logged from a NaN: of all but the loss, both come
    back as None.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _loaded(results_dir, "steps", trial_id, _STEPS)


def load_health(results_dir: Path, trial_id: str) -> list[HealthRecord]:
    """A trial's health samples as records; none where none were taken.

    Raises:
        ResultsError: the table cannot be read.
    """
    return _loaded(results_dir, "health", trial_id, _HEALTH) if has_records(results_dir, "health", trial_id) else []


def load_evals(results_dir: Path, trial_id: str) -> list[EvalRecord]:
    """A trial's evaluations as records.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _loaded(results_dir, "evals", trial_id, _EVALS)


_STEPS, _EVALS = TypeAdapter(list[StepRecord]), TypeAdapter(list[EvalRecord])
_HEALTH = TypeAdapter(list[HealthRecord])
