"""Late reading against reading at once: the same values, the same verdicts, a bounded delay."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_models.errors import SettingError
from sweep import MonitorConfig, Outcome, RunContext, StabilityMonitor, StepRecord, Verdict
from sweep.records import SkipReason
from sweep.training.late import GPU_LAG_STEPS, LateMonitor, LateReader, Stopwatch

torch.set_num_threads(1)

CONTEXT = RunContext(l_const=3.0, budget_steps=400)


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(0, 6))
@settings(deadline=None)
def test_every_entry_comes_once_in_order_and_after_its_lag(sizes: list[int], lag_steps: int) -> None:
    reader: LateReader[int] = LateReader(lag_steps)
    seen = []
    for number, size in enumerate(sizes):
        due = reader.push(number, torch.full((size,), float(number)))
        assert [payload for payload, _ in due] == ([number - lag_steps] if number >= lag_steps else [])
        seen += due
    seen += reader.flush()
    assert seen == [(number, [float(number)] * size) for number, size in enumerate(sizes)]
    assert reader.flush() == []


@pytest.mark.parametrize("lag_steps", [None, 0, 2])
def test_values_may_change_once_they_are_pushed(lag_steps: int | None) -> None:
    reader: LateReader[str] = LateReader(lag_steps)
    values = torch.ones(2)
    seen = reader.push("one", values)
    values.fill_(math.nan)
    assert (seen + reader.flush()) == [("one", [1.0, 1.0])]


def test_values_on_a_cpu_are_read_at_once_unless_told_otherwise() -> None:
    assert LateReader[int]().push(1, torch.ones(1)) == [(1, [1.0])]
    assert LateReader[int](1).push(1, torch.ones(1)) == []
    with pytest.raises(SettingError, match="-1"):
        LateReader[int](-1)


def test_a_stopwatch_times_what_lies_between() -> None:
    stopwatch = Stopwatch(torch.device("cpu"))
    assert math.isnan(stopwatch.elapsed_s)
    stopwatch.stop()
    elapsed_s = stopwatch.elapsed_s
    assert 0 <= elapsed_s < 1
    assert stopwatch.elapsed_s == elapsed_s


def diverging() -> Iterator[StepRecord]:
    """Learns, then has three skipped batches, then weights that are NaN from step 91 on."""
    for step in range(1, 120):
        noise = 0.03 * math.sin(1.7 * step)
        is_bad = step in (40, 50, 60)
        yield StepRecord(
            step=step,
            loss=math.nan if step > 91 else 3.2 * math.exp(-0.01 * step) + noise,
            grad_norm=math.nan if is_bad or step > 91 else 1.0 + noise,
            loss_scale=256.0,
            applied=not is_bad,
            skip_reason=SkipReason.NONFINITE if is_bad else None,
            blank_rate=0.5,
            input_dependence=0.1 + noise,
            params_finite=step < 91,
        )


def feed(monitor: LateMonitor, record: StepRecord, *, as_tensors: bool) -> Verdict | None:
    def number(value: float) -> torch.Tensor | float:
        return torch.tensor(value, dtype=torch.float64) if as_tensors else value

    return monitor.observe(
        record.step,
        number(record.loss),
        number(record.grad_norm),
        loss_scale=number(record.loss_scale),
        applied=torch.tensor(record.applied) if as_tensors else record.applied,
        blank_rate=number(record.blank_rate),
        input_dependence=record.input_dependence,
        params_finite=torch.tensor(record.params_finite) if as_tensors else record.params_finite,
    )


@pytest.mark.parametrize("as_tensors", [True, False])
@pytest.mark.parametrize("lag_steps", [None, 0, 1, GPU_LAG_STEPS])
def test_a_late_verdict_is_the_same_and_comes_at_most_the_lag_later(lag_steps: int | None, as_tensors: bool) -> None:
    prompt, late = StabilityMonitor(CONTEXT), LateMonitor(StabilityMonitor(CONTEXT), lag_steps)
    stops = []
    for record in diverging():
        verdicts = prompt.observe(record), feed(late, record, as_tensors=as_tensors)
        stops += [record.step] if verdicts[0] is not None and not stops else []
        if verdicts[1] is not None:
            stops.append(record.step)
            break
    assert stops == [91, 91 + (lag_steps or 0)]
    assert verdicts[0] == verdicts[1]
    assert verdicts[1] is not None and verdicts[1].step == 91
    assert late.finish() == prompt.finish()


class _Recorder:
    def __init__(self) -> None:
        self.records: list[StepRecord] = []

    def observe(self, record: StepRecord) -> Verdict | None:
        self.records.append(record)
        return None

    def finish(self, crash: BaseException | None = None) -> Verdict:
        return Verdict(Outcome.CRASHED if crash else Outcome.STABLE, "the end", len(self.records))


def test_records_arrive_as_they_were_observed() -> None:
    recorder = _Recorder()
    monitor = LateMonitor(recorder, 3)
    expected = list(itertools.islice(diverging(), 70))
    for index, record in enumerate(expected):
        feed(monitor, record, as_tensors=index % 2 == 0)
    assert len(recorder.records) == 67
    assert monitor.finish().step == 70
    for seen, record in zip(recorder.records, expected, strict=True):
        assert seen.loss == pytest.approx(record.loss, rel=1e-6)
        assert (seen.step, seen.applied, seen.skip_reason) == (record.step, record.applied, record.skip_reason)


@pytest.mark.parametrize("lag_steps", [0, 1])
def test_what_is_not_given_was_not_logged_and_a_nan_that_is_given_was(lag_steps: int) -> None:
    recorder = _Recorder()
    monitor = LateMonitor(recorder, lag_steps)
    monitor.observe(1, torch.tensor(3.0))
    monitor.observe(2, 3.0, torch.tensor(math.nan), loss_scale=math.inf, blank_rate=torch.tensor(0.5), lr=0.1)
    monitor.finish()
    first, second = recorder.records
    assert first == StepRecord(1, 3.0)
    assert second.grad_norm is not None and math.isnan(second.grad_norm)
    assert second == StepRecord(2, 3.0, second.grad_norm, math.inf, blank_rate=0.5, lr=0.1)


@pytest.mark.parametrize(
    ("loss", "grad_norm", "num_infeasible", "reason"),
    [
        (1.0, 5.0, 0, SkipReason.THRESHOLD),
        (1.0, math.inf, 0, SkipReason.NONFINITE),
        (1.0, math.nan, 2, SkipReason.NONFINITE),
        (math.inf, math.nan, 2, SkipReason.INFEASIBLE),
    ],
)
def test_why_a_step_was_not_applied(loss: float, grad_norm: float, num_infeasible: int, reason: SkipReason) -> None:
    recorder = _Recorder()
    LateMonitor(recorder).observe(
        1, torch.tensor([loss]), torch.tensor(grad_norm), applied=False, num_infeasible=num_infeasible
    )
    assert recorder.records[0].skip_reason is reason


def test_a_crash_needs_nothing_from_the_device() -> None:
    monitor = LateMonitor(StabilityMonitor(CONTEXT, MonitorConfig()), 2)
    monitor.observe(1, torch.tensor(3.0))
    assert monitor.finish(RuntimeError("CUDA error")).outcome is Outcome.CRASHED


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_observing_a_gpus_values_never_waits() -> None:
    recorder = _Recorder()
    monitor = LateMonitor(recorder)
    loss = torch.full((), 3.0, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 12):
            monitor.observe(step, loss, loss * step, applied=loss > 0, params_finite=torch.isfinite(loss))
            assert len(recorder.records) == max(0, step - GPU_LAG_STEPS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert monitor.finish().step == 11
    assert [record.grad_norm for record in recorder.records] == [3.0 * step for step in range(1, 12)]
