"""Chances follow what left-out settings came to, seeds that fail anywhere included."""

import numpy as np
import pytest
from scipy.special import ndtr

from sweep.boundary.calibration import ChanceCurve


def drawn(num: int, failing: float, seed: int = 0, slope: float = 1.0):
    rng = np.random.default_rng(seed)
    scores = rng.uniform(-4, 4, num)
    p = (1 - failing) * ndtr(slope * scores)
    return scores, rng.random(num) < p


def test_where_a_fifth_of_all_seeds_fails_no_setting_is_surer_than_that() -> None:
    found = ChanceCurve(*drawn(400, 0.2))
    assert found.chance(np.array([8.0]))[0] == pytest.approx(0.8, abs=0.06)
    assert found.lapses[0] == pytest.approx(0.2, abs=0.06) and found.lapses[1] < 0.03
    clean = ChanceCurve(*drawn(400, 0.0))
    assert clean.chance(np.array([4.0]))[0] > 0.99


def test_few_trainings_are_no_reason_to_be_sure_and_the_least_is_less() -> None:
    scores, stable = np.linspace(-3, 3, 10), np.linspace(-3, 3, 10) > 0
    few = ChanceCurve(scores, stable)
    many = ChanceCurve(np.repeat(scores, 20), np.repeat(stable, 20))
    at = np.array([1.0, 3.0])
    assert (few.chance(at) < many.chance(at)).all()
    for one in (few, many):
        assert (one.least(at, 0.9) <= one.chance(at)).all()
        assert (one.least(at, 0.95) <= one.least(at, 0.6)).all()


@pytest.mark.parametrize("slope", [0.5, 1.5])
def test_scores_that_are_too_sure_or_not_sure_enough_are_put_right(slope) -> None:
    found = ChanceCurve(*drawn(600, 0.0, slope=slope))
    at = np.linspace(-3, 3, 13)
    assert np.abs(found.chance(at) - ndtr(slope * at)).max() < 0.06
    assert np.diff(found.chance(np.linspace(-8, 8, 99))).min() >= 0


@pytest.mark.parametrize("all_stable", [True, False])
def test_where_all_ended_alike_the_chance_leans_that_way(all_stable) -> None:
    found = ChanceCurve(np.full(12, 0.5 if all_stable else -0.5), np.full(12, all_stable))
    p = found.chance(np.array([0.5 if all_stable else -0.5]))[0]
    assert 0.7 < (p if all_stable else 1 - p) < 1.0
