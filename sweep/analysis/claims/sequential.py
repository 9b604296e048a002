"""Interim looks at accumulating data without more false alarms: group-sequential nominal levels.

The spending function of O'Brien-Fleming type of Lan and DeMets (Biometrika 70, 1983): of a two-sided error `alpha`
each side may have used f(t) = 2 (1 - Phi(z_{alpha/4} / sqrt(t))) by the time that the fraction t of the planned blocks
is there. The statistics at the looks are jointly normal with correlation sqrt(t_j / t_k); the probability to cross a
bound first at look k follows by integrating that density look by look (Armitage, McPherson and Rowe, 1969).
The time is the fraction of blocks, which does not depend on what came out, so looks may be early or missing.
"""

import functools
import math

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

GRID_POINTS = 401
"""Points of the density of the statistic that went on; the published bounds come out to 4 digits."""
LARGEST_Z = 12.0
"""Where a bound is searched; beyond it a look spends nothing."""


def look_blocks(blocks: int, looks: int) -> tuple[int, ...]:
    """How many leading blocks each look is evaluated on: evenly spaced, rounded up, the last at the end."""
    return tuple(sorted({math.ceil(blocks * k / looks) for k in range(1, looks + 1)}))


def look(num_complete: int, blocks: int, looks: int) -> int | None:
    """Index (from 0) of the last look that so many complete leading blocks reach; None before the first."""
    reached = [index for index, needed in enumerate(look_blocks(blocks, looks)) if num_complete >= needed]
    return reached[-1] if reached else None


def nominal_levels(num_looks: int, alpha: float) -> list[float]:
    """The two-sided level at which each of some evenly spaced looks may test, so that all together err with alpha."""
    return list(levels_at(tuple((k + 1) / num_looks for k in range(num_looks)), alpha))


@functools.cache
def levels_at(fractions: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    """The two-sided nominal level at each look.

    Args:
        fractions: of the planned blocks at each look, increasing, in (0, 1].
        alpha: two-sided error of all looks together, in (0, 1).
    """
    if list(fractions) != sorted(set(fractions)) or not 0 < fractions[0] <= fractions[-1] <= 1 + 1e-12:
        raise ValueError(f"fractions must increase within (0, 1], but got {fractions}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), but got {alpha}")
    levels: list[float] = []
    spent = time = 0.0
    points, density = np.zeros(1), np.ones(1)  # the score (Brownian motion) starts at 0; density times width
    for fraction in fractions:
        step = math.sqrt(fraction - time)
        allowed = 2 * norm.sf(norm.isf(alpha / 4) / math.sqrt(min(fraction, 1.0)))

        def excess(
            z: float,
            points: np.ndarray = points,
            density: np.ndarray = density,
            scale: tuple[float, float, float] = (math.sqrt(fraction), step, allowed - spent),
        ) -> float:
            above = float(density @ norm.sf((z * scale[0] - points) / scale[1]))
            return math.log(max(above, 1e-300)) - math.log(scale[2])

        z = float(brentq(excess, 0.0, LARGEST_Z)) if excess(LARGEST_Z) < 0 else LARGEST_Z
        levels.append(2 * float(norm.sf(z)))
        bound = z * math.sqrt(fraction)
        grid = np.linspace(-bound, bound, GRID_POINTS)
        weights = np.full(GRID_POINTS, grid[1] - grid[0])
        weights[[0, -1]] /= 2  # trapezoid rule
        density = weights * (norm.pdf((grid[:, None] - points[None, :]) / step) / step @ density)
        points, spent, time = grid, allowed, fraction
    return tuple(levels)
