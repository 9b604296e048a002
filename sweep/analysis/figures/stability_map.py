"""Where in the plane of two settings trainings were stable; along one setting where there is but one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.trials.columns import levels_of
from sweep.analysis.trials.dimensions import Dimension, learning_rate, map_axes, plain
from sweep.analysis.trials.outcomes import at_level, judged, mapped
from sweep.records import NotKnown, Outcome


@dataclass(frozen=True)
class MapCell:
    """One trial on the map."""

    trial_id: str
    number: int
    seed: int
    x: float
    y: float
    """NaN where the setting was inactive, or where the map has one axis only; of a category the place of its level."""
    outcome: Outcome
    reason: str


@dataclass(frozen=True)
class MapPanel:
    """The trials of one level (a precision)."""

    level: Any
    cells: tuple[MapCell, ...]
    why_empty: str | None
    """Why there is nothing to see, if there is nothing."""


@dataclass(frozen=True)
class MapInfo:
    """What the map shows."""

    x: Dimension
    y: Dimension | None
    """None where one numeric setting was searched only."""
    panel_name: str | None
    panels: tuple[MapPanel, ...]
    num_changed: int
    """Trials left out: their settings changed on the way, so their outcome belongs to no one place."""


def map_info(
    trials: pd.DataFrame,
    dims: Sequence[Dimension],
    panel: Dimension | None,
    axes: tuple[Dimension, Dimension | None] | None = None,
) -> MapInfo | NotKnown:
    """The trials on the map.

    Args:
        trials: rows of the finished trials; open ends are shown too.
        dims: the searched settings.
        panel: the category that panels are split by.
        axes: the settings to draw over; `map_axes` chooses where none are given.
    """
    chosen = axes or map_axes(dims, judged(trials)) or _one_axis(dims)
    if chosen is None:
        return NotKnown("A map needs a numeric setting in the study's space; this study searches none.")
    x, y = chosen
    levels = levels_of(panel, trials) if panel else [None]
    held = trials.drop(index=judged(trials).index.difference(mapped(trials).index))
    panels = []
    for level in levels:
        part = at_level(held, panel.path, level) if panel else held
        known = part[part[x.path].notna()] if x.path in part else part.iloc[0:0]
        cells = tuple(_cell(row, x, y) for row in known.to_dict("records"))
        panels.append(MapPanel(level, cells, None if cells else _why_empty(len(held), len(part), x)))
    return MapInfo(x, y, panel.name if panel else None, tuple(panels), len(trials) - len(held))


def _one_axis(dims: Sequence[Dimension]) -> tuple[Dimension, None] | None:
    first = learning_rate(dims) or next((d for d in dims if d.kind == "number"), None)
    return None if first is None else (first, None)


def _why_empty(num_all: int, num_here: int, x: Dimension) -> str:
    if num_all == 0:
        return "No trial has finished yet."
    if num_here == 0:
        return "No trial was run here yet."
    return f"The setting {x.name} was inactive in all {num_here} trials here."


def height_of(dim: Dimension, value: Any) -> float:
    """Where a value lies along the upright axis; of a category the place of its level; NaN where there is none."""
    if value is None:
        return math.nan
    return float(dim.levels.index(value) if dim.kind == "category" else value)


def _cell(row: dict[Any, Any], x: Dimension, y: Dimension | None) -> MapCell:
    return MapCell(
        trial_id=str(row["trial_id"]),
        number=int(row["number"]),
        seed=int(row["seed"]),
        x=float(row[x.path]),
        y=math.nan if y is None else height_of(y, plain(row.get(y.path))),
        outcome=Outcome(row["verdict"]),
        reason=str(plain(row["reason"]) or ""),
    )
