"""When trouble began, and what counts as a rescue."""

import dataclasses
import math

import pytest

from sweep.forensics.trouble import find_trouble, jump_step, learning_judge, survival_judge
from sweep.records import Finding, Outcome, SkipReason, StepRecord, Verdict

NAN = math.nan


def record(step, loss, *, norm=1.0, applied=True, reason=None, dependence=0.1, finite=True):
    return StepRecord(
        step,
        loss,
        norm,
        applied=applied,
        skip_reason=reason,
        input_dependence=dependence,
        params_finite=finite,
    )


def verdict(outcome, step, first_bad=None):
    finding = None if first_bad is None else Finding("x", outcome, step, 1.0, 1.0, "why", first_bad)
    return Verdict(outcome, "why", step, step, finding)


def test_weights_lost_early_are_found_before_the_nan_that_the_detector_names() -> None:
    records = [record(s, 1.0) for s in range(1, 41)]
    records += [record(s, 50.0 * s) for s in range(41, 60)] + [record(60, NAN, norm=NAN, finite=False)]
    trouble = find_trouble(records, verdict(Outcome.DIVERGED_NONFINITE, 60, 60))
    assert trouble.first_bad_step == 60 and trouble.was_applied
    # A median of five shows a rise two steps late.
    assert 41 <= trouble.onset_step <= 43 and trouble.level_before == 1.0


def test_an_infinite_norm_that_left_the_weights_whole_is_not_where_it_began() -> None:
    records = [record(s, 1.0) for s in range(1, 41)] + [record(s, 50.0) for s in range(41, 60)]
    records[19] = record(20, 1.0, norm=math.inf)
    trouble = find_trouble(records, verdict(Outcome.DIVERGED_LOSS, 59, 41))
    assert trouble.first_bad_step == 41 and not trouble.was_applied
    records[20] = record(21, NAN, norm=NAN, applied=False, reason=SkipReason.NONFINITE, finite=False)
    trouble = find_trouble(records, verdict(Outcome.DIVERGED_LOSS, 59, 41))
    assert trouble.first_bad_step == 20 and trouble.was_applied, "lost weights may be seen a step later"


def test_a_refused_step_long_before_is_not_where_it_began() -> None:
    records = [record(s, 1.0) for s in range(1, 51)]
    records[9] = record(10, NAN, norm=NAN, applied=False, reason=SkipReason.NONFINITE)
    records += [record(s, NAN, norm=NAN, applied=False, reason=SkipReason.NONFINITE) for s in range(51, 60)]
    for first_bad in (51, None):
        trouble = find_trouble(records, verdict(Outcome.DIVERGED_NONFINITE, 59, first_bad))
        assert trouble.first_bad_step == 51 and trouble.onset_step == 51 and not trouble.was_applied


def test_a_rise_that_only_the_end_showed() -> None:
    records = [record(s, 2.0 / s + 0.1) for s in range(1, 31)] + [record(s, 3.0) for s in range(31, 61)]
    trouble = find_trouble(records, verdict(Outcome.DIVERGED_LOSS, 60))
    assert 28 <= trouble.first_bad_step <= 33


def judged(judge, records):
    """What the judge says of a replay as it goes on."""
    for end in range(1, len(records) + 1):
        answer = judge(records[:end], end == len(records))
        if answer is not None:
            return answer, end
    return None, len(records)


def test_surviving_takes_finite_applied_steps_a_level_and_an_output_that_listens() -> None:
    before = [record(s, 1.0) for s in range(1, 31)] + [record(s, 6.0) for s in range(31, 71)]
    judge = survival_judge(find_trouble(before, verdict(Outcome.DIVERGED_LOSS, 70, 31)), l_const=2.0, l_unif=8.0)
    good = [record(s, 1.2) for s in range(21, 61)]
    assert judged(judge, good) == (True, 40)
    assert judged(judge, [record(s, 2.1) for s in range(21, 61)]) == (False, 40), "back at learning nothing"
    assert judged(judge, [dataclasses.replace(r, input_dependence=1e-6) for r in good]) == (False, 40)
    lost = [*good[:5], record(26, NAN, norm=NAN, finite=False), *good[6:]]
    assert judged(judge, lost) == (False, 6), "an applied NaN ends the replay"
    clipped = [*good[:5], record(26, 1.2, norm=math.inf), *good[6:]]
    assert judged(judge, clipped) == (True, 40), "an infinite norm that was clipped away does no harm"
    refused = [record(s, 1.0, norm=NAN, applied=False, reason=SkipReason.NONFINITE) for s in range(21, 61)]
    assert judged(judge, refused) == (False, 17)


@pytest.mark.parametrize("near", [38, 45, 52])
def test_a_sharp_rise_is_dated_to_its_step(near) -> None:
    records = [record(s, (0.5 if s < 45 else 2.0) * (1.5 if s % 3 else 1.0)) for s in range(1, 81)]
    assert jump_step(records, near, 12) == 45
    assert jump_step([record(1, NAN)], 1, 12) == 1


def test_a_replay_far_above_its_level_is_given_up_unless_it_falls() -> None:
    before = [record(s, 1.0) for s in range(1, 31)] + [record(s, 6.0) for s in range(31, 71)]
    judge = survival_judge(find_trouble(before, verdict(Outcome.DIVERGED_LOSS, 70, 31)), l_const=2.0, l_unif=8.0)
    assert judged(judge, [record(s, 500.0) for s in range(1, 61)]) == (False, 20)
    assert judged(judge, [record(s, 500.0 * 0.85**s) for s in range(1, 61)]) == (True, 60)
    assert judged(judge, [record(s, 4.0) for s in range(1, 61)]) == (False, 60)


def test_learning_is_a_fall_below_the_floor_or_dependence_below_it() -> None:
    dead = [record(s, 2.0, dependence=1e-7) for s in range(1, 101)]
    judge = learning_judge(dead, l_const=2.0)
    assert judged(judge, dead) == (False, 100)
    assert judged(judge, [record(s, 1.5) for s in range(1, 101)]) == (True, 40)
    assert judged(judge, [record(s, 1.95, dependence=0.02) for s in range(1, 101)]) == (True, 40)
    flare = [record(s, 2.1, dependence=0.05) for s in range(1, 101)]
    assert judged(judge, flare) == (False, 100), "a hot training depends on its input at times and learns nothing"


def test_a_slow_training_is_rescued_by_falling_faster() -> None:
    slow = [record(s, 10.0 - 0.001 * s) for s in range(1, 101)]
    judge = learning_judge(slow, l_const=2.0)
    assert judged(judge, slow) == (False, 100)
    assert judged(judge, [record(s, 10.0 - 0.05 * s) for s in range(1, 101)])[0] is True
