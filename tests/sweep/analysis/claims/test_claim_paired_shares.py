"""The exact interval of paired shares: how often each end misses, by enumeration, and limits that have a formula."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from scipy.special import gammaln, xlogy

from sweep.analysis.claims.paired_shares import RESOLUTION, UNLIKELY, share_interval, share_p
from sweep.analysis.claims.sequential import levels_at, look_blocks

Floats = npt.NDArray[np.float64]


def outcomes(num: int, difference: float, differ: float) -> Floats:
    """Chances of each number of better and of worse pairs, [num + 1, num + 1]."""
    better, worse = np.indices((num + 1, num + 1))
    same = num - better - worse
    ways = gammaln(num + 1) - gammaln(better + 1) - gammaln(worse + 1) - gammaln(np.maximum(same, 0) + 1)
    logs = ways + xlogy(better, max(0.0, differ + difference) / 2) + xlogy(worse, max(0.0, differ - difference) / 2)
    return np.where(same >= 0, np.exp(logs + xlogy(np.maximum(same, 0), max(0.0, 1 - differ))), 0.0)


def upper_ends(num: int, level: float) -> Floats:
    """Of the interval of every outcome, [num + 1, num + 1]; 1 for what cannot be."""
    ends = np.ones((num + 1, num + 1))
    for better in range(num + 1):
        for worse in range(num + 1 - better):
            ends[better, worse] = share_interval(num, better, worse, level)[1]
    return ends


def largest_error(sizes: Sequence[int], levels: Sequence[float], differences: int, chances: int) -> float:
    """The largest chance that at some look the upper end lies below the truth, over differences and chances to differ.

    The error changes where the difference passes an end: differences are tried just beyond those.
    """
    ends = [upper_ends(size, level) for size, level in zip(sizes, levels, strict=True)]
    steps = np.unique(np.concatenate([end.ravel() for end in ends]).round(6))
    beyond = steps[steps < 1 - 3 * RESOLUTION][:: max(1, len(steps) // differences)] + 2 * RESOLUTION
    worst = 0.0
    for difference in beyond:
        for angle in np.linspace(0, math.pi / 2, chances):
            differ = abs(difference) + (1 - abs(difference)) * math.sin(angle) ** 2
            missed, going_on, before = 0.0, np.ones((1, 1)), 0
            for size, end in zip(sizes, ends, strict=True):
                seen = convolve2d(going_on, outcomes(size - before, float(difference), differ))
                missed += float(seen[end < difference].sum())
                going_on, before = np.where(end < difference, 0.0, seen), size
            worst = max(worst, missed)
    return worst


LONG = (pytest.mark.slow, pytest.mark.long)


SIZES = [
    *((num, 0.05) for num in (6, 12)),
    *(pytest.param(num, 0.05 / 3, marks=pytest.mark.slow) for num in (6, 12, 20)),
    *(pytest.param(num, 0.05, marks=pytest.mark.slow) for num in (7, 8, 10, 16, 20, 24)),
    # A minute each.
    *(pytest.param(num, 0.05, marks=LONG) for num in (32, 48)),
]


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize(("num", "alpha"), SIZES)
def test_no_end_misses_more_often_than_stated(num: int, looks: int, alpha: float) -> None:
    sizes = look_blocks(num, looks)
    levels = levels_at(tuple(size / num for size in sizes), alpha)
    error = largest_error(sizes, levels, differences=40 if num <= 12 else 80, chances=25)
    assert 0.5 * alpha / 2 <= error <= alpha / 2


def test_an_end_lies_where_p_falls_below_the_level_for_good() -> None:
    # Here p falls below 0.025 at -0.182 and rises once more at -0.177.
    end = share_interval(20, 2, 13, 0.05)[1]
    assert end == pytest.approx(-0.175, abs=0.002)
    assert max(share_p(20, 2, 13, d, 0.05) for d in end + np.arange(0.001, 0.05, 0.0005)) <= 0.05


@pytest.mark.parametrize("num", [2, 6, 20, 60])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_pairs_of_which_none_differs(num: int, level: float) -> None:
    low, high = share_interval(num, 0, 0, level)
    # At least all under which so many in a row without one that is better only are not too rare: (1 - d)^n = level / 2.
    end = 1 - (level / 2) ** (1 / num)
    assert end - 1e-4 <= high == -low <= 1.8 * end
    assert share_p(num, 0, 0, 0.0, level) == 1.0


@pytest.mark.parametrize("num", [2, 6, 20, 60])
@pytest.mark.parametrize("level", [0.05, 0.001])
def test_pairs_that_all_differ_one_way(num: int, level: float) -> None:
    # Most likely if no pair is the same: ((1 + d) / 2)^n = level / 2.
    left = (1 - UNLIKELY) * level / 2
    assert share_interval(num, num, 0, level) == pytest.approx((2 * left ** (1 / num) - 1, 1.0), abs=1e-4)
    assert share_p(num, num, 0, 0.0, level) == pytest.approx(2 * 0.5**num + UNLIKELY * level)


counts = st.integers(2, 40).flatmap(
    lambda n: st.integers(0, n).flatmap(lambda b: st.tuples(st.just(n), st.just(b), st.integers(0, n - b)))
)


@given(counts, st.sampled_from([0.05, 0.01, 1e-5]), st.floats(-0.9, 0.9))
@settings(max_examples=40, deadline=None)
def test_p_and_interval_agree_and_the_levels_may_be_swapped(
    seen: tuple[int, int, int], level: float, value: float
) -> None:
    num, better, worse = seen
    low, high = share_interval(num, better, worse, level)
    assert share_interval(num, worse, better, level) == pytest.approx((-high, -low))
    assert low <= (better - worse) / num <= high
    if min(abs(value - low), abs(value - high)) > 1e-4:
        assert (share_p(num, better, worse, value, level) <= level) == (not low <= value <= high)
