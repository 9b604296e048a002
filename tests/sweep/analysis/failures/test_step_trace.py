import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sweep.analysis.failures.step_trace import StepMark, StepStretch, found_again, step_trace
from sweep.judging.monitor import MonitorConfig, RunContext, StabilityMonitor
from sweep.records import EvalRecord, Finding, Outcome, SkipReason, StepRecord

NAN, INF = math.nan, math.inf


def broken_run() -> list[StepRecord]:
    """Three calibrating steps, five healthy ones, then six without a finite loss."""
    records = [
        StepRecord(i, 5.0, INF, 65536 / 2 ** (i - 1), False, SkipReason.CALIBRATION, lr=0.01 * i) for i in (1, 2, 3)
    ]
    records += [StepRecord(i, 12.0 - i, 3.0, 8192.0, lr=0.01 * min(i, 6)) for i in range(4, 9)]
    records += [StepRecord(i, NAN, NAN, 8192.0 / 2 ** (i - 9), False, SkipReason.NONFINITE) for i in range(9, 15)]
    return records


def told(stretches: Sequence[StepStretch]) -> list[tuple[int, int, set[StepMark]]]:
    return [(s.first.step, s.last.step, set(s.marks)) for s in stretches]


def test_the_decisive_steps_stand_alone_and_what_lies_between_in_one_row() -> None:
    records = broken_run()
    context = RunContext(l_const=3.0, budget_steps=100, has_scaler=True)
    finding = found_again(records, [], Outcome.DIVERGED_NONFINITE, context, MonitorConfig().model_dump())
    assert finding is not None and (finding.detector, finding.first_bad_step) == ("nonfinite", 9)
    trace = step_trace(records, finding.step, finding, broken_step=9, l_const=3.0)
    assert told(trace.stretches) == [
        (1, 3, {StepMark.START, StepMark.CALIBRATION}),
        (4, 4, {StepMark.USABLE}),
        (5, 5, set()),
        (6, 6, {StepMark.PEAK_LR}),
        (7, 7, set()),
        (8, 8, {StepMark.HEALTHY, StepMark.LOWEST}),
        (9, 9, {StepMark.TROUBLE, StepMark.BROKEN}),
        (10, 12, set()),
        (13, 13, {StepMark.ALARM}),
        (14, 14, {StepMark.END}),
    ]
    calibrating, *_ = trace.stretches
    assert calibrating.num_applied == 0 and calibrating.skips == ((SkipReason.CALIBRATION, 3),)
    assert calibrating.loss_before is None and trace.stretches[6].loss_before == 4.0


def test_no_step_is_left_out_and_none_is_told_twice() -> None:
    for stop in (None, 1, 7, 14):
        for bad in (None, 1, 9, 99):
            stretches = step_trace(broken_run(), stop, None, bad).stretches
            held = [step for s in stretches for step in range(s.first.step, s.last.step + 1)]
            assert held == list(range(1, 15)), (stop, bad)
            assert sum(s.num_applied for s in stretches) == 5


def test_a_training_that_learns_nothing_shows_when_it_got_to_that_level_and_its_lowest_loss() -> None:
    losses = [9.0, 5.0, 3.1, 2.99, 3.05, 3.02]
    records = [StepRecord(i, loss, 1.0, lr=0.1) for i, loss in enumerate(losses, start=1)]
    finding = Finding("stalled", Outcome.STALLED, 6, 3.0, 2.85, "learned nothing", first_bad_step=3)
    assert told(step_trace(records, 6, finding, None, l_const=3.0).stretches) == [
        (1, 1, {StepMark.START}),
        (2, 2, set()),
        (3, 3, {StepMark.FLOOR, StepMark.TROUBLE}),
        (4, 4, {StepMark.LOWEST}),
        (5, 5, set()),
        (6, 6, {StepMark.ALARM, StepMark.END}),
    ]


def test_lost_weights_are_marked_at_the_first_step_that_has_them() -> None:
    records = [StepRecord(i, 3.0, 1.0, params_finite=i < 3) for i in range(1, 5)]
    trace = step_trace(records, None, None, None)
    assert [s.first.step for s in trace.stretches if StepMark.WEIGHTS in s.marks] == [3]


def test_a_training_without_records_has_no_steps() -> None:
    assert step_trace([], None, None, 3).stretches == ()


@pytest.mark.parametrize(
    ("outcome", "rules"),
    [(Outcome.STALLED, {}), (Outcome.DIVERGED_NONFINITE, {"a_rule_of_another_version": 1})],
    ids=["another verdict", "other rules"],
)
def test_records_that_do_not_lead_to_the_verdict_tell_no_finding(outcome: Outcome, rules: dict[str, int]) -> None:
    assert found_again(broken_run(), [], outcome, RunContext(l_const=3.0, has_scaler=True), rules) is None


def test_what_is_found_again_is_what_the_monitor_found() -> None:
    records, context = broken_run(), RunContext(l_const=3.0, budget_steps=100, has_scaler=True)
    monitor = StabilityMonitor(context)
    alarms = [verdict for record in records if (verdict := monitor.observe(record)) is not None]
    again = found_again(records, [], alarms[0].outcome, context, {})
    assert again == alarms[0].finding
    quiet = [replace(r, loss=2.0, grad_norm=1.0, applied=True, skip_reason=None) for r in records]
    assert found_again(quiet, [], Outcome.STABLE, context, {}) is None


def test_a_memorised_training_is_found_again_with_its_evaluations_and_no_step_went_wrong() -> None:
    records = [StepRecord(i, 3.0 * 0.97**i, 1.0) for i in range(1, 101)]
    evals = [EvalRecord(i, 3.0 + 0.01 * i, 9, 0, 0, 10, 0.5, 0.5, 1.0) for i in (25, 50, 75, 100)]
    context = RunContext(l_const=3.0, budget_steps=100)
    finding = found_again(records, evals, Outcome.MEMORISED, context, {})
    assert finding is not None and finding.value >= 3.0
    assert found_again(records, [], Outcome.MEMORISED, context, {}) is None, "without evaluations nothing tells"
    assert not any(StepMark.HEALTHY in s.marks for s in step_trace(records, None, finding, None, 3.0).stretches)
