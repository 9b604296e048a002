"""Trainings of many kinds, as anybody may log them: what their verdict must and must not say."""

import dataclasses
import json
import math
from collections.abc import Iterable

import numpy as np
import pytest

from sweep.judging import MonitorConfig, RunContext, StabilityMonitor
from sweep.judging.sides import side
from sweep.records import Learning, Numbers, Outcome, Side, SkipReason, StepRecord, Verdict

SEEDS = range(6)
FAILED = {o for o in Outcome if not (o.is_stable or o.is_open)}
Floats = np.ndarray


def judged(losses: Iterable[float | None], *, first_step: int = 1, every: int = 1, **context: float) -> Verdict:
    """The verdict on a run that goes on after an alarm: that of the alarm, else of its end."""
    return judged_records(
        (StepRecord(first_step + k * every, None if loss is None else float(loss)) for k, loss in enumerate(losses)),
        **context,
    )


def judged_records(records: Iterable[StepRecord], **context: float) -> Verdict:
    monitor = StabilityMonitor(RunContext(**context))  # type: ignore[arg-type]
    for record in records:
        monitor.observe(record)
    return monitor.finish()


def noisy(losses: Floats, seed: int, sigma: float = 0.05) -> Floats:
    return losses * np.exp(np.random.default_rng(seed).normal(0, sigma, len(losses)))


def power_law(num: int, start: float = 10.0, floor: float = 2.0) -> Floats:
    """As of a language model."""
    return floor + (start - floor) / (1 + np.arange(num) / 20) ** 0.5


def exponential(num: int, start: float = 2.3, end: float = 0.1) -> Floats:
    """As of a classifier."""
    return end + (start - end) * np.exp(-np.arange(num) / (num / 5))


# What was logged is what is judged.


def test_a_monitor_needs_to_know_nothing() -> None:
    monitor = StabilityMonitor()
    for step in range(1, 101):
        assert monitor.observe(StepRecord(step, 3 * 0.97**step)) is None
    assert monitor.finish().stable


@pytest.mark.parametrize("every", [1, 10])
def test_a_zero_beside_a_norm_that_is_nan_is_a_hidden_nan(every: int) -> None:
    """Hugging Face's Trainer writes a NaN loss so."""
    records = []
    for k in range(60):
        bad = k >= 40
        records.append(StepRecord(every * k, 0.0 if bad else 2 * 0.98**k, math.nan if bad else 1.0))
        records += [StepRecord(every * k + i) for i in range(1, every)]
    verdict = judged_records(records)
    assert (verdict.outcome, verdict.numbers) == (Outcome.DIVERGED_NONFINITE, Numbers.BROKEN)
    assert verdict.finding is not None and (verdict.finding.first_bad_step, verdict.finding.last_good_step) == (
        40 * every,
        39 * every,
    )
    both_zero = [StepRecord(k, 0.0 if k >= 40 else 2 * 0.98**k, 0.0 if k >= 40 else 1.0) for k in range(60)]
    assert judged_records(both_zero).numbers is Numbers.SOUND


def test_a_norm_that_is_nan_counts_with_losses_that_are_not_logged_any_more() -> None:
    """Megatron prints no loss of such a step."""
    records = [StepRecord(k, 5 * 0.98**k if k < 50 else None, 1.0 if k < 50 else math.nan) for k in range(80)]
    verdict = judged_records(records)
    assert (verdict.outcome, verdict.stop_step) == (Outcome.DIVERGED_NONFINITE, 54)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_one_nonfinite_loss_at_the_very_end_is_an_end(value: float) -> None:
    losses = [*exponential(60), value]
    verdict = judged(losses)
    assert (verdict.outcome, verdict.numbers, verdict.learning) == (
        Outcome.DIVERGED_NONFINITE, Numbers.BROKEN, Learning.LOST)  # fmt: skip
    assert verdict.finding is not None and verdict.finding.last_good_step == 60
    unlogged_after = judged([*losses, None, None])
    assert unlogged_after.outcome is Outcome.DIVERGED_NONFINITE
    records = [StepRecord(k + 1, loss, applied=k < 60, skip_reason=None if k < 60 else SkipReason.NONFINITE)
               for k, loss in enumerate(losses)]  # fmt: skip
    assert judged_records(records).stable, "a step that was refused leaves no trace"
    assert judged([*losses, 0.11]).stable


def test_values_that_are_not_logged_change_nothing() -> None:
    losses = noisy(power_law(200), 0)
    dense, sparse = judged(losses), judged([x for loss in losses for x in (None, None, loss)])
    assert (dense.outcome, dense.reason) == (sparse.outcome, sparse.reason)


def end_of(records: Iterable[StepRecord]) -> Verdict:
    monitor = StabilityMonitor()
    for record in records:
        monitor.observe(record)
    return monitor.end_verdict()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_end_hears_of_numbers_that_are_still_broken(seed: int) -> None:
    """Though the latest loss happens to be finite, or was frozen at a low level."""
    rng, losses = np.random.default_rng(seed), noisy(exponential(300), seed)
    infinite = (StepRecord(k, float(x), math.inf if k > 200 else 1.0) for k, x in enumerate(losses))
    assert end_of(infinite).outcome is Outcome.DIVERGED_NONFINITE
    mostly = [math.nan if k > 150 and k < 299 and rng.random() < 0.8 else float(x) for k, x in enumerate(losses)]
    assert end_of(StepRecord(k, x, 1.0) for k, x in enumerate(mostly)).outcome is Outcome.DIVERGED_NONFINITE
    scale, records = 2.0**16, []
    for k, x in enumerate(losses):
        overflows = k > 100 and scale > 4 and rng.random() < 0.4
        records.append(StepRecord(k, float(x), math.inf if overflows else 1.0, scale, applied=not overflows))
        scale = scale / 2 if overflows else scale
    collapsed = end_of(records)
    assert (collapsed.outcome, collapsed.numbers) == (Outcome.SCALER_COLLAPSE, Numbers.BROKEN)


def test_an_end_does_not_hear_of_numbers_that_recovered() -> None:
    losses = exponential(300)
    records = [StepRecord(k, math.nan if 100 < k < 130 else float(x), 1.0) for k, x in enumerate(losses)]
    assert end_of(records).stable and judged_records(records).stop_step == 105


@pytest.mark.parametrize("factor", [1.3, 2.5])
@pytest.mark.parametrize("period", [2, 4, 16])
def test_a_cadence_of_the_losses_is_no_noise(period: int, factor: float) -> None:
    """Where micro-batches or data sources take turns."""
    losses = noisy(exponential(300, 9.0, 0.7) * np.where(np.arange(300) % period == 0, factor, 1.0), 0)
    assert judged(losses, l_const=2.4, l_unif=8.0, budget_steps=300).stable


# The reference is taken before the damage.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("height", [3.0, 30.0, 1e5, 1e12])
def test_what_blew_up_in_its_first_steps_and_stayed_above_its_start(height: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = noisy(np.full(200, 2.3), seed)
    losses[rng.integers(1, 6) :] *= height
    verdict = judged(losses)
    assert verdict.outcome is Outcome.DIVERGED_LOSS, verdict
    if height > 8:
        assert verdict.stop_step is not None and verdict.stop_step < 130


@pytest.mark.parametrize("first_bad", [2, 3, 5, 9])
def test_first_bad_and_last_good_step_of_early_trouble(first_bad: int) -> None:
    losses = np.r_[np.full(first_bad - 1, 4.0), np.full(100, 60.0)]
    verdict = judged(noisy(losses, 0, 0.02))
    assert verdict.outcome is Outcome.DIVERGED_LOSS
    assert verdict.finding is not None
    assert (verdict.finding.first_bad_step, verdict.finding.last_good_step) == (first_bad, first_bad - 1)


def test_a_blow_up_that_comes_half_way_down_ends_above_its_start() -> None:
    steps = np.arange(80)
    verdict = judged(noisy(np.r_[12.4, 12.5, 20 + 25 * np.exp(-steps / 15)], 0, 0.01))
    assert (verdict.outcome, verdict.stop_step) == (Outcome.DIVERGED_LOSS, None)
    assert "above 12.4" in verdict.reason


def test_a_loss_of_27_that_goes_to_a_hundred_million_is_no_stall() -> None:
    losses = np.geomspace(27, 1e8, 120)
    verdict = judged(noisy(losses, 0))
    assert verdict.outcome is Outcome.DIVERGED_LOSS and verdict.stop_step is not None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rise", [1.3, 2.0, 5.0])
def test_no_run_that_ends_above_its_beginning_is_stable(rise: float, seed: int) -> None:
    losses = noisy(np.geomspace(3, 3 * rise, 150), seed)
    assert judged(losses).outcome is Outcome.DIVERGED_LOSS
    fell_before = noisy(np.r_[exponential(100, 3.0, 0.5), np.geomspace(0.5, 3 * rise, 100)], seed)
    assert judged(fell_before).outcome is Outcome.DIVERGED_LOSS


@pytest.mark.parametrize("seed", SEEDS)
def test_an_early_bump_of_the_optimizer_is_healthy(seed: int) -> None:
    steps = np.arange(250)
    losses = power_law(250, 12.0, 3.0)
    losses[2:] += 35 * np.exp(-steps[:-2] / 7)
    verdict = judged(noisy(losses, seed))
    assert verdict.stop_step is None and verdict.stable, verdict


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("context", [{}, {"l_const": 3.3, "budget_steps": 600}])
def test_a_rise_below_a_tenth_harms_nothing(context: dict[str, float], seed: int) -> None:
    losses = np.r_[np.geomspace(3, 1e-5, 200), np.geomspace(1e-5, 0.05, 100), np.full(300, 0.05)]
    verdict = judged(noisy(losses, seed), **context)
    assert verdict.stop_step is None and verdict.outcome in (Outcome.STABLE, Outcome.SPIKY_RECOVERING)


# What was learned can be lost.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("context", [{}, {"l_const": 3.3}, {"l_const": 3.3, "l_unif": 12.0, "budget_steps": 1000}])
def test_losing_what_was_learned_is_a_failure(context: dict[str, float], seed: int) -> None:
    losses = 3.3 * np.r_[np.geomspace(3, 0.05, 100), np.full(300, 0.05), np.full(600, 0.94)]
    verdict = judged(noisy(losses, seed), **context)
    assert (verdict.outcome, verdict.learning) == (Outcome.DIVERGED_LOSS, Learning.LOST)
    assert verdict.finding is not None and verdict.finding.last_good_step is not None
    assert abs(verdict.finding.last_good_step - 400) <= 25


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("context", [{}, {"l_const": 3.3}])
def test_what_is_kept_for_the_most_part_is_not_lost(context: dict[str, float], seed: int) -> None:
    losses = 3.3 * np.r_[np.geomspace(3, 0.3, 200), np.full(100, 0.3), np.full(300, 0.4)]
    assert judged(noisy(losses, seed), **context).stable


@pytest.mark.parametrize("seed", SEEDS)
def test_a_level_that_wavers_has_lost_nothing(seed: int) -> None:
    """As of fine-tuning on texts of many kinds: a small fall, then ups and downs of some hundred steps."""
    rng = np.random.default_rng(seed)
    waves = sum(rng.uniform(0.01, 0.04) * np.sin(np.arange(2000) / t + rng.uniform(0, 6)) for t in (31, 83, 170, 331))
    losses = (1 + 0.3 * np.exp(-np.arange(2000) / 60)) * np.exp(waves)
    verdict = judged(noisy(losses, seed, 0.03))
    assert verdict.stop_step is None and verdict.stable, verdict


@pytest.mark.parametrize("start", [50, 150])
@pytest.mark.parametrize("value", [None, 1.7341, 0.48213])
def test_losses_that_are_one_number_for_hundreds_of_steps(value: float | None, start: int) -> None:
    losses = noisy(exponential(500), 0)
    losses[start:] = losses[start] if value is None else value
    verdict = judged(losses)
    assert verdict.outcome in FAILED
    assert "same number" in verdict.reason or verdict.outcome is Outcome.DIVERGED_LOSS
    assert verdict.finding is not None and verdict.finding.last_good_step == start


def test_a_loss_without_noise_may_converge_to_one_number() -> None:
    """All data at each step: in single precision the changes end at nothing."""
    losses = np.float32(0.0123456 + 0.5 * np.exp(-np.arange(600) / 12)).astype(float)
    assert len(set(losses[-200:])) == 1 and judged(losses).stable


@pytest.mark.parametrize("digits", [1, 2])
def test_rounded_losses_may_be_the_same(digits: int) -> None:
    losses = np.round(exponential(800, 2.3, 0.02), digits)
    assert judged(losses).stable


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("period", [2, 7, 25])
def test_swings_that_grow_to_five_times_are_not_stable(period: int, seed: int) -> None:
    steps = np.arange(800)
    base = exponential(800, 2.3, 1.0)
    base[200:] = base[200]
    amplitude = 0.1 * np.r_[np.ones(200), np.geomspace(1, 5, 600)]
    losses = noisy(base * (1 + amplitude * np.sin(2 * np.pi * steps / period + 1.2)), seed, 0.02)
    assert not judged(losses).stable


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("factor", [1 / 3, 3])
def test_noise_of_another_batch_size_is_stable(factor: float, seed: int) -> None:
    base = exponential(800)
    losses = np.r_[noisy(base[:400], seed), noisy(base[400:], seed + 100, 0.05 * factor)]
    verdict = judged(losses)
    assert verdict.stable and verdict.stop_step is None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("growth", [1.5, 3.0])
def test_a_divergence_in_the_last_eight_steps_is_not_stable(growth: float, seed: int) -> None:
    losses = noisy(exponential(300), seed)
    losses[-8:] *= growth ** np.arange(1, 9)
    assert not judged(losses).stable
    back_again = noisy(exponential(300), seed)
    back_again[-8:] *= np.array([2, 5, 9, 5, 3, 1.5, 1, 1])
    assert judged(back_again).stable


# Late learners live.


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("plateau", [0.5, 0.65, 0.8])
@pytest.mark.parametrize("dependence", [2e-5, 3e-4, 9e-4, None])
def test_a_plateau_of_most_of_the_budget_is_not_stopped(dependence: float | None, plateau: float, seed: int) -> None:
    steps, begin = np.arange(400), int(400 * plateau)
    base = 3.3 * (1 + 2 * np.exp(-steps / 10)) * np.exp(-np.clip(steps - begin, 0, None) / 40)
    losses = noisy(base, seed)
    records = [
        StepRecord(
            k + 1,
            float(losses[k]),
            1.0,
            blank_rate=1.0 if k < begin else 0.7,
            input_dependence=None if dependence is None or k % 5 else dependence * math.exp(max(k - begin + 10, 0) / 4),
        )
        for k in range(400)
    ]
    verdict = judged_records(records, l_const=3.3, l_unif=12.0, budget_steps=400)
    assert verdict.stop_step is None and verdict.stable, verdict


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("context", [{}, {"l_const": 3.3, "l_unif": 12.0, "budget_steps": 1500}])
@pytest.mark.parametrize("percent", [0.6, 1.7, 6.0])
def test_a_huge_first_loss_that_falls_is_not_stopped(percent: float, context: dict[str, float], seed: int) -> None:
    losses = np.maximum(1e4 * (1 - percent / 100) ** np.arange(1500), 1.0)
    verdict = judged(noisy(losses, seed, 0.1), **context)
    assert verdict.stop_step is None and verdict.stable, verdict


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("context", [{}, {"l_const": 3.3, "l_unif": 12.0, "budget_steps": 800}])
@pytest.mark.parametrize("length", [40, 60])
@pytest.mark.parametrize("height", [0.95, 1.2])
def test_bursts_at_the_zero_information_level_are_not_stopped(
    height: float, length: int, context: dict[str, float], seed: int
) -> None:
    losses = 3.3 * np.r_[np.geomspace(3, 0.15, 300), np.full(500, 0.15)]
    for start in (330, 560):
        losses[start : start + length] = height * 3.3
    verdict = judged(noisy(losses, seed, 0.1), **context)
    assert verdict.stop_step is None and verdict.outcome.is_stable, verdict


# Losses of any kind.


@pytest.mark.parametrize("seed", SEEDS)
def test_a_likelihood_that_falls_below_zero_is_stable(seed: int) -> None:
    steps = np.arange(300)
    losses = -3 + 5 * np.exp(-steps / 60) + np.random.default_rng(seed).normal(0, 0.1, 300)
    verdict = judged(losses)
    assert verdict.stop_step is None and verdict.stable


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 300.0])
def test_a_loss_around_zero_is_not_judged(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = scale * (0.3 * rng.normal(size=600) + np.cumsum(rng.normal(0, 0.02, 600)))
    verdict = judged(losses)
    assert verdict.stop_step is None and verdict.outcome in (Outcome.UNJUDGED, Outcome.STABLE)
    assert verdict.outcome is Outcome.UNJUDGED or verdict.learning is Learning.LEARNED


@pytest.mark.parametrize("seed", SEEDS)
def test_a_likelihood_that_explodes_is_a_divergence(seed: int) -> None:
    falls = -3 + 5 * np.exp(-np.arange(200) / 40) + np.random.default_rng(seed).normal(0, 0.1, 200)
    verdict = judged(np.r_[falls, np.geomspace(1, 1e6, 100)])
    assert verdict.outcome is Outcome.DIVERGED_LOSS and verdict.stop_step is not None
    assert judged(np.r_[falls, np.geomspace(1, 50, 30)]).outcome is Outcome.DIVERGED_LOSS


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [1e-7, 1e-3, 1e8, 1e200])
def test_a_tiny_or_huge_loss_that_falls_is_stable_and_told_as_it_was_logged(scale: float, seed: int) -> None:
    losses = scale * noisy(exponential(300), seed)
    verdict = judged(losses)
    assert verdict.stop_step is None and verdict.stable
    told = float(verdict.reason.partition("ended at ")[2].partition(",")[0])
    assert told == pytest.approx(float(np.median(losses[-20:])), rel=0.01)


@pytest.mark.parametrize("count", [1, 3, 8, 19])
def test_few_losses_are_too_short_unless_they_say_something(count: int) -> None:
    falling, rising = exponential(count), 2 * 1.5 ** np.arange(count)
    assert judged(falling).outcome is Outcome.TOO_SHORT
    assert judged(noisy(np.full(count, 2.0), 1)).outcome is Outcome.TOO_SHORT
    assert judged([*falling, math.nan]).outcome is Outcome.DIVERGED_NONFINITE
    if count >= 8:
        assert judged(rising).outcome is Outcome.DIVERGED_LOSS


def test_few_losses_without_bounds_are_lost() -> None:
    assert judged([3.6e23, 2.1e24, 6.1e25, 9.9e24, 2e24]).outcome is Outcome.DIVERGED_LOSS
    assert judged([3.6e25, 2.1e22, 6.1e18, 9.9e13]).outcome is Outcome.TOO_SHORT


def test_norms_that_are_nan_without_any_loss_are_broken() -> None:
    """Megatron leaves a NaN loss out; an excerpt holds three such lines."""
    verdict = judged_records(StepRecord(5426 + k, None, math.nan) for k in range(3))
    assert (verdict.outcome, verdict.numbers) == (Outcome.DIVERGED_NONFINITE, Numbers.BROKEN)


def test_a_scale_that_falls_in_the_midst_of_a_run_does_not_calibrate() -> None:
    records = [StepRecord(378 + k, 2.05, math.inf, 64.0 / 2**k, False, SkipReason.NONFINITE) for k in range(6)]
    assert judged_records(records).outcome is Outcome.SCALER_COLLAPSE
    from_the_start = [dataclasses.replace(record, step=1 + k) for k, record in enumerate(records)]
    assert judged_records(from_the_start).outcome is Outcome.CALIBRATING


def test_few_losses_with_a_reference_may_show_learning() -> None:
    assert judged(exponential(15, 3.3, 0.3), l_const=3.3).stable


@pytest.mark.parametrize("every", [1, 50])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_resumed_run_that_does_not_change_is_not_judged(seed: int, every: int) -> None:
    flat = noisy(np.full(300, 3.7), seed)
    resumed = judged(flat, first_step=140_749, every=every)
    assert (resumed.outcome, resumed.learning) == (Outcome.UNJUDGED, Learning.UNKNOWN)
    assert "resumed at step 140749" in resumed.reason
    assert judged(flat, first_step=every, every=every).outcome is Outcome.STALLED
    rising = noisy(np.geomspace(3.7, 80, 300), seed)
    assert judged(rising, first_step=140_749, every=every).outcome is Outcome.DIVERGED_LOSS


@pytest.mark.parametrize("num_classes", [2, 5, 10])
def test_a_loss_that_rests_at_that_of_a_constant_output_learned_nothing(num_classes: int) -> None:
    floor = math.log(num_classes)
    losses = floor * (1 + 0.5 * np.exp(-np.arange(60) / 3)) + np.random.default_rng(0).normal(0, 1e-4, 60)
    verdict = judged(losses)
    assert verdict.outcome is Outcome.STALLED and f"ln {num_classes}" in verdict.reason


@pytest.mark.parametrize("scale", [-1.0, 0.0, 12.0, 0.25])
def test_a_constant_loss_scale_or_none_is_no_collapse(scale: float) -> None:
    losses = exponential(200)
    verdict = judged_records(StepRecord(k + 1, float(x), 1.0, loss_scale=scale) for k, x in enumerate(losses))
    assert verdict.stable and verdict.stop_step is None
    assert ("loss_scale" in verdict.basis.telemetry) == (scale > 0)


# Three questions.


def with_validation(losses: Floats, val_losses: Iterable[float], **context: float) -> Verdict:
    monitor = StabilityMonitor(RunContext(**context))  # type: ignore[arg-type]
    evaluations = list(val_losses)
    every = len(losses) // len(evaluations)
    for k, loss in enumerate(losses):
        monitor.observe(StepRecord(k + 1, float(loss)))
        if (k + 1) % every == 0 and (k + 1) // every <= len(evaluations):
            monitor.observe_validation(k + 1, evaluations[(k + 1) // every - 1])
    return monitor.finish()


@pytest.mark.parametrize("context", [{"l_const": 3.3}, {"l_const": 3.3, "budget_steps": 300}])
@pytest.mark.parametrize("val", [[3.4, 3.5, 4.0], [3.4], [3.3, 3.2, 3.4, 4.0, 5.0, 6.0]])
def test_a_validation_loss_at_the_zero_information_level_is_memorised(
    val: list[float], context: dict[str, float]
) -> None:
    verdict = with_validation(noisy(exponential(300, 3.3, 0.1), 0), val, **context)
    assert (verdict.outcome, verdict.numbers, verdict.learning) == (
        Outcome.MEMORISED, Numbers.SOUND, Learning.MEMORISED)  # fmt: skip
    assert not verdict.stable and not verdict.outcome.is_diverged
    assert verdict.finding is not None and verdict.stop_step is None
    assert "val_loss" in verdict.basis.telemetry


@pytest.mark.parametrize("context", [{}, {"l_const": 3.3}])
def test_a_validation_loss_that_turned_up_for_good_is_memorised(context: dict[str, float]) -> None:
    losses = noisy(exponential(300, 3.3, 0.1), 0)
    turned = [3.0, 2.0, 1.2, 1.3, 1.8, 2.4, 2.6, 2.8, 2.9]
    verdict = with_validation(losses, turned, **context)
    assert verdict.outcome is Outcome.MEMORISED and "turned up from 1.2 at step 99" in verdict.reason
    assert with_validation(losses, [3.0, 2.0, 1.2, 1.3, 1.25, 1.4, 1.35, 1.4, 1.5], **context).stable
    assert with_validation(losses, [3.0, 2.0, 1.2, 2.9, 2.8, 2.9, 1.9, 1.3, 1.2], **context).stable


def test_a_validation_loss_that_rises_from_its_first_value_on_is_memorised() -> None:
    losses = noisy(exponential(300, 0.3, 0.002), 0)
    verdict = with_validation(losses, [0.42, 0.45, 0.55, 0.66, 0.77, 0.85, 0.91])
    assert (verdict.outcome, verdict.learning) == (Outcome.MEMORISED, Learning.MEMORISED)
    fine_tuned = with_validation(losses, [0.232, 0.25, 0.26, 0.283, 0.288])
    assert fine_tuned.stable, "a quarter more is what fine-tuning costs"


def test_a_validation_loss_that_is_never_finite_is_told() -> None:
    verdict = with_validation(noisy(exponential(300, 0.3, 0.02), 0), [math.nan] * 5)
    assert verdict.reason.endswith("no validation loss was finite")


def test_a_validation_loss_of_another_scale_says_nothing() -> None:
    losses = noisy(exponential(300, 3.3, 0.1), 0)
    assert with_validation(losses, [90.0, 60.0, 50.0, 50.0, 51.0]).stable
    assert with_validation(losses, [math.nan, math.inf, math.nan]).stable


def test_a_verdict_says_what_it_was_judged_with() -> None:
    alone, known = judged(exponential(60)), judged(exponential(60), l_const=3.3, l_unif=9.0, budget_steps=60)
    assert alone.basis.describe() == "60 losses alone"
    assert known.basis.describe() == "60 losses, the zero-information loss, a uniform output's loss, the budget"
    records = (StepRecord(k, 2.0, 1.0, 65536.0, blank_rate=0.5, input_dependence=0.2) for k in range(1, 3))
    assert judged_records(records).basis.describe() == (
        "2 losses, the blank rates, gradient norms, the input dependence, the loss scale"
    ).replace("the blank", "blank")


@pytest.mark.parametrize(
    ("losses", "numbers", "learning"),
    [
        (exponential(100), Numbers.SOUND, Learning.LEARNED),
        (noisy(np.full(100, 2.0), 0), Numbers.SOUND, Learning.NOTHING),
        (np.r_[exponential(100), np.full(20, math.nan)], Numbers.BROKEN, Learning.LOST),
        (np.full(20, math.nan), Numbers.BROKEN, Learning.NOTHING),
        (np.r_[exponential(100), noisy(np.full(100, 50.0), 0)], Numbers.SOUND, Learning.LOST),
        ([], Numbers.UNKNOWN, Learning.UNKNOWN),
    ],
)
def test_the_answers_are_apart(losses: Floats, numbers: Numbers, learning: Learning) -> None:
    verdict = judged(losses)
    assert (verdict.numbers, verdict.learning) == (numbers, learning)
    assert verdict.stable == (numbers is Numbers.SOUND and learning is Learning.LEARNED)


def test_the_largest_numbers_of_both_signs_fit_into_a_checkpoint() -> None:
    monitor = StabilityMonitor()
    for k in range(100):
        monitor.observe(StepRecord(k, 1e308 if k % 2 else -1e308))
    json.dumps(monitor.state_dict(), allow_nan=False)
    assert monitor.finish().stop_step is None


@pytest.mark.parametrize(
    ("end", "learning"), [(1.2, Learning.LEARNED), (2.7, Learning.LITTLE), (3.3, Learning.NOTHING)]
)
def test_a_training_that_learned_less_than_was_asked_is_not_said_to_have_learned_nothing(end, learning) -> None:
    monitor = StabilityMonitor(RunContext(l_const=3.3), MonitorConfig(stable_below=0.7))
    for step, loss in enumerate(noisy(exponential(300, 6.0, end), 0), start=1):
        monitor.observe(StepRecord(step, float(loss)))
    verdict = monitor.finish()
    assert verdict.learning is learning and verdict.stable == (learning is Learning.LEARNED)
    assert ("learned too little" in verdict.reason) == (learning is Learning.LITTLE)
    assert ("less than 0.7 times" in verdict.reason) == (learning is Learning.LITTLE)


@pytest.mark.parametrize(
    ("losses", "learning", "where"),
    [
        # It falls slowly, and is at its lowest at its end.
        ([3.5 * 0.997**k for k in range(120)], Learning.LITTLE, Side.TOO_COLD),
        # It had fallen so far, and came back.
        ([3.5 * 0.99 ** min(k, 60) * 1.01 ** max(k - 60, 0) for k in range(120)], Learning.LOST, Side.TOO_HOT),
        ([3.5 + 0.01 * (k % 3) for k in range(120)], Learning.NOTHING, Side.UNTOLD),
    ],
)
def test_without_a_reference_one_that_fell_too_little_has_lost_nothing(losses, learning, where) -> None:
    monitor = StabilityMonitor(RunContext(budget_steps=120), MonitorConfig(stable_below=0.5))
    records = [StepRecord(number, loss * (1 + 0.002 * math.sin(7 * number))) for number, loss in enumerate(losses, 1)]
    for record in records:
        monitor.observe(record)
    verdict = monitor.end_verdict()
    assert verdict.learning is learning, verdict
    assert side(verdict.outcome, verdict.learning, records, math.nan) is where
