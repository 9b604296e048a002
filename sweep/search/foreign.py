"""Trials of other tools as a table: a column a setting, and whether each was stable."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from slr_models.errors import ResultsError, SettingError
from sweep.records import UNMEASURED_MARGIN
from sweep.space import flat
from sweep.store.files import read_bytes
from sweep.store.prior import MARGIN, STABLE
from sweep.wording import first_line

FAILED = "failed"
"""A column: whether a trial ended by an error."""
_FLAGS = {
    **dict.fromkeys(("true", "yes", "1", "1.0"), True),
    **dict.fromkeys(("false", "no", "0", "0.0"), False),
}
_MAX_MIB = 64
_REMEDY = "leave it out"


@dataclass(frozen=True)
class StableRule:
    """When a trial counts as stable."""

    metric: str | None
    below: float | None
    above: float | None


def read_foreign(source: str, study: str | None = None) -> pd.DataFrame:
    """The trials of an Optuna storage, of a results folder of Ray Tune or of a CSV file; `failed` is one more column.

    Args:
        source: an address of a storage, or a path.
        study: of an Optuna storage that holds several.

    Raises:
        SettingError: it is none of these, or holds several studies, or none of this name.
        ResultsError: it cannot be read, or holds no trial.
    """
    path = Path(source)
    if "://" in source or path.suffix in (".db", ".sqlite", ".sqlite3", ".journal", ".log"):
        rows = list(_of_optuna(source, study))
    elif path.is_dir():
        rows = list(_of_ray(path))
    elif path.suffix == ".csv" and path.is_file():
        try:
            rows = [{str(k): v for k, v in row.items()} for row in pd.read_csv(path).to_dict("records")]
        except (OSError, ValueError) as error:
            raise ResultsError(f"{path} cannot be read: {first_line(error)}") from error
    else:
        raise SettingError(
            f"{source} is no Optuna storage (sqlite:///x.db, x.db, a journal file), no folder of Ray Tune, no CSV file"
        )
    if not rows:
        raise ResultsError(f"{source} holds no finished trial")
    return pd.DataFrame(rows)


def told_stable(table: pd.DataFrame, rule: StableRule, source: str) -> pd.DataFrame:
    """The table with a column `margin` or `stable`, and without `failed`; without rows of which nobody tells.

    Raises:
        SettingError: the rule names no column, neither it nor the table tells what was stable, or a row tells it
            wrongly.
    """
    failed = table[FAILED].map(_is_true) if FAILED in table else pd.Series(False, index=table.index)
    kept = table.drop(columns=FAILED, errors="ignore")
    bound = rule.below if rule.below is not None else rule.above
    if bound is None:
        if MARGIN in kept or STABLE in kept:
            return _as_told(kept, failed, source)
        raise SettingError(
            f"{source} does not say which trials were stable: give --metric and --stable-below (or --stable-above); it "
            f"has {', '.join(map(str, kept.columns))}"
        )
    metric = rule.metric or ("value" if "value" in kept else None)
    if metric is None or metric not in kept:
        raise SettingError(f"--metric {metric}: {source} has {', '.join(map(str, kept.columns))}")
    values = pd.to_numeric(kept[metric], errors="coerce")
    beyond = values < bound if rule.below is not None else values > bound
    finite = values.map(lambda value: math.isfinite(value))
    return kept.drop(columns=[MARGIN], errors="ignore").assign(**{STABLE: beyond & finite & ~failed})


def _as_told(table: pd.DataFrame, failed: "pd.Series[bool]", source: str) -> pd.DataFrame:
    """The table by its own columns: a margin, else whether it was stable; what failed was not."""
    name = MARGIN if MARGIN in table else STABLE
    found: list[float | bool | None] = []
    for number, (row, has_failed) in enumerate(zip(table.to_dict("records"), failed, strict=True), start=1):
        told, stable = row[name], row.get(STABLE)
        try:
            if name == STABLE or _is_empty(told):
                is_stable = None if _is_empty(stable) else _flag(stable)
                is_stable = False if has_failed else is_stable
                margin = None if is_stable is None else -UNMEASURED_MARGIN if is_stable else UNMEASURED_MARGIN
                found.append(is_stable if name == STABLE else margin)
            else:
                found.append(max(float(told), UNMEASURED_MARGIN) if has_failed else float(told))
        except ValueError as error:
            kind = f"{STABLE} is {stable!r}: give true or false"
            if name == MARGIN and not _is_empty(told):
                kind = f"{MARGIN} is {told!r}: give a number"
            raise SettingError(f"{source}: of trial {number}, {kind}") from error
    known = [value is not None for value in found]
    return table.assign(**{name: pd.Series(found, index=table.index, dtype=object)})[known].astype(
        {name: bool if name == STABLE else float}
    )


def _is_empty(value: object) -> bool:
    return value is None or value != value or str(value).strip() == ""


def _is_true(value: object) -> bool:
    """Whether a cell of the column `failed` says so; an empty one does not."""
    return not _is_empty(value) and str(value).strip().lower() not in ("false", "0", "0.0", "no")


def _flag(value: object) -> bool:
    """Raises ValueError for what is neither true nor false."""
    told = _FLAGS.get(str(value).strip().lower())
    if told is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return told


def _of_optuna(source: str, study: str | None) -> Iterator[dict[str, Any]]:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = Path(source)
    if "://" not in source and not path.is_file():
        raise ResultsError(f"{source} does not exist")
    try:
        if path.suffix in (".journal", ".log"):
            storage: Any = JournalStorage(JournalFileBackend(source))
        else:
            storage = source if "://" in source else f"sqlite:///{source}"
        names = optuna.get_all_study_names(storage)
        if study is None and len(names) != 1:
            raise SettingError(f"{source} holds {len(names)} studies: give --study ({', '.join(names[:5])})")
        if study is not None and study not in names:
            raise SettingError(f"--study {study}: {source} holds {', '.join(names[:5])}")
        trials = optuna.load_study(study_name=study or names[0], storage=storage).trials
    except SettingError:
        raise
    except Exception as error:
        # Of whichever library reads the storage.
        raise ResultsError(f"{source} cannot be read as an Optuna storage: {first_line(error)}") from error
    for trial in trials:
        if trial.state not in (TrialState.COMPLETE, TrialState.FAIL):
            # What a pruner ended, nobody can tell of.
            continue
        attributes = {k: v for k, v in trial.user_attrs.items() if k in (MARGIN, STABLE)}
        told = attributes.get(MARGIN)
        if isinstance(told, float) and not math.isfinite(told):
            attributes[MARGIN] = UNMEASURED_MARGIN
        value = trial.values[0] if trial.values else math.nan
        yield {**trial.params, "value": value, **attributes, FAILED: trial.state is TrialState.FAIL}


def _of_ray(folder: Path) -> Iterator[dict[str, Any]]:
    """Of each trial's folder: its settings, and its last result."""
    for path in sorted(folder.rglob("params.json")):
        result = path.with_name("result.json")
        if not result.is_file():
            continue
        try:
            params = json.loads(read_bytes(path, _MAX_MIB, _REMEDY))
            lines = [line for line in read_bytes(result, _MAX_MIB, _REMEDY).splitlines() if line.strip()]
            last = json.loads(lines[-1]) if lines else {}
        except ValueError as error:
            raise ResultsError(f"{path.parent} cannot be read: {first_line(error)}") from error
        metrics = {k: v for k, v in last.items() if k != "config" and isinstance(v, int | float)}
        settings = {k: v for k, v in flat(params).items() if isinstance(v, bool | int | float | str)}
        yield {**metrics, **settings, FAILED: path.with_name("error.txt").exists()}
