"""Tables of several runs, of which one is judged, and of several sets of data, told apart by a column."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from slr_models.errors import UserError
from sweep.logs.choice import RUN_NAMES, SET_NAMES, ColumnChoice
from sweep.logs.columns import HELD_OUT, meaning_of, normal_form
from sweep.logs.raw import Bools, Column, NumberCells, RawLog
from sweep.logs.tables import one_run


def of_one_run(path: Path, raw: RawLog, choice: ColumnChoice) -> RawLog:
    """The rows of the run that is to be judged.

    Raises:
        UserError: There are several and none is chosen, or there is none of that name.
    """
    found = next((name for name in raw.columns if normal_form(name) in RUN_NAMES), None)
    labels = [] if found is None else _labels(raw.columns[found])
    runs = list(dict.fromkeys(label for label in labels if label))
    # What is different in nearly every row names no runs; those of a text were counted.
    is_counted = raw.is_text and found == "run" and isinstance(raw.columns[found], NumberCells)
    if found is None or not runs or (3 * len(runs) > max(raw.num_rows, 3) and not is_counted):
        if choice.run is not None and not any(note == f"the run is {choice.run}" for note in raw.notes):
            raise UserError(f"{path} does not hold several runs, so --run {choice.run} chooses nothing; leave it out")
        return raw
    if len(runs) == 1 and choice.run is None:
        return raw
    run = one_run(path, runs, choice)
    kept = np.array([label == run for label in labels])
    columns = {name: _rows(column, kept) for name, column in raw.columns.items()}
    lines = [line for line, keep in zip(raw.lines, kept, strict=True) if keep] if raw.lines else None
    return replace(
        raw,
        num_rows=int(kept.sum()),
        columns=columns,
        lines=lines,
        filled=lambda: [marks[kept] for marks in raw.filled()],
        said={field: _numbers(said, kept) for field, said in raw.said.items()},
        notes=(*raw.notes, f"the run is {run}"),
    )


def with_sets_apart(raw: RawLog) -> RawLog:
    """The same log with the losses of held-out data in columns of their own: `loss` beside `val loss`."""
    for name in raw.columns:
        if normal_form(name) not in SET_NAMES or isinstance(raw.columns[name], NumberCells):
            continue
        labels = [label.lower() for label in _labels(raw.columns[name])]
        held_out = np.array([not HELD_OUT.isdisjoint(label.replace("_", " ").split()) for label in labels], dtype=bool)
        if held_out.any() and not held_out.all():
            columns = dict(raw.columns)
            label = labels[int(np.argmax(held_out))]
            for loss, column in raw.columns.items():
                if (meaning := meaning_of(loss)) is not None and meaning.field == "loss":
                    columns[loss], columns[f"{label} {loss}"] = _only(column, ~held_out), _only(column, held_out)
            note = f"rows whose {name} is {label} are held out"
            return replace(raw, columns=columns, names=tuple(columns), notes=(*raw.notes, note))
    return raw


def _only(column: Column, kept: Bools) -> Column:
    """A column of which only some rows are logged."""
    if isinstance(column, NumberCells):
        return NumberCells(np.where(kept, column.values, np.nan), column.logged & kept)
    return [cell if keep else None for cell, keep in zip(column, kept, strict=True)]


def _labels(column: Column) -> list[str]:
    if isinstance(column, NumberCells):
        return [f"{value:g}" if logged else "" for value, logged in zip(column.values, column.logged, strict=True)]
    return ["" if cell is None else str(cell).strip() for cell in column]


def _rows(column: Column, kept: Bools) -> Column:
    if isinstance(column, NumberCells):
        return _numbers(column, kept)
    return [cell for cell, keep in zip(column, kept, strict=True) if keep]


def _numbers(column: NumberCells, kept: Bools) -> NumberCells:
    return NumberCells(column.values[kept], column.logged[kept])
