"""Where in the plane of two settings trainings were stable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.dimensions import Dimension, map_axes, plain
from sweep.analysis.outcomes import at_level
from sweep.analysis.sensitivity import levels_of
from sweep.records import Outcome


@dataclass(frozen=True)
class MapCell:
    """One trial on the map."""

    trial_id: str
    number: int
    seed: int
    x: float
    y: float
    """NaN where the setting was inactive."""
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
    y: Dimension
    panel_name: str | None
    panels: tuple[MapPanel, ...]


def map_info(trials: pd.DataFrame, dims: Sequence[Dimension], panel: Dimension | None) -> MapInfo | str:
    """The map, or one sentence that says why there is none."""
    axes = map_axes(dims, trials)
    if axes is None:
        return "A map needs two numeric settings in the study's space; this study searches fewer."
    x, y = axes
    levels = levels_of(panel, trials) if panel else [None]
    panels = []
    for level in levels:
        part = at_level(trials, panel.path, level) if panel else trials
        known = part[part[x.path].notna()] if x.path in part else part.iloc[0:0]
        cells = tuple(_cell(row, x, y) for row in known.to_dict("records"))
        panels.append(MapPanel(level, cells, None if cells else _why_empty(len(trials), len(part), x)))
    return MapInfo(x, y, panel.name if panel else None, tuple(panels))


def _why_empty(num_all: int, num_here: int, x: Dimension) -> str:
    if num_all == 0:
        return "No trial has finished yet."
    if num_here == 0:
        return "No trial was run here yet."
    return f"The setting {x.name} was inactive in all {num_here} trials here."


def _cell(row: dict[Any, Any], x: Dimension, y: Dimension) -> MapCell:
    height = plain(row.get(y.path))
    return MapCell(
        trial_id=str(row["trial_id"]),
        number=int(row["number"]),
        seed=int(row["seed"]),
        x=float(row[x.path]),
        y=math.nan if height is None else float(height),
        outcome=Outcome(row["verdict"]),
        reason=str(plain(row["reason"]) or ""),
    )
