"""Velocities and standardization of features in which NaN means missing.

Dimension legend: T frames, F features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slr_models.data.layout import Floats

_MIN_DEVIATION = 1e-6
"""A column that varies less is constant, and is only centred."""


def stack_velocity(block: Floats, group_sizes: Sequence[int]) -> Floats:
    """Puts each group's differences to the frame before behind the group: [T, F] to [T, 2 F].

    The first frame has velocity 0; a difference with a missing value is missing.
    """
    velocity = np.zeros_like(block)
    velocity[1:] = block[1:] - block[:-1]
    parts, start = [], 0
    for size in group_sizes:
        parts += [block[:, start : start + size], velocity[:, start : start + size]]
        start += size
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of each column, [F] each, float64."""

    mean: npt.NDArray[np.float64]
    deviation: npt.NDArray[np.float64]

    def standardize(self, block: Floats) -> Floats:
        """The block with these statistics taken out; NaN stays NaN."""
        return ((block - self.mean) / self.deviation).astype(np.float32)


def column_statistics(blocks: Iterable[Floats]) -> Statistics:
    """Statistics over all frames of blocks [T, F], NaN left out; a constant column has deviation 1.

    Goes over the blocks once and merges their moments (Chan, Golub and LeVeque 1979), so that they can be made on
    the way.
    """
    count, mean, squares = np.zeros(1), np.zeros(1), np.zeros(1)
    for block in blocks:
        known = np.isfinite(block)
        new_count = known.sum(axis=0)
        share = np.maximum(new_count, 1)
        new_mean = np.where(known, block, 0.0).sum(axis=0, dtype=np.float64) / share
        new_squares = (np.where(known, block - new_mean, 0.0) ** 2).sum(axis=0, dtype=np.float64)
        total = np.maximum(count + new_count, 1)
        gap = new_mean - mean
        squares = squares + new_squares + gap**2 * count * new_count / total
        mean = mean + gap * new_count / total
        count = count + new_count
    deviation = np.sqrt(squares / np.maximum(count, 1))
    return Statistics(mean, np.where(deviation < _MIN_DEVIATION, 1.0, deviation))
