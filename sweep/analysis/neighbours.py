"""How close tried settings lie to each other, in the searched space scaled to unit axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


def distances(groups: Sequence[SettingGroup], dims: Sequence[Dimension]) -> npt.NDArray[np.float64]:
    """Root-mean-square distances of N settings over the searched ones, [N, N]; each axis runs from 0 to 1.

    Logarithmic settings are compared on a logarithmic axis. Two different categories, or an active and an
    inactive setting, are one whole axis apart.
    """
    total = np.zeros((len(groups), len(groups)))
    for dim in dims:
        values = [group.setting[dim.path] for group in groups]
        if dim.kind == "category":
            _, codes = np.unique([repr(value) for value in values], return_inverse=True)
            total += codes[:, None] != codes[None, :]
            continue
        places = np.array([math.nan if (place := dim.scale(value)) is None else place for value in values])
        missing = np.isnan(places)
        apart = (places[:, None] - places[None, :]) ** 2
        total += np.where(missing[:, None] | missing[None, :], missing[:, None] != missing[None, :], apart)
    return np.sqrt(total / max(len(dims), 1))


def neighbourhoods(groups: Sequence[SettingGroup], dims: Sequence[Dimension]) -> dict[int, Neighbourhood]:
    """Weighs each setting's own seeds and all other tried settings by their distance; by group.

    risk = (1/2 + sum of weight * unstable share) / (1 + sum of weights): a Gaussian kernel, with
    one imaginary half-unstable neighbour, so that nothing is ever called certain. An own seed has weight 1.
    """
    apart = distances(groups, dims)
    weights = np.exp(-0.5 * (apart / BANDWIDTH) ** 2)
    np.fill_diagonal(weights, [group.stable.total for group in groups])
    unstable = np.array([1.0 - group.stable.rate for group in groups])
    risks = (0.5 + weights @ unstable) / (1.0 + weights.sum(axis=1))
    found = {}
    for index, group in enumerate(groups):
        order = np.argsort(apart[index], kind="stable")
        nearest = order[order != index][:NUM_NEAREST].tolist()
        found[group.group] = Neighbourhood(
            risk=float(risks[index]),
            nearest=share(groups[i].all_stable for i in nearest),
            reach=float(apart[index, nearest[-1]]) if nearest else math.nan,
        )
    return found
