"""Gaffke's interval of bounded means: how often its ends miss, by enumeration, and bounds that others computed."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from scipy.stats import binomtest, multinomial

from sweep.analysis.claims.bounded_means import gaffke_interval, gaffke_p
from sweep.analysis.claims.sequential import levels_at, look_blocks

Floats = npt.NDArray[np.float64]
BEYOND = 1e-6


@pytest.mark.parametrize("num", [2, 6, 24, 48])
@pytest.mark.parametrize("level", [0.05, 1e-5])
def test_effects_at_either_end_have_the_interval_of_clopper_and_pearson(num: int, level: float) -> None:
    for most_often in {0, 1, num // 3, num}:
        effects = np.repeat([2.0, -2.0], [most_often, num - most_often])
        low, high = binomtest(most_often, num).proportion_ci(1 - level)
        assert gaffke_interval(effects, -2.0, 2.0, level) == pytest.approx((4 * low - 2, 4 * high - 2), abs=1e-8)


def test_the_bounds_are_quantiles_of_randomly_weighted_effects() -> None:
    rng = np.random.default_rng(0)
    effects = np.array([-1.0, -0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 1 / 3, 0.5, 1.0])
    weights = rng.dirichlet(np.ones(11), 200_000)
    low, high = gaffke_interval(effects, -1.0, 1.0, 0.1)
    assert low == pytest.approx(np.quantile(weights @ np.append(effects, -1.0), 0.05), abs=0.003)
    assert high == pytest.approx(np.quantile(weights @ np.append(effects, 1.0), 0.95), abs=0.003)


def test_none_of_many_blocks_differs() -> None:
    low, high = gaffke_interval(np.zeros(3000), -2.0, 2.0, 0.05)
    assert high == -low == pytest.approx(2 * (1 - 0.025 ** (1 / 3000)), rel=1e-6)


effects_of_blocks = st.lists(st.integers(-6, 6).map(lambda k: k / 3), min_size=2, max_size=60).map(np.array)


@given(effects_of_blocks, st.sampled_from([0.05, 0.01, 1e-5]), st.floats(-2, 2))
@settings(max_examples=60, deadline=None)
def test_p_and_interval_agree_and_the_levels_may_be_swapped(effects: Floats, level: float, value: float) -> None:
    low, high = gaffke_interval(effects, -2.0, 2.0, level)
    assert -2 <= low <= effects.mean() + 1e-12 and effects.mean() - 1e-12 <= high <= 2
    assert gaffke_interval(-effects, -2.0, 2.0, level) == pytest.approx((-high, -low), abs=1e-8)
    if min(abs(value - low), abs(value - high)) > 1e-6:
        assert (gaffke_p(effects, -2.0, 2.0, value) <= level) == (not low <= value <= high)


def chances_of(num: int, three: Sequence[float]) -> Floats:
    """Of how often the first and the second of three values come out, [num + 1, num + 1]."""
    first, second = np.indices((num + 1, num + 1))
    rest = num - first - second
    table = multinomial.pmf(np.stack([first, second, np.maximum(rest, 0)], axis=-1), num, three)
    return np.where(rest >= 0, table, 0.0)


def upper_ends(num: int, values: Sequence[float], most: float, level: float) -> Floats:
    """Of every outcome, indexed in the same way; infinite for what cannot be."""
    ends = np.full((num + 1, num + 1), np.inf)
    for first, second in itertools.product(range(num + 1), repeat=2):
        if first + second <= num:
            effects = np.repeat(values, [first, second, num - first - second])
            ends[first, second] = gaffke_interval(effects, -most, most, level)[1]
    return ends


def largest_error(values: Sequence[float], most: float, num: int, looks: int, means: int) -> float:
    """The largest chance that at some look an upper end lies below the mean of effects with one of three values.

    The error peaks where the mean passes an end: just beyond some of them, all distributions are tried, in eight steps
    from one that has only two of the values to the other.
    """
    sizes = look_blocks(num, looks)
    levels = levels_at(tuple(size / num for size in sizes), 0.05)
    ends = [upper_ends(size, values, most, level) for size, level in zip(sizes, levels, strict=True)]
    places = np.unique(np.concatenate([end[end < values[2] - 2 * BEYOND] for end in ends]))
    worst = 0.0
    for mean in places[:: math.ceil(len(places) / means)] + BEYOND:
        for third in np.linspace(*range_of_third(values, mean), 8):
            second = (mean - values[0] - third * (values[2] - values[0])) / (values[1] - values[0])
            three = np.clip([1 - second - third, second, third], 0.0, 1.0)
            missed, going_on, before = 0.0, np.ones((1, 1)), 0
            for size, end in zip(sizes, ends, strict=True):
                seen = convolve2d(going_on, chances_of(size - before, three / three.sum()))
                missed += float(seen[end < mean - BEYOND / 2].sum())
                going_on, before = np.where(end < mean - BEYOND / 2, 0.0, seen), size
            worst = max(worst, missed)
    return worst


def range_of_third(values: Sequence[float], mean: float) -> tuple[float, float]:
    """The least and the most chance that the third of three values can have under a mean."""
    first, second, third = values
    return max(0.0, (mean - second) / (third - second)), (mean - first) / (third - first)


CASES = [
    # Averages over two trainings a level.
    ((-1.0, 0.0, 0.5), 1.0),
    ((-0.5, 0.0, 1.0), 1.0),
    # Interactions of one training a level, and of two.
    ((-1.0, 0.0, 2.0), 2.0),
    ((-2.0, -1.0, 1.0), 2.0),
    ((-0.5, 0.5, 2.0), 2.0),
]


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize(("values", "most"), CASES)
@pytest.mark.parametrize("num", [6, 12, 24, pytest.param(48, marks=pytest.mark.slow)])
def test_no_end_misses_more_often_than_stated(values: Sequence[float], most: float, num: int, looks: int) -> None:
    error = largest_error(values, most, num, looks, means=20)
    assert error <= 0.025
    if values[-1] == most:
        assert error >= 0.0175, "and it is no wider than it must be"
