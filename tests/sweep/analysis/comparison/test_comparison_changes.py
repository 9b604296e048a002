import dataclasses
import itertools
import math

import numpy as np
import pytest

from sweep.analysis.answer.unsafe import fisher_p
from sweep.analysis.comparison.changes import Power, StudyChange, corrected, least_fisher_p, mover, share_difference
from sweep.analysis.trials.outcomes import Share, clopper_pearson

CHANGE = StudyChange("stable share", "", "", "", -0.4, -0.6, -0.1, "share", "lower", "test", p=0.01, least_p=1e-6)


def share_of(count: int, total: int) -> Share:
    return Share(count, total, *clopper_pearson(count, total))


def test_a_change_is_a_regression_only_beyond_chance_and_in_the_bad_direction() -> None:
    assert CHANGE.verdict == "regression"
    assert dataclasses.replace(CHANGE, worse_if="higher").verdict == "improvement"
    assert dataclasses.replace(CHANGE, estimate=0.4).verdict == "improvement"
    assert dataclasses.replace(CHANGE, p=0.06).verdict == "open"
    assert dataclasses.replace(CHANGE, p=math.nan).verdict == "open"
    assert dataclasses.replace(CHANGE, num_tests=6).verdict == "open"
    assert dataclasses.replace(CHANGE, num_tests=0).verdict == "open"


def test_a_change_that_does_not_matter_is_neither() -> None:
    assert dataclasses.replace(CHANGE, smallest=0.4).verdict == "too_small"
    assert dataclasses.replace(CHANGE, smallest=0.39).verdict == "regression"
    assert dataclasses.replace(CHANGE, smallest=0.4, p=0.06).verdict == "open"


def test_the_power_is_that_at_the_corrected_level() -> None:
    asked = dataclasses.replace(CHANGE, power_at=lambda level: Power(f"at {level:.4f}"))
    counted, *_, left_out = corrected([asked, CHANGE, CHANGE, dataclasses.replace(asked, least_p=1.0)])
    assert (counted.power.text, left_out.power.text) == ("at 0.0167", "at 0.0125"), "it would be a fourth test"


def test_tests_that_cannot_show_anything_cost_the_others_nothing() -> None:
    hopeless = [dataclasses.replace(CHANGE, p=1.0, least_p=1.0)] * 20
    first, second, *rest = corrected([CHANGE, dataclasses.replace(CHANGE, p=0.5), *hopeless])
    assert (first.num_tests, second.num_tests) == (2, 2) and first.verdict == "regression"
    assert {one.num_tests for one in rest} == {0}


def test_all_tests_that_could_show_something_are_corrected_for() -> None:
    assert [one.p_corrected for one in corrected([CHANGE] * 7)] == pytest.approx([0.07] * 7)
    assert corrected([]) == ()


@pytest.mark.parametrize(("a", "b"), [((9, 10), (2, 12)), ((0, 20), (1, 30)), ((5, 5), (5, 5)), ((3, 14), (2, 24))])
def test_the_smallest_p_value_of_fishers_test_is_that_of_the_most_extreme_table(
    a: tuple[int, int], b: tuple[int, int]
) -> None:
    total = a[0] + b[0]
    splits = [(k, total - k) for k in range(total + 1) if k <= a[1] and total - k <= b[1]]
    smallest = min(fisher_p([[k, a[1] - k], [m, b[1] - m]]) for k, m in splits)
    assert least_fisher_p(share_of(*a), share_of(*b)) == pytest.approx(smallest)


def test_the_interval_of_a_difference_of_shares_agrees_with_its_test() -> None:
    for (a, m), (b, n) in itertools.product([(0, 8), (5, 8), (8, 8)], [(0, 12), (6, 12), (12, 12)]):
        p, low, high = share_difference(share_of(a, m), share_of(b, n))
        assert -1 <= low <= b / n - a / m <= high <= 1
        assert low <= 0 <= high or p <= 0.05


def test_the_interval_of_a_difference_of_shares_covers() -> None:
    rng = np.random.default_rng(0)
    draws = zip(rng.binomial(18, 0.6, 400), rng.binomial(28, 0.4, 400), strict=True)
    held = [
        low <= -0.2 <= high
        for _, low, high in (share_difference(share_of(int(a), 18), share_of(int(b), 28)) for a, b in draws)
    ]
    assert np.mean(held) >= 0.95


def test_equal_normal_intervals_give_the_usual_interval_of_a_difference() -> None:
    assert mover((1.0, 0.0, 2.0), (3.0, 2.0, 4.0)) == pytest.approx((2 - math.sqrt(2), 2 + math.sqrt(2)))
    low, high = mover((1.0, -math.inf, 2.0), (3.0, 2.0, 4.0))
    assert math.isfinite(low) and high == math.inf
