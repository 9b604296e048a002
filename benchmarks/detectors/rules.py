"""What a rule is to the benchmark: it hears a trace, and says where it stops it and what it thinks of its end."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from benchmarks.detectors.levels import Level
from benchmarks.detectors.trace_set import Trace
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.records import Outcome

OURS = "StabilityMonitor"

Setting = Mapping[str, float]
"""What can be chosen of a rule, by the name of its option."""


class End(StrEnum):
    """What a rule says of a training at its end."""

    FAILED = "failed"
    OPEN = "open"
    FINE = "fine"


@dataclass(frozen=True)
class Heard:
    """What a rule said of one trace."""

    step: int | None
    """Where it stopped it; None if it did not."""
    end: End
    """What it says of the whole trace, stopped or not."""
    outcome: Outcome | None = None
    """What the monitor called its alarm, else its end."""
    reason: str = ""


@dataclass(frozen=True)
class Rule:
    """One rule with the settings that it may be given."""

    name: str
    hear: Callable[[Trace, Setting], Heard]
    settings: Sequence[Setting] = ({},)
    """The published default first."""
    reads: Level = Level.LOSSES
    """All that it can use."""


def grid(**options: Sequence[float]) -> list[Setting]:
    """All combinations; the first value of every option is its published default."""
    return [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]


class Logged(NamedTuple):
    """A step that logged a loss: all that the rules of others read."""

    step: int
    loss: float
    grad_norm: float | None
    """None where it was not logged."""


def logged(trace: Trace) -> list[Logged]:
    """The steps of a trace that logged a loss."""
    return [Logged(r.step, r.loss, r.grad_norm) for r in trace.records if r.loss is not None]


class PeerRule(Protocol):
    """A rule at work on one training, step by step."""

    def stops(self, record: Logged) -> bool:
        """Reads the next step; whether the training would be stopped there."""
        ...


def stepwise(make: Callable[[Trace, Setting], PeerRule]) -> Callable[[Trace, Setting], Heard]:
    """Hears a trace with a rule that has no word for the end: what it stopped has failed, all else is fine."""

    def hear(trace: Trace, setting: Setting) -> Heard:
        rule = make(trace, setting)
        step = next((record.step for record in logged(trace) if rule.stops(record)), None)
        return Heard(step, End.FINE if step is None else End.FAILED)

    return hear


def hear_monitor(trace: Trace, config: MonitorConfig | None = None) -> Heard:
    """What our monitor says of a trace that runs on to its end whatever is alarmed.

    Where nobody can tell from the end, or no later step can repair what was alarmed, the alarm stands.
    """
    monitor = StabilityMonitor(trace.context, config or MonitorConfig())
    alarm = None
    for record in trace.records:
        alarm = monitor.observe(record)
    last = monitor.end_verdict()
    end = end_of(last.outcome)
    if alarm is None:
        return Heard(None, end, last.outcome, last.reason)
    stands = end is End.OPEN or (alarm.finding is not None and alarm.finding.irreversible)
    return Heard(alarm.stop_step, End.FAILED if stands else end, alarm.outcome, alarm.reason)


def end_of(outcome: Outcome) -> End:
    """Whether an outcome names a failure."""
    if outcome.is_stable:
        return End.FINE
    return End.OPEN if outcome.is_open else End.FAILED


def _hear_ours(trace: Trace, setting: Setting) -> Heard:
    return hear_monitor(trace)


MONITOR = Rule(OURS, _hear_ours, reads=Level.TELEMETRY)
