"""The tables of a results folder: trials, steps, evaluations, health samples, the map; read and written."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from slr_models.errors import ResultsError
from sweep.records import EvalRecord, HealthMetric, HealthRecord, SkipReason, StepRecord
from sweep.store.files import atomic_path
from sweep.store.ledger_lines import LEDGER_FILE, tells_results
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
MAP_FILE, EDGES_FILE = "stability_map.parquet", "edges.parquet"


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _read_table(path: Path, what: str) -> pd.DataFrame:
    if not path.is_file():
        raise ResultsError(f"{path} does not exist, so there are no {what}: is this a results folder of a study?")
    frame: pd.DataFrame = _table(path).to_pandas()
    return frame


def _rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = _table(path).to_pylist()
    return rows


def _table(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """A table, or the named columns of it."""
    try:
        if names is None:
            return pq.read_table(path)
        return pq.ParquetFile(path).read(columns=list(names), use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        if path.name == "trials.parquet":
            remedy = f"delete it, then run the study's command again: it writes the table anew from {LEDGER_FILE}"
        else:
            remedy = "delete it: the report does without it"
        raise ResultsError(f"{path} cannot be read as Parquet ({error}): {remedy}") from error


def write_steps(results_dir: Path, trial_id: str, records: Sequence[StepRecord]) -> None:
    """Writes all step records of a trial."""
    columns = {name: [getattr(r, name) for r in records] for name in STEP_SCHEMA.names}
    columns["skip_reason"] = [None if r.skip_reason is None else r.skip_reason.value for r in records]
    _write_table(results_dir / "steps" / f"{trial_id}.parquet", pa.table(columns, schema=STEP_SCHEMA))


def write_evals(results_dir: Path, trial_id: str, records: Sequence[EvalRecord]) -> None:
    """Writes all evaluation records of a trial."""
    rows = [{**dataclasses.asdict(r), "wer": r.wer} for r in records]
    table = pa.Table.from_pylist(rows, schema=EVAL_SCHEMA)
    _write_table(results_dir / "evals" / f"{trial_id}.parquet", table)


def write_health(results_dir: Path, trial_id: str, records: Sequence[HealthRecord]) -> None:
    """Writes all sampled numbers of a trial's model."""
    columns = {name: [getattr(r, name) for r in records] for name in HEALTH_SCHEMA.names}
    columns["metric"] = [r.metric.value for r in records]
    _write_table(results_dir / "health" / f"{trial_id}.parquet", pa.table(columns, schema=HEALTH_SCHEMA))


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
    _write_table(results_dir / "trials.parquet", table)


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
        ResultsError: there is no such table, or it cannot be read.
    """
    path = results_dir / "trials.parquet"
    if not path.is_file() and tells_results(results_dir):
        raise ResultsError(
            f"{path} is missing, but {LEDGER_FILE} holds results: run the study's command again, it writes the table "
            f"anew"
        )
    frame = _read_table(path, "trials").sort_values("number", ignore_index=True)
    for name in TRIAL_SCHEMA.names:
        if name not in frame:
            frame[name] = False if name == "audited" else None
    return frame


def read_columns(
    results_dir: Path, records: Literal["steps", "evals"], trial_id: str, names: Sequence[str]
) -> dict[str, npt.NDArray[Any]] | None:
    """Some columns of a trial's records as arrays; None where it left none. Six times as fast as a frame of all.

    A missing number is NaN; a missing text is None.

    Raises:
        ResultsError: the table cannot be read.
    """
    path = results_dir / records / f"{trial_id}.parquet"
    if not path.is_file():
        return None
    table = _table(path, names)
    return {name: table.column(name).to_numpy() for name in names}


def read_steps(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's steps, in order; NaN where a number was not logged, or was NaN.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _read_table(results_dir / "steps" / f"{trial_id}.parquet", f"steps of trial {trial_id}")


def read_evals(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's evaluations, in order.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _read_table(results_dir / "evals" / f"{trial_id}.parquet", f"evaluations of trial {trial_id}")


def read_health(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's sampled numbers of its model, in order; metric and path are categorical.

    Raises:
        ResultsError: there is no such table, or it cannot be read.
    """
    return _read_table(results_dir / "health" / f"{trial_id}.parquet", f"health samples of trial {trial_id}")


def load_steps(results_dir: Path, trial_id: str) -> list[StepRecord]:
    """A trial's steps as records, to go on with an interrupted training.

    A table of an earlier version does not tell a number that was not logged from a NaN: of all but the loss, both come
    back as None.

    Raises:
        ResultsError: the table cannot be read.
    """
    table = _table(results_dir / "steps" / f"{trial_id}.parquet")
    rows: list[dict[str, Any]] = table.to_pylist()
    is_earlier = (table.schema.metadata or {}).get(b"schema_version", b"1") == b"1"
    for row in rows:
        row["skip_reason"] = SkipReason(row["skip_reason"]) if row["skip_reason"] is not None else None
        if is_earlier:
            row |= {name: None for name in _NAN_WHERE_NOT_LOGGED if row[name] is not None and math.isnan(row[name])}
    return [StepRecord(**row) for row in rows]


def load_health(results_dir: Path, trial_id: str) -> list[HealthRecord]:
    """A trial's health samples as records; none where none were taken.

    Raises:
        ResultsError: the table cannot be read.
    """
    path = results_dir / "health" / f"{trial_id}.parquet"
    rows = _rows(path) if path.is_file() else []
    return [HealthRecord(**{**row, "metric": HealthMetric(row["metric"])}) for row in rows]


def load_evals(results_dir: Path, trial_id: str) -> list[EvalRecord]:
    """A trial's evaluations as records.

    Raises:
        ResultsError: the table cannot be read.
    """
    names = [f.name for f in dataclasses.fields(EvalRecord)]
    rows = _rows(results_dir / "evals" / f"{trial_id}.parquet")
    return [EvalRecord(**{name: row[name] for name in names}) for row in rows]
