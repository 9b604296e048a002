"""The table of trials as settings of a space: what a model of the boundary is fitted to."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import TypeAdapter

from sweep.analysis.trials.dimensions import plain
from sweep.analysis.trials.outcomes import mapped
from sweep.boundary.encoding import axis
from sweep.records import Outcome, Phase
from sweep.space import Choice, Dimension, Grid, Integer, Scalar, Settings, Space, contains

_SILENT = tuple(o.value for o in Outcome if o.is_broken_off or o is Outcome.INFEASIBLE_DATA)
"""Ends that say nothing about how stable a setting is."""

_ROUNDING = 0.01
"""Part of a range by which three digits may pass its end."""
_SPACE: TypeAdapter[Space] = TypeAdapter(Space)


def space_of(space: Mapping[str, Any]) -> Space:
    """A study's `space` as dimensions: from its plain mapping, as study.yaml holds it, or from dimensions."""
    return _SPACE.validate_python(dict(space))


def of_space(trials: pd.DataFrame) -> pd.DataFrame:
    """The judged trials of settings of the space, by number; confirming ones stay.

    Left out are open ends, those that a scheduler gave other settings on the way, and those at full size.
    """
    known = mapped(trials)
    # Rows in another order would round to another model.
    return known[known["phase"] != Phase.FULL_SIZE].sort_values("number", kind="stable")


def inside(trials: pd.DataFrame, space: Space) -> pd.DataFrame:
    """The trials whose settings lie in the space; those of a study whose ranges were changed may not."""
    kept = [lies_in(space, setting) for setting in settings_of(trials, space)]
    return trials if all(kept) else trials[np.array(kept, dtype=bool)]


def lies_in(space: Space, setting: Mapping[str, Scalar]) -> bool:
    """Whether each value of a setting lies in its range, which a recommended one may pass by a rounding."""
    return all(path in space and _holds(space[path], value) for path, value in setting.items())


def _holds(dimension: Dimension, value: Scalar) -> bool:
    if isinstance(dimension, Choice | Grid) or isinstance(value, bool | str):
        return contains(dimension, value)
    scale = axis(dimension)
    if scale is None or (scale.log and value <= 0):
        return False
    return -_ROUNDING <= scale.to_unit(float(value)) <= 1 + _ROUNDING


def telling(trials: pd.DataFrame) -> pd.DataFrame:
    """Those of `of_space` that speak about the stability of their settings.

    Not so those that crashed or ran out of memory, whose data cannot be aligned, or that have no finite margin.
    """
    known = of_space(trials)
    kept = np.isfinite(known["margin"].astype(float)) & ~known["verdict"].isin(_SILENT)
    return known[kept.astype(bool)]


def settings_of(trials: pd.DataFrame, space: Space) -> list[Settings]:
    """The settings of each trial; a dimension that was inactive is missing."""
    columns = {path: [as_searched(v, dim) for v in trials[path]] for path, dim in space.items() if path in trials}
    rows = zip(*columns.values(), strict=True) if columns else iter([()] * len(trials))
    return [{p: v for p, v in zip(columns, row, strict=True) if v is not None} for row in rows]


def as_searched(value: Any, dimension: Dimension) -> Scalar | None:
    """A cell in the type that the study gave it: the table keeps numbers as floats and mixed columns as text."""
    found: Scalar | None = plain(value)
    if found is None:
        return None
    if isinstance(dimension, Choice | Grid):
        same = [v for v in dimension.ends if v == found and isinstance(v, bool) == isinstance(found, bool)]
        return next(iter([*same, *(v for v in dimension.ends if str(v) == str(found))]), found)
    return round(float(found)) if isinstance(dimension, Integer) else float(found)
