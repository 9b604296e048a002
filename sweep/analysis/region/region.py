"""The stable region as a model of the trials sees it: P(stable) on grids, its edges, volumes, what decides."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sweep.analysis.region.contrast import Contrast, contrasts
from sweep.analysis.region.evidence import MIN_SETTINGS, MIN_TRAININGS, Evidence
from sweep.analysis.region.influence import Influence, Interaction, influences
from sweep.analysis.region.slices import active, edge_slices, nearest_slice, typical, with_active
from sweep.analysis.trials.dimensions import Dimension, map_axes
from sweep.boundary.edges import SURE as EDGE_SURE
from sweep.boundary.edges import Edge, edges, mean_width, profile
from sweep.boundary.edges import slices as some_slices
from sweep.boundary.encoding import Encoding, Floats, edge_path
from sweep.boundary.model import MarginModel
from sweep.boundary.prior import NONE, Prior
from sweep.boundary.thinning import informative
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
_NUM_DIVISIONS = 5
_NUM_DRAWS, _LIMIT = 500, 0.9
_FEW = 150
"""Trainings up to which they are divided into folds so often."""
_SEED = 0
_Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RegionPanel:
    """P(stable) on a grid of two settings, at one level of the panel setting."""

    level: Any | None
    """None where nothing is split, or where the panel setting was inactive."""
    x_values: tuple[float, ...]
    """Along the first axis (of a region's own panels the edge dimension), evenly spread on its own scale."""
    y_values: tuple[float, ...]
    """Along the other axis; the places 0, 1, 2, ... of a category's levels; empty where there is none, or where it is
    inactive here."""
    p_stable: tuple[tuple[float, ...], ...]
    """[len(y_values) or 1][len(x_values)]"""
    p_break: tuple[tuple[float, ...], ...]
    """Chance that a training breaks, of the same shape."""
    p_learn: tuple[tuple[float, ...], ...]
    """Chance that one which does not break learns within its budget, of the same shape; empty where nobody knows."""
    fixed: Mapping[str, Any]
    """The other settings' values in this slice."""


@dataclass(frozen=True)
class Plane:
    """The same on grids of another two settings; the edge dimension stands at its typical place too."""

    x: Dimension
    y: Dimension
    panels: tuple[RegionPanel, ...]


@dataclass(frozen=True)
class BoundaryEdge:
    """Where one of the two boundaries is crossed: the chance to break, or to learn within the budget, is 0.5."""

    boundary: Literal["break", "learn"]
    edge: Edge


@dataclass(frozen=True)
class Stretch:
    """A part of the edge dimension's range, in shares of its axis."""

    begin: float
    end: float
    open: bool
    """Whether P(stable) lies between 0.1 and 0.9 there; else it is above."""


@dataclass(frozen=True)
class EdgeRow:
    """The edges along the edge dimension in one slice."""

    at: Mapping[str, Any]
    """All other settings, dotted path -> value; inactive ones are absent."""
    edges: tuple[BoundaryEdge, ...]
    """Of both boundaries, from low to high."""
    always: Literal["stable", "unstable"] | None
    """What the whole range is where there is no edge."""
    num_near: int
    """Trainings that lie nearer to this slice than to any other of the table."""
    stable_decades: float
    """Length of the stretch where P(stable) is at least 0.5: decades on a logarithmic axis, else units."""
    sure: bool = True
    """Where there is no edge: whether P(stable) is at least 0.9 (or at most 0.1) all along."""
    stretches: tuple[Stretch, ...] = ()
    """Where P(stable) is above 0.1, from low to high."""


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
    chance_ece: float
    """The same, at the 90th percentile, of a model whose chances are all true and the same."""

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
    """Of P(stable)."""
    break_calibration: MapCalibration | None
    """Of the chance to break; None where too few trainings tell of it."""
    learn_calibration: MapCalibration | None
    """Of the chance that what does not break learns; likewise."""
    open_width: float
    """Mean width of an edge, from P(stable) of 0.9 to 0.1, over slices of the space: decades (units on an axis that is
    not logarithmic)."""
    num_trainings: int
    """Those that the model learned from."""
    contrasts: tuple[Contrast, ...] = ()
    """How far the hot edges of the panel setting's values lie apart, at the typical place of all others."""
    others: tuple[Plane, ...] = ()
    """P(stable) over every other pair of numeric settings, those first that decide most, and over each further
    category; MAX_PLANES at most."""


@dataclass(frozen=True)
class _Chances:
    """The models that a region is read from."""

    stable: MarginModel
    breaking: MarginModel
    learning: MarginModel | None


def region(evidence: Evidence) -> Region | NotKnown:
    """Everything that the model of the boundary says about where training is stable.

    In panels and edge rows, settings that are not varied stand at a typical place: the mean of the tried stable
    settings on each setting's own scale, the most frequent value of a category.
    """
    model, breaking, learning, panel = evidence.model, evidence.breaking, evidence.learning, evidence.panel
    if isinstance(model, NotKnown):
        return model
    assert not isinstance(breaking, NotKnown), "it is known where the model of both is"
    chances = _Chances(model, breaking, None if isinstance(learning, NotKnown) else learning)
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
        panels=_panels(chances, along, y, panel, middle),
        edges=tuple(_edge_row(chances, along, at, int(num)) for at, num in zip(slices, near, strict=True)),
        volumes=_volumes(model, panel),
        influences=strongest,
        interactions=pairs,
        calibration=_calibration(model.encoding, tried, known["margin"].astype(float).tolist(), evidence.prior),
        break_calibration=_calibration_of_part(model.encoding, *evidence.breaking_rows),
        learn_calibration=_calibration_of_part(model.encoding, *evidence.learning_rows),
        open_width=mean_width(model, along_path, some_slices(model.encoding, along_path, _NUM_OPEN_SLICES, _SEED)),
        num_trainings=len(model.left_out()[1]),
        contrasts=contrasts(breaking, along_path, panel.path, model.encoding.space[panel.path].ends, middle)
        if panel
        else (),
        others=_others(chances, (along, y), panel, middle, [by_path[path] for path in order]),
    )


def hot_edge(model: MarginModel, setting: Mapping[str, Scalar | None]) -> float | None:
    """The value of the edge dimension above which, in a setting's own slice, P(stable) of a model is below 0.5.

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

    A setting of the user's own with the name of another column stands as `config.<name>`.

    Returns:
        The grid, a row a point: `level`, the axes by their dotted paths, `p_stable`, `p_break`, `p_learn`. And the
        edges, a row an edge: the other settings by their dotted paths, `along`, `boundary`, `side`, `value`, `inner`,
        `outer`, `width`, `always`, `num_near`, `stable_decades`; a slice without an edge has one row without a side.
    """
    grid = [
        {
            "level": panel.level,
            _column(found.along.path): x,
            **({_column(found.y.path): y} if found.y is not None else {}),
            "p_stable": panel.p_stable[j][i],
            "p_break": panel.p_break[j][i],
            "p_learn": panel.p_learn[j][i] if panel.p_learn else math.nan,
        }
        for panel in found.panels
        for j, y in enumerate(panel.y_values or (None,))
        for i, x in enumerate(panel.x_values)
    ]
    rows = [
        {
            **{_column(path): value for path, value in row.at.items()},
            "along": found.along.path,
            "boundary": one.boundary if one else None,
            "side": one.edge.side if one else None,
            "value": one.edge.value if one else math.nan,
            "inner": one.edge.inner if one else math.nan,
            "outer": one.edge.outer if one else math.nan,
            "width": one.edge.width if one else math.nan,
            "always": row.always,
            "num_near": row.num_near,
            "stable_decades": row.stable_decades,
        }
        for row in found.edges
        for one in row.edges or (None,)
    ]
    return _uniform(pd.DataFrame(grid)), _uniform(pd.DataFrame(rows))


_FIXED = (
    *("level", "p_stable", "p_break", "p_learn"),
    *("along", "boundary", "side", "value", "inner", "outer", "width", "always", "num_near", "stable_decades"),
)
"""Columns of these tables that are no settings."""


def _column(path: str) -> str:
    """The column of a setting in these tables: its path, unless that is the name of another column."""
    return f"config.{path}" if path in _FIXED else path


def _uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of one type each: values of several types become text, as in the table of trials."""
    for column in frame:
        values = [v for v in frame[column] if v is not None and v == v]
        if len({type(v) for v in values}) > 1 and not all(isinstance(v, float) for v in values):
            frame[column] = [None if v is None or v != v else str(v) for v in frame[column]]
    return frame


def _others(
    chances: _Chances,
    drawn: tuple[Dimension, Dimension | None],
    panel: Dimension | None,
    middle: Settings,
    dims: Sequence[Dimension],
) -> tuple[Plane, ...]:
    """All pairs of numeric settings but the drawn one, of which the one that decides more lies along x; then the edge
    dimension with each category that panels are not split by."""
    numeric = [dim for dim in dims if dim.kind == "number"]
    along = drawn[0]
    numeric = [along, *(dim for dim in numeric if dim is not along)]
    pairs = [pair for pair in itertools.combinations(numeric, 2) if set(pair) != set(drawn)]
    categories = [(along, dim) for dim in dims if dim.kind == "category" and dim is not panel][:MAX_PLANES]
    every = [*pairs[: MAX_PLANES - len(categories)], *categories]
    planes = (Plane(x, y, _panels(chances, x, y, panel, middle)) for x, y in every)
    return tuple(plane for plane in planes if plane.panels)


def _panels(
    chances: _Chances, along: Dimension, y: Dimension | None, panel: Dimension | None, middle: Settings
) -> tuple[RegionPanel, ...]:
    encoding = chances.stable.encoding
    levels: list[Settings] = [{panel.path: v} for v in encoding.space[panel.path].ends] if panel else [{}]
    # Which settings are active may depend on the level; a map over one that is often inactive shows where it is not.
    wanted = [along.path, *([y.path] if y else [])]
    around = with_active(encoding.space, middle, wanted, panel.path if panel else None)
    places = [active(encoding.space, encoding.paths, {**around, **level}) for level in levels]
    found = []
    for level, at in zip(levels, places, strict=True):
        if along.path not in at:
            continue
        x_scale = encoding.axis(along.path)
        assert x_scale is not None, "edges lie along a numeric dimension"
        xs = [x_scale.from_unit(place) for place in np.linspace(0, 1, _NUM_X).tolist()]
        heights = _heights(encoding, y) if y and y.path in at else []
        rows = [
            active(encoding.space, encoding.paths, {**around, **level, y.path: value}) for _, value in heights if y
        ] or [at]
        grid = [{**row, along.path: x} for row in rows for x in xs]
        exists = np.repeat([along.path in row for row in rows], len(xs))

        def rows_of(p: Floats, exists: Any = exists, shape: tuple[int, int] = (len(rows), len(xs))) -> _Rows:
            return tuple(tuple(row) for row in np.where(exists, p, np.nan).reshape(shape).tolist())

        shown = {along.path, *([y.path] if heights and y else []), *([panel.path] if panel else [])}
        shown |= {path for row in rows for path in {*at, *row} if row.get(path) != at.get(path)}
        found.append(
            RegionPanel(
                level=level[panel.path] if panel else None,
                x_values=tuple(xs),
                y_values=tuple(height for height, _ in heights),
                p_stable=rows_of(chances.stable.p_stable(grid)),
                p_break=rows_of(1 - chances.breaking.p_stable(grid)),
                p_learn=() if chances.learning is None else rows_of(chances.learning.p_stable(grid)),
                fixed={path: value for path, value in at.items() if path not in shown},
            )
        )
    return tuple(found)


def _heights(encoding: Encoding, dim: Dimension) -> list[tuple[float, Scalar]]:
    """Where values of a setting lie along the upright axis, and the values; of a category 0, 1, 2, ..."""
    scale = encoding.axis(dim.path)
    if scale is None:
        return [(float(k), level) for k, level in enumerate(dim.levels)]
    return [(value := scale.from_unit(place), value) for place in np.linspace(0, 1, _NUM_Y).tolist()]


def _edge_row(chances: _Chances, along: Dimension, at: Settings, num_near: int) -> EdgeRow:
    scale = chances.stable.encoding.axis(along.path)
    assert scale is not None, "edges lie along a numeric dimension"
    found = [BoundaryEdge("break", edge) for edge in edges(chances.breaking, along.path, at)]
    if chances.learning is not None and (learns := edges(chances.learning, along.path, at)):
        unbroken = chances.breaking.p_stable([{**at, along.path: edge.value} for edge in learns]) >= 0.5
        # Where training breaks nobody knows what would be learned.
        found += [BoundaryEdge("learn", edge) for edge, counts in zip(learns, unbroken, strict=True) if counts]
    places, p = profile(chances.stable, along.path, at)
    length = scale.decades if scale.log else scale.high - scale.low
    return EdgeRow(
        at=at,
        edges=tuple(sorted(found, key=lambda one: one.edge.value)),
        always=None if found else "stable" if p.mean() >= 0.5 else "unstable",
        num_near=num_near,
        stable_decades=float((p >= 0.5).mean()) * length,
        sure=bool((p >= EDGE_SURE).all() or (p <= 1 - EDGE_SURE).all()),
        stretches=tuple(_stretches(places, p)),
    )


def _stretches(places: Floats, p: Floats) -> Iterator[Stretch]:
    """Runs of places [N] with P(stable) [N] above 0.1; each reaches halfway to its neighbours."""
    kinds = np.where(p >= EDGE_SURE, 2, np.where(p > 1 - EDGE_SURE, 1, 0))
    ends = np.concatenate([[0.0], (places[1:] + places[:-1]) / 2, [1.0]])
    begin = 0
    for kind, run in itertools.groupby(kinds.tolist()):
        end = begin + len(list(run))
        if kind:
            yield Stretch(float(ends[begin]), float(ends[end]), open=kind == 1)
        begin = end


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


def _volume(level: Any, p: Floats) -> Volume:
    unsure = (p > 1 - SURE) & (p < SURE)
    return Volume(level, float((p >= 0.5).mean()), float((p >= SURE).mean()), float(unsure.mean()))


def _calibration_of_part(
    encoding: Encoding, settings: Sequence[Settings], margins: Sequence[float]
) -> MapCalibration | None:
    """As `_calibration`; None where trainings or settings are fewer than a map needs, or all ended alike."""
    if len(settings) < MIN_TRAININGS or len(np.unique(encoding.encode(settings), axis=0)) < MIN_SETTINGS:
        return None
    return _calibration(encoding, settings, margins) if len({margin < 0 for margin in margins}) == 2 else None


def _calibration(
    encoding: Encoding, settings: Sequence[Settings], margins: Sequence[float], prior: Prior = NONE
) -> MapCalibration:
    """Of N trainings, each predicted by a model of the other folds' settings. All seeds of a setting go together.

    The model's own `left_out` would flatter it: its length scales, noise and Platt pair have seen every training. Few
    trainings are divided several times, since the scores of one division are a matter of chance.
    """
    features, group = np.unique(encoding.encode(settings), axis=0, return_inverse=True)
    rng = np.random.default_rng(_SEED)
    stable = np.asarray(margins) < 0
    briers, eces, chance_eces = [], [], []
    for _ in range(_NUM_DIVISIONS if len(settings) <= _FEW else 1):
        fold = (rng.permutation(len(features)) % _NUM_FOLDS)[group]
        p = np.empty(len(settings))
        for held_out in range(_NUM_FOLDS):
            seen, unseen = np.flatnonzero(fold != held_out).tolist(), np.flatnonzero(fold == held_out).tolist()
            rows = [settings[i] for i in seen], [margins[i] for i in seen]
            others = informative(encoding.space, *rows, prior=prior)
            p[unseen] = others.p_stable([settings[i] for i in unseen])
        briers.append(float(((p - stable) ** 2).mean()))
        eces.append(_ece(p, stable[None])[0])
        drawn = rng.random((_NUM_DRAWS, len(p))) < p
        chance_eces.append(float(np.quantile(_ece(p, drawn), _LIMIT)))
    rate = float(stable.mean())
    return MapCalibration(
        num=len(settings),
        brier=float(np.mean(briers)),
        base_brier=rate * (1 - rate),
        ece=float(np.mean(eces)),
        chance_ece=float(np.mean(chance_eces)),
    )


def _ece(p: Floats, outcomes_DN: npt.NDArray[np.bool_]) -> Floats:
    """Expected calibration error of N chances for each of D sets of outcomes, [D]."""
    bins = np.minimum((p * _NUM_BINS).astype(int), _NUM_BINS - 1)
    gaps = (p - outcomes_DN) @ np.eye(_NUM_BINS)[bins]
    error: Floats = np.abs(gaps).sum(axis=1) / len(p)
    return error
