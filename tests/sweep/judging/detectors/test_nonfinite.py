"""Non-finite weights, losses and gradients: counted in rows, calibration excepted."""

import math

import pytest

from sweep.judging.detectors import LoneDetector, NonfiniteConfig, RunContext
from sweep.records import Finding, Outcome, SkipReason, StepRecord


def first(records: list[StepRecord], has_scaler: bool = False) -> Finding | None:
    detector = LoneDetector(NonfiniteConfig(), RunContext(has_scaler=has_scaler))
    return next((finding for record in records if (finding := detector.observe(record))), None)


def good(step: int, scale: float = math.nan) -> StepRecord:
    return StepRecord(step=step, loss=2.0, grad_norm=1.0, loss_scale=scale)


def overflow(step: int, scale: float = math.nan, norm: float = math.inf) -> StepRecord:
    return StepRecord(
        step=step, loss=2.0, grad_norm=norm, loss_scale=scale, applied=False, skip_reason=SkipReason.NONFINITE
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_five_losses_in_a_row(value: float) -> None:
    def trace(num_bad: int) -> list[StepRecord]:
        bad = [StepRecord(step=300 + k, loss=value, grad_norm=1.0) for k in range(num_bad)]
        return [good(k) for k in range(1, 300)] + bad + [good(300 + num_bad)]

    assert first(trace(4)) is None
    finding = first(trace(5))
    assert finding is not None
    assert (finding.step, finding.first_bad_step, finding.outcome) == (304, 300, Outcome.DIVERGED_NONFINITE)
    assert finding.reason == "5 losses in a row are not finite, from step 300"


def test_one_loss_is_told_in_the_singular() -> None:
    finding = LoneDetector(NonfiniteConfig(losses_in_row=1), RunContext()).observe(StepRecord(step=7, loss=math.nan))
    assert finding is not None and finding.reason == "the loss is not finite at step 7"


def test_a_nonfinite_weight_at_once() -> None:
    finding = first([good(1), StepRecord(step=2, loss=2.0, grad_norm=math.nan, params_finite=False)])
    assert finding is not None and finding.irreversible
    assert (finding.step, finding.outcome) == (2, Outcome.DIVERGED_NONFINITE)


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_gradients_in_a_row(norm: float) -> None:
    def trace(num_bad: int, scale: float) -> list[StepRecord]:
        return [good(1, scale), *(overflow(2 + k, scale, norm) for k in range(num_bad))]

    assert first(trace(4, math.nan)) is None
    assert first(trace(5, math.nan)) is not None
    assert first(trace(16, 1024.0), has_scaler=True) is None
    finding = first(trace(17, 1024.0), has_scaler=True)
    assert finding is not None and (finding.step, finding.first_bad_step) == (18, 2)


def test_most_losses_are_enough_even_if_never_five_in_a_row() -> None:
    def trace(period: int) -> list[StepRecord]:
        bad = [StepRecord(100 + k, math.nan if k % period else 2.0, 1.0) for k in range(60)]
        return [*(good(k) for k in range(1, 100)), *bad]

    finding = first(trace(3))
    assert finding is not None and (finding.first_bad_step, finding.last_good_step) == (101, 100)
    assert (finding.step, finding.value, finding.threshold) == (116, 11.0, 10.0)
    assert finding.reason == "11 of the last 20 losses are not finite, from step 101"
    assert first(trace(2)) is None, "half of them is just not most"


def test_the_last_good_step_is_before_the_first_sign() -> None:
    """The gradient is infinite for two steps, then the loss is NaN as well."""
    late = [StepRecord(step=12 + k, loss=math.nan, grad_norm=math.nan) for k in range(5)]
    finding = first([*(good(k) for k in range(1, 10)), overflow(10), overflow(11), *late])
    assert finding is not None and (finding.step, finding.last_good_step) == (14, 9)
    finding = first([StepRecord(step=1, loss=math.nan, params_finite=False)])
    assert finding is not None and finding.last_good_step is None


@pytest.mark.parametrize("start_bits", [16, 32])
def test_calibration_is_no_alarm_however_long(start_bits: int) -> None:
    trace = [overflow(1 + k, 2.0 ** (start_bits - k)) for k in range(start_bits)]
    assert first([*trace, *(good(100 + k, 1.0) for k in range(50))], has_scaler=True) is None


def test_a_scale_that_does_not_fall_is_not_calibrating() -> None:
    assert first([overflow(1 + k, 65536.0) for k in range(17)], has_scaler=True) is not None


def test_unknown_gradient_norms_are_not_bad_ones() -> None:
    assert first([StepRecord(step=k, loss=2.0) for k in range(1, 100)]) is None


@pytest.mark.parametrize("has_scaler", [False, True])
def test_a_norm_that_was_not_logged_is_unknown_whatever_was_logged_before(has_scaler: bool) -> None:
    trace = [StepRecord(step=k, loss=2.0, grad_norm=1.0 if k % 30 == 0 else None) for k in range(1, 100)]
    assert first(trace, has_scaler) is None
    skipped = [StepRecord(step=100 + k, loss=2.0, grad_norm=math.nan, applied=False) for k in range(17)]
    assert first([*trace, *skipped], has_scaler) is not None


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize(("has_scaler", "count"), [(False, 5), (True, 17)])
def test_a_norm_that_was_logged_as_nan_is_not_finite(has_scaler: bool, count: int, every: int) -> None:
    """Though the step was applied, and its loss is finite; also where most steps log neither."""
    quiet = [StepRecord(step=k) for k in range(every - 1)]
    trace = [StepRecord(step=k, loss=2.0, grad_norm=1.0 if k < 50 else math.nan) for k in range(1, 100)]
    finding = first([one for record in trace for one in (record, *quiet)], has_scaler)
    assert finding is not None and (finding.step, finding.first_bad_step, finding.last_good_step) == (
        49 + count,
        50,
        49,
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_norms_that_were_never_finite_wait_for_a_scale_that_nobody_named(value: float) -> None:
    calibrating = [StepRecord(k, 5 - 0.01 * k, value if k <= 16 else 1.0) for k in range(1, 60)]
    assert first(calibrating) is None
    for_ever = first([StepRecord(k, 5.0, value) for k in range(1, 60)])
    assert for_ever is not None and (for_ever.step, for_ever.first_bad_step) == (17, 1)
    not_measured = [StepRecord(k, 5 * 0.9**k, value) for k in range(1, 60)]
    assert first(not_measured) is None, "with such gradients no loss would fall"


def test_steps_with_infeasible_samples_blame_the_data() -> None:
    infeasible = [
        StepRecord(step=10 + k, loss=math.inf, grad_norm=math.nan, num_infeasible=1, applied=False) for k in range(5)
    ]
    finding = first([good(9), *infeasible])
    assert finding is not None and finding.outcome is Outcome.INFEASIBLE_DATA
    one_without = [*infeasible[:4], StepRecord(step=14, loss=math.inf)]
    finding = first([good(9), *one_without])
    assert finding is not None and finding.outcome is Outcome.DIVERGED_NONFINITE
    weights = StepRecord(step=10, loss=math.inf, grad_norm=math.nan, num_infeasible=2, params_finite=False)
    finding = first([good(9), weights])
    assert finding is not None and finding.outcome is Outcome.INFEASIBLE_DATA and finding.irreversible
