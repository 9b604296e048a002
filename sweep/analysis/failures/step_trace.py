"""A training traced step by step: its decisive steps, and what lies between them in one row each."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from sweep.judging.detectors.base import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.records import NAN, EvalRecord, Finding, Outcome, SkipReason, StepRecord, is_finite

_NO_STEP_WENT_WRONG = (Outcome.STALLED, Outcome.BLANK_COLLAPSE, Outcome.MEMORISED)
"""Failures of which every step is healthy in itself."""
_NEAR_FLOOR = 1.05
"""A loss below so many times that of learning nothing is down at it."""


class StepMark(StrEnum):
    """What is decisive about a step."""

    START = "start"
    CALIBRATION = "calibration"
    """The loss scale is still on its way to its first usable value."""
    USABLE = "usable"
    """The first step with a finite gradient after calibration."""
    PEAK_LR = "peak_lr"
    """The learning rate is at its highest, after a warm-up."""
    FLOOR = "floor"
    """The loss is down at that of learning nothing, for the first time."""
    LOWEST = "lowest"
    """The lowest loss of the training."""
    HEALTHY = "healthy"
    """The last healthy step before the trouble."""
    BROKEN = "broken"
    """The first step at which a value was traced that is not finite."""
    TROUBLE = "trouble"
    """Where the trouble began, after the rule that raised the alarm."""
    WEIGHTS = "weights"
    """The first step after which a weight is not finite."""
    ALARM = "alarm"
    END = "end"
    """The last step of a training that ran on to its end."""


@dataclass(frozen=True)
class StepStretch:
    """One decisive step, or the steps between two of them."""

    first: StepRecord
    last: StepRecord
    marks: frozenset[StepMark]
    """Empty for steps in between."""
    loss_before: float | None
    """Of the step before it, nats a label; None at the start."""
    num_applied: int
    skips: tuple[tuple[SkipReason, int], ...]
    """Why updates were left out, and how often."""

    @property
    def num_steps(self) -> int:
        """How many steps it holds."""
        return self.last.step - self.first.step + 1


@dataclass(frozen=True)
class StepTrace:
    """The decisive steps of a training."""

    stretches: tuple[StepStretch, ...]
    """In order, without gaps."""
    finding: Finding | None
    """What the rule saw that judged it; None where the records do not tell."""


def observe_all(monitor: StabilityMonitor, records: Iterable[StepRecord], evals: Sequence[EvalRecord]) -> None:
    """Gives a monitor the records of a training as it heard of them: an evaluation after the step that it follows."""
    left = deque(evals)
    for record in records:
        monitor.observe(record)
        while left and left[0].step <= record.step:
            evaluation = left.popleft()
            monitor.observe_validation(evaluation.step, evaluation.val_loss)


def found_again(
    records: Iterable[StepRecord],
    evals: Sequence[EvalRecord],
    outcome: Outcome,
    context: RunContext,
    rules: Mapping[str, Any],
) -> Finding | None:
    """The finding behind a verdict, as a monitor of the same rules makes it from the records.

    None where it comes to another verdict, or where the rules are those of another version: then the records do not
    say why the training was judged so.
    """
    try:
        monitor = StabilityMonitor(context, MonitorConfig.model_validate(rules))
    except ValidationError:
        return None
    observe_all(monitor, records, evals)
    for verdict in (monitor.finish(), monitor.end_verdict()):
        if verdict.outcome is outcome:
            return verdict.finding
    return None


def step_trace(
    records: Sequence[StepRecord],
    stop_step: int | None,
    finding: Finding | None,
    broken_step: int | None,
    l_const: float = NAN,
) -> StepTrace:
    """Cuts a training into its decisive steps and what lies between them.

    Args:
        records: of all steps, in order.
        stop_step: the step of the alarm; None for a training without one.
        finding: what the rule saw that judged it.
        broken_step: the step at which the first non-finite value was traced; None where none was.
        l_const: the loss of learning nothing, nats a label; NaN if unknown.
    """
    if not records:
        return StepTrace((), finding)
    first_step, last_step = records[0].step, records[-1].step
    marks: dict[int, set[StepMark]] = {}

    def mark(step: int | None, kind: StepMark) -> None:
        if step is not None and first_step <= step <= last_step:
            marks.setdefault(step, set()).add(kind)

    calibrating = _leading_calibration(records)
    mark(first_step, StepMark.START)
    if calibrating:
        mark(calibrating[-1].step + 1, StepMark.USABLE)
    mark(broken_step, StepMark.BROKEN)
    begins = finding.first_bad_step if finding is not None else None
    mark(begins, StepMark.TROUBLE)
    onset = min((step for step in (broken_step, begins) if step is not None), default=None)
    if onset is not None and (finding is None or finding.outcome not in _NO_STEP_WENT_WRONG):
        mark(_last_healthy(records, onset), StepMark.HEALTHY)
    mark(next((r.step for r in records if not r.params_finite), None), StepMark.WEIGHTS)
    mark(_peak_of_lr(records), StepMark.PEAK_LR)
    floor = l_const * _NEAR_FLOOR
    at_start = records[0].loss
    if at_start is not None and at_start > floor:
        mark(next((r.step for r in records if is_finite(r.loss) and r.loss <= floor), None), StepMark.FLOOR)
    lowest = _lowest(records, onset if broken_step is not None else None)
    # At the start it says nothing.
    mark(lowest if lowest is not None and lowest > first_step + len(calibrating) else None, StepMark.LOWEST)
    mark(stop_step, StepMark.ALARM)
    mark(last_step, StepMark.END)
    return StepTrace(tuple(_stretches(records, marks, {r.step for r in calibrating})), finding)


def _leading_calibration(records: Sequence[StepRecord]) -> list[StepRecord]:
    """The steps at the start that a loss scale needed to find its first usable value."""
    found = []
    for record in records:
        if record.skip_reason is not SkipReason.CALIBRATION:
            break
        found.append(record)
    return found


def _peak_of_lr(records: Sequence[StepRecord]) -> int | None:
    """The step of the highest learning rate after a warm-up; None without one."""
    start = records[0].lr
    rates = [(r.lr, r.step) for r in records if is_finite(r.lr)]
    highest, step = max(rates, key=lambda rate: rate[0], default=(NAN, 0))
    return step if is_finite(start) and highest > start and step < records[-1].step else None


def _lowest(records: Sequence[StepRecord], onset: int | None) -> int | None:
    """The step of the lowest loss, before a trouble that was traced to its step."""
    finite = [(r.loss, r.step) for r in records if is_finite(r.loss) and (onset is None or r.step < onset)]
    return min(finite)[1] if finite else None


def _last_healthy(records: Sequence[StepRecord], before_step: int) -> int | None:
    healthy = (r.step for r in records if r.step < before_step and r.applied and is_finite(r.loss))
    return max(healthy, default=None)


def _stretches(
    records: Sequence[StepRecord], marks: dict[int, set[StepMark]], calibrating: set[int]
) -> Iterable[StepStretch]:
    members: list[StepRecord] = []
    kinds: set[StepMark] = set()
    before: float | None = None
    for record in records:
        is_calibrating = record.step in calibrating
        own = marks.get(record.step, set()) | ({StepMark.CALIBRATION} if is_calibrating else set())
        # Steps of the calibration stand together, and so do those without a mark.
        together = bool(members) and (is_calibrating if StepMark.CALIBRATION in kinds else not kinds and not own)
        if members and not together:
            yield _stretch(members, kinds, before)
            before, members, kinds = members[-1].loss, [], set()
        members.append(record)
        kinds |= own
    yield _stretch(members, kinds, before)


def _stretch(members: Sequence[StepRecord], marks: Iterable[StepMark], loss_before: float | None) -> StepStretch:
    reasons = [r.skip_reason for r in members if r.skip_reason is not None]
    return StepStretch(
        first=members[0],
        last=members[-1],
        marks=frozenset(marks),
        loss_before=loss_before,
        num_applied=sum(r.applied for r in members),
        skips=tuple((reason, reasons.count(reason)) for reason in SkipReason if reason in reasons),
    )
