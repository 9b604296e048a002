"""Where along one dimension training stops being stable: its edges, with intervals, in slices of a space."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.model import MarginModel
from sweep.space import Scalar, Settings, is_active

SURE = 0.9
"""An edge's interval runs from where P(stable) is SURE to where it is 1 - SURE."""
_NUM_PLACES = 201


@dataclass(frozen=True)
class Edge:
    """A crossing of P(stable) = 0.5 along a dimension."""

    side: Literal["hot", "cold"]
    """`hot`: unstable above it; `cold`: unstable below it."""
    value: float
    """Where P(stable) is 0.5."""
    inner: float
    """Where P(stable) is still 0.9, towards the stable side; where it is highest if it is never so high."""
    outer: float
    """Where P(stable) has fallen to 0.1; the end of the range if it never falls so low."""
    width: float
    """Distance from inner to outer: decades on a logarithmic axis, else units."""


def profile(model: MarginModel, along: str, at: Mapping[str, Scalar | None]) -> tuple[Floats, Floats]:
    """P(stable) along a dimension, all others fixed: places in [0, 1] of the dimension's axis and P, [201] each."""
    return np.linspace(0, 1, _NUM_PLACES), _profiles(model, along, [at])[0]


def edges(model: MarginModel, along: str, at: Mapping[str, Scalar | None]) -> tuple[Edge, ...]:
    """Every crossing of P(stable) = 0.5 along a dimension, from low to high, all other dimensions fixed."""
    scale = model.encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    places, p = profile(model, along, at)
    above = p >= 0.5
    crossings = np.flatnonzero(above[1:] != above[:-1])
    stops = [0, *(int(c) + 1 for c in crossings), len(p)]
    found = []
    for number, left in enumerate(crossings.tolist()):
        # Each search stays within the stretch of its own side.
        begin, end = stops[number], stops[number + 2] - 1
        hot = bool(above[left])
        middle = _crossing(places, p, left, 0.5)
        near, far = (left, left + 1) if hot else (left + 1, left)
        stable_end, unstable_end = (begin, end) if hot else (end, begin)
        sure, lost = _reach(p, near, stable_end, SURE), _reach(p, far, unstable_end, 1 - SURE)
        first, last = sorted((near, stable_end))
        highest = first + int(np.argmax(p[first : last + 1]))
        inner = float(places[highest if sure is None else sure])
        outer = float(places[unstable_end if lost is None else lost])
        width = abs(outer - inner) * (scale.decades if scale.log else scale.high - scale.low)
        value, inner, outer = (scale.from_unit(place) for place in (middle, inner, outer))
        found.append(Edge("hot" if hot else "cold", value, inner, outer, width))
    return tuple(found)


def slices(encoding: Encoding, along: str, num: int, seed: int) -> list[Settings]:
    """`num` evenly spread settings of the other dimensions, in which `along` is active."""
    found = [s for s in encoding.sobol(4 * num, seed) if is_active(encoding.space[along], s)]
    return [{path: value for path, value in setting.items() if path != along} for setting in found[:num]]


def mean_width(model: MarginModel, along: str, at: Sequence[Mapping[str, Scalar | None]]) -> float:
    """Mean over slices of the width of an edge: how much about the boundary is still open.

    In each slice the stretch where P(stable) is neither above 0.9 nor below 0.1, over its number of edges (at
    least one): decades on a logarithmic axis, else units. Slices that are surely stable or surely unstable all along
    have no edge and do not count; NaN where that is all of them.
    """
    scale = model.encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    if not at:
        return math.nan
    length = scale.decades if scale.log else scale.high - scale.low
    p = _profiles(model, along, at)
    is_open = ((p < SURE) & (p > 1 - SURE)).mean(axis=1)
    above = p >= 0.5
    num_edges = (above[:, 1:] != above[:, :-1]).sum(axis=1)
    counts = (is_open > 0) | (num_edges > 0)
    if not counts.any():
        return math.nan
    return length * float((is_open / np.maximum(num_edges, 1))[counts].mean())


def _profiles(model: MarginModel, along: str, at: Sequence[Mapping[str, Scalar | None]]) -> Floats:
    """P(stable) along a dimension in each of S slices, [S, 201]."""
    features = np.repeat(model.encoding.encode(at), _NUM_PLACES, axis=0)
    features[:, model.encoding.owners.index(along)] = np.tile(np.linspace(0, 1, _NUM_PLACES), len(at))
    return model.p_stable_features(features).reshape(len(at), _NUM_PLACES)


def _crossing(places: Floats, p: Floats, left: int, level: float) -> float:
    """Where the straight line between two neighbouring places passes a level."""
    low, high = float(p[left]), float(p[left + 1])
    share = (level - low) / (high - low)
    return float(places[left] + min(max(share, 0.0), 1.0) * (places[left + 1] - places[left]))


def _reach(p: Floats, start: int, end: int, level: float) -> int | None:
    """The first place from `start` towards `end` where P passes the level; None if it never does."""
    step = 1 if end >= start else -1
    beyond: Callable[[float], bool] = (lambda q: q >= level) if level > 0.5 else (lambda q: q <= level)
    return next((index for index in range(start, end + step, step) if beyond(float(p[index]))), None)
