"""Runs that learn nothing, and runs that learn late."""

import math

import numpy as np
import pytest

from sweep.judging.detectors import LoneDetector, RunContext, StalledConfig
from sweep.records import Finding, Outcome, StepRecord

CONTEXT = RunContext(l_const=3.3, l_unif=12.0, budget_steps=300)


def first(losses: np.ndarray, dependence: np.ndarray | None = None, context: RunContext = CONTEXT) -> Finding | None:
    detector = LoneDetector(StalledConfig(), context)
    for k, loss in enumerate(losses):
        value = float(dependence[k]) if dependence is not None and k % 5 == 0 else math.nan
        if finding := detector.observe(StepRecord(step=k + 1, loss=float(loss), input_dependence=value)):
            return finding
    return None


def noise(seed: int, sigma: float, num_steps: int = 300) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, sigma, num_steps))


@pytest.mark.parametrize("factor", [1.05, 1.2, 2.5])
def test_a_flat_loss_is_stalled(factor: float) -> None:
    for seed in range(10):
        finding = first(factor * 3.3 * noise(seed, 0.08), np.full(300, 2e-4))
        assert finding is not None and finding.outcome is Outcome.STALLED
        assert 255 <= finding.step <= 270, "until then it might have been a plateau"
        assert finding.reason.startswith("learned nothing: the loss is")


def test_without_input_dependence_it_waits_twice_as_long() -> None:
    """A last sign of progress after half of the budget: 45 steps later is early enough, and 90 are not over."""
    losses = np.r_[np.geomspace(9, 3.4, 190), np.full(110, 3.4)] * noise(0, 0.02)
    unsampled, sampled = first(losses), first(losses, np.full(300, 2e-4))
    assert sampled is not None and 255 <= sampled.step <= 262
    assert unsampled is not None and 280 <= unsampled.step <= 300


@pytest.mark.parametrize("plateau", [0.5, 0.65, 0.8])
def test_a_plateau_of_most_of_the_budget_is_silent(plateau: float) -> None:
    """With an input dependence that is flat until ten steps before the loss begins to fall."""
    since = np.clip(np.arange(300) - 300 * plateau + 10, 0, None)
    losses = 3.3 * np.exp(-np.clip(since - 10, 0, None) / 60)
    for seed in range(10):
        assert first(losses * noise(seed, 0.05), np.minimum(3e-4 * np.exp(since / 4), 1)) is None


def test_rare_samples_count_as_none() -> None:
    losses = 3.4 * noise(0, 0.05)
    detector = LoneDetector(StalledConfig(), CONTEXT)
    records = (
        StepRecord(k + 1, float(loss), input_dependence=1e-3 if k % 30 == 0 else math.nan)
        for k, loss in enumerate(losses)
    )
    finding = next(found for record in records if (found := detector.observe(record)))
    assert finding.step >= 180


def test_without_a_known_budget_nothing_is_said() -> None:
    assert first(np.full(3000, 3.4), np.full(3000, 1e-4), RunContext(l_const=3.3)) is None


def test_the_clock_starts_after_calibration() -> None:
    context = RunContext(l_const=3.3, l_unif=12.0, budget_steps=100, has_scaler=True)
    detector = LoneDetector(StalledConfig(), context)
    records = [StepRecord(k, 4.0, math.inf if k <= 50 else 1.0, applied=k > 50) for k in range(1, 200)]
    assert next(f.step for r in records if (f := detector.observe(r))) == 50 + 30 + 80, "two windows, twice"


def test_what_was_learned_starts_the_count_of_high_levels_anew() -> None:
    detector = LoneDetector(StalledConfig(earliest_fraction=0), CONTEXT)
    counts = []
    for k, loss in enumerate(np.r_[np.full(50, 4.0), np.full(30, 2.9)]):
        assert detector.observe(StepRecord(k + 1, float(loss))) is None
        counts.append(detector.state_dict()["detector"]["num_high"])
    assert counts[49] == 31 and counts[-1] == 0


def test_an_output_that_depends_on_its_input_gets_more_time() -> None:
    """A real baseline with I = 0.3: it crept to 1.03 of the level by 40 % of its budget, and ended at 0.91 of it."""
    losses = np.r_[np.geomspace(9, 3.4, 190), np.full(110, 3.4)] * noise(0, 0.02)
    lifeless, alive = first(losses, np.full(300, 0.01)), first(losses, np.full(300, 0.3))
    assert lifeless is not None and alive is not None
    assert 255 <= lifeless.step <= 262 and 280 <= alive.step <= 300


@pytest.mark.parametrize("onset", [60, 100, 120, 150])
def test_a_plateau_that_ends_is_silent(onset: int) -> None:
    steps = np.arange(300)
    losses = 3.3 * np.exp(-np.clip(steps - onset, 0, None) / 60)
    dependence = np.minimum(3e-4 * np.exp(steps / onset * 5), 1)
    for seed in range(10):
        assert first(losses * noise(seed, 0.08), dependence) is None


@pytest.mark.parametrize("budget", [40, 80, 120, 150])
def test_a_short_run_gets_two_windows_of_the_level(budget: int) -> None:
    """At the zero-information level for half of the budget, then a slow fall of 9 %."""
    context = RunContext(l_const=2.194, l_unif=8.0, budget_steps=budget)
    steps = np.arange(budget)
    slow = 2.194 * np.exp(-0.19 * np.clip(steps / budget - 0.5, 0, None))
    dependence = 3e-4 * np.exp(4 * steps / budget)
    for seed in range(20):
        assert first(slow * noise(seed, 0.05, budget), dependence, context) is None
        finding = first(2.194 * noise(seed, 0.05, budget), np.full(budget, 2e-4), context)
        assert finding is None or finding.step >= max(0.3 * budget, 20) + 40


def test_a_flat_short_run_is_stalled_at_last() -> None:
    """Eighty steps: from 24 on the clock may run, for two windows of 20; nothing is stopped before 68."""
    context = RunContext(l_const=2.194, l_unif=8.0, budget_steps=80)
    finding = first(2.2 * noise(0, 0.02, 80), np.full(80, 2e-4), context)
    assert finding is not None and finding.step == 68


def test_a_slow_fall_is_progress() -> None:
    losses = np.exp(np.linspace(math.log(10), math.log(3), 300))
    assert first(losses * noise(0, 0.05)) is None


def test_what_was_learned_and_lost_is_a_divergence() -> None:
    losses = np.r_[np.full(100, 2.0), np.full(200, 3.4)] * noise(0, 0.05)
    finding = first(losses)
    assert finding is not None and finding.outcome is Outcome.DIVERGED_LOSS
    assert "it had been at" in finding.reason


def test_a_spike_is_no_stall() -> None:
    """Just below the level that counts as nothing learned, with a wide spike late on the clock."""
    steps = np.arange(300)
    losses = 0.97 * 3.3 * (1 + 3 * np.exp(-0.5 * ((steps - 150) / 5) ** 2))
    assert first(losses * noise(0, 0.02), np.full(300, 2e-4)) is None


def test_the_last_good_step_made_progress() -> None:
    fallen = first(np.r_[np.geomspace(9, 3.4, 120), np.full(180, 3.4)] * noise(0, 0.02))
    assert fallen is not None and fallen.last_good_step == fallen.first_bad_step - 1
    assert 100 <= fallen.last_good_step <= 135
    flat = first(np.full(300, 3.5))
    assert flat is not None and (flat.first_bad_step, flat.last_good_step) == (90, None)


def test_nothing_is_said_without_a_reference() -> None:
    assert first(np.full(300, 3.3), context=RunContext(budget_steps=300)) is None
