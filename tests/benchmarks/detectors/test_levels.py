"""How much a rule is told at each level."""

import math

import numpy as np
import pytest

from benchmarks.detectors.faults import calibration, synthetic
from benchmarks.detectors.levels import Level, at_level
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import StepRecord


@pytest.fixture(scope="module")
def trace() -> Trace:
    rng = np.random.default_rng(0)
    course = synthetic(rng, 300, 0.05)
    calibration(course, rng)
    return Trace("a", "kind", False, course.context, Truth.HEALTHY, None, course.records())


def test_losses_alone_hold_nothing_else(trace: Trace) -> None:
    told = at_level(trace, Level.LOSSES)
    assert repr(told.context) == repr(RunContext())
    assert [repr(r) for r in told.records] == [repr(StepRecord(r.step, r.loss, r.grad_norm)) for r in trace.records]
    assert any(not r.applied for r in trace.records), "there is something to hide"


def test_bounds_hold_no_telemetry(trace: Trace) -> None:
    told = at_level(trace, Level.BOUNDS)
    assert told.context.l_const == trace.context.l_const and told.context.budget_steps == 300
    assert not told.context.has_scaler and trace.context.has_scaler
    assert all(r.applied and r.loss_scale is None and r.blank_rate is None for r in told.records)


def test_all_telemetry_is_the_trace_itself(trace: Trace) -> None:
    assert at_level(trace, Level.TELEMETRY) is trace
    assert any(r.input_dependence is not None and math.isfinite(r.input_dependence) for r in trace.records)


def test_each_level_covers_those_before_it() -> None:
    assert [level.covers(Level.BOUNDS) for level in Level] == [False, True, True]
