"""How close tried settings lie to each other, in the searched space scaled to unit axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sweep.analysis.trials.dimensions import Dimension
from sweep.analysis.trials.groups import SettingGroup
from sweep.analysis.trials.outcomes import Share, share

BANDWIDTH = 0.1
"""A root-mean-square distance (in units of the searched ranges) at which a neighbour counts exp(-1/2)."""
NUM_NEAREST = 6
"""Neighbours that are counted out for the reader."""
_BLOCK = 256
"""Settings whose distances are held at a time."""


@dataclass(frozen=True)
class Neighbourhood:
    """What was tried around a setting."""

    risk: float
    """Estimated chance that a training near here is unstable, in (0, 1)."""
    nearest: Share
    """Stable settings among the nearest ones (at most NUM_NEAREST, the setting itself not counted)."""
    reach: float
    """Distance to the farthest of them, in units of the searched ranges; NaN without neighbours."""


def coordinates(groups: Sequence[SettingGroup], dims: Sequence[Dimension]) -> npt.NDArray[np.float64]:
    """Where N settings lie on D searched ones, [N, D]: numbers on axes from 0 to 1 (NaN where inactive), of categories
    a code each."""
    columns = []
    for dim in dims:
        values = [group.setting[dim.path] for group in groups]
        if dim.kind == "category":
            codes = {level: code for code, level in enumerate(dict.fromkeys(map(repr, values)))}
            columns.append([float(codes[repr(value)]) for value in values])
        else:
            columns.append([math.nan if (place := dim.scale(value)) is None else place for value in values])
    return np.array(columns, dtype=np.float64).reshape(len(dims), len(groups)).T


def distances(
    places: npt.NDArray[np.float64], others: npt.NDArray[np.float64], dims: Sequence[Dimension]
) -> npt.NDArray[np.float64]:
    """Root-mean-square distances over the searched settings, [places, others], between `coordinates`.

    Logarithmic settings are compared on a logarithmic axis. Two different categories, or an active and an
    inactive setting, are one whole axis apart.
    """
    total = np.zeros((len(places), len(others)))
    for dim, ours, theirs in zip(dims, places.T[:, :, None], others.T, strict=True):
        if dim.kind == "category":
            total += ours != theirs
            continue
        apart = (ours - theirs) ** 2
        missing, absent = np.isnan(ours), np.isnan(theirs)
        if missing.any() or absent.any():
            apart = np.where(missing | absent, missing != absent, apart)
        total += apart
    return np.sqrt(total / max(len(dims), 1))


def neighbourhoods(
    places: Sequence[SettingGroup], groups: Sequence[SettingGroup], dims: Sequence[Dimension]
) -> dict[int, Neighbourhood]:
    """Weighs each place's own seeds and all other tried settings by their distance; by group.

    risk = (1/2 + sum of weight * unstable share) / (1 + sum of weights): a Gaussian kernel, with
    one imaginary half-unstable neighbour, so that nothing is ever called certain. An own seed has weight 1.

    Args:
        places: whose neighbourhoods are asked for; they are among the groups.
        groups: all tried settings.
        dims: the searched settings.
    """
    unstable = np.array([1.0 - group.stable.rate for group in groups])
    index_of = {group.group: index for index, group in enumerate(groups)}
    every = coordinates(groups, dims)
    found = {}
    # Not all at once: ten thousand settings would need gigabytes.
    for start in range(0, len(places), _BLOCK):
        block = places[start : start + _BLOCK]
        own = [index_of[group.group] for group in block]
        apart = distances(every[own], every, dims)
        weights = np.exp(-0.5 * (apart / BANDWIDTH) ** 2)
        weights[range(len(block)), own] = [group.stable.total for group in block]
        risks = (0.5 + weights @ unstable) / (1.0 + weights.sum(axis=1))
        apart[range(len(block)), own] = math.inf
        for group, row, risk in zip(block, apart, risks.tolist(), strict=True):
            nearest = _nearest(row)
            found[group.group] = Neighbourhood(
                risk=risk,
                nearest=share(groups[i].all_stable for i in nearest),
                reach=float(row[nearest[-1]]) if nearest else math.nan,
            )
    return found


def _nearest(apart: npt.NDArray[np.float64]) -> list[int]:
    """Indices of the NUM_NEAREST smallest finite distances, nearest first; the earlier one of two that are equal."""
    reach = np.partition(apart, NUM_NEAREST - 1)[NUM_NEAREST - 1] if len(apart) > NUM_NEAREST else math.inf
    within = np.flatnonzero((apart <= reach) & np.isfinite(apart))
    return within[np.argsort(apart[within], kind="stable")][:NUM_NEAREST].tolist()  # type: ignore[no-any-return]
