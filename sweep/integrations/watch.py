"""What the callbacks share: a step's numbers, from every process of a training -> a record, a decision, a verdict.

The numbers of all processes go to all, so that each judges the same; what the first decides counts, and they stop at
the same step.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sweep.judging import MonitorConfig, RunContext, StabilityMonitor
from sweep.records import Outcome, SkipReason, StepRecord, Verdict, is_broken

T = TypeVar("T")

WEIGHTS_EVERY_STEPS = 10
"""Weights are looked through at every such step, and whenever a loss or a gradient is not finite."""


class Processes(Protocol):
    """The processes of one training; all of them call these together."""

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """The numbers of every process, in the order of the processes."""

    def first_says(self, decision: bool) -> bool:
        """What the first process decided."""

    def of_first(self, value: T) -> T:
        """The first process's value."""


class Reporter(Protocol):
    """The run of a study that a training belongs to: `sweep.Run`, as the study's function was given it."""

    @property
    def reason(self) -> str | None:
        """Why it is to end; None while it is not."""

    def tell(self, record: StepRecord) -> bool:
        """Takes a step; whether the training is to end."""

    def tell_validation(self, val_loss: float) -> bool:
        """Takes the validation loss after the latest step; whether the training is to end."""


class OneProcess:
    """A training in a single process."""

    def gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """Its own numbers."""
        return [list(numbers)]

    def first_says(self, decision: bool) -> bool:
        """Its own decision."""
        return decision

    def of_first(self, value: T) -> T:
        """Its own value."""
        return value


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process saw of an optimizer step. None was not logged; a NaN was."""

    loss: float | None = None
    """Mean over the step's samples of this process."""
    grad_norm: float | None = None
    loss_scale: float | None = None
    """In force during the step."""
    applied: bool = True
    params_finite: bool = True

    def asks_for_weights(self, step: int) -> bool:
        """Whether the weights should be looked through after this step, to fill in `params_finite`."""
        return is_broken(self.loss) or is_broken(self.grad_norm) or step % WEIGHTS_EVERY_STEPS == 0

    def packed(self) -> list[float]:
        """As numbers that processes can exchange: each value, and whether it was logged."""
        values = (self.loss, self.grad_norm, self.loss_scale)
        pairs = [number for value in values for number in ((0.0, 0.0) if value is None else (value, 1.0))]
        return [*pairs, float(self.applied), float(self.params_finite)]

    @classmethod
    def unpacked(cls, numbers: Sequence[float]) -> "Seen":
        """What `packed` made numbers of."""
        pairs = zip(numbers[0:6:2], numbers[1:6:2], strict=True)
        loss, grad_norm, loss_scale = (value if logged else None for value, logged in pairs)
        return cls(loss, grad_norm, loss_scale, bool(numbers[6]), bool(numbers[7]))


class Watch:
    """Watches one training after the other, each from `begin` to `finish`; the same in every process.

    | call                  | effect                                                                    |
    |-----------------------|---------------------------------------------------------------------------|
    | `begin`               | forgets the training before; goes on from a checkpoint's memory, if given |
    | `observe`             | True at the step of the alarm, in every process                           |
    | `observe_validation`  | lets the end tell what was learned from what was only memorised           |
    | `finish`, `break_off` | set `verdict`, if no alarm did                                            |
    | `memory`              | what a checkpoint has to hold                                             |
    """

    verdict: Verdict | None = None
    """Of the alarm, or of the end; None before."""

    def __init__(
        self, l_const: float | None, budget_steps: int | None, config: MonitorConfig, run: Reporter | None = None
    ) -> None:
        """Settings of the callback; `budget_steps` None takes the trainer's own. With a run, that decides what ends."""
        self._run = run
        self._l_const = math.nan if l_const is None else l_const
        self._budget_steps = budget_steps
        self._config = config
        self.processes: Processes = OneProcess()
        self.latest_loss: float | None = None
        """Of the latest step, as it was judged."""
        self._monitor = self._fresh(None)

    def begin(self, planned_steps: int | None, processes: Processes, memory: str | None = None) -> None:
        """Begins a training of `planned_steps` optimizer steps (None: open).

        Raises:
            SettingError: the memory is that of other rules.
        """
        self.processes = processes
        self._monitor = self._fresh(planned_steps)
        self.verdict = None
        memory = processes.of_first(memory)
        if memory is not None:
            self._monitor.load_state_dict(json.loads(memory))

    def _fresh(self, planned_steps: int | None) -> StabilityMonitor:
        budget_steps = planned_steps if self._budget_steps is None else self._budget_steps
        return StabilityMonitor(RunContext(l_const=self._l_const, budget_steps=budget_steps), self._config)

    def observe(self, step: int, seen: Seen) -> bool:
        """Takes an optimizer step, counted from 1; whether it is the one of the alarm."""
        every = [Seen.unpacked(numbers) for numbers in self.processes.gather(seen.packed())]
        record = _record(step, every)
        self.latest_loss = record.loss
        verdict = self._monitor.observe(record)
        is_over = verdict is not None
        if self._run is not None:
            is_over = self._run.tell(record)
            if is_over and verdict is None:
                reason = self._run.reason or "the study ended it"
                verdict = Verdict(Outcome.PRUNED, reason, step, stop_step=step, basis=self._monitor.basis)
        if self.verdict is not None or not self.processes.first_says(is_over):
            return False
        self.verdict = self.processes.of_first(verdict)
        return True

    def observe_validation(self, step: int, val_loss: float) -> None:
        """Takes the validation loss after a step; that of the first process counts."""
        self._monitor.observe_validation(step, val_loss)
        if self._run is not None:
            self._run.tell_validation(val_loss)

    def finish(self) -> Verdict:
        """The verdict of the whole training."""
        if self.verdict is None:
            self.verdict = self.processes.of_first(self._monitor.finish())
        return self.verdict

    def break_off(self, exception: BaseException) -> Verdict:
        """The verdict of a training that an exception ended, in this process: others may not answer.

        Ctrl-C is no crash: the training is judged as far as it came.
        """
        if self.verdict is None:
            self.verdict = self._monitor.finish(None if isinstance(exception, KeyboardInterrupt) else exception)
        return self.verdict

    def memory(self) -> str:
        """The monitor's memory as one line of JSON."""
        return json.dumps(self._monitor.state_dict())


def told(verdict: Verdict) -> dict[str, str | int]:
    """A verdict as entries of a library's log."""
    entries: dict[str, str | int] = {"stability_verdict": verdict.outcome.value, "stability_reason": verdict.reason}
    if verdict.stop_step is not None:
        entries["stability_stop_step"] = verdict.stop_step
    return entries


def line(verdict: Verdict, stops: bool) -> str:
    """A verdict as one line for a person."""
    if verdict.stop_step is None:
        return f"stability: {verdict.outcome.value}: {verdict.reason}"
    does = "stopped" if stops else "would stop"
    return f"stability: {does} at step {verdict.stop_step}: {verdict.outcome.value}: {verdict.reason}"


def _record(step: int, every: Sequence[Seen]) -> StepRecord:
    """One record of what all processes saw: mean losses and norms, so that a NaN anywhere is a NaN."""
    applied = all(seen.applied for seen in every)
    return StepRecord(
        step=step,
        loss=_mean([seen.loss for seen in every]),
        grad_norm=_mean([seen.grad_norm for seen in every]),
        loss_scale=_mean([seen.loss_scale for seen in every]),
        applied=applied,
        # The libraries leave out a step for one reason: their loss scaler found its gradient not finite.
        skip_reason=None if applied else SkipReason.NONFINITE,
        params_finite=all(seen.params_finite for seen in every),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
