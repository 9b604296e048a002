"""Collapse to blank against the all-blank plateau of a healthy run."""

import math

import numpy as np
import pytest

from sweep.judging.detectors import BlankCollapseConfig, LoneDetector, RunContext
from sweep.records import Finding, Outcome, StepRecord

CONTEXT = RunContext(l_const=3.3, l_unif=12.0, budget_steps=300)


def first(
    dependence: np.ndarray, sigma: float = 0.05, blank: float = 1.0, context: RunContext = CONTEXT, every: int = 5
) -> Finding | None:
    noise = np.exp(np.random.default_rng(0).normal(0, sigma, len(dependence)))
    detector = LoneDetector(BlankCollapseConfig(), context)
    for k, value in enumerate(dependence):
        sampled = k % every == 0
        record = StepRecord(
            step=k + 1,
            loss=3.3 * noise[k],
            blank_rate=blank if sampled else math.nan,
            input_dependence=float(value) if sampled else math.nan,
        )
        if finding := detector.observe(record):
            return finding
    return None


def collapsed(num_steps: int = 300) -> np.ndarray:
    return 3e-4 * np.exp(np.random.default_rng(1).normal(0, 0.3, num_steps))


def test_a_dead_output_is_found_at_forty_five_percent_of_the_budget_and_any_other_at_eighty_five() -> None:
    for dependence, earliest in ((collapsed() / 1000, 135), (collapsed(), 255)):
        finding = first(dependence)
        assert finding is not None and finding.outcome is Outcome.BLANK_COLLAPSE
        assert earliest <= finding.step <= earliest + 30
        assert "100.0% of the frames are blank" in finding.reason


def test_an_output_that_was_alive_a_while_ago_is_not_dead() -> None:
    """I falls to nothing at step 120: the collapse has to last for 45 steps from there on, not from its beginning."""
    finding = first(np.r_[np.full(120, 3e-4), np.full(180, 1e-7)])
    assert finding is not None and finding.step >= 255


@pytest.mark.parametrize("plateau", [0.5, 0.65, 0.8])
@pytest.mark.parametrize("level", [1e-5, 3e-4, 9e-4])
def test_a_late_learner_whose_input_dependence_announced_nothing_is_not_stopped(plateau: float, level: float) -> None:
    """I is flat until ten steps before the loss begins to fall, after half to four fifths of the budget."""
    steps = np.arange(300)
    since = np.clip(steps - 300 * plateau + 10, 0, None)
    detector = LoneDetector(BlankCollapseConfig(), CONTEXT)
    losses = 3.3 * np.exp(-np.clip(since - 10, 0, None) / 40)
    for k in range(300):
        dependence = min(level * math.exp(since[k] / 4), 1.0) if k % 5 == 0 else None
        record = StepRecord(k + 1, float(losses[k]), blank_rate=1.0, input_dependence=dependence)
        assert detector.observe(record) is None


def test_noise_only_delays_it() -> None:
    finding = first(collapsed() / 1000, sigma=0.2)
    assert finding is not None and finding.step <= 200


def test_without_a_known_budget_nothing_is_said() -> None:
    assert first(collapsed(3000), context=RunContext(l_const=3.3)) is None


def test_a_lone_sample_says_nothing() -> None:
    """Sampled every 50 steps: the last low I is old when the loss begins to fall."""
    context = RunContext(l_const=3.3, l_unif=12.0, budget_steps=350)
    dependence = 1e-4 * 2 ** np.clip((np.arange(230) - 100) / 10, 0, None)
    assert first(dependence, context=context, every=50) is None
    assert first(np.full(190, 1e-6), context=context, every=50) is None
    finding = first(np.full(350, 1e-6), context=context, every=50)
    assert finding is not None and finding.step > 200


def test_the_clock_starts_after_calibration() -> None:
    context = RunContext(l_const=3.3, l_unif=12.0, budget_steps=100, has_scaler=True)
    detector, plain = LoneDetector(BlankCollapseConfig(), context), LoneDetector(BlankCollapseConfig(), context)
    late = [StepRecord(k, 3.3, math.inf if k <= 40 else 1.0, applied=k > 40, blank_rate=1.0, input_dependence=1e-6)
            for k in range(1, 101)]  # fmt: skip
    early = [StepRecord(k, 3.3, 1.0, blank_rate=1.0, input_dependence=1e-6) for k in range(1, 101)]
    assert next(f.step for r in early if (f := plain.observe(r))) == 45
    assert next(f.step for r in late if (f := detector.observe(r))) == 85


def test_a_plateau_with_growing_input_dependence_is_silent() -> None:
    """All blank at the zero-information level for 200 of 300 steps, but I doubles every 40."""
    assert first(4e-4 * 2 ** (np.arange(200) / 40)) is None


def test_a_real_late_learner_is_not_stopped() -> None:
    """I of a real fp16 teacher at LR 0.0023, every 15 steps: near zero for 90 steps, then WER 0.66 at the end."""
    sampled = [1.8e-2, 7e-4, 1e-4, 1e-4, 1e-4, 1e-4, 3e-4, 7e-4, 2e-3, 1.5e-2, 8.3e-2, 0.14, 0.3, 0.36, 0.25, 0.48]
    steps = np.arange(0, 15 * len(sampled), 15)
    assert first(np.exp(np.interp(np.arange(225), steps, np.log(sampled)))) is None


def test_a_real_cold_learner_is_not_stopped() -> None:
    """I of a real fp32 teacher at LR 5.6e-5, every 20 steps: far below what a doubling could be told from noise at."""
    sampled = [2e-5, 2e-5, 2e-5, 2e-5, 3e-5, 4e-5, 1.2e-4, 4.3e-4, 1.1e-3, 4.8e-3]
    dependence = np.exp(np.interp(np.arange(200), np.arange(0, 200, 20), np.log(sampled)))
    assert first(dependence, context=RunContext(l_const=3.3, l_unif=12.0, budget_steps=350)) is None


def test_hot_and_cold_are_told_apart() -> None:
    hot, between = first(np.full(300, 2e-7)), first(np.full(300, 3e-4))
    assert hot is not None and hot.reason.endswith("is what a too high learning rate leaves")
    assert between is not None and between.reason.endswith("(3.3)")
    detector = LoneDetector(BlankCollapseConfig(), CONTEXT)
    losses = 3.3 + 9 * np.exp(-np.arange(300) / 35)
    found = (
        detector.observe(StepRecord(k + 1, x, blank_rate=1.0, input_dependence=3e-4)) for k, x in enumerate(losses)
    )
    cold = next(finding for finding in found if finding)
    assert "it came down to this only at step" in cold.reason and cold.reason.endswith("may be too low")


def test_the_last_good_step_is_the_last_sign_of_life() -> None:
    """Learned until step 60, or I that grew until step 80; or none at all."""
    died = first(np.r_[np.full(60, 0.2), np.full(240, 1e-6)])
    assert died is not None and died.last_good_step == died.first_bad_step - 1 and 60 <= died.last_good_step <= 66
    grew = first(np.r_[3e-5 * 2 ** (np.arange(80) / 16), np.full(220, 9e-4)])
    assert grew is not None and grew.last_good_step is not None and 50 <= grew.last_good_step <= 90
    never = first(np.full(300, 1e-6))
    assert never is not None and never.last_good_step is None


def test_only_an_input_dependence_near_zero_counts() -> None:
    assert first(np.full(300, 0.0011)) is None
    finding = first(np.full(300, 0.0009))
    assert finding is not None and (finding.step, finding.threshold) == (255, 0.001)


def test_growth_is_measured_from_the_lowest_level() -> None:
    """I falls to a third for 100 steps before it grows, so that it never reaches twice what it began at."""
    dependence = 3e-4 * np.r_[np.geomspace(3, 1, 100), np.geomspace(1, 3.3, 40)]
    context = RunContext(l_const=3.3, l_unif=12.0, budget_steps=160)
    assert first(dependence, context=context) is None
    finding = first(np.r_[dependence[:100], np.full(60, 3e-4)], context=context)
    assert finding is not None and 136 <= finding.step <= 145


def test_other_plateaus_are_silent() -> None:
    assert first(np.full(300, 0.05)) is None
    assert first(collapsed(), blank=0.9) is None
    assert first(collapsed(), context=RunContext(budget_steps=300)) is None
    assert first(np.full(300, math.nan)) is None
