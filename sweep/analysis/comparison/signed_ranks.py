"""The median of paired differences: Wilcoxon's signed-rank test, the interval that belongs to it, and what it can show.

The estimate is the median of the means of every two differences (Hodges and Lehmann, Annals of Mathematical Statistics
34, 1963); the ends of the interval are those of these means that the exact distribution of the rank sum leaves out.
Differences that are 0 or equal in size count in the order that says least, in the test as in the interval, so both err
at most as often as stated (scipy's test becomes an approximation there, and gives no interval).

Where the change has no effect, a difference is as likely as its opposite: all that the test assumes. The interval
assumes that differences lie evenly about their middle.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

Floats = npt.NDArray[np.float64]

POWER = 0.8
"""Part of the comparisons that tell a difference which is called detectable."""
EXACT_UP_TO = 300
"""Pairs; with more of them the rank sum is as good as normal."""
SIMULATED_UP_TO = 30
"""Pairs; with more of them the interval's middle is as good as normal, and its width known."""
_DRAWS = 4000


@dataclass(frozen=True)
class SignedRanks:
    """What paired differences say of their median."""

    estimate: float
    low: float
    high: float
    """Ends of the interval; infinite where so few pairs have none."""
    p: float
    """Two-sided, of no difference."""
    least_p: float
    """The smallest p value that differences of these sizes can give."""
    test: str
    """Its name."""


def signed_ranks(differences: Floats, level: float) -> SignedRanks:
    """The median difference of independent pairs.

    Args:
        differences: one a pair, [N], N > 0.
        level: two-sided, in (0, 1).
    """
    means, num = _means(differences), len(differences)
    lower, upper = int((means >= 0).sum()), int((means <= 0).sum())
    zeros = int((differences == 0).sum())
    low, high = _ends(means, num, level)
    return SignedRanks(
        estimate=float(np.median(means)),
        low=low,
        high=high,
        p=min(1.0, 2 * min(_chance(num, lower), _chance(num, upper))),
        least_p=min(1.0, 2 * _chance(num, zeros * (zeros + 1) // 2)),
        test=f"{'exact ' if num <= EXACT_UP_TO else ''}Wilcoxon test",
    )


def fewest_pairs(level: float) -> int:
    """Pairs that can show something at a two-sided level, if all go one way: 2^(1 - N) is below it."""
    return math.floor(1 - math.log2(level)) + 1


def detectable(differences: Floats, level: float, smallest: float) -> float:
    """The median difference, either way, that POWER of the comparisons of so many pairs would tell.

    Told is one that the test at that level finds and that is estimated to be larger than `smallest`. How far pairs
    scatter is taken from the width of the interval of these, and how well so few pairs know that is allowed for, as if
    they were normal.

    Args:
        differences: one a pair, [N].
        level: two-sided, in (0, 1).
        smallest: what matters, 0 or more.

    Returns:
        NaN where so few pairs can tell nothing, or all differences are the same.
    """
    num = len(differences)
    low, high = _ends(_means(differences), num, level)
    if not 0 < high - low < math.inf:
        return math.nan
    middle, below = _simulated(num, level)
    half_width = (high - low) / 2
    return float(np.quantile(np.maximum(-half_width * below, smallest - half_width * middle), POWER))


@functools.lru_cache(maxsize=64)
def _simulated(num: int, level: float) -> tuple[Floats, Floats]:
    """Estimate and lower end of normal differences about 0, in half widths of the interval of others, [D] each."""
    rng = np.random.default_rng(0)
    if num > SIMULATED_UP_TO:
        middle = rng.standard_normal(_DRAWS) / float(norm.isf(level / 2))
        return middle, middle - 1
    first, second = ([_means(d) for d in rng.standard_normal((_DRAWS, num))] for _ in range(2))
    ends = np.array([_ends(means, num, level) for means in second])
    unit = (ends[:, 1] - ends[:, 0]) / 2
    below = np.array([_ends(means, num, level)[0] for means in first])
    return np.median(first, axis=1) / unit, below / unit


def _means(differences: Floats) -> Floats:
    """Of every two differences, and of each with itself, [N (N + 1) / 2], sorted."""
    ordered = np.sort(differences)
    return np.sort(np.concatenate([ordered[i:] + ordered[i] for i in range(len(ordered))]) / 2)


def _ends(means: Floats, num: int, level: float) -> tuple[float, float]:
    """Of the interval from the sorted means."""
    left_out = _left_out(num, level)
    return (-math.inf, math.inf) if left_out is None else (float(means[left_out]), float(means[-1 - left_out]))


@functools.lru_cache(maxsize=64)
def _left_out(num: int, level: float) -> int | None:
    """The largest rank sum whose two-sided p value is below the level; None where there is none."""
    low, high = -1, num * (num + 1) // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if 2 * _chance(num, middle) < level else (low, middle)
    return low if low >= 0 else None


def _chance(num: int, rank_sum: int) -> float:
    """The chance of a rank sum that is as low, if there is no difference."""
    if num <= EXACT_UP_TO:
        return float(_distribution(num)[rank_sum])
    mean = num * (num + 1) / 4
    return float(norm.cdf((rank_sum + 0.5 - mean) / math.sqrt(mean * (2 * num + 1) / 6)))


@functools.lru_cache(maxsize=64)
def _distribution(num: int) -> Floats:
    """Cumulative, over the rank sums 0 to N (N + 1) / 2."""
    chances = np.zeros(num * (num + 1) // 2 + 1)
    chances[0] = 1.0
    for rank in range(1, num + 1):
        chances[rank:] = chances[rank:] + chances[:-rank]
        chances /= 2
    return np.cumsum(chances)
