import math
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.failures.half_precision import (
    HALF,
    MAX_FAILED,
    MAX_SKIPS,
    MAX_STABLE,
    PRECISION,
    SCALED,
    HalfTrial,
    drawn,
    half_trials,
    headroom_course,
    nearest_modules,
    scale_course,
)
from sweep.records import HealthMetric, Outcome, SkipReason
from sweep.study.settings import Study

Table = Callable[..., pd.DataFrame]
BAD, GOOD = HalfTrial("b", 1, Outcome.SCALER_COLLAPSE), HalfTrial("g", 2, Outcome.STABLE)


def study_with(precision: str) -> Study:
    least = {"name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100}}
    return Study.model_validate({**least, "training": {"precision": {"kind": precision}}})


def health(bits: Sequence[tuple[int, str, float]]) -> pd.DataFrame:
    """Rows of the headroom, with another metric among them."""
    rows = [(step, HealthMetric.HEADROOM_BITS.value, path, value) for step, path, value in bits]
    rows.append((2, HealthMetric.OUTPUT_ABSMAX.value, "a", 0.0))
    frame = pd.DataFrame(rows, columns=["step", "metric", "path", "value"])
    return frame.astype({"metric": "category", "path": "category"})


def test_trials_in_half_precision_are_found_searched_or_fixed(table: Table) -> None:
    trials = table([{PRECISION: kind} for kind in ("fp32", "fp16", "fp16_unscaled", None)])
    study = study_with("fp16")
    assert list(half_trials(trials, study, HALF)["trial_id"]) == ["t001", "t002", "t003"]
    assert list(half_trials(trials, study, SCALED)["trial_id"]) == ["t001", "t003"]
    fixed = trials.drop(columns=PRECISION)
    assert len(half_trials(fixed, study, SCALED)) == 4
    assert len(half_trials(fixed, study_with("bf16"), HALF)) == 0


def test_few_trials_are_drawn_and_rare_outcomes_are_among_them(table: Table) -> None:
    verdicts = ["stalled"] * 900 + ["scaler-collapse"] + ["stable"] * 500
    chosen = drawn(table([{"verdict": v} for v in verdicts]))
    outcomes = [trial.outcome for trial in chosen]
    assert outcomes.count(Outcome.STABLE) == MAX_STABLE and len(outcomes) == MAX_STABLE + MAX_FAILED
    assert outcomes.count(Outcome.SCALER_COLLAPSE) == 1
    assert {chosen[0].number, chosen[MAX_STABLE - 1].number} == {901, 1400}, "stable ones are spread evenly"
    assert drawn(table([])) == []


def test_the_headroom_is_that_of_the_module_nearest_to_overflow() -> None:
    course = headroom_course(BAD, health([(2, "a", 9.0), (2, "b", 5.5), (12, "a", -math.inf), (12, "b", math.nan)]))
    assert course is not None
    assert (course.step, course.bits, course.path) == ((2, 12), (5.5, -math.inf), ("b", "a"))
    assert course.nearest == "a" and course.lowest == {"a": -math.inf, "b": -math.inf}


def test_modules_that_compute_in_another_format_have_no_part_in_it() -> None:
    course = headroom_course(GOOD, health([(2, "norm", 125.0), (2, "a", 12.0), (2, "zeros", math.inf)]))
    assert course is not None and course.lowest == {"a": 12.0}
    assert headroom_course(GOOD, health([(2, "norm", 125.0)])) is None
    assert headroom_course(GOOD, health([])) is None


def test_modules_are_ranked_by_the_failed_trials_in_which_they_were_nearest() -> None:
    courses = [
        headroom_course(BAD, health([(2, "a", 4.0), (2, "b", 3.0)])),
        headroom_course(BAD, health([(2, "a", 6.0), (2, "b", -math.inf)])),
        headroom_course(GOOD, health([(2, "a", 8.0), (2, "b", 11.0), (2, "c", 9.0)])),
    ]
    first, second = nearest_modules([c for c in courses if c is not None])
    assert (first.path, first.num_failed, first.num_stable) == ("b", 2, 0)
    assert (first.failed, first.stable) == (-math.inf, 11.0)
    assert (second.path, second.num_failed, second.num_stable, second.failed) == ("a", 0, 1, 4.0)
    assert nearest_modules([]) == []


def steps(scales: Sequence[float], skipped: dict[int, str]) -> pd.DataFrame:
    rows: list[dict[str, Any]] = [
        {"step": i, "loss_scale": scale, "skip_reason": skipped.get(i)} for i, scale in enumerate(scales, start=1)
    ]
    return pd.DataFrame(rows)


def test_the_loss_scale_is_kept_where_it_changes_with_every_skip() -> None:
    frame = steps([8, 4, 2, 2, 2, 4, 4], {1: "calibration", 2: "calibration", 5: "nonfinite"})
    course = scale_course(BAD, frame)
    assert course is not None
    assert (course.step, course.scale) == ((1, 2, 3, 6, 7), (8, 4, 2, 4, 4))
    assert course.skips == (
        (1, 8.0, SkipReason.CALIBRATION),
        (2, 4.0, SkipReason.CALIBRATION),
        (5, 2.0, SkipReason.NONFINITE),
    )
    assert scale_course(GOOD, steps([math.nan] * 3, {})) is None


@pytest.mark.parametrize("count", [MAX_SKIPS, 2000])
def test_many_skips_are_thinned_out_and_both_ends_stay(count: int) -> None:
    course = scale_course(BAD, steps([1.0] * count, dict.fromkeys(range(1, count + 1), "nonfinite")))
    assert course is not None and len(course.skips) == MAX_SKIPS
    assert (course.skips[0][0], course.skips[-1][0]) == (1, count)
