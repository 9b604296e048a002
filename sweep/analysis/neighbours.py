"""How close tried settings lie to each other, in the searched space scaled to unit axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.analysis.dimensions import Dimension
from sweep.analysis.groups import SettingGroup
from sweep.analysis.outcomes import Share, share

BANDWIDTH = 0.1
"""A root-mean-square distance (in units of the searched ranges) at which a neighbour counts exp(-1/2)."""
NUM_NEAREST = 6
"""Neighbours that are counted out for the reader."""


@dataclass(frozen=True)
class Neighbourhood:
    """What was tried around a setting."""

    risk: float
    """Estimated chance that a training near here is unstable, in (0, 1)."""
    nearest: Share
    """Stable settings among the nearest ones (at most NUM_NEAREST, the setting itself not counted)."""
    reach: float
    """Distance to the farthest of them, in units of the searched ranges; NaN without neighbours."""


def distance(a: SettingGroup, b: SettingGroup, dims: Sequence[Dimension]) -> float:
    """Root-mean-square distance over the searched settings; each axis runs from 0 to 1.

    Logarithmic settings are compared on a logarithmic axis. Two different categories, or an active and an
    inactive setting, are one whole axis apart.
    """
    if not dims:
        return 0.0
    total = 0.0
    for dim in dims:
        va, vb = a.setting[dim.path], b.setting[dim.path]
        if dim.kind == "category" or va is None or vb is None:
            total += 0.0 if va == vb else 1.0
            continue
        sa, sb = dim.scale(va), dim.scale(vb)
        total += 1.0 if sa is None or sb is None else (sa - sb) ** 2
    return math.sqrt(total / len(dims))


def neighbourhood(group: SettingGroup, groups: Sequence[SettingGroup], dims: Sequence[Dimension]) -> Neighbourhood:
    """Weighs a setting's own seeds and all other tried settings by their distance.

    risk = (1/2 + sum of weight * unstable share) / (1 + sum of weights): a Gaussian kernel, with
    one imaginary half-unstable neighbour, so that nothing is ever called certain. An own seed has weight 1.
    """
    unstable = 0.5 + (group.stable.total - group.stable.count)
    weights = 1.0 + group.stable.total
    others = []
    for other in groups:
        if other.group == group.group:
            continue
        d = distance(group, other, dims)
        weight = math.exp(-0.5 * (d / BANDWIDTH) ** 2)
        unstable += weight * (1.0 - other.stable.rate)
        weights += weight
        others.append((d, other))
    nearest = sorted(others, key=lambda pair: pair[0])[:NUM_NEAREST]
    return Neighbourhood(
        risk=unstable / weights,
        nearest=share(other.all_stable for _, other in nearest),
        reach=nearest[-1][0] if nearest else math.nan,
    )
