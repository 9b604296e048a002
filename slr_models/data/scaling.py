"""Velocities and standardization of features in which NaN means missing.

Dimension legend: T frames, F features.
"""

from collections.abc import Sequence

import numpy as np

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


def standardized(blocks: Sequence[Floats], reference: Sequence[Floats]) -> list[Floats]:
    """The blocks with mean 0 and deviation 1 a column, measured on the frames of `reference` without NaN."""
    num_features = reference[0].shape[1]
    count = np.zeros(num_features)
    total = np.zeros(num_features)
    for block in reference:
        count += np.isfinite(block).sum(axis=0)
        total += np.nansum(block, axis=0, dtype=np.float64)
    mean = total / np.maximum(count, 1)
    squares = np.zeros(num_features)
    for block in reference:
        squares += np.nansum((block - mean) ** 2, axis=0, dtype=np.float64)
    deviation = np.sqrt(squares / np.maximum(count, 1))
    deviation[deviation < _MIN_DEVIATION] = 1.0
    return [((block - mean) / deviation).astype(np.float32) for block in blocks]
