"""The verdict on a training that went on after an alarm: the end decides where the alarm could have been wrong."""

import math
from collections.abc import Iterator

from sweep.judging import ending
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.records import Outcome, SkipReason, StepRecord, Verdict

L_CONST, BUDGET = 3.0, 400


def skipping_then(*, end_level: float) -> Iterator[StepRecord]:
    """Most of the first 80 steps are skipped; then the loss falls to a level."""
    for step in range(1, BUDGET + 1):
        is_skipped = step <= 80 and step % 5 != 0
        progress = max(0.0, (step - 80) / (BUDGET - 80))
        loss = 4.0 * math.exp(progress * math.log(end_level / 4.0)) * (1.0 + 0.02 * (-1) ** step)
        reason = SkipReason.THRESHOLD if is_skipped else None
        yield StepRecord(step, loss, 1.0, applied=not is_skipped, skip_reason=reason)


def watch(records: Iterator[StepRecord]) -> tuple[StabilityMonitor, Verdict | None]:
    monitor = StabilityMonitor(RunContext(l_const=L_CONST, budget_steps=BUDGET))
    first = None
    for record in records:
        first = monitor.observe(record) or first
    return monitor, first


def test_an_alarm_that_the_end_refutes_is_told_as_wrong() -> None:
    monitor, alarm = watch(skipping_then(end_level=0.5))
    assert alarm is not None and alarm.outcome is Outcome.SKIP_STARVED and ending.may_be_wrong(alarm)
    verdict, alarmed = ending.at_end(monitor)
    assert verdict.stable and alarmed is Outcome.SKIP_STARVED
    assert verdict.stop_step == alarm.stop_step < BUDGET
    assert f"stopping at step {alarm.stop_step} as skip-starved would have been wrong" in verdict.reason


def test_an_alarm_that_the_end_confirms_stays_the_verdict() -> None:
    monitor, alarm = watch(skipping_then(end_level=3.5))
    verdict, alarmed = ending.at_end(monitor)
    assert alarm is not None and not verdict.stable
    assert verdict.outcome is alarmed is Outcome.SKIP_STARVED and verdict.stop_step == alarm.stop_step
    assert verdict.reason.startswith(alarm.reason) and "run on, it ended as stalled" in verdict.reason


def test_an_alarm_that_nothing_can_undo_is_no_audit() -> None:
    good = [StepRecord(step, 1.0, 1.0) for step in range(1, 30)]
    monitor, alarm = watch(iter([*good, StepRecord(30, 1.0, 1.0, params_finite=False)]))
    assert alarm is not None and not ending.may_be_wrong(alarm)
    assert ending.at_end(monitor) == (alarm, None)


def test_an_alarm_at_the_last_step_has_nothing_left_to_audit() -> None:
    _, alarm = watch(skipping_then(end_level=3.5))
    assert alarm is not None and alarm.stop_step is not None
    monitor, same = watch(r for r in skipping_then(end_level=3.5) if r.step <= (alarm.stop_step or 0))
    assert ending.at_end(monitor) == (same, None)


def test_without_an_alarm_the_end_is_the_verdict() -> None:
    monitor, alarm = watch(r for r in skipping_then(end_level=0.5) if r.step > 80)
    verdict, alarmed = ending.at_end(monitor)
    assert alarm is None and alarmed is None
    assert verdict.stable and verdict.stop_step is None and not ending.may_be_wrong(verdict)


def test_a_crash_ends_a_run_where_it_was_and_leaves_an_earlier_alarm_alone() -> None:
    monitor, _ = watch(iter([StepRecord(1, 1.0, 1.0)]))
    crash = ending.at_crash(monitor, RuntimeError("boom"), 7)
    assert crash.outcome is Outcome.CRASHED and crash.stop_step == 7
    monitor, alarm = watch(r for r in skipping_then(end_level=3.5) if r.step <= 100)
    assert alarm is not None
    crash = ending.at_crash(monitor, RuntimeError("boom"), 100)
    assert crash.outcome is Outcome.SKIP_STARVED and crash.stop_step == alarm.stop_step
    assert "run on, it ended with an exception after step 100: RuntimeError" in crash.reason
