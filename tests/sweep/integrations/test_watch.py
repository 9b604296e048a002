"""What the callbacks share."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from slr_models.errors import SettingError
from sweep.integrations.watch import OneProcess, Seen, T, Watch, line, told
from sweep.judging import MonitorConfig
from sweep.records import Outcome, SkipReason, StepRecord

LIBRARIES = ("transformers", "accelerate", "lightning", "pytorch_lightning", "keras", "torch", "ray")


def test_the_room_imports_no_library() -> None:
    program = f"import sys, sweep.integrations; print([name for name in {LIBRARIES} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class Several:
    """Processes of which the others saw what the test says, and the first decides as it says."""

    def __init__(self, *others: Seen, first_stops: bool = False) -> None:
        self._others = others
        self._first_stops = first_stops

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        return [*(seen.packed() for seen in self._others), list(numbers)]

    def first_says(self, decision: bool) -> bool:
        return self._first_stops

    def of_first(self, value: T) -> T:
        return value


def record_of(records: list[StepRecord], *seen: Seen) -> StepRecord:
    watch = Watch(None, None, MonitorConfig())
    watch.begin(None, Several(*seen[1:]))
    watch.observe(1, seen[0])
    return records[0]


def test_a_record_is_the_mean_over_the_processes(records: list[StepRecord]) -> None:
    record = record_of(records, Seen(1.0, 4.0, 8.0), Seen(2.0, 5.0, 8.0), Seen(6.0, 6.0, 8.0))
    assert record == StepRecord(step=1, loss=3.0, grad_norm=5.0, loss_scale=8.0)


def test_what_one_process_did_not_see_is_told_by_the_others(records: list[StepRecord]) -> None:
    record = record_of(records, Seen(), Seen(2.0), Seen(6.0))
    assert record == StepRecord(step=1, loss=4.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_bad_in_one_process_is_bad(records: list[StepRecord], bad: float) -> None:
    record = record_of(records, Seen(1.0, 1.0), Seen(bad, 1.0), Seen(1.0, bad, params_finite=False, applied=False))
    assert record.loss is not None and not math.isfinite(record.loss)
    assert record.grad_norm is not None and not math.isfinite(record.grad_norm)
    assert not record.params_finite
    assert not record.applied and record.skip_reason is SkipReason.NONFINITE


def test_no_process_stops_but_with_the_first() -> None:
    watch = Watch(None, None, MonitorConfig())
    watch.begin(None, Several(Seen(1.0), first_stops=False))
    assert not watch.observe(1, Seen(params_finite=False))
    watch.begin(None, Several(Seen(1.0), first_stops=True))
    assert watch.observe(1, Seen(params_finite=False))
    assert watch.verdict is not None and watch.verdict.outcome is Outcome.DIVERGED_NONFINITE


def test_an_alarm_is_told_once(rising: list[float], alarm_step: Callable[[Sequence[float]], int]) -> None:
    watch = Watch(None, None, MonitorConfig())
    watch.begin(len(rising), OneProcess())
    alarms = [step for step, loss in enumerate(rising, start=1) if watch.observe(step, Seen(loss, 1.0))]
    assert alarms == [alarm_step(rising)]
    verdict = watch.finish()
    assert verdict is watch.verdict
    assert told(verdict) == {
        "stability_verdict": "diverged-loss",
        "stability_reason": verdict.reason,
        "stability_stop_step": alarms[0],
    }
    assert line(verdict, stops=True) == f"stability: stopped at step {alarms[0]}: diverged-loss: {verdict.reason}"
    assert line(verdict, stops=False).startswith(f"stability: would stop at step {alarms[0]}: ")


def test_it_goes_on_from_its_memory_and_refuses_that_of_other_rules(rising: list[float]) -> None:
    watch, resumed = (Watch(None, None, MonitorConfig()) for _ in range(2))
    watch.begin(len(rising), OneProcess())
    for step in range(1, 51):
        watch.observe(step, Seen(rising[step - 1]))
    resumed.begin(len(rising), OneProcess(), watch.memory())
    for step in range(51, len(rising) + 1):
        assert watch.observe(step, Seen(rising[step - 1])) == resumed.observe(step, Seen(rising[step - 1]))
    assert watch.finish() == resumed.finish()
    with pytest.raises(SettingError, match="detectors"):
        Watch(None, None, MonitorConfig(detectors=())).begin(None, OneProcess(), watch.memory())


@pytest.mark.parametrize(("own", "trainers", "stalls"), [(None, 200, True), (100_000, 200, False), (None, None, False)])
def test_the_users_budget_goes_before_the_trainers(own: int | None, trainers: int | None, stalls: bool) -> None:
    watch = Watch(3.0, own, MonitorConfig())
    watch.begin(trainers, OneProcess())
    alarms = [watch.observe(step, Seen(3.0 + 0.01 * (step % 3), 1.0)) for step in range(1, 201)]
    assert any(alarms) == stalls


def test_a_crash_is_told_and_ctrl_c_is_none(falling: list[float]) -> None:
    crashed, interrupted = (Watch(None, None, MonitorConfig()) for _ in range(2))
    for watch in (crashed, interrupted):
        watch.begin(None, OneProcess())
        for step, loss in enumerate(falling, start=1):
            watch.observe(step, Seen(loss))
    assert crashed.break_off(RuntimeError("no")).outcome is Outcome.CRASHED
    assert interrupted.break_off(KeyboardInterrupt()).stable
