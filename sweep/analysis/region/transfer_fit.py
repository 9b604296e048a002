"""How the hot edge moves with the model's width (or any other number), and what that says of a full-size model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, t

from sweep.analysis.region.slices import allowed_value
from sweep.boundary.edges import edges
from sweep.boundary.encoding import Encoding, Floats, edge_path
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.space import Choice, Grid, Integer, Space
from sweep.wording import number

MIN_WIDTHS = 3
"""Fewer points fit any line."""
_MOST_VALUES = 8
_PLACES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""Where on a continuous range the edge is looked at."""
_LEVEL = 0.95
_TENTH = float(norm.ppf(0.9))
"""Standard deviations from where P(stable) is 0.5 to where it is 0.9 or 0.1."""
_LEAST_ERROR = 0.02
"""Decades: no edge is known better."""


@dataclass(frozen=True)
class WidthFit:
    """A straight line through log10(hot edge) against log10(width)."""

    widths: tuple[float, ...]
    edges: tuple[float, ...]
    """Hot edge at each width."""
    errors: tuple[float, ...]
    """Standard error of each edge, decades."""
    slope: float
    """d log10(edge) / d log10(width): -1 means that twice the width halves the edge."""
    slope_low: float
    slope_high: float
    """Its 95 % interval."""
    target: float
    """The width to tell the edge of."""
    expected: float
    """Hot edge at the target width."""
    low: float
    high: float
    """Its 95 % prediction interval."""
    reason: str | None
    """What to be careful about, in a sentence; None for nothing."""


def width_fit(model: MarginModel, path: str, target: float, at: Mapping[str, Any]) -> WidthFit | NotKnown:
    """The hot edge at a width that was not tried.

    The edges are those that the model sees in the slice `at`, at the values of `path` in the space (of a continuous
    range, at four places). The fit is by least squares weighted with the edges' errors: the distance between
    P(stable) = 0.9 and 0.1 over 2 x 1.2816.

    Args:
        model: of the boundary.
        path: the width's dotted path, a numeric dimension above zero.
        target: the width to tell the edge of, above zero.
        at: the other settings of the slice; entries for `path` and the edge dimension have no effect.
    """
    along = edge_path(model.encoding)
    assert along is not None, "there is no model without a numeric setting"
    space = model.encoding.space
    scale = model.encoding.axis(path) if path in space else None
    if scale is None or scale.low <= 0 or along == path:
        return NotKnown(
            f"The edge can be followed along a numeric setting above 0, and {path} is none in this study's space."
        )
    values = _values(model.encoding, space, path)
    found = [(value, _hot(model, along, {**at, path: value})) for value in values]
    points = [(value, *hot) for value, hot in found if hot is not None]
    if len(points) < MIN_WIDTHS:
        return NotKnown(
            f"A trend over {path} needs a hot edge at {MIN_WIDTHS} of its values or more; "
            f"there is one within the range at {len(points)} of {len(values)}."
        )
    widths, hot, errors = (np.array(column, dtype=float) for column in zip(*points, strict=True))
    return fit_line(widths, hot, errors, target)


def fit_line(widths: Floats, edges_: Floats, errors: Floats, target: float) -> WidthFit:
    """The line through K points of (width, edge), K >= MIN_WIDTHS.

    Its 95 % intervals are the wider of two: a normal one that believes the errors as given, and Student's t with
    K - 2 degrees of freedom that believes only their ratios and takes their size from the scatter about the line.
    With three widths the latter is wide unless the three lie well on a line.

    Args:
        widths: K of them, above zero, at least two different ones.
        edges_: above zero.
        errors: standard errors of log10(edge), above zero.
        target: the width to tell the edge of, above zero.
    """
    x, y = np.log10(widths), np.log10(edges_)
    weights = 1.0 / errors**2
    middle = float(np.average(x, weights=weights))
    design = np.stack([np.ones_like(x), x - middle], axis=1)
    # About the weighted middle the two parameters are independent.
    covariance = np.linalg.inv(design.T @ (weights[:, None] * design))
    level, slope = (covariance @ (design.T @ (weights * y))).tolist()
    freedom = len(x) - 2
    scatter = math.sqrt(float((weights * (y - design @ np.array([level, slope])) ** 2).sum()) / freedom)
    reach = max(float(norm.ppf((1 + _LEVEL) / 2)), float(t.ppf((1 + _LEVEL) / 2, freedom)) * scatter)
    away = math.log10(target) - middle
    slope_error = math.sqrt(covariance[1, 1])
    # A new edge has an error of its own: as those that were seen.
    error = math.sqrt(covariance[0, 0] + away**2 * covariance[1, 1] + float((errors**2).mean()))
    expected = level + slope * away
    return WidthFit(
        widths=tuple(widths.tolist()),
        edges=tuple(edges_.tolist()),
        errors=tuple(errors.tolist()),
        slope=slope,
        slope_low=slope - reach * slope_error,
        slope_high=slope + reach * slope_error,
        target=target,
        expected=_power(expected),
        low=_power(expected - reach * error),
        high=_power(expected + reach * error),
        reason=_caution(widths, target, reach * error),
    )


def band(fit: WidthFit, width: float) -> tuple[float, float, float]:
    """The fitted hot edge at any width, and its 95 % prediction interval."""
    other = fit_line(np.array(fit.widths), np.array(fit.edges), np.array(fit.errors), width)
    return other.expected, other.low, other.high


def _caution(widths: Floats, target: float, reach: float) -> str | None:
    low, high = float(widths.min()), float(widths.max())
    if reach > 1.0:
        return (
            f"The interval spans a factor of {number(_power(2 * reach), 2)}: {len(widths)} edges so wide say little "
            f"about {number(target)}. Train more at widths far apart."
        )
    if max(target / high, low / target) > high / low:
        return (
            f"{number(target)} lies farther from the tried widths ({number(low)} to {number(high)}) than these lie "
            "apart: test it before you rely on it."
        )
    return None


def _power(exponent: float) -> float:
    """10 to the exponent, which an interval of three poor edges can drive out of range."""
    return math.pow(10.0, min(max(exponent, -300.0), 300.0))


def _values(encoding: Encoding, space: Space, path: str) -> list[float]:
    dimension = space[path]
    if isinstance(dimension, Choice | Grid):
        return sorted(float(value) for value in dimension.ends)
    if isinstance(dimension, Integer) and dimension.int_[1] - dimension.int_[0] < _MOST_VALUES:
        return [float(value) for value in range(dimension.int_[0], dimension.int_[1] + 1)]
    return list(dict.fromkeys(float(allowed_value(encoding, path, place)) for place in _PLACES))


def _hot(model: MarginModel, along: str, at: Mapping[str, Any]) -> tuple[float, float] | None:
    """The hot edge of the longest stable stretch and its standard error in decades; None if there is none."""
    scale = model.encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    found = edges(model, along, at)
    starts = [scale.low, *(edge.value for edge in found)]
    hot = [
        (scale.to_unit(edge.value) - scale.to_unit(start), edge)
        for start, edge in zip(starts, found, strict=False)
        if edge.side == "hot" and edge.value > 0
    ]
    if not hot:
        return None
    _, edge = max(hot, key=lambda pair: pair[0])
    low, high = sorted((edge.inner, edge.outer))
    decades = edge.width if scale.log else math.log10(high / low) if low > 0 else math.inf
    return edge.value, max(decades / (2 * _TENTH), _LEAST_ERROR)
