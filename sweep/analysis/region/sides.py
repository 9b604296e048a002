"""On which side of what works failed trainings lie that do not tell by themselves: by where the stable ones are."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from sweep.boundary.encoding import Floats
from sweep.boundary.model import MarginModel
from sweep.records import Side
from sweep.space import Scalar

Flags = npt.NDArray[np.bool_]

LIKELY = 0.5
"""P(stable) from which on a place counts as one where training works."""
MAX_PLACED = 400
"""Trainings that are placed by their neighbours; the sides of others that do not tell stay open."""
NEARER = 0.5
"""Multiple of the distance to one edge below which the other one is nearer by far."""
_NUM_PLACES = 33


def sides_by_neighbours(model: MarginModel, along: str, settings: Sequence[Mapping[str, Scalar]]) -> list[Side]:
    """Whether training works at larger or at smaller values only, all other settings held.

    One amid values that work failed at the edge that is nearer by far; untold without such an edge, or where training
    works nowhere, or on both sides.

    Args:
        model: of the boundary.
        along: the learning rate, a numeric dimension of its space.
        settings: of trainings that failed.
    """
    scale = model.encoding.axis(along)
    assert scale is not None, "a learning rate is a number"
    if not settings:
        return []
    places = np.linspace(0, 1, _NUM_PLACES)
    asked = [{**at, along: scale.from_unit(place)} for at in settings for place in places.tolist()]
    works = (model.p_stable(asked) >= LIKELY).reshape(len(settings), len(places))
    found = []
    for at, row in zip(settings, works, strict=True):
        own = scale.to_unit(float(at[along]))
        above, below = bool((row & (places > own)).any()), bool((row & (places < own)).any())
        if above and below:
            found.append(_nearer_edge(row, places, own))
        else:
            found.append(Side.UNTOLD if above == below else Side.TOO_COLD if above else Side.TOO_HOT)
    return found


def _nearer_edge(works: Flags, places: Floats, own: float) -> Side:
    """The side of a failed training that has places which work on both sides."""
    here = int(np.abs(places - own).argmin())
    if not works[here]:
        return Side.UNTOLD
    fails = np.flatnonzero(~works)
    below, above = fails[fails < here], fails[fails > here]
    to_cold = own - places[below[-1]] if len(below) else math.inf
    to_hot = places[above[0]] - own if len(above) else math.inf
    if to_hot < NEARER * to_cold:
        return Side.TOO_HOT
    return Side.TOO_COLD if to_cold < NEARER * to_hot else Side.UNTOLD
