"""Whether a boundary is known well enough that a search may end."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from sweep.boundary.edges import edges, mean_width
from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.model import MarginModel
from sweep.space import Scalar, Settings, is_active
from sweep.wording import number, percent, value_text

_NUM_POINTS, _SEED = 1024, 0
"""Settings over which the accuracy of a map is expected."""
MIN_SKILL = 0.3
"""Settings left out have to be foretold so much better than by the overall rate (1 - Brier / that of the rate)."""
REACH = 0.1
"""Part of the edge dimension's range within which a training lies at an edge."""
MAX_SLICES = 32
"""Slices through stable settings, and trainings that are looked up at edges."""


def stable_slices(encoding: Encoding, along: str, stable: Sequence[Mapping[str, Scalar | None]]) -> list[Settings]:
    """The other values of some settings in which the edge dimension is active, MAX_SLICES at most, evenly drawn."""
    found: list[Settings] = []
    for setting in stable:
        other = {path: value for path, value in setting.items() if path != along and value is not None}
        if other not in found and is_active(encoding.space[along], other):
            found.append(other)
    return found[:: 1 + (len(found) - 1) // MAX_SLICES] if found else []


def what_is_open(
    model: MarginModel,
    along: str,
    stable: Sequence[Mapping[str, Scalar | None]],
    later: Sequence[Mapping[str, Scalar | None]],
    accuracy: float,
    width: float | None = None,
) -> str | None:
    """Why the boundary is not known yet; None where it is.

    Known is one of which the model expects to tell most settings right, which foretells what it has not seen, and at
    whose every edge a training lies that was not drawn at random.

    Args:
        model: of the boundary.
        along: the dimension that edges lie along.
        stable: settings of stable trainings.
        later: settings of the trainings after the start-up, oldest first.
        accuracy: expected balanced accuracy that is asked for, in [0, 1]; 1 is never reached.
        width: of an edge, from P(stable) = 0.9 to 0.1, below which it has to be: decades on a logarithmic axis, else
            units. None: not asked for.
    """
    expected = expected_accuracy(model)
    if expected < accuracy:
        return f"{percent(expected)} of all settings are expected to be told right (balanced)"
    p, outcomes = model.left_out()
    base = float(outcomes.mean() * (1 - outcomes.mean()))
    if float(((p - outcomes) ** 2).mean()) > (1 - MIN_SKILL) * base:
        return "settings left out are foretold little better than by the overall rate"
    at = stable_slices(model.encoding, along, stable)
    if width is not None and not (found := mean_width(model, along, at)) < width:
        return "no edge was found" if math.isnan(found) else f"an edge is {number(found, 2)} wide"
    sides = _sides(model, along, at)
    if not sides:
        return "no edge was found"
    untried = sides - _tried_sides(model, along, later[-MAX_SLICES:])
    if untried:
        categories, side = sorted(untried, key=str)[0]
        where = "".join(f" at {value_text(value)}" for value in categories)
        return f"no training after the start-up lies at the {side} edge{where}"
    return None


def expected_accuracy(model: MarginModel) -> float:
    """Balanced accuracy that the map is expected to have over its space, by its own calibrated chances, in [0, 1].

    The mean of two shares: of the trainings that will be stable, those at settings of P(stable) >= 0.5, and of the
    others those at the rest. On made-up surfaces (`benchmarks.search.made`) maps that expected 0.92 and more were never
    below 0.9 accurate.
    """
    encoding = model.encoding
    every = encoding.all_settings(_NUM_POINTS)
    features = encoding.encode(every) if every else encoding.encode_places(encoding.sobol_places(_NUM_POINTS, _SEED))
    return _balanced(model.p_stable_features(features))


def _balanced(p: Floats) -> float:
    told = p >= 0.5
    shares = p[told].sum() / p.sum(), (1 - p)[~told].sum() / (1 - p).sum()
    return float(sum(shares) / 2)


_Side = tuple[tuple[Scalar | None, ...], str]
"""Values of all categories, and `hot` or `cold`."""


def _categories(encoding: Encoding, setting: Mapping[str, Scalar | None]) -> tuple[Scalar | None, ...]:
    return tuple(setting.get(path) for path in encoding.paths if encoding.axis(path) is None)


def _sides(model: MarginModel, along: str, at: Sequence[Settings]) -> set[_Side]:
    """The edges that slices have."""
    return {(_categories(model.encoding, one), edge.side) for one in at for edge in edges(model, along, one)}


def _tried_sides(model: MarginModel, along: str, settings: Sequence[Mapping[str, Scalar | None]]) -> set[_Side]:
    """The edges at which trainings lie."""
    scale = model.encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    found: set[_Side] = set()
    for setting in settings:
        value = setting.get(along)
        if value is None:
            continue
        other = {path: one for path, one in setting.items() if path != along}
        for edge in edges(model, along, other):
            if np.abs(scale.to_unit(edge.value) - scale.to_unit(float(value))) <= REACH:
                found.add((_categories(model.encoding, setting), edge.side))
    return found
