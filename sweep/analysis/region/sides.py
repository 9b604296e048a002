"""On which side of what works failed trainings lie that do not tell by themselves: by where the stable ones are."""

from collections.abc import Mapping, Sequence

import numpy as np

from sweep.boundary.model import MarginModel
from sweep.records import Side
from sweep.space import Scalar

LIKELY = 0.5
"""P(stable) from which on a place counts as one where training works."""
MAX_PLACED = 400
"""Trainings that are placed by their neighbours; the sides of others that do not tell stay open."""
_NUM_PLACES = 33


def sides_by_neighbours(model: MarginModel, along: str, settings: Sequence[Mapping[str, Scalar]]) -> list[Side]:
    """Whether training works at larger or at smaller values only, all other settings held; untold where at both, or
    nowhere.

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
        found.append(Side.UNTOLD if above == below else Side.TOO_COLD if above else Side.TOO_HOT)
    return found
