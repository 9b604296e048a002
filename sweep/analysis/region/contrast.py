"""How far the hot edges of two categories lie apart, such as of two precisions, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.analysis.region.slices import active
from sweep.boundary.encoding import Floats
from sweep.boundary.model import MarginModel
from sweep.space import Scalar

NUM_DRAWS = 400
LEVEL = 0.95
_NUM_PLACES = 161
_SEED = 0


@dataclass(frozen=True)
class Contrast:
    """The hot edge of one category against that of another, all other settings alike."""

    level: Scalar
    reference: Scalar
    distance: float
    """Median of how far the edge lies above the reference's: decades on a logarithmic axis, else units."""
    low: float
    high: float
    """The interval that holds it with a chance of 95 %, as far as the model of the boundary knows."""
    at_end: bool
    """Whether one of the edges may lie beyond the searched range, so that the distance may be larger."""

    @property
    def is_told(self) -> bool:
        """Whether the interval leaves out that both are the same."""
        return not self.low <= 0 <= self.high


def contrasts(
    model: MarginModel, along: str, panel: str, levels: Sequence[Scalar], middle: Mapping[str, Scalar]
) -> tuple[Contrast, ...]:
    """Each level against the first one where the edge dimension exists; none where fewer than two of them have an edge.

    Functions are drawn from the model (joint draws of a Gaussian process), so what is common to both edges cancels.

    Args:
        model: of breaking; what it calls stable did not break.
        along: the edge dimension.
        panel: the category.
        levels: its values.
        middle: all other settings.
    """
    encoding = model.encoding
    scale = encoding.axis(along)
    assert scale is not None, "edges lie along a numeric dimension"
    # Settings that do not exist at a level are no part of its place.
    at = [active(encoding.space, encoding.paths, {**middle, panel: level, along: scale.low}) for level in levels]
    levels = [level for level, setting in zip(levels, at, strict=True) if along in setting]
    at = [setting for setting in at if along in setting]
    if len(levels) < 2:
        return ()
    places = np.linspace(0, 1, _NUM_PLACES)
    settings = [{**setting, along: scale.from_unit(place)} for setting in at for place in places.tolist()]
    drawn = model.drawn_probits(settings, NUM_DRAWS, _SEED).reshape(NUM_DRAWS, len(levels), _NUM_PLACES)
    p = model.p_stable(settings).reshape(len(levels), _NUM_PLACES)
    unit = scale.decades if scale.log else scale.high - scale.low
    if not (p.max(axis=1) >= 0.5).all() or not (p[:, -1] < 0.5).any():
        return ()
    edges = np.stack([_hot_edges(drawn[:, k], int(p[k].argmax()), places) for k in range(len(levels))], axis=1)
    tail = (1 - LEVEL) / 2
    found = []
    for k, level in enumerate(levels[1:], start=1):
        low, median, high = (unit * np.quantile(edges[:, k] - edges[:, 0], (tail, 0.5, 1 - tail))).tolist()
        beyond = (edges[:, [0, k]] >= 1.0).any(axis=1).mean() > tail
        found.append(Contrast(level, levels[0], median, low, high, bool(beyond)))
    return tuple(found)


def _hot_edges(probits: Floats, start: int, places: Floats) -> Floats:
    """Where each of D functions, [D, places], first falls below 0 from the start upwards, [D]; else 1."""
    below = probits[:, start:] < 0
    return np.where(below.any(axis=1), places[start + below.argmax(axis=1)], 1.0)
