"""The stable region as a model of the trials sees it: P(stable) on grids, its edges, volumes, what decides."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.influence import Influence, Interaction, influences
from sweep.analysis.region.slices import active, edge_slices, nearest_slice, typical
from sweep.analysis.region.thinning import informative
from sweep.analysis.trials.dimensions import Dimension, map_axes
from sweep.boundary.edges import SURE as EDGE_SURE
from sweep.boundary.edges import Edge, edges, mean_width, profile
from sweep.boundary.encoding import Encoding, edge_path
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.space import Scalar, Settings

__all__ = [
    "MapCalibration",
    "EdgeRow",
    "Influence",
    "Interaction",
    "RegionPanel",
    "Plane",
    "Region",
    "Volume",
    "region",
    "region_tables",
]

SURE = 0.95
"""A setting is surely stable, or surely not, beyond this probability."""
MAX_PLANES = 14
"""Pairs of settings that the map is drawn over, besides its own."""
_NUM_X, _NUM_Y = 41, 25
_NUM_VOLUME = 4096
_NUM_OPEN_SLICES = 64
_NUM_BINS = 10
_NUM_FOLDS = 5
_SEED = 0


@dataclass(frozen=True)
class RegionPanel:
    """P(stable) on a grid of two settings, at one level of the panel setting."""

    level: Any | None
    """None where nothing is split, or where the panel setting was inactive."""
    x_values: tuple[float, ...]
    """Along the first axis (of a region's own panels the edge dimension), evenly spread on its own scale."""
    y_values: tuple[float, ...]
    """Along the other axis; empty where there is none, or where it is inactive here."""
    p_stable: tuple[tuple[float, ...], ...]
    """[len(y_values) or 1][len(x_values)]"""
    fixed: Mapping[str, Any]
    """The other settings' values in this slice."""


@dataclass(frozen=True)
class Plane:
    """The same on grids of another two settings; the edge dimension stands at its typical place too."""

    x: Dimension
    y: Dimension
    panels: tuple[RegionPanel, ...]


@dataclass(frozen=True)
class EdgeRow:
    """The edges along the edge dimension in one slice."""

    at: Mapping[str, Any]
    """All other settings, dotted path -> value; inactive ones are absent."""
    edges: tuple[Edge, ...]
    """From low to high."""
    always: Literal["stable", "unstable"] | None
    """What the whole range is where there is no edge."""
    num_near: int
    """Trainings that lie nearer to this slice than to any other of the table."""
    stable_decades: float
    """Length of the stretch where P(stable) is at least 0.5: decades on a logarithmic axis, else units."""
    sure: bool = True
    """Where there is no edge: whether P(stable) is at least 0.9 (or at most 0.1) all along."""


@dataclass(frozen=True)
class Volume:
    """How much of the searched space is stable, at one level of the panel setting."""

    level: Any | None
    share: float
    """Share of the settings with P(stable) of 0.5 or more, in [0, 1]."""
    sure_share: float
    """Share with P(stable) of 0.95 or more."""
    unsure_share: float
    """Share with P(stable) between 0.05 and 0.95."""


@dataclass(frozen=True)
class MapCalibration:
    """How well a model of four fifths of the settings predicts the last fifth, over all fifths."""

    num: int
    """Trainings predicted."""
    brier: float
    """Mean squared error of P(stable): 0 is perfect."""
    base_brier: float
    """The same of someone who always says the stable share."""
    ece: float
    """Expected calibration error over ten bins of P, in [0, 1]; few trainings make it too large by themselves."""

    @property
    def beats_base(self) -> bool:
        """Whether the model says more than the stable share."""
        return self.brier < self.base_brier


@dataclass(frozen=True)
class Region:
    """The map of a study."""

    along: Dimension
    """The edge dimension: the learning rate where it is searched."""
    y: Dimension | None
    panel: Dimension | None
    panels: tuple[RegionPanel, ...]
    edges: tuple[EdgeRow, ...]
    volumes: tuple[Volume, ...]
    influences: tuple[Influence, ...]
    interactions: tuple[Interaction, ...]
    calibration: MapCalibration
    open_width: float
    """Mean width of an edge, from P(stable) of 0.9 to 0.1, over slices of the space: decades (units on an axis that is
    not logarithmic)."""
    num_trainings: int
    """Those that the model learned from."""
    others: tuple[Plane, ...] = ()
    """P(stable) over every other pair of numeric settings, those first that decide most; MAX_PLANES at most."""


def region(evidence: Evidence) -> Region | NotKnown:
    """Everything that the model of the boundary says about where training is stable.

    In panels and edge rows, settings that are not varied stand at a typical place: the mean of the tried stable
    settings on each setting's own scale, the most frequent value of a category.
    """
    model, panel = evidence.model, evidence.panel
    if isinstance(model, NotKnown):
        return model
    by_path = {dim.path: dim for dim in evidence.dims}
    along_path = edge_path(model.encoding)
    assert along_path is not None, "there is no model without a numeric setting"
    along = by_path[along_path]
    y = next((dim for dim in map_axes(evidence.dims, evidence.trials) or () if dim.path != along_path), None)
    known, tried = evidence.telling, evidence.settings
    middle = typical(model.encoding, [s for s, good in zip(tried, known["stable"], strict=True) if good])
    strongest, pairs = influences(model, evidence.names)
    order = [one.path for one in strongest]
    slices = edge_slices(model.encoding, along_path, middle, order, panel.path if panel else None)
    near = nearest_slice(model.encoding, slices, [s for s in tried if along_path in s])
    return Region(
        along=along,
        y=y,
        panel=panel,
        panels=_panels(model, along, y, panel, middle),
        edges=tuple(_edge_row(model, along, at, int(num)) for at, num in zip(slices, near, strict=True)),
        volumes=_volumes(model, panel),
        influences=strongest,
        interactions=pairs,
        calibration=_calibration(model.encoding, tried, known["margin"].astype(float).tolist()),
        open_width=mean_width(model, along_path, _NUM_OPEN_SLICES, _SEED),
        num_trainings=len(model.left_out()[1]),
        others=_others(model, (along, y), panel, middle, [by_path[path] for path in order]),
    )


def hot_edge(model: MarginModel, setting: Mapping[str, Scalar | None]) -> float | None:
    """The value of the edge dimension at which a setting's own slice turns from stable to unstable above it.

    Below the setting if that has itself crossed it. inf where there is none, -inf where the whole slice is unstable,
    None where the edge dimension is inactive.
    """
    along = edge_path(model.encoding)
    assert along is not None, "there is no model without a numeric setting"
    value = setting.get(along)
    if value is None:
        return None
    at = {path: v for path, v in setting.items() if path != along}
    found = edges(model, along, at)
    if not found:
        return math.inf if _always(model, along, at) == "stable" else -math.inf
    below = [edge for edge in found if edge.value <= float(value)]
    if below and below[-1].side == "hot":
        return below[-1].value
    return next((edge.value for edge in found if edge.side == "hot" and edge.value > float(value)), math.inf)


def region_tables(found: Region) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The map as two plain tables.

    Returns:
        The grid, a row a point: `level`, the axes by their dotted paths, `p_stable`. And the edges, a row an edge:
        the other settings by their dotted paths, `along`, `side`, `value`, `inner`, `outer`, `width`, `always`,
        `num_near`, `stable_decades`; a slice without an edge has one row without a side.
    """
    grid = [
        {
            "level": panel.level,
            found.along.path: x,
            **({found.y.path: y} if found.y is not None else {}),
            "p_stable": p,
        }
        for panel in found.panels
        for y, row in zip(panel.y_values or (None,), panel.p_stable, strict=True)
        for x, p in zip(panel.x_values, row, strict=True)
    ]
    rows = [
        {
            **row.at,
            "along": found.along.path,
            "side": edge.side if edge else None,
            "value": edge.value if edge else math.nan,
            "inner": edge.inner if edge else math.nan,
            "outer": edge.outer if edge else math.nan,
            "width": edge.width if edge else math.nan,
            "always": row.always,
            "num_near": row.num_near,
            "stable_decades": row.stable_decades,
        }
        for row in found.edges
        for edge in row.edges or (None,)
    ]
    return _uniform(pd.DataFrame(grid)), _uniform(pd.DataFrame(rows))


def _uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of one type each: values of several types become text, as in the table of trials."""
    for column in frame:
        values = [v for v in frame[column] if v is not None and v == v]
        if len({type(v) for v in values}) > 1 and not all(isinstance(v, float) for v in values):
            frame[column] = [None if v is None or v != v else str(v) for v in frame[column]]
    return frame


def _others(
    model: MarginModel,
    drawn: tuple[Dimension, Dimension | None],
    panel: Dimension | None,
    middle: Settings,
    dims: Sequence[Dimension],
) -> tuple[Plane, ...]:
    """All pairs of numeric settings but the drawn one; of the two the one that decides more lies along x."""
    numeric = [dim for dim in dims if dim.kind == "number"]
    along = drawn[0]
    numeric = [along, *(dim for dim in numeric if dim is not along)]
    pairs = [pair for pair in itertools.combinations(numeric, 2) if set(pair) != set(drawn)]
    planes = (Plane(x, y, _panels(model, x, y, panel, middle)) for x, y in pairs[:MAX_PLANES])
    return tuple(plane for plane in planes if plane.panels)


def _panels(
    model: MarginModel, along: Dimension, y: Dimension | None, panel: Dimension | None, middle: Settings
) -> tuple[RegionPanel, ...]:
    encoding = model.encoding
    levels: list[Settings] = [{panel.path: v} for v in encoding.space[panel.path].ends] if panel else [{}]
    # Which settings are active may depend on the level.
    places = [active(encoding.space, encoding.paths, {**middle, **level}) for level in levels]
    found = []
    for level, at in zip(levels, places, strict=True):
        if along.path not in at:
            continue
        x_scale = encoding.axis(along.path)
        y_scale = encoding.axis(y.path) if y and y.path in at else None
        assert x_scale is not None, "edges lie along a numeric dimension"
        xs = [x_scale.from_unit(place) for place in np.linspace(0, 1, _NUM_X).tolist()]
        ys = [y_scale.from_unit(place) for place in np.linspace(0, 1, _NUM_Y).tolist()] if y_scale else []
        rows: list[Settings] = [{y.path: v} for v in ys] if y is not None and ys else [{}]
        grid = [{**at, **row, along.path: x} for row in rows for x in xs]
        p = model.p_stable(grid).reshape(len(rows), len(xs))
        shown = {along.path, *([y.path] if y_scale and y else []), *([panel.path] if panel else [])}
        found.append(
            RegionPanel(
                level=level[panel.path] if panel else None,
                x_values=tuple(xs),
                y_values=tuple(ys),
                p_stable=tuple(tuple(float(v) for v in row) for row in p),
                fixed={path: value for path, value in at.items() if path not in shown},
            )
        )
    return tuple(found)


def _edge_row(model: MarginModel, along: Dimension, at: Settings, num_near: int) -> EdgeRow:
    scale = model.encoding.axis(along.path)
    assert scale is not None, "edges lie along a numeric dimension"
    found = edges(model, along.path, at)
    _, p = profile(model, along.path, at)
    is_sure = bool((p >= EDGE_SURE).all() or (p <= 1 - EDGE_SURE).all())
    length = scale.decades if scale.log else scale.high - scale.low
    return EdgeRow(
        at=at,
        edges=found,
        always=None if found else _always(model, along.path, at),
        num_near=num_near,
        stable_decades=float((p >= 0.5).mean()) * length,
        sure=is_sure,
    )


def _always(model: MarginModel, along: str, at: Settings | Mapping[str, Any]) -> Literal["stable", "unstable"]:
    return "stable" if profile(model, along, at)[1][0] >= 0.5 else "unstable"


def _volumes(model: MarginModel, panel: Dimension | None) -> tuple[Volume, ...]:
    sample = model.encoding.sobol(_NUM_VOLUME, _SEED)
    p = model.p_stable(sample)
    if panel is None:
        return (_volume(None, p),)
    here = np.array([repr(setting.get(panel.path)) for setting in sample])
    levels: list[Any] = [*model.encoding.space[panel.path].ends, None]
    return tuple(_volume(v, p[here == repr(v)]) for v in levels if (here == repr(v)).any())


def _volume(level: Any, p: "np.ndarray[Any, np.dtype[np.float64]]") -> Volume:
    unsure = (p > 1 - SURE) & (p < SURE)
    return Volume(level, float((p >= 0.5).mean()), float((p >= SURE).mean()), float(unsure.mean()))


def _calibration(encoding: Encoding, settings: Sequence[Settings], margins: Sequence[float]) -> MapCalibration:
    """Of N trainings, each predicted by a model of the other folds' settings. All seeds of a setting go together.

    The model's own `left_out` would flatter it: its length scales, noise and Platt pair have seen every training.
    """
    features, group = np.unique(encoding.encode(settings), axis=0, return_inverse=True)
    fold = (np.random.default_rng(_SEED).permutation(len(features)) % _NUM_FOLDS)[group]
    stable = np.asarray(margins) < 0
    p = np.empty(len(settings))
    for held_out in range(_NUM_FOLDS):
        seen, unseen = np.flatnonzero(fold != held_out).tolist(), np.flatnonzero(fold == held_out).tolist()
        others = informative(encoding.space, [settings[i] for i in seen], [margins[i] for i in seen])
        p[unseen] = others.p_stable([settings[i] for i in unseen])
    rate = float(stable.mean())
    bins = np.minimum((p * _NUM_BINS).astype(int), _NUM_BINS - 1)
    gaps = [abs(float((p[bins == b] - stable[bins == b]).sum())) for b in np.unique(bins)]
    return MapCalibration(
        num=len(p), brier=float(((p - stable) ** 2).mean()), base_brier=rate * (1 - rate), ece=sum(gaps) / len(p)
    )
