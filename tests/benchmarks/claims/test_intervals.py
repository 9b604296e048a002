"""What the comparison of intervals adds up: distributions of a block's effect, and chances of outcomes."""

import numpy as np
import pytest

from benchmarks.claims.intervals import largest_error
from benchmarks.claims.methods import betting, bonett_price, gaffke
from benchmarks.claims.outcomes import averages, interactions, of_trainings, outcomes, with_mean


@pytest.mark.parametrize(("together", "alike"), [(0.0, False), (0.3, False), (0.0, True)])
def test_the_effect_of_a_block_is_distributed_as_simulated(together: float, alike: bool) -> None:
    rng, rates, num = np.random.default_rng(0), np.array([0.3, 0.8]), 100_000
    draws = rng.random((num, 2, 1 if alike else 2))
    draws = np.where(rng.random((num, 1, 1)) < together, rng.random((num, 1, 1)), draws)
    effects = (draws < rates[:, None]).mean(axis=2) @ [-1.0, 1.0]
    shares = [np.mean(np.isclose(effects, value)) for value in (-1, -0.5, 0, 0.5, 1)]
    assert of_trainings(rates.tolist(), (-1, 1), 2, together, alike) == pytest.approx(shares, abs=0.006)


def test_chances_of_all_outcomes_add_up_to_one_and_keep_the_mean() -> None:
    seen = outcomes(6, np.linspace(-1, 1, 5))
    tried = np.vstack([with_mean(seen.values, 0.3, 5, np.random.default_rng(0)), averages()[7], interactions()[9]])
    chances = seen.chances(tried)
    assert chances.sum(axis=1) == pytest.approx(1.0)
    assert chances @ seen.means == pytest.approx(tried @ seen.values)
    assert tried[:-2] @ seen.values == pytest.approx(0.3)


def test_the_largest_error_tells_intervals_that_hold_from_one_that_does_not() -> None:
    seen = outcomes(6, np.linspace(-1, 1, 5))
    errors = [largest_error(seen, method(seen, 0.025)) for method in (bonett_price, gaffke, betting)]
    assert errors[0] > 0.06
    assert 0.024 < errors[1] <= 0.025
    assert errors[2] < 0.01
