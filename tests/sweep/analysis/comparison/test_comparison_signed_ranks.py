"""Paired differences: the test against scipy's and against every sign, the interval against the test, the power against
simulated comparisons."""

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import wilcoxon

from sweep.analysis.comparison import signed_ranks as module
from sweep.analysis.comparison.signed_ranks import EXACT_UP_TO, detectable, fewest_pairs, signed_ranks

Floats = npt.NDArray[np.float64]


@pytest.mark.parametrize("num", [1, 5, 6, 12, 40])
def test_without_ties_p_is_that_of_scipy(num: int) -> None:
    for differences in np.random.default_rng(num).normal(0.3, 1.0, (20, num)):
        expected = wilcoxon(differences, method="exact").pvalue
        assert signed_ranks(differences, 0.05).p == pytest.approx(expected)


def test_with_many_pairs_the_rank_sum_is_as_good_as_normal(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(0).normal(0.15, 1.0, EXACT_UP_TO)
    exact = signed_ranks(differences, 0.05)
    module._left_out.cache_clear()
    monkeypatch.setattr(module, "EXACT_UP_TO", 10)
    found = signed_ranks(differences, 0.05)
    module._left_out.cache_clear()
    assert found.p == pytest.approx(exact.p, rel=0.02) and (exact.test, found.test) == (
        "exact Wilcoxon test",
        "Wilcoxon test",
    )
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=1e-3)


few = st.lists(st.integers(-4, 4), min_size=1, max_size=12)


@given(few, st.sampled_from([0.05, 0.0125, 0.3]))
@settings(max_examples=200, deadline=None)
def test_the_interval_excludes_no_difference_exactly_where_p_is_below_the_level(found: list[int], level: float) -> None:
    seen = signed_ranks(np.array(found, dtype=np.float64), level)
    assert seen.low <= seen.estimate <= seen.high
    assert (seen.low > 0 or seen.high < 0) == (seen.p < level)
    assert seen.least_p <= seen.p


@pytest.mark.parametrize(
    "sizes", [[1, 2, 3, 4, 5, 6, 7], [1] * 8, [0, 0, 1, 1, 2, 3, 3, 9], [0] * 3 + [1] * 7, [0] * 5]
)
def test_of_every_sign_no_more_are_as_unlikely_as_p_says(sizes: list[int]) -> None:
    signs = np.array(list(itertools.product([-1, 1], repeat=len(sizes))))
    found = np.array([signed_ranks(np.array(sizes) * sign, 0.05).p for sign in signs])
    for p in np.unique(found):
        assert np.mean(found <= p) <= p * (1 + 1e-9)
    assert found.min() == pytest.approx(signed_ranks(np.array(sizes, dtype=np.float64), 0.05).least_p)


def test_so_few_pairs_have_no_interval_and_the_next_have_one() -> None:
    for level in (0.05, 0.025, 2.0**-5, 0.001):
        fewest = fewest_pairs(level)
        less, enough = (signed_ranks(np.arange(1.0, num + 1), level) for num in (fewest - 1, fewest))
        assert less.p >= level > enough.p
        assert math.isinf(less.low) and math.isfinite(enough.low)
    assert fewest_pairs(0.05) == 6


def test_the_interval_covers_the_middle_of_shifted_differences() -> None:
    draws = np.random.default_rng(1).standard_t(3, (2000, 9)) + 0.7
    held = [seen.low <= 0.7 <= seen.high for seen in (signed_ranks(one, 0.05) for one in draws)]
    assert 0.945 <= np.mean(held) <= 0.975  # exactly 0.961


@pytest.mark.parametrize("smallest", [0.0, 0.5])
@pytest.mark.parametrize(("num", "level"), [(7, 0.05), (12, 0.0125), (40, 0.0125)])
def test_what_is_said_to_be_detectable_is_told_so_often(num: int, level: float, smallest: float) -> None:
    """Over comparisons, each with studies of its own to say it and others to tell it."""
    rng = np.random.default_rng(2)
    told = []
    for studies, others in zip(rng.normal(0.4, 1.5, (600, num)), rng.normal(0.0, 1.5, (600, num)), strict=True):
        size = detectable(studies, level, smallest)
        seen = signed_ranks(others + size, level)
        told.append(seen.p < level and seen.estimate > smallest)
    assert np.mean(told) == pytest.approx(0.8, abs=0.045)


def test_nothing_is_said_where_pairs_do_not_tell_how_they_scatter() -> None:
    assert math.isnan(detectable(np.full(12, 0.3), 0.05, 0.1))
    assert math.isnan(detectable(np.arange(4.0), 0.05, 0.1)), "too few for an interval"


def test_less_than_what_matters_is_never_detectable() -> None:
    close = np.random.default_rng(3).normal(0.0, 1e-6, 12)
    assert detectable(close, 0.05, 0.2) == pytest.approx(0.2, abs=1e-5)
