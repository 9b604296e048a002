"""Rates read from ramps: exact ones of made-up losses, intervals over several, and of real trainings."""

import math

import numpy as np
import pytest
import torch

from slr_models.data import SyntheticConfig
from slr_models.models import MobileNetConfig
from sweep.init.ramps import (
    HIGHEST,
    LOWEST,
    Ramp,
    RangeTest,
    breaks_at_step,
    interval,
    learns_at_step,
    range_test,
    rounded_down,
    rounded_up,
)
from sweep.training.config import TrainingConfig, TrialConfig

RATES = np.geomspace(LOWEST, HIGHEST, 71).tolist()
"""Ten steps a decade: step 30 has 1e-3, step 50 has 0.1."""


def losses(falls: int, breaks: int, noise: float = 0.02) -> list[float]:
    """Twelve, three from one step on, and fifty from another on."""
    rng = np.random.default_rng(1)
    level = [50.0 if step >= breaks else 3.0 if step >= falls else 12.0 for step in range(len(RATES))]
    return (np.array(level) * (1 + noise * rng.standard_normal(len(RATES)))).tolist()


def test_a_ramp_breaks_where_its_loss_is_lost_for_several_steps_or_is_not_finite() -> None:
    assert breaks_at_step(losses(30, 50)) == 50 and breaks_at_step(losses(99, 50)) == 50
    spiky = losses(30, 99)
    spiky[40] = spiky[41] = 40.0
    assert breaks_at_step(spiky) is None
    spiky[42:] = [math.nan] * 3
    assert breaks_at_step(spiky) == 40, "the spike went over into it"


def test_what_is_learned_is_told_from_how_hard_the_batches_are() -> None:
    rng = np.random.default_rng(0)
    hard = 2 + 0.5 * rng.standard_normal(70)
    learned = np.where(np.arange(70) >= 30, 0.01 * (np.arange(70) - 29), 0.0)
    assert learned.max() < hard.std(), "the losses alone would not show it"
    # A tenth of the most that is gained, 0.4.
    assert learns_at_step((hard - learned).tolist(), hard.tolist()) == 33
    assert learns_at_step(hard.tolist(), hard.tolist()) is None
    assert learns_at_step((hard + learned).tolist(), hard.tolist()) is None
    assert learns_at_step((hard - learned)[:40].tolist(), []) is None, "a forked one"


def test_an_interval_holds_a_further_ramp_nine_times_of_ten() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        *seen, further = np.exp(rng.normal(-3.0, 1.0, 6)).tolist()
        found = interval(seen, 10_000)
        inside.append(found.low <= further <= found.high)
    assert 0.88 < np.mean(inside) < 0.92
    assert interval([1e-3, None], 84) is None
    narrow = interval([1e-3, 1e-3, None], 84)
    assert narrow.seen == 2 and narrow.ramps == 3 and narrow.high / narrow.low > 1.4, "a step of the ramp at least"


def test_the_range_to_search_reaches_beyond_both_intervals() -> None:
    test = RangeTest(tuple(Ramp(False, 1e-3 * f, 0.1 * f) for f in (0.8, 1.0, 1.2)), 84, 0.1, 1.0)
    low, high = test.to_search(300)
    # 300 steps under a cosine move as far at a 29th of a ramp's rate.
    assert test.slower(300) == pytest.approx(28.8, abs=0.1)
    assert low < test.learns.low / 28.8 and high > test.breaks.high
    assert RangeTest((Ramp(False, None, 0.1),), 84, 0.1, 1.0).to_search(300) is None
    assert (rounded_down(0.00058), rounded_up(0.00052), rounded_up(9.1)) == (5e-4, 6e-4, 10.0)


@pytest.mark.slow
def test_real_trainings_show_both_rates() -> None:
    data = SyntheticConfig(
        vocabulary_size=4, num_train=64, num_valid=8, frames_per_label=6, max_labels=3, noise=0.1
    ).build()
    config = TrialConfig(
        model=MobileNetConfig(width=0.0625),
        data=SyntheticConfig(vocabulary_size=4),
        training=TrainingConfig(batch_size=8),
    )
    # So long a step makes the ramps as short as they get.
    test = range_test(config, data, device=torch.device("cpu"), seconds=100, step_s=1.0)
    assert test.steps == 42
    assert len(test.ramps) >= 3 and test.step_s > 0 and test.grad_norm > 0
    assert 1e-5 < test.learns.low < test.learns.high < test.breaks.high <= 100
    none = range_test(config, data, device=torch.device("cpu"), seconds=0.01, step_s=0.05)
    assert none.ramps == () and none.to_search(300) is None
