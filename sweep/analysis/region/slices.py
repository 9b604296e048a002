"""Slices of a space worth telling: where the settings that are not looked at stand, and which of them vary."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sweep.boundary.encoding import Encoding
from sweep.space import Choice, Grid, Integer, LogUniform, Scalar, Settings, Space, Uniform, is_active

MAX_SLICES = 48
"""Rows that a reader still looks through."""
_NUM_VARIED = 2
"""Numeric settings that vary beside the categories."""
_PLACES = (1 / 6, 1 / 2, 5 / 6)
_FEW_VALUES = 4
"""A setting of so many values at most takes each of them."""


def typical(encoding: Encoding, stable: Sequence[Mapping[str, Scalar]]) -> Settings:
    """The middle of some settings: a mean on each numeric setting's own scale, the most frequent category.

    All dimensions have a value, also those that are inactive under the others. Where none was tried: the middle of
    the range, the first category.
    """
    found: Settings = {}
    for path in encoding.paths:
        values = [setting[path] for setting in stable if path in setting]
        scale = encoding.axis(path)
        if scale is None:
            ends = encoding.space[path].ends
            found[path] = max(ends, key=lambda level: sum(_same(v, level) for v in values))
        else:
            place = float(np.mean([scale.to_unit(float(v)) for v in values])) if values else 0.5
            found[path] = allowed_value(encoding, path, place)
    return found


def active(space: Space, paths: Sequence[str], values: Mapping[str, Scalar]) -> Settings:
    """Only those of the values whose dimension exists under the others.

    Args:
        space: of the settings.
        paths: each after those that its condition names.
        values: of every dimension.
    """
    found: Settings = {}
    for path in paths:
        if is_active(space[path], found):
            found[path] = values[path]
    return found


def with_active(space: Space, values: Mapping[str, Scalar], wanted: Sequence[str], kept: str | None) -> Settings:
    """The values with those changed under which the wanted dimensions do not exist, where that is possible.

    Args:
        space: of the settings.
        values: of every dimension.
        wanted: dotted paths.
        kept: a dimension whose value stays as it is.
    """
    found = dict(values)
    todo = list(wanted)
    while todo:
        for other, allowed in space[todo.pop()].when.items():
            if found[other] not in allowed and other != kept:
                found[other] = next(iter(allowed))
            todo.append(other)
    return found


def edge_slices(
    encoding: Encoding, along: str, middle: Settings, order: Sequence[str], panel: str | None
) -> list[Settings]:
    """At most MAX_SLICES settings without the edge dimension: all categories, and the numbers that matter most.

    Categories and up to two numeric settings vary as long as the slices stay few; the rest stands at the middle.

    Args:
        encoding: of the space.
        along: the edge dimension, which is left out, and active in each slice.
        middle: a value of every dimension.
        order: dotted paths, the most influential first.
        panel: the category to vary before all others.
    """
    categories = [path for path in order if encoding.axis(path) is None]
    numbers = [path for path in order if encoding.axis(path) is not None and path != along][:_NUM_VARIED]
    first = [path for path in categories if path == panel]
    varied: dict[str, Sequence[Scalar]] = {}
    found = _combined(encoding, along, middle, varied)
    for path in [*first, *(p for p in categories if p != panel), *numbers]:
        wider = {**varied, path: _values(encoding, path)}
        more = _combined(encoding, along, middle, wider)
        if len(more) <= MAX_SLICES:
            varied, found = wider, more
    return found


def nearest_slice(
    encoding: Encoding, slices: Sequence[Settings], settings: Sequence[Mapping[str, Scalar]]
) -> npt.NDArray[np.int64]:
    """How many settings lie nearer to each slice than to any other, [number of slices]; ties go to the first."""
    if not slices or not settings:
        return np.zeros(len(slices), dtype=np.int64)
    places, others = encoding.encode(slices), encoding.encode(settings)
    # A dimension that no slice varies draws nothing nearer to one of them.
    nearest = [int(((places - other) ** 2).sum(axis=1).argmin()) for other in others]
    return np.bincount(nearest, minlength=len(slices))


def _combined(
    encoding: Encoding, along: str, middle: Settings, varied: Mapping[str, Sequence[Scalar]]
) -> list[Settings]:
    found: list[Settings] = []
    for values in itertools.product(*varied.values()):
        setting = active(encoding.space, encoding.paths, {**middle, **dict(zip(varied, values, strict=True))})
        if along in setting:
            at = {path: value for path, value in setting.items() if path != along}
            if at not in found:
                found.append(at)
    rank = {path: {repr(v): i for i, v in enumerate(encoding.space[path].ends)} for path in encoding.paths}
    return sorted(found, key=lambda at: [_rank(encoding, rank, path, at.get(path)) for path in encoding.paths])


def _rank(encoding: Encoding, rank: Mapping[str, Mapping[str, int]], path: str, value: Any) -> float:
    """Order of a value within its dimension, inactive ones last."""
    if value is None:
        return float("inf")
    return float(value) if encoding.axis(path) is not None else float(rank[path][repr(value)])


def _values(encoding: Encoding, path: str) -> Sequence[Scalar]:
    dimension, scale = encoding.space[path], encoding.axis(path)
    if scale is None:
        return dimension.ends
    if isinstance(dimension, Integer) and scale.high - scale.low < _FEW_VALUES:
        return range(int(scale.low), int(scale.high) + 1)
    if isinstance(dimension, Choice | Grid) and len(dimension.ends) <= _FEW_VALUES:
        return sorted(dimension.ends, key=float)
    return list(dict.fromkeys(allowed_value(encoding, path, place) for place in _PLACES))


def allowed_value(encoding: Encoding, path: str, place: float) -> Scalar:
    """The value of a numeric dimension nearest to a place on its scale; real numbers with three digits."""
    dimension, scale = encoding.space[path], encoding.axis(path)
    assert scale is not None, "only numeric dimensions have places"
    place = min(max(place, 0.0), 1.0)
    if isinstance(dimension, Choice | Grid):
        return min(dimension.ends, key=lambda value: abs(scale.to_unit(float(value)) - place))
    value = scale.from_unit(place)
    if isinstance(dimension, Integer):
        return min(max(round(value), dimension.int_[0]), dimension.int_[1])
    return min(max(float(f"{value:.3g}"), scale.low), scale.high)


def readable(encoding: Encoding, setting: Mapping[str, Scalar]) -> Settings:
    """The setting with its real numbers rounded to three digits."""
    real = {p for p, dim in encoding.space.items() if isinstance(dim, Uniform | LogUniform)}
    found: Settings = {}
    for path, value in setting.items():
        scale = encoding.axis(path)
        found[path] = value
        if path in real and scale is not None:
            found[path] = min(max(float(f"{float(value):.3g}"), scale.low), scale.high)
    return found


def _same(value: Scalar, level: Scalar) -> bool:
    # True == 1 in Python; a space may hold both.
    return value == level and isinstance(value, bool) == isinstance(level, bool)
