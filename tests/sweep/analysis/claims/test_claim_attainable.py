"""What a design can support at best, against formulas of the exact interval."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.claims.attainable import attainable, fewest_apart, is_foreseeable, narrowest
from sweep.analysis.claims.paired_shares import share_interval
from sweep.analysis.claims.sequential import nominal_levels
from sweep.analysis.claims.verdict import judge

Make = Callable[..., dict[str, Any]]
Table = Callable[..., pd.DataFrame]
Evals = Callable[[str], pd.DataFrame]


@pytest.mark.parametrize("expected", ["higher", "lower"])
@pytest.mark.parametrize("level", [0.05, 0.0125, 0.004])
def test_so_many_pairs_that_all_differ_one_way_exclude_no_effect(claim: Make, expected: str, level: float) -> None:
    wanted = claim(expected=expected, smallest_effect=0.05)
    apart = fewest_apart(wanted, 40, level)
    assert apart is not None
    low, before = (share_interval(40, num, 0, level)[0] for num in (apart, apart - 1))
    assert low > 0 >= before


def test_the_smallest_effect_must_not_be_excluded_either(claim: Make) -> None:
    assert fewest_apart(claim(smallest_effect=0.5), 40, 0.05) > fewest_apart(claim(smallest_effect=0.1), 40, 0.05)


@pytest.mark.parametrize("num", [2, 20, 60])
def test_the_interval_of_pairs_without_a_difference(num: int) -> None:
    # So many in a row without one that only the second level survives; other ways to get there add a little.
    assert narrowest(num, 0.02) == pytest.approx(1 - 0.01 ** (1 / num), rel=0.08)


def test_it_is_told_what_support_takes_and_where_it_cannot_come(claim: Make) -> None:
    assert attainable(claim(), 40, 4, 1).text == "needs at least 5 of 40 pairs that differ, all one way (12 points)"
    shared = attainable(claim(), 40, 4, 3)
    assert shared.possible and shared.text.endswith(
        "6 of 40 pairs that differ, all one way (15 points); 5 once the other claims are settled"
    )
    late = attainable(claim(), 6, 1, 3)
    assert late.possible and late.text.endswith("all one way (83 points), once the other claims are settled")
    never = attainable(claim(), 5, 1, 1)
    assert not never.possible
    assert never.text == "cannot be supported: 5 pairs are too few for the exact test, which needs at least 6"


def test_equality_needs_an_interval_that_fits(claim: Make) -> None:
    equal = claim(expected="equal", smallest_effect=0.15)
    level = nominal_levels(4, 0.05)[-1]
    enough = attainable(equal, 40, 4, 1)
    assert enough.possible
    assert enough.text == f"the interval is +-{100 * narrowest(40, level):.3g} points if none of 40 pairs differs"
    late = attainable(equal, 24, 1, 3)
    assert late.possible and late.text.endswith("(interval +-14.3 points), once the other claims are settled")
    never = attainable(equal, 16, 1, 1)
    assert not never.possible
    assert never.text == "cannot be supported: with 16 pairs the interval is never narrower than +-20.7 points"


def test_an_equal_wer_needs_so_many_pairs_that_unseen_failures_do_not_matter(claim: Make) -> None:
    equal = claim(response="wer", expected="equal", smallest_effect=0.1)
    best = attainable(equal, 24, 1, 1)
    assert best.possible
    assert best.text == (
        "if none of 24 pairs fails at one level alone, up to 14 % may: equal only if a failure costs less than "
        "70 points"
    )
    assert attainable(equal, 40, 1, 1).text.endswith("up to 9 % may, too few to matter")
    loss = claim(response="val_loss", expected="equal", smallest_effect=0.2)
    assert attainable(loss, 24, 1, 1).text.endswith("equal only if a failure costs less than 1.4 nats/label")


def test_a_wer_is_near_a_value_only_if_enough_trainings_say_so(claim: Make) -> None:
    mean = claim(response="wer", effect="mean", levels=["fp32"], expected="equal", smallest_effect=0.05)
    never = attainable(mean, 16, 1, 1)
    assert not never.possible
    assert never.text == (
        "cannot be supported: if none of 16 trainings fails, up to 21 % may, which matters; it needs at least 69"
    )
    assert attainable(mean, 69, 1, 1).possible and not attainable(mean, 68, 1, 1).possible


def test_what_is_foreseen_is_what_is_judged(claim: Make, paired: Table, study: Make, no_evals: Evals) -> None:
    for wanted, column, value in (
        (claim(response="wer", expected="equal", smallest_effect=0.1), "wer", 0.2),
        (claim(response="wer", effect="mean", levels=["fp32"], expected="equal", smallest_effect=0.1), "wer", 0.0),
        (claim(expected="equal", smallest_effect=0.15), "stable", True),
    ):
        for blocks in (20, 40):
            design = {"blocks": blocks, "looks": 1}
            frame = paired(column, [(value, value)] * blocks)
            (found,) = judge(frame, study(claims=[wanted], design=design), no_evals)
            best = attainable(wanted, blocks, 1, 1)
            cost = "costs less than" in best.text  # 50 or 80 points, where 80 are at stake
            assert (found.verdict == "supported") == (best.possible and not cost), (wanted, blocks)


def test_only_plain_differences_of_stable_shares_and_equalities_can_be_foreseen(claim: Make) -> None:
    assert is_foreseeable(claim())
    assert is_foreseeable(claim(response="wer", expected="equal"))
    for change in (
        {"response": "wer"},
        {"response": "step_time_s", "expected": "equal"},
        {"effect": "mean"},
        {"by": "model"},
        {"value": 0.1},
    ):
        assert not is_foreseeable(claim(**change)), change
