"""Loss scale: calibration, growth and collapse."""

import math

import pytest

from sweep.judging.detectors import LoneDetector, RunContext, ScalerCollapseConfig
from sweep.records import Finding, Outcome, SkipReason, StepRecord


def record(step: int, scale: float, overflows: bool = False, num_infeasible: int = 0) -> StepRecord:
    return StepRecord(
        step=step,
        loss=2.0,
        grad_norm=math.inf if overflows else 1.0,
        loss_scale=scale,
        applied=not overflows,
        skip_reason=SkipReason.NONFINITE if overflows else None,
        num_infeasible=num_infeasible,
    )


def first(records: list[StepRecord], has_scaler: bool = True) -> Finding | None:
    detector = LoneDetector(ScalerCollapseConfig(), RunContext(has_scaler=has_scaler))
    return next((finding for one in records if (finding := detector.observe(one))), None)


def scaler_trace(start_bits: int, usable_bits: int, growth_interval: int, num_steps: int) -> list[StepRecord]:
    """What GradScaler does if gradients overflow above a scale of 2^usable_bits."""
    bits, since_growth, trace = start_bits, 0, []
    for step in range(1, num_steps + 1):
        overflows = bits > usable_bits
        trace.append(record(step, 2.0**bits, overflows))
        bits, since_growth = (bits - 1, 0) if overflows else (bits, since_growth + 1)
        if since_growth == growth_interval:
            bits, since_growth = bits + 1, 0
    return trace


@pytest.mark.parametrize(("start", "usable"), [(16, 16), (16, 3), (32, 16), (32, 1), (16, 0)])
def test_calibration_and_regular_growth_are_no_alarm(start: int, usable: int) -> None:
    assert first(scaler_trace(start, usable, growth_interval=20, num_steps=400)) is None


def test_a_scale_below_one() -> None:
    descent = [record(2 + k, 2.0 ** (4 - k), overflows=True) for k in range(30)]
    finding = first([record(1, 16.0), *descent])
    assert finding is not None
    assert (finding.step, finding.outcome, finding.value) == (7, Outcome.SCALER_COLLAPSE, 0.5)


@pytest.mark.parametrize("initial", [1.0, 2.0])
def test_a_small_scale_may_overflow_now_and_then(initial: float) -> None:
    steps = [record(1, initial), record(2, initial, overflows=True), record(3, initial / 2, overflows=True)]
    assert first([*steps, *(record(4 + k, initial / 4) for k in range(50))]) is None
    assert first([record(1 + k, initial / 2**k, overflows=True) for k in range(3)]) is None
    found = first([record(1, initial), *(record(2 + k, initial / 2**k, overflows=True) for k in range(9))])
    assert found is not None and found.value <= initial / 16


@pytest.mark.parametrize("initial", [65536.0, 0.25])
def test_a_scale_that_is_never_usable(initial: float) -> None:
    finding = first([record(1 + k, initial / 2**k, overflows=True) for k in range(200)])
    assert finding is not None and finding.value == min(initial, 1.0) / 256
    assert "without a finite gradient" in finding.reason
    at_once = first([record(1, initial, overflows=True), record(2, 0.0, overflows=True)])
    assert at_once is not None and at_once.outcome is Outcome.SCALER_COLLAPSE


def test_eight_bits_below_the_first_usable_value() -> None:
    def trace(bits: int) -> list[StepRecord]:
        descent = [record(11 + k, 2.0 ** (15 - k), overflows=True) for k in range(bits)]
        return [*(record(1 + k, 2.0**15) for k in range(10)), *descent, record(11 + bits, 2.0 ** (15 - bits))]

    assert first(trace(7)) is None
    finding = first(trace(8))
    assert finding is not None and (finding.first_bad_step, finding.last_good_step) == (11, 10)
    assert finding.reason == "the loss scale fell from its first usable value 32768 to 128 by step 19"


def test_a_descent_from_a_needlessly_high_scale_is_harmless() -> None:
    descent = [record(2 + k, 2.0 ** (32 - k), overflows=True) for k in range(16)]
    assert first([record(1, 2.0**32), *descent, *(record(20 + k, 65536.0) for k in range(50))]) is None


def test_a_chosen_scale_below_one_is_no_collapse() -> None:
    assert first([record(1 + k, 0.25) for k in range(50)]) is None


@pytest.mark.parametrize("none", [-1.0, 0.0])
@pytest.mark.parametrize("has_scaler", [False, True])
def test_a_scale_of_zero_or_less_from_the_start_is_none(none: float, has_scaler: bool) -> None:
    assert first([record(1 + k, none) for k in range(50)], has_scaler=has_scaler) is None


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1.0, 12.0, 65536.0])
def test_a_scale_that_never_changes_has_not_fallen(scale: float) -> None:
    assert first([record(1 + k, scale) for k in range(50)], has_scaler=False) is None


def test_a_fall_from_a_positive_scale_to_zero_is_a_collapse() -> None:
    finding = first([*(record(1 + k, 1024.0) for k in range(20)), record(21, 0.0)], has_scaler=False)
    assert finding is not None and (finding.step, finding.value) == (21, 0.0)


def test_overflows_of_infeasible_samples_blame_the_data() -> None:
    descent = [record(2 + k, 2.0 ** (16 - k), overflows=True, num_infeasible=1) for k in range(10)]
    finding = first([record(1, 65536.0), *descent])
    assert finding is not None and finding.outcome is Outcome.INFEASIBLE_DATA
