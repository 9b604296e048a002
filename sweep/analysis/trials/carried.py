"""Trials of other studies, and of other tools, as trainings of a study's space: what `search.warm_start` names.

Most studies name nothing: what takes long to import is imported where it is used.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from slr_models.errors import ResultsError, SettingError
from sweep import store
from sweep.boundary.prior import Prior
from sweep.records import UNMEASURED_MARGIN
from sweep.search import StabilitySearch
from sweep.space import Scalar, Settings, Space, is_active, ordered, value_at
from sweep.store.prior import MARGIN, NOTHING, STABLE, Carried, CarriedOver, read_prior
from sweep.study import Study, read_study
from sweep.wording import short_keys

MOST_OF_A_SOURCE = 150
"""Trainings of one study that are taken over: those that tell most."""
TABLES = (".csv", ".parquet")


def carried_over(study: Study, results_dir: Path) -> tuple[CarriedOver, list[str]]:
    """What a study begins with, and a sentence on each of its sources; from its own folder where that has it.

    Raises:
        ResultsError: a folder or a table cannot be read.
        SettingError: one is neither, or says nothing of any setting that is searched.
    """
    sources = warm_start_of(study)
    if not sources:
        return NOTHING, []
    space = _content(study)["space"]
    kept = read_prior(results_dir)
    if tuple(kept.sources) == sources and kept.space == space:
        return kept, []
    trials: list[Carried] = []
    notes = []
    for source, name in enumerate(sources):
        rows = list(_rows(study, Path(name)))
        held = [(setting, margin) for setting, margin in rows if setting is not None]
        if not held:
            raise SettingError(
                f"search.warm_start: none of the {len(rows)} trials of {name} lies in this study's space: leave it out"
            )
        taken = _most_telling(study.space, held)
        trials += [Carried(source, dict(setting), margin) for setting, margin in taken]
        most = f", of which {len(taken)} tell most" if len(taken) < len(held) else ""
        notes.append(f"{name}: {len(held)} of {len(rows)} trials lie in the space{most}")
    return CarriedOver(sources, trials, space), notes


def warm_start_of(study: Study) -> tuple[str, ...]:
    """What the study's search names; nothing for a design, or a search that learns from no others."""
    search = study.search
    return search.warm_start if study.design is None and isinstance(search, StabilitySearch) else ()


def prior_of(carried: CarriedOver) -> Prior:
    """As the model takes it."""
    trials = carried.trials
    return Prior([t.settings for t in trials], [t.margin for t in trials], [t.source + 1 for t in trials])


def _most_telling(space: Space, held: list[tuple[Settings, float]]) -> list[tuple[Settings, float]]:
    if len(held) <= MOST_OF_A_SOURCE:
        return held
    from sweep.boundary.encoding import Encoding
    from sweep.boundary.thinning import informative_rows

    settings, margins = zip(*held, strict=True)
    return [held[row] for row in informative_rows(Encoding(space), settings, margins, MOST_OF_A_SOURCE)]


def _rows(study: Study, path: Path) -> Iterator[tuple[Settings | None, float]]:
    """Setting and margin of each trial that tells; None for the setting where it does not lie in the space."""
    if path.suffix in TABLES:
        yield from _of_table(study.space, path)
    elif (path / "study.yaml").is_file():
        yield from _of_results(study, path)
    else:
        raise SettingError(
            f"search.warm_start: {path} is neither a results folder of a study nor a table ({' or '.join(TABLES)})"
        )


def _of_results(study: Study, folder: Path) -> Iterator[tuple[Settings | None, float]]:
    from sweep.analysis.trials.tried import telling

    old, known = read_study(folder).study, telling(store.read_trials(folder))
    fixed_then, fixed_now = _content(old), _content(study)
    for _, row in known.iterrows():

        def then(path: str, row: "pd.Series[Any]" = row) -> Any:
            return row[path] if path in old.searched and path in row else value_at(fixed_then, path)

        # What was searched then and is fixed now has to have this value.
        others = (p for p in old.searched if p not in study.searched)
        same = all(_same(row.get(p), value_at(fixed_now, p)) for p in others)
        yield (_setting(study.space, then) if same else None), float(row["margin"])


def _of_table(space: Space, path: Path) -> Iterator[tuple[Settings | None, float]]:
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise ResultsError(f"search.warm_start: {path} cannot be read: {' '.join(str(error).split())[:200]}") from error
    names = {path: key for path, key in short_keys(space).items()}
    lacking = [p for p in space if p not in table and names[p] not in table and not space[p].when]
    if lacking:
        raise SettingError(
            f"search.warm_start: {path} has no column {names[lacking[0]]} ({lacking[0]}): it has "
            f"{', '.join(map(str, table.columns))}"
        )
    if MARGIN not in table and STABLE not in table:
        raise SettingError(
            f"search.warm_start: {path} has neither a column {MARGIN} (in [-1, 1], negative for a stable training) nor "
            f"{STABLE} (true or false)"
        )
    for number, (_, row) in enumerate(table.iterrows(), start=2):
        setting = _setting(space, lambda p, row=row: row[p] if p in row else row.get(names[p]))
        yield setting, _margin(row, f"{path}, row {number}")


def _margin(row: "pd.Series[Any]", where: str) -> float:
    """Of a table's row; a training whose margin is none is an unstable one."""
    if MARGIN in row:
        try:
            margin = float(row[MARGIN])
        except (TypeError, ValueError) as error:
            raise SettingError(
                f"search.warm_start: {where}: {MARGIN} is {row[MARGIN]!r}, which is no number"
            ) from error
        return min(max(margin, -1.0), 1.0) if math.isfinite(margin) else UNMEASURED_MARGIN
    told = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
    stable = told.get(str(row[STABLE]).strip().lower())
    if stable is None:
        raise SettingError(f"search.warm_start: {where}: {STABLE} is {row[STABLE]!r}: give true or false")
    return -UNMEASURED_MARGIN if stable else UNMEASURED_MARGIN


def _setting(space: Space, value: Any) -> Settings | None:
    """The setting of a trial, from what says the value at a path; None where it does not lie in the space."""
    from sweep.analysis.trials.tried import as_searched, lies_in

    setting: dict[str, Scalar] = {}
    for path in ordered(space):
        if not is_active(space[path], setting):
            continue
        try:
            found = as_searched(value(path), space[path])
        except (TypeError, ValueError):
            return None
        if found is None:
            return None
        setting[path] = found
    return setting if lies_in(space, setting) else None


def _content(study: Study) -> dict[str, Any]:
    return study.model_dump(mode="json", by_alias=True)


def _same(first: Any, second: Any) -> bool:
    if first is None or (isinstance(first, float) and math.isnan(first)):
        return True
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.isclose(first, second)
    return str(first) == str(second)
