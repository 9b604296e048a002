"""Share of skipped batches after calibration."""

import math

import pytest

from sweep.judging.detectors import LoneDetector, RunContext, SkipStarvedConfig
from sweep.judging.detectors.skip_starved import SkipWindow
from sweep.records import Finding, Outcome, SkipReason, StepRecord


def first(records: list[StepRecord], has_scaler: bool = False) -> Finding | None:
    detector = LoneDetector(SkipStarvedConfig(), RunContext(has_scaler=has_scaler))
    return next((finding for record in records if (finding := detector.observe(record))), None)


def step(number: int, skipped: bool, norm: float = 80.0, num_infeasible: int = 0) -> StepRecord:
    reason = SkipReason.THRESHOLD if skipped else None
    return StepRecord(number, 5.0, norm, applied=not skipped, skip_reason=reason, num_infeasible=num_infeasible)


def test_a_threshold_that_skips_everything() -> None:
    finding = first([step(1 + k, skipped=True) for k in range(60)])
    assert finding is not None
    assert (finding.step, finding.first_bad_step, finding.outcome) == (26, 1, Outcome.SKIP_STARVED)
    assert finding.last_good_step is None
    assert finding.reason == "26 of the last 26 batches were skipped"


def test_every_second_batch_is_just_enough() -> None:
    assert first([step(1 + k, skipped=k % 2 == 0) for k in range(600)]) is None
    assert first([step(1 + k, skipped=k % 3 > 0) for k in range(600)]) is not None


def test_the_window_tells_its_numbers() -> None:
    def described(*skipped: bool, num_infeasible: int = 0) -> str:
        window = SkipWindow(size=3)
        for k, is_skipped in enumerate(skipped):
            window.update(step(1 + k, is_skipped, num_infeasible=num_infeasible), calibrated=True)
        return window.describe()

    assert described(True) == "the last batch was skipped"
    assert described(False, True) == "1 of the last 2 batches was skipped"
    assert described(True, False, True, True) == "2 of the last 3 batches were skipped"
    assert described(True, True, num_infeasible=1) == (
        "2 of the last 2 batches were skipped, 2 of them with a target that CTC cannot align"
    )


@pytest.mark.parametrize("num_good", [10, 100])
def test_the_last_good_step_is_the_last_applied_one(num_good: int) -> None:
    finding = first([step(1 + k, skipped=k >= num_good) for k in range(200)])
    assert finding is not None
    assert (finding.first_bad_step, finding.last_good_step) == (num_good + 1, num_good)


def test_a_window_full_of_scattered_skips_remembers_what_left_it() -> None:
    finding = first([step(1 + k, skipped=k % 50 in (0, *range(20, 44)) or k >= 150) for k in range(300)])
    assert finding is not None and finding.last_good_step is not None
    assert finding.last_good_step < finding.first_bad_step < finding.step


def test_calibration_does_not_count() -> None:
    calibration = [StepRecord(1 + k, 5.0, math.inf, 2.0 ** (40 - k), False, SkipReason.CALIBRATION) for k in range(30)]
    assert first([*calibration, *(step(31 + k, skipped=False) for k in range(50))], has_scaler=True) is None


def test_infeasible_skips_blame_the_data() -> None:
    finding = first([step(1 + k, skipped=True, num_infeasible=1) for k in range(40)])
    assert finding is not None and finding.outcome is Outcome.INFEASIBLE_DATA
