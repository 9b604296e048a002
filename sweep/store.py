"""The results folder: Parquet and YAML schemas, atomic writes, readers. Only here are results read and written.

    <results>/<study>/
      study.yaml              the study as validated, with `provenance` (versions, host, data facts)
      ledger.jsonl            append-only truth: what was asked and what came of it
      trials.parquet          one row a finished trial
      steps/<trial>.parquet   one row a training step
      evals/<trial>.parquet   one row an evaluation on the validation split
      health/<trial>.parquet  one row a sampled number of the model: headroom, update ratio and the like
      evidence/<trial>/       explanation.json: why a bad trial went bad; traceback.txt of a crash;
                              forensics_error.txt where explaining it failed
      stability_map.parquet   P(stable) on a grid: one row a point; absent where the trials show no edge
      edges.parquet           where training stops being stable: one row an edge, or a slice without one
      importance.json         which searched settings matter, by method and dotted path
      claims.json             what became of the claims of a design: verdicts, effects, intervals
      recipe.yaml             the recommended settings as a study that trains once, with their evidence
      recipe.py               the same as plain PyTorch, to copy

Every file is written beside its place and then renamed over it: a reader never sees half a file.
"""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from slr_models.errors import ResultsError
from sweep.explanation import Cause, Counterfactual, Explanation, FirstNonfinite, Place
from sweep.records import EvalRecord, HealthMetric, HealthRecord, SkipReason, StepRecord

SCHEMA_VERSION = "1"

STEP_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("loss", pa.float32()),
        ("grad_norm", pa.float32()),
        ("loss_scale", pa.float32()),
        ("applied", pa.bool_()),
        ("skip_reason", pa.string()),
        ("lr", pa.float32()),
        ("num_samples", pa.int32()),
        ("num_infeasible", pa.int32()),
        ("time_s", pa.float32()),
        ("blank_rate", pa.float32()),
        ("input_dependence", pa.float32()),
        ("params_finite", pa.bool_()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)

EVAL_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("val_loss", pa.float64()),
        ("wer", pa.float64()),
        ("substitutions", pa.int64()),
        ("deletions", pa.int64()),
        ("insertions", pa.int64()),
        ("num_labels", pa.int64()),
        ("blank_rate", pa.float64()),
        ("input_dependence", pa.float64()),
        ("time_s", pa.float64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)

HEALTH_SCHEMA = pa.schema(
    [
        ("step", pa.int32()),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("path", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float32()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)

TRIAL_SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("number", pa.int64()),
        ("group", pa.int64()),
        ("seed", pa.int64()),
        ("phase", pa.string()),
        ("block", pa.int64()),
        ("cell", pa.string()),
        ("verdict", pa.string()),
        ("stable", pa.bool_()),
        ("cause", pa.string()),
        ("reason", pa.string()),
        ("audited", pa.bool_()),
        ("alarm", pa.string()),
        ("stop_step", pa.int64()),
        ("num_steps", pa.int64()),
        ("max_steps", pa.int64()),
        ("objective", pa.float64()),
        ("margin", pa.float64()),
        ("final_train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("best_val_loss", pa.float64()),
        ("wer", pa.float64()),
        ("best_wer", pa.float64()),
        ("l_const", pa.float64()),
        ("l_unif", pa.float64()),
        ("applied_update_rate", pa.float64()),
        ("skipped_calibration", pa.int64()),
        ("skipped_nonfinite", pa.int64()),
        ("skipped_threshold", pa.int64()),
        ("skipped_infeasible", pa.int64()),
        ("wall_s", pa.float64()),
        ("cpu_s", pa.float64()),
        ("forensics_s", pa.float64()),
        ("step_time_s", pa.float64()),
        ("peak_memory_mib", pa.float64()),
        ("precision_implementation", pa.string()),
        ("settings_changed_at_step", pa.int64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""The fixed columns; a column a searched setting follows, named by its dotted path."""

MAP_SCHEMA = pa.schema([("p_stable", pa.float64())], metadata={"schema_version": SCHEMA_VERSION})
"""The fixed column; `level` (the value of the setting that panels are split by) and the two axes stand beside it."""

EDGE_SCHEMA = pa.schema(
    [
        ("along", pa.string()),
        ("side", pa.string()),
        ("value", pa.float64()),
        ("inner", pa.float64()),
        ("outer", pa.float64()),
        ("width", pa.float64()),
        ("always", pa.string()),
        ("num_near", pa.int64()),
        ("stable_decades", pa.float64()),
    ],
    metadata={"schema_version": SCHEMA_VERSION},
)
"""The fixed columns; a column a setting of the slice stands beside them, named by its dotted path."""

MAP_FILE, EDGES_FILE, IMPORTANCE_FILE = "stability_map.parquet", "edges.parquet", "importance.json"
CLAIMS_FILE = "claims.json"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; renames it to `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files private; results are as readable as anything else that the user makes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as YAML, keys in their given order, atomically."""
    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100))


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _read_table(path: Path, what: str) -> pd.DataFrame:
    if not path.is_file():
        raise ResultsError(f"{path} does not exist, so there are no {what}: is this a results folder of a study?")
    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error
    return frame


def _unreadable(path: Path, error: Exception) -> ResultsError:
    if path.name == "trials.parquet":
        remedy = "delete it, then run the study's command again: it writes the table anew from ledger.jsonl"
    else:
        remedy = "delete it: the report does without it"
    return ResultsError(f"{path} cannot be read as Parquet ({error}): {remedy}")


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


def write_importance(results_dir: Path, shares: Mapping[str, Mapping[str, float]]) -> None:
    """Writes which searched settings matter: method -> dotted path -> share."""
    write_text(results_dir / IMPORTANCE_FILE, json.dumps(shares, indent=2, allow_nan=False) + "\n")


def read_importance(results_dir: Path) -> dict[str, dict[str, float]]:
    """Which searched settings matter: method -> dotted path -> share; empty where nobody has estimated it.

    Raises:
        ResultsError: the file is there, but is no such mapping.
    """
    path = results_dir / IMPORTANCE_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {method: {p: float(share) for p, share in shares.items()} for method, shares in content.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ResultsError(f"{path} is damaged ({error}): delete it; the study's command writes it anew") from error


def write_claims(results_dir: Path, findings: Sequence[Mapping[str, Any]]) -> None:
    """Writes what became of a study's claims, in their order. JSON has no NaN and no infinity: both are null there."""
    text = json.dumps(without_nonfinite(list(findings)), indent=2, allow_nan=False)
    write_text(results_dir / CLAIMS_FILE, text + "\n")


def read_claims(results_dir: Path) -> list[dict[str, Any]]:
    """What became of a study's claims, as it was written; empty where nobody has judged them.

    Raises:
        ResultsError: the file is there, but is no list of findings.
    """
    path = results_dir / CLAIMS_FILE
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [dict(finding) for finding in content]
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path} is damaged ({error}): delete it; the study's command writes it anew") from error


def evidence_path(results_dir: Path, trial_id: str, name: str) -> Path:
    """Where a piece of evidence about a trial lies: explanation.json, traceback.txt or forensics_error.txt."""
    return results_dir / "evidence" / trial_id / name


def write_explanation(results_dir: Path, trial_id: str, explanation: Explanation) -> None:
    """Writes why a trial went bad. JSON has no NaN: an unknown number is null there."""
    text = json.dumps(without_nonfinite(dataclasses.asdict(explanation)), indent=2, allow_nan=False)
    write_text(evidence_path(results_dir, trial_id, "explanation.json"), text + "\n")


def read_explanation(results_dir: Path, trial_id: str) -> Explanation | None:
    """Why a trial went bad; None where nobody has explained it.

    Raises:
        ResultsError: the file is there, but is no explanation.
    """
    path = evidence_path(results_dir, trial_id, "explanation.json")
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        first = content["first_nonfinite"]
        return Explanation(
            **{
                **content,
                "cause": Cause(content["cause"]),
                "details": tuple(content["details"]),
                "first_nonfinite": first and FirstNonfinite(**{**_numbers(first), "place": Place(first["place"])}),
                "counterfactuals": tuple(Counterfactual(**_numbers(item)) for item in content["counterfactuals"]),
            }
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{path} is not an explanation ({error}): delete it, or write it anew with "
            f"python -m sweep.explain {results_dir} {trial_id}"
        ) from error


_EXPLANATION_NUMBERS = ("input_absmax", "output_absmax", "end_loss")


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """A part of an explanation with its unknown numbers as NaN."""
    return {k: math.nan if v is None and k in _EXPLANATION_NUMBERS else v for k, v in content.items()}


def without_nonfinite(value: Any) -> Any:
    """The value as JSON can hold it: null for every number that is NaN or infinite, lists for tuples."""
    if isinstance(value, Mapping):
        return {key: without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    frame = _read_table(results_dir / "trials.parquet", "trials").sort_values("number", ignore_index=True)
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
    try:
        table = pq.ParquetFile(path).read(columns=list(names), use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from error
    return {name: table.column(name).to_numpy() for name in names}


def read_steps(results_dir: Path, trial_id: str) -> pd.DataFrame:
    """A trial's steps, in order.

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
    """A trial's steps as records, to go on with an interrupted training."""
    rows: list[dict[str, Any]] = pq.read_table(results_dir / "steps" / f"{trial_id}.parquet").to_pylist()
    for row in rows:
        row["skip_reason"] = SkipReason(row["skip_reason"]) if row["skip_reason"] is not None else None
    return [StepRecord(**row) for row in rows]


def load_health(results_dir: Path, trial_id: str) -> list[HealthRecord]:
    """A trial's health samples as records; none where none were taken."""
    path = results_dir / "health" / f"{trial_id}.parquet"
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.is_file() else []
    return [HealthRecord(**{**row, "metric": HealthMetric(row["metric"])}) for row in rows]


def load_evals(results_dir: Path, trial_id: str) -> list[EvalRecord]:
    """A trial's evaluations as records."""
    names = [f.name for f in dataclasses.fields(EvalRecord)]
    rows: list[dict[str, Any]] = pq.read_table(results_dir / "evals" / f"{trial_id}.parquet").to_pylist()
    return [EvalRecord(**{name: row[name] for name in names}) for row in rows]


def read_study(results_dir: Path) -> dict[str, Any]:
    """study.yaml: the study as validated, with the key `provenance`.

    Raises:
        ResultsError: the folder or the file is missing or not a mapping.
    """
    path = results_dir / "study.yaml"
    if not results_dir.is_dir():
        raise ResultsError(f"{results_dir} is not a folder: give the results folder of a study, such as results/smoke")
    if not path.is_file():
        raise ResultsError(f"{path} does not exist: {results_dir} is not the results folder of a study")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        what = getattr(error, "problem", None) or "it cannot be read"
        raise ResultsError(
            f"{where}: not valid YAML: {what}: delete it, then run the study's command again: it writes the file anew"
        ) from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path} does not hold a mapping")
    return content
