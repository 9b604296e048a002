"""Estimates and intervals against other implementations and by hand, and what degenerate pairs may say."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from sweep.analysis.claims.bounded import stable_effect
from sweep.analysis.claims.bounded_means import gaffke_interval, gaffke_p
from sweep.analysis.claims.edges import edge_effect
from sweep.analysis.claims.effects import continuous
from sweep.analysis.claims.mixed_logistic import interaction_odds_ratio
from sweep.analysis.claims.paired_shares import share_interval
from sweep.analysis.claims.pairs import Floats, Pairs
from sweep.analysis.claims.power import pairs_needed

DIFFERENCE = np.array([-1.0, 1.0])
INTERACTION = np.array([1.0, -1.0, -1.0, 1.0])


def seen(values: Floats, weights: Floats = DIFFERENCE, low: Floats | None = None, high: Floats | None = None) -> Pairs:
    low, high = values if low is None else low, values if high is None else high
    return Pairs(
        blocks=np.arange(len(values)),
        values=values,
        labels=tuple("abcd"[: values.shape[1]]),
        censored=~np.isfinite(low) | ~np.isfinite(high),
        effects=values @ weights,
        weights=weights,
        cells=1,
        low=low,
        high=high,
    )


def counts(both: int, only_reference: int, only_other: int, neither: int) -> Pairs:
    rows = [[1, 1]] * both + [[1, 0]] * only_reference + [[0, 1]] * only_other + [[0, 0]] * neither
    return seen(np.array(rows, dtype=float).reshape(-1, 2))


def averaged(effects: Floats) -> Pairs:
    """Pairs with the effects of averages over several trainings."""
    return seen(np.column_stack([np.zeros(len(effects)), effects]))


def test_averages_and_interactions_are_judged_as_means_between_two_ends_whatever_came_out() -> None:
    effects = np.array([1.0, 1.0, 0.0, 0.0, -1.0, 0.0, 1.0, 1.0])
    single, mean = averaged(effects), dataclasses.replace(averaged(effects), cells=3)
    found = stable_effect(single, 0.0, 0.05)
    assert (found.low, found.high) == share_interval(8, 4, 1, 0.05)
    found = stable_effect(mean, 0.0, 0.05)
    assert (found.low, found.high) == gaffke_interval(effects, -1.0, 1.0, 0.05)
    crossed = seen(np.column_stack([*[np.zeros(8)] * 3, np.abs(effects)]), INTERACTION)
    found = stable_effect(crossed, 0.3, 0.05)
    assert (found.low, found.high) == gaffke_interval(np.abs(effects), -2.0, 2.0, 0.05)
    assert found.p == gaffke_p(np.abs(effects), -2.0, 2.0, 0.3)


def test_the_share_of_one_level_over_several_trainings_a_block() -> None:
    halves = seen(np.array([[1.0]] * 7 + [[0.5]] * 3), np.ones(1))
    effect = stable_effect(dataclasses.replace(halves, cells=2), 0.5, 0.05)
    assert 0.5 < effect.low < 0.85 == effect.estimate < effect.high < 1.0
    # An unseen block at 0 would have to outweigh all seven at 1: one exponential number the sum of seven.
    assert effect.p == pytest.approx(2 * 0.5**7)


def test_pairs_that_all_agree_are_not_certain() -> None:
    few, many = stable_effect(counts(2, 0, 0, 0), 0.0, 0.05), stable_effect(counts(100, 0, 0, 20), 0.0, 0.05)
    assert few.low < -0.5 < 0.5 < few.high
    assert many.high == pytest.approx(3.7 / 120, abs=0.001)  # as the rule of three, of 2.5 %
    assert few.p == many.p == 1.0


def test_the_share_of_one_level() -> None:
    effect = stable_effect(seen(np.array([[1.0]] * 9 + [[0.0]]), np.ones(1)), 0.5, 0.05)
    exact = binomtest(9, 10, 0.5)
    assert effect.p == pytest.approx(exact.pvalue)
    assert (effect.low, effect.high) == pytest.approx(tuple(exact.proportion_ci()), abs=1e-9)


def test_few_pairs_are_judged_by_students_t() -> None:
    effects = np.random.default_rng(0).normal(0.3, 1, 9)
    effect, exact = continuous(effects, 0.1, 0.05), ttest_1samp(effects, 0.1)
    assert effect.p == pytest.approx(exact.pvalue)
    assert (effect.low, effect.high) == pytest.approx(tuple(exact.confidence_interval(0.95)))


def test_more_pairs_widen_the_interval_where_they_are_skewed() -> None:
    effects = np.random.default_rng(1).lognormal(0, 1, 24)
    effect, exact = continuous(effects, 0.0, 0.05), ttest_1samp(effects, 0.0).confidence_interval(0.95)
    assert effect.low == pytest.approx(exact.low)
    assert effect.high - effect.estimate > 1.1 * (exact.high - effect.estimate)
    assert continuous(effects, 0.0, 0.05) == effect  # the same for the same pairs


def test_counts_that_are_mostly_the_same_are_left_to_students_t() -> None:
    # Slopes of a real study: resamples of the ones alone have no spread but rounding.
    effects = np.array([0.85, 1, 1 + 1e-15, 1, 1.05, 1, 0.975, 1, 1, 1 - 1e-15, 0.925, 1])
    exact = ttest_1samp(effects, 1.0).confidence_interval(0.951)
    effect = continuous(effects, 1.0, 0.049)
    assert (effect.low, effect.high) == pytest.approx((exact.low, exact.high))


def test_a_cluster_of_effects_leaves_a_bounded_interval() -> None:
    effects = np.array([*[0.0] * 6, *np.linspace(0.5, 3, 6)])
    effect = continuous(effects, 0.0, 0.05)
    assert -1 < effect.low < effect.estimate < effect.high < 10


def test_a_tiny_level_is_left_to_students_t() -> None:
    effects = np.random.default_rng(1).lognormal(0, 1, 24)
    exact = ttest_1samp(effects, 0.0).confidence_interval(1 - 1e-5)
    effect = continuous(effects, 0.0, 1e-5)
    assert (effect.low, effect.high) == pytest.approx((exact.low, exact.high), rel=1e-6)


@pytest.mark.parametrize(("num", "known"), [(2, False), (5, False), (6, True), (24, True)])
def test_identical_pairs_are_certain_only_of_the_median(num: int, known: bool) -> None:
    effect = continuous(np.full(num, 4.0), 0.0, 0.05)
    assert effect.estimate == 4.0
    assert (effect.low, effect.high) == ((4.0, 4.0) if known else (-math.inf, math.inf))
    assert effect.p == 2.0 ** (1 - num)
    assert continuous(np.zeros(num), 0.0, 0.05).p == 1.0


def test_one_pair_tells_nothing() -> None:
    for effect in (continuous(np.array([0.7]), 0.0, 0.05), stable_effect(counts(0, 1, 0, 0), 0.0, 0.05)):
        assert (effect.low, effect.high, effect.p) == (-math.inf, math.inf, 1.0)


def test_no_pair_at_all() -> None:
    assert math.isnan(continuous(np.array([]), 0.0, 0.05).estimate)
    assert math.isnan(stable_effect(counts(0, 0, 0, 0), 0.0, 0.05).estimate)


def test_rungs_that_never_tell_the_levels_apart_leave_a_whole_rung_open() -> None:
    low = np.full((12, 2), -3.0)
    effect = edge_effect(seen(low + 0.25, low=low, high=low + 0.5), 0.0, 0.05)
    assert effect.estimate == pytest.approx(0.0, abs=0.5)
    assert effect.low < -0.4
    assert effect.high > 0.4


def test_edges_of_one_level_beyond_every_rung_say_on_which_side_they_are() -> None:
    low = np.column_stack([np.full(8, -1.0), np.linspace(-4, -2, 8)])
    high = np.column_stack([np.full(8, np.inf), np.linspace(-3.5, -1.5, 8)])
    effect = edge_effect(seen(np.where(np.isfinite(high), (low + high) / 2, low), low=low, high=high), 0.0, 0.05)
    assert effect.low == -math.inf
    assert effect.low < effect.estimate <= effect.high < -0.5


def test_edges_of_both_levels_beyond_every_rung_say_nothing() -> None:
    low = np.full((8, 2), -1.0)
    effect = edge_effect(seen(low, low=low, high=np.full((8, 2), np.inf)), 0.0, 0.05)
    assert (effect.low, effect.high, effect.p) == (-math.inf, math.inf, 1.0)


def test_a_clear_shift_of_edges() -> None:
    low = np.array([[-2.0, -3.0], [-1.5, -2.5], [-2.0, -3.0], [-2.5, -3.0], [-2.0, -3.5], [-1.5, -2.5], [-2.0, -3.0]])
    effect = edge_effect(seen(low + 0.25, low=low, high=low + 0.5), 0.0, 0.05)
    assert effect.estimate == pytest.approx(-1.0, abs=0.15)
    assert -1.6 < effect.low < -1.1
    assert -0.9 < effect.high < -0.4
    assert effect.p < 0.01


def test_the_odds_ratio_of_an_interaction() -> None:
    rng = np.random.default_rng(0)
    logits = np.array([1.0, 0.0, 1.0, 2.0])
    chances = 1 / (1 + np.exp(-(logits + rng.normal(0, 0.5, (300, 1)))))
    found = interaction_odds_ratio(seen((rng.random((300, 4)) < chances).astype(float), INTERACTION), 0.05)
    assert found.low < math.exp(2) < found.high
    assert found.estimate == pytest.approx(math.exp(2), rel=0.6)


def test_an_odds_ratio_where_a_level_never_failed_is_finite() -> None:
    values = np.ones((10, 4))
    values[:6, 1] = 0
    found = interaction_odds_ratio(seen(values, INTERACTION), 0.05)
    assert 0 < found.low < found.estimate < found.high < math.inf


def test_the_number_of_pairs_is_that_of_the_noncentral_t() -> None:
    assert pairs_needed(1.0, 0.5, 0.05) == pytest.approx(34, abs=1)  # R: power.t.test gives 33.4
    assert pairs_needed(0.0, 0.5, 0.05) is None
    assert pairs_needed(math.nan, 0.5, 0.05) is None
