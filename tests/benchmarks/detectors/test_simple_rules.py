"""The simple rule of each level, on courses whose fate anybody can see."""

import math

import numpy as np
import pytest

from benchmarks.detectors.levels import Level
from benchmarks.detectors.rules import End, Heard
from benchmarks.detectors.simple_rules import SIMPLE
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import StepRecord

STEPS = np.arange(300)
NOISE = np.exp(np.random.default_rng(0).normal(0, 0.05, 300))
LEARNED = 3 * np.exp(-STEPS / 100) * NOISE
PLATEAU = np.where(STEPS < 5, 6.0, 3.0) * NOISE


def hear(level: Level, losses: np.ndarray, l_const: float = math.nan, **columns: np.ndarray) -> Heard:
    records = tuple(
        StepRecord(step=k + 1, loss=float(losses[k]), **{name: values[k] for name, values in columns.items()})
        for k in range(len(losses))
    )
    context = RunContext(l_const=l_const, budget_steps=len(losses))
    rule = SIMPLE[level]
    return rule.hear(Trace("a", "kind", False, context, Truth.HEALTHY, None, records), rule.settings[0])


@pytest.mark.parametrize("level", list(Level))
def test_a_training_that_learns_is_fine(level: Level) -> None:
    assert hear(level, LEARNED, l_const=3.0) == Heard(None, End.FINE)


@pytest.mark.parametrize("level", list(Level))
def test_nan_and_a_rise_stop_it(level: Level) -> None:
    nan = hear(level, np.where(STEPS < 150, LEARNED, math.nan))
    assert nan == Heard(160, End.FAILED), "ten of the last twenty"
    risen = hear(level, np.where(STEPS < 150, LEARNED, 9.0), l_const=3.0)
    assert risen.end is End.FAILED and risen.step is not None and 151 <= risen.step <= 180


def test_a_rise_below_the_zero_information_loss_stops_nothing_that_knows_it() -> None:
    losses = np.where(STEPS < 150, LEARNED, 1.5)
    assert hear(Level.LOSSES, losses, l_const=3.0).step is not None
    assert hear(Level.BOUNDS, losses, l_const=3.0) == Heard(None, End.FINE)


def test_only_who_knows_the_bound_sees_that_nothing_is_learned() -> None:
    assert hear(Level.LOSSES, PLATEAU, l_const=3.0) == Heard(None, End.FINE)
    assert hear(Level.BOUNDS, PLATEAU, l_const=3.0) == Heard(180, End.FAILED), "at 0.6 of the planned steps"


def test_only_who_has_telemetry_sees_scales_skips_and_weights() -> None:
    scale = np.where(STEPS < 100, 1024.0, 2.0)
    applied = STEPS < 100
    for columns in ({"loss_scale": scale}, {"applied": applied}, {"params_finite": applied}):
        assert hear(Level.BOUNDS, LEARNED, l_const=3.0, **columns) == Heard(None, End.FINE)
        heard = hear(Level.TELEMETRY, LEARNED, l_const=3.0, **columns)
        assert heard.end is End.FAILED and heard.step is not None and 101 <= heard.step <= 111


def test_a_scale_that_halves_before_the_first_update_is_no_failure() -> None:
    scale = np.where(STEPS < 12, 2.0 ** (24 - np.minimum(STEPS, 12)), 4096.0)
    assert hear(Level.TELEMETRY, LEARNED, l_const=3.0, loss_scale=scale, applied=STEPS >= 12).step is None
