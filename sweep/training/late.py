"""Reading a device's values a few steps late, so that a training loop on a GPU never waits for one.

A value that is read in the step that computes it makes the host wait until the GPU has caught up, and then the GPU wait
for the host. Read a few steps late, it has long been there.

    monitor = LateMonitor(StabilityMonitor(RunContext(l_const=3.4, budget_steps=5000, has_scaler=True)))
    ...
        if monitor.observe(step, loss, grad_norm, loss_scale=scale) is not None: break  # tensors, never `.item()`
    print(monitor.finish())
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from slr_models.errors import SettingError
from sweep.records import NAN, SkipReason, StepRecord, Verdict, is_broken, is_finite

GPU_LAG_STEPS = 4
"""Steps that values on a GPU are read late, unless told otherwise. A host that runs further ahead gains nothing."""

P = TypeVar("P")
Number = Tensor | float
"""A float, or a tensor of one element on any device."""


@dataclass(frozen=True)
class _Entry(Generic[P]):
    payload: P
    values: Tensor
    """On the host; filled once `copied` has happened."""
    copied: torch.cuda.Event | None
    lag_steps: int


class LateReader(Generic[P]):
    """A queue of tensors on their way to the host, each with a payload that says what it is.

    | call    | returns                                                                               |
    |---------|---------------------------------------------------------------------------------------|
    | `push`  | all entries that `lag_steps` newer ones follow by now, oldest first; waits for nothing |
    | `flush` | all others, oldest first; waits for the device                                        |
    """

    def __init__(self, lag_steps: int | None = None) -> None:
        """Starts empty.

        Args:
            lag_steps: newer entries that an entry waits for; None for 4 where the values are on a GPU, else 0.

        Raises:
            SettingError: `lag_steps` is negative.
        """
        if lag_steps is not None and lag_steps < 0:
            raise SettingError(
                f"`lag_steps` must not be negative, but it is {lag_steps}; "
                "0 reads every value at once (and waits for it)."
            )
        self._lag_steps = lag_steps
        self._queue: deque[_Entry[P]] = deque()

    def push(self, payload: P, values: Tensor) -> list[tuple[P, list[float]]]:
        """Starts the copy of `values` [N], which may be changed or freed right afterwards."""
        lag_steps = self._lag_steps
        if lag_steps is None:
            lag_steps = GPU_LAG_STEPS if values.is_cuda else 0
        # Only a copy into pinned memory runs beside the host; torch reuses such memory once its copy is done.
        copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda)
        copy.copy_(values.detach(), non_blocking=True)
        copied = None
        if values.is_cuda:
            copied = torch.cuda.Event()
            copied.record(torch.cuda.current_stream(values.device))
        self._queue.append(_Entry(payload, copy, copied, lag_steps))
        ready: list[tuple[P, list[float]]] = []
        while self._queue and len(self._queue) > self._queue[0].lag_steps:
            ready.append(_read(self._queue.popleft()))
        return ready

    def flush(self) -> list[tuple[P, list[float]]]:
        """Empties the queue."""
        ready = [_read(entry) for entry in self._queue]
        self._queue.clear()
        return ready


def _read(entry: _Entry[P]) -> tuple[P, list[float]]:
    if entry.copied is not None:
        # Waits for this copy alone, not for what the device was given since.
        entry.copied.synchronize()
    return entry.payload, entry.values.tolist()


class Stopwatch:
    """Times work on its device, from creation to `stop`, without waiting for it.

    On a GPU two events stand in its queue: the host may be steps ahead, so its own clock would time the wrong thing.
    """

    def __init__(self, device: torch.device) -> None:
        self._started_s = time.perf_counter()
        self._elapsed_s = NAN
        self._device = device
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            self._events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            self._events[0].record(torch.cuda.current_stream(device))

    def stop(self) -> None:
        """Ends the measurement."""
        self._elapsed_s = time.perf_counter() - self._started_s
        if self._events is not None:
            self._events[1].record(torch.cuda.current_stream(self._device))

    @property
    def elapsed_s(self) -> float:
        """Seconds between the two; to be read once something that was computed before `stop` has been read."""
        if self._events is None:
            return self._elapsed_s
        start, end = self._events
        elapsed_ms: float = start.elapsed_time(end)
        return elapsed_ms / 1000.0


class Monitor(Protocol):
    """What `LateMonitor` feeds: `sweep.StabilityMonitor`, or anything like it."""

    def observe(self, record: StepRecord) -> Verdict | None:
        """Reads the next step; a verdict as soon as the run should be stopped."""

    def observe_validation(self, step: int, val_loss: float) -> None:
        """Reads the validation loss after a step."""

    def finish(self, crash: BaseException | None = None) -> Verdict:
        """The verdict of the whole run."""


@dataclass(frozen=True)
class _Observed:
    """A step of which some numbers are still on the device."""

    step: int
    lr: float | None
    num_infeasible: int
    known: tuple[float | None, ...]
    """In the order of `LateMonitor.observe`; None was not given, or stands at one of the places `late`."""
    late: tuple[int, ...]


class LateMonitor:
    """A monitor for a loop on a GPU: takes tensors, and never makes the loop wait for them.

    Values are read once `lag_steps` later steps have been observed, so an alarm comes at most `lag_steps` calls after
    the step that raised it; the verdict names that step itself. Floats, and tensors on a CPU, are read at once.
    """

    def __init__(self, monitor: Monitor, lag_steps: int | None = None) -> None:
        """Feeds `monitor`, which should be fresh.

        Args:
            monitor: where the records go, in order, each exactly once.
            lag_steps: largest delay of an alarm in steps; None for 4 with values on a GPU, else 0.
        """
        self._monitor = monitor
        self._reader: LateReader[_Observed] = LateReader(lag_steps)
        self._verdict: Verdict | None = None

    def observe(
        self,
        step: int,
        loss: Number,
        grad_norm: Number | None = None,
        *,
        loss_scale: Number | None = None,
        applied: Tensor | bool = True,
        blank_rate: Number | None = None,
        input_dependence: Number | None = None,
        params_finite: Tensor | bool = True,
        lr: float | None = None,
        num_infeasible: int = 0,
    ) -> Verdict | None:
        """Takes the next step; a verdict as soon as one is known.

        The arguments are the fields of `StepRecord`: None was not logged, and a NaN is one that was. A step that was
        not applied counts as refused for being above a threshold if loss and gradient norm are known to be finite, else
        for its numbers.
        """
        numbers = (loss, grad_norm, loss_scale, applied, blank_rate, input_dependence, params_finite)
        tensors = [(place, number) for place, number in enumerate(numbers) if isinstance(number, Tensor)]
        devices = {number.device for _, number in tensors}
        # Should tensors of a GPU and of the CPU come together, the latter are read here: that waits for nothing.
        device = next((d for d in devices if d.type != "cpu"), torch.device("cpu"))
        late = [(place, number) for place, number in tensors if number.device == device]
        places = tuple(place for place, _ in late)
        known = tuple(
            None if number is None or place in places else float(number) for place, number in enumerate(numbers)
        )
        values = _packed([number for _, number in late])
        for payload, read in self._reader.push(_Observed(step, lr, num_infeasible, known, places), values):
            self._pass_on(payload, read)
        return self._verdict

    def observe_validation(self, step: int, val_loss: float) -> None:
        """Takes the validation loss after a step: with it the verdict tells what was learned from what was memorised.

        An evaluation waits for the device anyway, so the steps before it are read now.
        """
        self.flush()
        self._monitor.observe_validation(step, val_loss)

    def flush(self) -> None:
        """Reads all that is under way; waits for the device."""
        for payload, read in self._reader.flush():
            self._pass_on(payload, read)

    def finish(self, crash: BaseException | None = None) -> Verdict:
        """The verdict of the whole run, with all that has been observed; waits for the device."""
        # After a crash the device may not answer any more, and the crash is the verdict.
        for payload, read in self._reader.flush() if crash is None else ():
            self._pass_on(payload, read)
        return self._monitor.finish(crash)

    def _pass_on(self, payload: _Observed, read: Sequence[float]) -> None:
        numbers = list(payload.known)
        for place, number in zip(payload.late, read, strict=True):
            numbers[place] = number
        loss, grad_norm, loss_scale, applied, blank_rate, input_dependence, params_finite = numbers
        reason = None if applied else _skip_reason(loss, grad_norm, payload.num_infeasible)
        self._verdict = self._monitor.observe(
            StepRecord(
                step=payload.step,
                loss=loss,
                grad_norm=grad_norm,
                loss_scale=loss_scale,
                applied=bool(applied),
                skip_reason=reason,
                lr=payload.lr,
                num_infeasible=payload.num_infeasible,
                blank_rate=blank_rate,
                input_dependence=input_dependence,
                params_finite=bool(params_finite),
            )
        )


def _packed(tensors: Sequence[Tensor]) -> Tensor:
    """One float32 vector of the one-element tensors of one device, [N]."""
    if not tensors:
        return torch.empty(0)
    return torch.stack([tensor.detach().reshape(()).float() for tensor in tensors])


def _skip_reason(loss: float | None, grad_norm: float | None, num_infeasible: int) -> SkipReason:
    if is_finite(loss) and is_finite(grad_norm):
        return SkipReason.THRESHOLD
    return SkipReason.INFEASIBLE if num_infeasible > 0 and is_broken(loss) else SkipReason.NONFINITE
