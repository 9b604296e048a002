"""The race over fresh seeds: paired intervals, who drops out, when it ends, which training is next."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from sweep.analysis.answer.race import (
    EQUAL,
    LEVEL,
    RaceStanding,
    Rules,
    difference,
    next_seeds,
    standing,
)

PAIR = Rules(num_leaders=2, seeds=3, max_trainings=20, failure=1.0)


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_the_interval_is_students_over_pairs_at_its_share_of_the_level() -> None:
    ours, theirs = [0.21, 0.26, 0.19, 0.24], [0.24, 0.28, 0.235, 0.25]
    found = difference(by_seed(*ours), by_seed(*theirs), PAIR)
    assert PAIR.max_rounds == 10 and PAIR.level == pytest.approx(LEVEL / 8), "eight looks, from 3 seeds to 10"
    expected = ttest_rel(theirs, ours).confidence_interval(1 - LEVEL / 8)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(0.02625) and found.num == 4
    six = Rules(num_leaders=6, seeds=3, max_trainings=18, failure=1.0)
    assert six.level == pytest.approx(LEVEL / 5), "one look, five others"


def test_a_seed_that_one_of_them_lacks_is_no_pair() -> None:
    assert difference({0: 0.1, 1: math.nan, 3: 0.1}, {0: 0.2, 1: 0.2, 2: 0.2, 3: 0.3}, PAIR).num == 2
    alone = difference({0: 0.1}, {0: 0.2}, PAIR)
    assert (alone.low, alone.high) == (-math.inf, math.inf) and not alone.is_better and not alone.is_equal(PAIR)


def test_two_seeds_that_came_out_the_same_show_nothing() -> None:
    pair = Rules(num_leaders=2, seeds=2, max_trainings=4, failure=1.0)
    same = difference(by_seed(0.2, 0.2), by_seed(0.2, 0.2), pair)
    assert same.low < 0 < same.high and not same.is_equal(pair)


def test_the_worse_one_drops_out_and_the_race_is_decided() -> None:
    clear = {7: by_seed(0.20, 0.22, 0.21), 9: by_seed(0.40, 0.43, 0.41)}
    assert standing(clear, PAIR) == RaceStanding((7,), 3, True)
    close = {7: by_seed(0.20, 0.22, 0.21), 9: by_seed(0.24, 0.21, 0.25)}
    assert standing(close, PAIR) == RaceStanding((7, 9), 3, False)


def test_equal_ones_end_the_race() -> None:
    equal = {7: by_seed(*[0.2] * 4), 9: by_seed(*[0.2 + EQUAL / 10] * 4)}
    assert standing(equal, PAIR) == RaceStanding((7, 9), 4, True)
    in_nats = Rules(2, 3, 20, failure=0.1)
    assert standing(equal, in_nats).left == (7,), "what matters is a share of a complete failure"


def test_nothing_is_decided_before_every_leader_has_its_seeds() -> None:
    early = {7: by_seed(0.20, 0.22, 0.21), 9: by_seed(0.80, 0.83)}
    assert standing(early, PAIR) == RaceStanding((7, 9), 2, False)
    assert standing({7: {}, 9: {}}, PAIR) == RaceStanding((7, 9), 0, False)
    assert standing({7: by_seed(0.2, 0.2, 0.2)}, PAIR) == RaceStanding((7,), 3, True), "there is nobody to race against"


def test_who_dropped_out_stays_out_when_another_one_comes_in_late() -> None:
    three = Rules(3, 3, 30, 1.0)
    late = {7: by_seed(0.20, 0.22, 0.21, 0.2), 9: by_seed(0.60, 0.62, 0.611), 11: by_seed(0.2)}
    assert standing(late, three) == RaceStanding((7, 11), 1, False)


def test_trainings_go_seed_by_seed_and_one_round_ahead() -> None:
    nothing = standing({7: {}, 9: {}}, PAIR)
    assert next_seeds({7: 0, 9: 0}, nothing, PAIR) == [(7, 0), (9, 0), (7, 1), (9, 1), (7, 2), (9, 2)]
    assert next_seeds({7: 3, 9: 3}, nothing, PAIR) == [], "the first round is under way"
    two = standing({7: by_seed(0.2, 0.3), 9: by_seed(0.3, 0.2)}, PAIR)
    assert next_seeds({7: 3, 9: 3}, two, PAIR) == [(7, 3), (9, 3)], "a lane is idle while the third round ends"
    assert next_seeds({7: 4, 9: 3}, two, PAIR) == [(9, 3)]
    assert next_seeds({7: 4, 9: 4}, two, PAIR) == []


def test_the_last_round_fits_into_the_budget() -> None:
    odd = Rules(2, 3, 7, 1.0)
    open_ = standing({7: by_seed(0.2, 0.3, 0.2), 9: by_seed(0.3, 0.2, 0.3)}, odd)
    assert not open_.is_decided and next_seeds({7: 3, 9: 3}, open_, odd) == [], "half a round tells nothing"
    assert next_seeds({7: 3, 9: 3}, open_, Rules(2, 3, 8, 1.0)) == [(7, 3), (9, 3)]


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 20), st.integers(1, 9), st.integers(0, 10_000))
def test_whatever_the_lanes_a_race_ends_within_its_budget(num, seeds, more, lanes, seed) -> None:
    rng = np.random.default_rng(seed)
    race = Rules(num, seeds, num * seeds + more, 1.0)
    means = rng.uniform(0.2, 0.3, num)
    told: dict[int, dict[int, float]] = {group: {} for group in range(num)}
    asked = dict.fromkeys(told, 0)
    running: list[tuple[int, int]] = []
    while True:
        while len(running) < lanes and (wanted := next_seeds(asked, standing(told, race), race)):
            group, number = wanted[0]
            assert number == asked[group]
            asked[group] += 1
            running.append((group, number))
        if not running:
            break
        group, number = running.pop(int(rng.integers(len(running))))
        told[group][number] = float(means[group] + rng.normal(0, 0.02))
    assert sum(asked.values()) <= race.max_trainings and min(asked.values()) >= seeds
    end = standing(told, race)
    assert end.is_decided or sum(asked.values()) + len(end.left) > race.max_trainings
