"""Passing over a quiet stretch leads to the same as its single steps."""

import math

import numpy as np
import pytest

from sweep.judging import RunContext, StabilityMonitor
from sweep.judging.detectors.base import PlainSteps
from sweep.records import StepRecord

NUM = 1500


def course(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Losses, gradient norms and loss scales of a training with some trouble in it."""
    rng = np.random.default_rng(seed)
    steps = np.arange(NUM)
    losses = (0.5 + 5 * np.exp(-steps / 200)) * np.exp(rng.normal(0, rng.choice([0.02, 0.1, 0.4]), NUM))
    norms, scales = rng.lognormal(size=NUM), np.full(NUM, 1024.0)
    for _ in range(rng.integers(0, 5)):
        start, length = int(rng.integers(0, NUM)), int(rng.choice([1, 2, 8, 30, 60]))
        kind = rng.choice(["NaN", "spike", "same", "norm", "scale", "below zero"])
        part = slice(start, start + length)
        match kind:
            case "NaN":
                losses[start : start + 3] = math.nan
            case "spike":
                losses[part] *= rng.choice([1.5, 3, 20])
            case "same":
                losses[part] = losses[start]
            case "norm":
                norms[part] = rng.choice([math.nan, math.inf])
            case "scale":
                scales[part] /= 2
            case "below zero" if seed % 5 == 0:
                losses[part] = -1.0
    return losses, norms, scales


@pytest.mark.parametrize("seed", range(60))
def test_both_ways_lead_to_the_same(seed: int) -> None:
    losses, norms, scales = course(seed)
    has_norms, has_scale = bool(seed % 2), bool(seed % 3)
    context = [RunContext(), RunContext(l_const=3.0), RunContext(3.0, 5.5), RunContext(3.0, 9.0, NUM)][seed % 4]
    steps = np.cumsum(np.random.default_rng(seed).integers(1, 4, NUM))
    records = [
        StepRecord(
            int(steps[k]),
            float(losses[k]),
            float(norms[k]) if has_norms else None,
            float(scales[k]) if has_scale else None,
        )
        for k in range(NUM)
    ]
    is_plain = np.isfinite(losses) & (losses > 0) & (np.isfinite(norms) | (not has_norms))
    single, fast = StabilityMonitor(context), StabilityMonitor(context)
    position = taken = done = 0
    while position < NUM:
        end = position
        while end < min(NUM, position + 400) and is_plain[end] and (not has_scale or scales[end] == scales[position]):
            end += 1
        if end > position:
            scale = float(scales[position]) if has_scale else None
            taken = fast.pass_over(PlainSteps(steps[position:end], losses[position:end], has_norms, scale))
            position += taken
        for record in records[position : position + 9]:
            fast.observe(record)
        position = min(position + 9, NUM)
        for record in records[done:position]:
            single.observe(record)
        done = position
        assert fast.state_dict() == single.state_dict(), f"up to step {steps[position - 1]}"
    assert fast.finish() == single.finish() and fast.end_verdict() == single.end_verdict()


def test_a_quiet_training_is_taken_in_large_pieces() -> None:
    losses = (1 + 5 * np.exp(-np.arange(NUM) / 200)) * np.exp(np.random.default_rng(0).normal(0, 0.1, NUM))
    monitor = StabilityMonitor()
    for k in range(20):
        monitor.observe(StepRecord(k + 1, float(losses[k])))
    assert monitor.pass_over(PlainSteps(np.arange(0), np.empty(0), False)) == 0
    assert monitor.pass_over(PlainSteps(np.arange(21, NUM + 1), losses[20:], False)) == NUM - 20
    assert monitor.finish().stable


def test_nothing_is_passed_over_before_a_level_is_known() -> None:
    assert StabilityMonitor().pass_over(PlainSteps(np.arange(1, 11), np.full(10, 2.0), False)) == 0
