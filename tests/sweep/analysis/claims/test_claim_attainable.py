"""What a design can support at best, against the exact test's own formula and the interval's."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from scipy.stats import norm

from sweep.analysis.claims.attainable import attainable, fewest_apart, is_foreseeable, narrowest
from sweep.analysis.claims.sequential import nominal_levels

Make = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("expected", ["higher", "lower"])
@pytest.mark.parametrize("level", [0.05, 0.0125, 0.004])
def test_pairs_that_all_differ_one_way_need_mcnemars_p(claim: Make, expected: str, level: float) -> None:
    needed = next(k for k in range(1, 40) if 2 * 0.5**k <= level)
    wanted = claim(expected=expected, smallest_effect=0.1)
    assert fewest_apart(wanted, 40, level) == needed
    assert fewest_apart(wanted, needed, level) == needed and fewest_apart(wanted, needed - 1, level) is None


def test_the_smallest_effect_must_not_be_excluded_either(claim: Make) -> None:
    assert fewest_apart(claim(smallest_effect=0.5), 40, 0.05) > fewest_apart(claim(smallest_effect=0.1), 40, 0.05)


@pytest.mark.parametrize("num", [2, 20, 60])
def test_the_interval_of_pairs_without_a_difference_is_that_of_bonett_and_price(num: int) -> None:
    expected = norm.isf(0.01) * math.sqrt(2 / (num + 2)) / math.sqrt(num + 2)
    assert narrowest(num, 0.02) == pytest.approx(min(1, expected))


def test_it_is_told_what_support_takes_and_where_it_cannot_come(claim: Make) -> None:
    assert attainable(claim(), 40, 4, 1).text == "needs at least 6 of 40 pairs that differ, all one way (15 points)"
    shared = attainable(claim(), 40, 4, 3)
    assert shared.possible and shared.text.endswith(
        "8 of 40 pairs that differ, all one way (20 points); 6 once the other claims are settled"
    )
    late = attainable(claim(), 6, 1, 3)
    assert late.possible and late.text.endswith("all one way (100 points), once the other claims are settled")
    never = attainable(claim(), 5, 1, 1)
    assert not never.possible
    assert never.text == "cannot be supported: 5 pairs are too few for the exact test, which needs at least 6"


def test_equality_needs_an_interval_that_fits(claim: Make) -> None:
    equal = claim(expected="equal", smallest_effect=0.15)
    level = nominal_levels(4, 0.05)[-1]
    enough = attainable(equal, 40, 4, 1)
    assert enough.possible
    assert enough.text == f"the interval is +-{100 * narrowest(40, level):.3g} points if none of 40 pairs differs"
    late = attainable(equal, 18, 1, 3)
    assert late.possible and late.text.endswith("(interval +-13.9 points), once the other claims are settled")
    never = attainable(equal, 16, 1, 1)
    assert not never.possible
    assert never.text == "cannot be supported: with 16 pairs the interval is never narrower than +-15.4 points"


def test_only_a_plain_difference_of_stable_shares_can_be_foreseen(claim: Make) -> None:
    assert is_foreseeable(claim())
    for change in ({"response": "wer"}, {"effect": "mean"}, {"by": "model"}, {"value": 0.1}):
        assert not is_foreseeable(claim(**change)), change
