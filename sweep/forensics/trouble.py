"""What the records say of a training that went bad: when it began, and what a replay must do to count as rescued."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from sweep.forensics.counterfactuals import END_STEPS, Judge, level
from sweep.records import NAN, Outcome, SkipReason, StepRecord, Verdict, is_broken, is_finite

ALIVE_DEPENDENCE = 1e-4
"""Input dependence (nats) below which an output ignores its input; healthy trainings dip to twice that in their first
steps, and collapsed ones lie far below."""
LEARNING_DEPENDENCE = 0.005
"""Input dependence (nats) that a training has which learns something of its input."""
LEARNED_FACTOR = 0.95
"""Below this multiple of the zero-information loss something was learned."""
BEGUN_FACTOR = 0.98
"""Multiple of the zero-information loss below which learning may have begun, if the output depends on the input."""
FASTER_FACTOR = 0.9
"""A level below this multiple of the training's own at the same step falls clearly faster."""
DEPENDENCE_SAMPLES = 10
LEVEL_STEPS = 20
CHECK_EVERY_STEPS = 10
ONSET_LEVEL_STEPS = 5
RISE_FACTOR = 2.0
"""A level above this multiple of the best one has left it."""
MIN_LEARNING_STEPS = 40
"""Steps before which nobody knows: even healthy trainings pass through an all-blank phase."""
HOPELESS_FACTOR = 10.0
"""A replay whose loss stays above this multiple of what counts as rescued is given up."""
LOST_STREAK = 17
"""Refused non-finite steps in a row that take a loss scale of 65536 below 1."""


@dataclass(frozen=True)
class Trouble:
    """A bad training as its records show it."""

    learns_nothing: bool
    """Whether it failed by not learning, rather than by going wrong."""
    onset_step: int
    """1-based: where the loss left its level for good; never after `first_bad_step`, and 1 where it never was well."""
    first_bad_step: int
    """1-based: the first step that was not finite, or that the detector names; 1 where it never was well."""
    was_applied: bool
    """Whether a non-finite update was applied at that step."""
    level_before: float
    """Median of the last losses before it, nats a label; NaN if there was none."""
    level_after: float
    """Median of the last losses of the training; NaN if none was finite."""
    usual_norm: float
    """Median of the finite gradient norms before it (of all where there are few); NaN if unknown."""
    skip_rate: float
    """Share of the steps that the skip threshold refused."""
    num_calibration: int
    """Steps in which the loss scale looked for its level."""


def find_trouble(records: Sequence[StepRecord], verdict: Verdict) -> Trouble:
    """Reads the records of a training that ended badly; there must be at least one."""
    learns_nothing = verdict.outcome in (Outcome.BLANK_COLLAPSE, Outcome.STALLED)
    first_bad, was_applied = (1, False) if learns_nothing else _first_bad_step(records, verdict)
    onset = _onset(records, first_bad)
    before = [r for r in records if r.step < onset]
    norms = [r.grad_norm for r in before if is_finite(r.grad_norm)][-LEVEL_STEPS:]
    if len(norms) < 3:
        norms = [r.grad_norm for r in records if is_finite(r.grad_norm)][:LEVEL_STEPS]
    return Trouble(
        learns_nothing=learns_nothing,
        onset_step=onset,
        first_bad_step=first_bad,
        was_applied=was_applied,
        level_before=level(before[-LEVEL_STEPS:]),
        level_after=level(records[-LEVEL_STEPS:]),
        usual_norm=statistics.median(norms) if norms else NAN,
        skip_rate=sum(r.skip_reason is SkipReason.THRESHOLD for r in records) / len(records),
        num_calibration=sum(r.skip_reason is SkipReason.CALIBRATION for r in records),
    )


def _first_bad_step(records: Sequence[StepRecord], verdict: Verdict) -> tuple[int, bool]:
    """Where it began, and whether a non-finite update was applied there.

    An applied update that ruined the weights is the beginning, whatever was noticed later; one whose infinite norm was
    clipped away is none. Else the detector knows; its streaks of refused steps begin where the latest one began.
    """
    for index, record in enumerate(records):
        if record.applied and not is_sound(record) and not all(r.params_finite for r in records[index : index + 2]):
            return record.step, True
    finding = verdict.finding
    if finding is not None:
        return max(finding.first_bad_step, 1), False
    streak = next((r.step for r in reversed(records) if r.applied and is_sound(r)), 0)
    if streak < records[-1].step:
        return streak + 1, False
    # A rise that only the end showed: it began after the lowest level.
    levels = [level(records[max(0, i - LEVEL_STEPS) : i]) for i in range(1, len(records) + 1)]
    lowest = min(range(len(levels)), key=lambda i: levels[i] if math.isfinite(levels[i]) else math.inf)
    return min(lowest + 2, len(records)), False


def _onset(records: Sequence[StepRecord], first_bad: int) -> int:
    """The step after the last one whose level was near the best so far: weights are often lost long before a NaN."""
    onset, best = 1, math.inf
    for index, record in enumerate(records):
        if record.step >= first_bad:
            break
        here = level(records[max(0, index - ONSET_LEVEL_STEPS + 1) : index + 1])
        best = min(best, here) if math.isfinite(here) else best
        if here <= RISE_FACTOR * best:
            onset = record.step + 1
    return min(onset, first_bad)


def is_sound(record: StepRecord) -> bool:
    """Whether neither loss, gradient norm nor a weight of a step is known not to be finite."""
    return record.params_finite and not is_broken(record.loss) and not is_broken(record.grad_norm)


def jump_step(records: Sequence[StepRecord], near: int, reach_steps: int) -> int:
    """The 1-based step, within some steps of another, at which the losses rise the most sharply.

    It splits the logarithms of the losses around it into the two parts whose means differ the most, in units of their
    standard error; `near` itself where too few losses are known.
    """
    around = [
        (r.step, math.log(r.loss))
        for r in records
        if abs(r.step - near) <= 2 * reach_steps and is_finite(r.loss) and r.loss > 0
    ]
    best, jump = -math.inf, near
    for i in range(1, len(around)):
        step = around[i][0]
        if abs(step - near) > reach_steps:
            continue
        before, after = [value for _, value in around[:i]], [value for _, value in around[i:]]
        rise = (statistics.fmean(after) - statistics.fmean(before)) * math.sqrt(i * (len(around) - i))
        if rise > best:
            best, jump = rise, step
    return jump


def survival_judge(trouble: Trouble, l_const: float, l_unif: float) -> Judge:
    """Rescued: the weights stay finite, steps are applied, the loss is nearer to its level before the trouble
    than to that after it, and the output depends on the input."""
    bound = _loss_bound(trouble, l_const, l_unif)

    def judge(records: Sequence[StepRecord], is_last: bool) -> bool | None:
        last = records[-1]
        if not last.params_finite:
            return False
        tail = records[-LOST_STREAK:]
        if len(tail) == LOST_STREAK and not any(r.applied or _is_calibration(r) for r in tail):
            return False
        if not is_last:
            return False if _is_hopeless(records, bound) else None
        end = [r for r in records[-END_STEPS:] if not _is_calibration(r)]
        if 2 * sum(r.applied and is_sound(r) for r in end) <= len(end):
            return False
        return level(end) <= bound and _dependence(records) >= ALIVE_DEPENDENCE

    return judge


def learning_judge(records_before: Sequence[StepRecord], l_const: float) -> Judge:
    """Rescued, which here means that it begins to learn: the loss falls clearly below the zero-information level, or
    somewhat below it while the output comes to depend on the input; or, where the training was merely slow and never
    came down to that level, it falls clearly faster.

    Args:
        records_before: of the training that learned nothing, from its first step.
        l_const: its zero-information loss; NaN if unknown.
    """

    was_slow = not level(records_before[-LEVEL_STEPS:]) < 1.1 * l_const

    def judge(records: Sequence[StepRecord], is_last: bool) -> bool | None:
        last = records[-1]
        if not last.params_finite:
            return False
        due = len(records) >= MIN_LEARNING_STEPS and len(records) % CHECK_EVERY_STEPS == 0
        if not (due or is_last):
            return None
        own = [r for r in records_before if r.step <= last.step]
        end, own_end = level(records[-LEVEL_STEPS:]), level(own[-LEVEL_STEPS:])
        own_dependence = _dependence(own)
        if end < LEARNED_FACTOR * l_const and own_end >= LEARNED_FACTOR * l_const:
            return True
        # Where the learning rate is too high, the dependence flares up at times while the loss stays above its floor.
        depends = _dependence(records, DEPENDENCE_SAMPLES) >= max(LEARNING_DEPENDENCE, 5 * own_dependence)
        if depends and len(records) >= MIN_LEARNING_STEPS and not end >= BEGUN_FACTOR * l_const:
            return True
        if (
            was_slow
            and own_dependence >= ALIVE_DEPENDENCE
            and not own_end < 1.1 * l_const
            and end < FASTER_FACTOR * own_end
        ):
            return True
        return False if is_last else None

    return judge


def _loss_bound(trouble: Trouble, l_const: float, l_unif: float) -> float:
    """The geometric middle between the level before the trouble and that after it, in so far as they are known."""
    before, after = trouble.level_before, trouble.level_after
    uninformed = l_unif if math.isfinite(l_unif) else math.inf
    # At the first steps the loss says how the weights were drawn, and not yet where the training belongs.
    before = min(before, uninformed) if math.isfinite(before) else uninformed
    after = min(after, uninformed) if math.isfinite(after) else uninformed
    bound = math.sqrt(before * max(before, after))
    if before < LEARNED_FACTOR * l_const:
        return min(max(bound, 1.3 * before), LEARNED_FACTOR * l_const)
    return max(bound, 1.1 * l_const) if math.isfinite(l_const) else bound


def _is_hopeless(records: Sequence[StepRecord], bound: float) -> bool:
    """Whether the loss is far above a bound and does not fall, so that the rest of the steps need not be trained."""
    if len(records) < 2 * END_STEPS:
        return False
    end, earlier = level(records[-END_STEPS:]), level(records[-2 * END_STEPS : -END_STEPS])
    return end > HOPELESS_FACTOR * bound and end >= earlier


def _dependence(records: Sequence[StepRecord], num_samples: int = 5) -> float:
    """Median of the latest input dependences; infinite if none was measured, as nothing then speaks against it."""
    known = [r.input_dependence for r in records if is_finite(r.input_dependence)][-num_samples:]
    return statistics.median(known) if known else math.inf


def _is_calibration(record: StepRecord) -> bool:
    return record.skip_reason is SkipReason.CALIBRATION
