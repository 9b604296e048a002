"""A loss that rose and stayed up, and the many that did not."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweep.judging.detectors import DivergedLossConfig, LoneDetector, RunContext
from sweep.records import Finding, Outcome, StepRecord

CONTEXT = RunContext(l_const=3.3, l_unif=12.0, budget_steps=600)


def first(losses: np.ndarray, context: RunContext = CONTEXT) -> Finding | None:
    detector = LoneDetector(DivergedLossConfig(), context)
    records = (StepRecord(step=k + 1, loss=float(loss)) for k, loss in enumerate(losses))
    return next((finding for record in records if (finding := detector.observe(record))), None)


def healthy(seed: int, sigma: float, num_steps: int = 600) -> np.ndarray:
    rng, steps = np.random.default_rng(seed), np.arange(num_steps)
    mean = (3.3 + 8 * np.exp(-steps / 15)) * (0.3 + 0.7 * np.exp(-np.clip(steps - 90, 0, None) / 100))
    return mean * np.exp(rng.normal(0, sigma, num_steps))


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.4])
@pytest.mark.parametrize(
    ("change", "latest"),
    [
        (lambda steps: 1.02 ** np.clip(steps - 300, 0, None), 430),
        (lambda steps: np.where(steps > 300, 10.0, 1.0), 336),
        (lambda steps: np.where(steps > 300, 1e6, 1.0), 324),
    ],
    ids=["2 % a step", "x 10", "x 1e6"],
)
def test_divergence_is_found(change: Callable[[np.ndarray], np.ndarray], latest: int, sigma: float) -> None:
    steps = np.arange(1, 601)
    for seed in range(5):
        finding = first(healthy(seed, sigma) * change(steps))
        assert finding is not None and finding.outcome is Outcome.DIVERGED_LOSS
        assert 322 <= finding.step <= latest
        # A drift of 2 % a step crosses the bound some 45 steps after its start.
        assert 260 <= finding.first_bad_step <= 360
        assert finding.last_good_step == finding.first_bad_step - 1
        assert finding.value > finding.threshold > 0


def test_nan_values_do_not_blind() -> None:
    losses = healthy(0, 0.1) * np.where(np.arange(600) > 300, 10.0, 1.0)
    losses[295:400:3] = math.nan
    finding = first(losses)
    assert finding is not None and finding.step < 380


def test_the_reason_is_a_sentence_with_numbers() -> None:
    finding = first(np.r_[np.full(100, 1.31), np.full(100, 9.8)])
    assert finding is not None and (finding.step, finding.first_bad_step, finding.last_good_step) == (133, 101, 100)
    assert (finding.value, finding.threshold) == (pytest.approx(9.8), pytest.approx(0.95 * 3.3))
    assert finding.reason == ("loss rose from 1.31 to 9.8 (median of 20 steps) and stayed above 3.13 for 33 steps")


def test_the_wait_falls_with_the_size_of_the_rise() -> None:
    config = DivergedLossConfig()
    waits = [config.steps_needed(math.log(factor)) for factor in (1.5, 4, 16, 64, 1e6)]
    assert waits == [36, 36, 29, 22, 22]
    with pytest.raises(ValueError, match="fast_rise must be above slow_rise"):
        DivergedLossConfig(fast_rise=1.0)


def test_what_was_learned_and_lost_within_ten_steps() -> None:
    """Back at the zero-information level from 0.7 of it: less than a doubling."""
    finding = first(np.r_[np.full(100, 2.3), np.geomspace(2.3, 3.3, 10), np.full(100, 3.3)])
    assert finding is not None and finding.step <= 200
    assert first(np.r_[np.full(100, 3.2), np.full(100, 4.6)]) is None, "nothing was learned, so nothing was lost"


def test_noise_that_hides_the_single_losses_does_not_hide_their_level() -> None:
    noise = np.exp(np.random.default_rng(0).normal(0, 0.5, 500))
    finding = first(np.r_[np.full(300, 0.8), np.full(200, 4.0)] * noise)
    assert finding is not None and finding.step <= 370


def spike(length: int) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda steps, rng: np.where((steps >= 300) & (steps < 300 + length), 20.0, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        spike(1),
        spike(3),
        spike(25),
        lambda steps, rng: np.exp(0.15 * rng.standard_t(2, len(steps))),
        lambda steps, rng: 1 + 2 * np.exp(-0.5 * ((steps - 70) / 15) ** 2),
        lambda steps, rng: 1 + 2 * np.exp(-0.5 * ((steps - 350) / 12) ** 2),
        lambda steps, rng: 300 ** np.where(steps < 300, 0, np.exp(-(steps - 300) / 8)),
    ],
    ids=[
        "1-step spike",
        "3-step spike",
        "25-step spike",
        "heavy tail",
        "warm-up bump",
        "restart bump",
        "decaying spike",
    ],
)
def test_near_misses_are_silent(change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> None:
    for seed in range(20):
        rng = np.random.default_rng(1000 + seed)
        assert first(healthy(seed, 0.1) * change(np.arange(600), rng)) is None


def test_a_loss_far_above_uniform_is_found_unless_it_falls() -> None:
    noise = np.exp(np.random.default_rng(0).normal(0, 0.05, 300))
    finding = first(40 * noise)
    assert finding is not None and finding.step == 56 and "uniform" in finding.reason
    assert first(np.maximum(91 * np.exp(-np.arange(300) / 100), 6) * noise) is None


@pytest.mark.parametrize(("height", "width"), [(4.0, 26), (30.0, 20), (200.0, 20)])
def test_a_spike_that_came_back_is_silent_though_the_level_holds_it(height: float, width: int) -> None:
    steps = np.arange(1, 1601)
    for seed in range(5):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.1, 1600))
        at_height = (steps >= 1200) & (steps < 1200 + width)
        assert first((3 * np.exp(-steps / 400) + 0.1 + height * at_height) * noise) is None


def test_the_first_bad_step_is_where_the_bound_was_crossed() -> None:
    """From 0.1 to 0.8 in 5000 steps, and away at 9000."""
    noise = np.exp(np.random.default_rng(0).normal(0, 0.05, 9100))
    creeping = np.r_[np.full(4000, 0.1), np.geomspace(0.1, 0.8, 5000), np.full(100, 30.0)]
    finding = first(creeping * noise)
    assert finding is not None and finding.last_good_step == 9000 and finding.first_bad_step == 9001


def test_nothing_before_the_first_step_is_told() -> None:
    detector = LoneDetector(DivergedLossConfig(), CONTEXT)
    records = (StepRecord(step=1000 + k, loss=500.0) for k in range(1, 200))
    finding = next(found for record in records if (found := detector.observe(record)))
    assert (finding.first_bad_step, finding.last_good_step) == (1001, None)


@pytest.mark.parametrize("period", [120, 200, 400])
def test_a_slow_wobble_is_silent_without_a_reference(period: int) -> None:
    steps = np.arange(3000)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.1, 3000))
    wobble = np.exp(0.7 * np.sin(2 * math.pi * steps / period))
    assert first((3 * np.exp(-steps / 150) + 0.02) * wobble * noise, RunContext()) is None


def test_a_rise_that_stays_below_zero_information_is_no_divergence() -> None:
    assert first(np.r_[np.full(200, 0.3), np.full(200, 2.5)]) is None
    # Without a reference only the rise itself can be judged.
    assert first(np.r_[np.full(200, 0.3), np.full(200, 2.5)], RunContext()) is not None
