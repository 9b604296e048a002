"""How a training looks at its end: are its numbers sound, was something learned, and what was that judged with?

The outcome follows from the first of these that holds:

| what                                                                       | outcome                          |
|----------------------------------------------------------------------------|----------------------------------|
| weights, or the last losses or gradients, are not finite                    | diverged-nonfinite               |
| the loss scale has collapsed                                                | scaler-collapse                  |
| the loss scale has not found a usable value yet                             | calibrating                      |
| no loss was logged, or losses around zero show no direction                 | unjudged                         |
| what was learned was mostly lost, or the run ended above its own beginning  | diverged-loss                    |
| the losses swing ever wider, or left their level in the last eight steps    | diverged-loss (unjudged)         |
| the losses have been the same number for a hundred steps or more            | stalled                          |
| most of the last batches were skipped                                       | skip-starved, infeasible-data    |
| the loss ended clearly below what knowing nothing gives, held-out data too  | stable, spiky-recovering         |
| ... held-out data not                                                       | memorised                        |
| the output is blank whatever the input                                      | blank-collapse                   |
| fewer than 20 losses                                                        | too-short                        |
| a resumed run that did not change                                           | unjudged                         |
| else                                                                        | stalled                          |

Where the zero-information loss is unknown, the run's own beginning stands for it: the median of its first five losses,
or its first loss where the first steps blew up.
"""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

from slr_models.spec import Spec
from sweep.judging.detectors import (
    BlankCollapseConfig,
    DetectorConfig,
    DivergedLossConfig,
    RunContext,
    SkipStarvedConfig,
    StalledConfig,
)
from sweep.judging.detectors.base import RunStatistics, is_known, negligible_loss
from sweep.judging.detectors.skip_starved import SkipWindow
from sweep.judging.detectors.statistics import (
    LEVEL_STEPS,
    SMALLEST_NOISE,
    START_LOSSES,
    SpikeCounter,
    Validation,
    factor,
    log_loss,
    median,
    noise,
    spread,
)
from sweep.records import Finding, Learning, Numbers, Outcome
from sweep.wording import number, percent, plural

C = TypeVar("C", bound=Spec)

SMALLEST_ABOVE_START, SMALLEST_ABOVE_RESUMED = math.log(1.1), math.log(1.5)
"""Rise above the beginning of a run, or of a resumed one, that counts as a divergence, ln loss; three of its standard
errors must be exceeded too."""
LOST_SHARE, LOST_LOG_SHARE = 0.5, 0.75
"""Share of what was learned (of the fall of the loss, or of its logarithm) without which it does not count as lost."""
LOST_SHARE_OF_UNKNOWN = 0.3
"""The same where the zero-information loss is unknown, as the first of the fall then only leads down to that; half of
it, where half of the logarithm is lost too and nothing of it comes back."""
SMALLEST_LOSS_OF_UNKNOWN = math.log(1.1)
"""Smallest rise of the level, ln loss, with which so little can be lost."""
WAVERS, PLAIN_RISE = 5.0, math.log(1.5)
"""Where that loss is unknown, a rise up to the second, ln loss, must be so many times as large as what the level wavers
by in the second half of the run."""
LATE_LOSSES = 8
"""Latest losses in which a run may have begun to diverge without any level that tells."""
WIDER_SWINGS = 3.5
"""Multiple of the swings at the same level earlier; batches of another size make it three."""
NORMS_AT_END, BROKEN_NORMS = 50, 15
"""Latest gradient norms, and how many of them may be infinite or NaN at the end: of a loss scale that works one in a
hundred is."""
NORMS_MASK = (1 << NORMS_AT_END) - 1
"""Of the bits of `EndMemory.broken_norms`."""
SAME_LOSSES = 100
"""Losses in a row that are the same number to the last digit: nothing reaches the weights any more."""
CONVERGED_CHANGE = 1e-5
"""Share by which a loss changes last that converges."""
_SAME_DIGITS = 4
"""Significant digits without which equal numbers are just rounded ones."""
FLAT_SHARE = 0.001
"""Relative spread within which the last losses of a short run rest."""
FLAT_LOSSES = 6
"""Losses without which even a flat line tells nothing."""
_CLASSES = range(2, 21)
"""Balanced classes K whose zero-information loss, ln K, is told from a chance value."""
_MIN_EVALUATIONS = 5
"""Evaluations without which none can have turned up for good."""
LATE_HALVINGS = 4
"""Halvings of the loss scale that are no search for its first value where a log begins in the midst of a run."""
ENDLESS_LOSS = 1e12
"""Loss that few losses are enough to call lost, unless they fall."""
VALIDATION_RISE, VALIDATION_RISE_ALONE = 1.5, 2.0
"""Multiples of the best validation loss: where the zero-information loss is unknown, one that turned up ends above the
first. Above the second it has turned up for good, whatever it began with."""
_RESUMED_INTERVALS, _RESUMED_STEPS = 20, 100
"""A log that begins later than so many of its intervals, and so many steps, is that of a resumed run."""


@dataclass(slots=True)
class EndMemory:
    """What the end has to know of a run, beside its statistics."""

    skips: SkipWindow
    spikes: SpikeCounter = field(default_factory=SpikeCounter)
    validation: Validation = field(default_factory=Validation)
    blank_rate: float | None = None
    """Latest sample."""
    input_dependence: float | None = None
    """Latest sample, nats."""
    params_finite: bool = True
    first_step: int = 0
    last_step: int = 0
    last_was_applied: bool = False
    last_sound_step: int | None = None
    """Latest step with finite weights and loss; one that logs no loss does not count."""
    last_low_step: int | None = None
    """Latest step whose level was the best, or nearly."""
    num_steps: int = 0
    num_losses: int = 0
    """Steps that logged a loss; a NaN counts."""
    num_nonfinite: int = 0
    """Steps with a non-finite loss."""
    nonfinite_in_row: int = 0
    """Such losses in a row, up to the latest."""
    nonfinite_since: int | None = None
    """Step of the first of these; None if the latest loss is finite."""
    nan_norms_in_row: int = 0
    """Applied steps in a row with a gradient norm of NaN, up to the latest."""
    broken_norms: int = 0
    """Which of the latest logged norms were not finite: a bit each, the lowest for the latest."""
    telemetry: list[str] = field(default_factory=list)
    """What was logged beside the loss, as `Basis.telemetry` names it."""


@dataclass(frozen=True, slots=True)
class EndEvidence:
    """What showed that a run ended badly."""

    value: float
    threshold: float
    last_good_step: int | None = None
    """None where the run was never well."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended."""

    outcome: Outcome
    reason: str
    learning: Learning
    evidence: EndEvidence | None = None
    """None of a good or an open end."""
    numbers: Numbers = Numbers.SOUND


@dataclass(frozen=True)
class EndJudge:
    """Judges the end of one run."""

    run: RunStatistics
    memory: EndMemory
    context: RunContext
    detectors: tuple[DetectorConfig, ...]
    """The run's own settings of the rules; the usual ones stand for those that are left out."""
    stable_below: float
    """See `MonitorConfig`."""
    nonfinite_at_end: int
    applied_nonfinite_at_end: int

    def judge(self, standing: Finding | None = None) -> End:
        """The end of the run as it is now; `standing` is what a detector finds at its latest step."""
        broken = self._judge_numbers(standing)
        if broken is not None:
            return broken
        if self.run.loss.count == 0:
            if self._is_starved:
                return self._starved(Learning.UNKNOWN, self.memory.skips.describe())
            reason = "the gradients show nothing wrong; without losses nobody can tell whether anything was learned"
            return End(Outcome.UNJUDGED, reason, Learning.UNKNOWN)
        if self.run.loss.is_signed:
            return self._judge_signed()
        where = self._describe_end()
        risen = self._judge_loss(where) or self._judge_height(where) or self._judge_late_rise(where)
        return risen or self._judge_swings(where) or self._judge_same(where) or self._judge_learning(where)

    @property
    def had_learned(self) -> bool:
        """Whether the loss was clearly below what knowing nothing gives, at its best."""
        loss = self.run.loss
        if loss.best is None or loss.is_signed:
            return False
        # The lowest of many levels is a lucky one where the losses are wild.
        fall = log_loss(self._uninformed) - log_loss(loss.lowest)
        return fall > max(-math.log(self.rule(DivergedLossConfig()).learned_below), 4 * loss.standard_error())

    @property
    def learning_of_failure(self) -> Learning:
        """What a run that failed has left of what it learned."""
        return Learning.LOST if self.had_learned else Learning.NOTHING

    @property
    def learning_of_stall(self) -> Learning:
        """As `learning_of_failure`, of a run that rests: what it has learned too little of, it has not lost."""
        return Learning.LITTLE if self._has_fallen(self.run.loss.end()) else self.learning_of_failure

    def rule(self, usual: C) -> C:
        """The run's own settings of a rule, or the usual ones."""
        return next((own for own in self.detectors if isinstance(own, type(usual))), usual)

    @property
    def _uninformed(self) -> float:
        """Loss without any knowledge: the zero-information loss, at most the run's beginning; of at least one loss."""
        loss = self.run.loss
        assert loss.start is not None
        if is_known(self.context.l_const):
            return min(self.context.l_const, loss.start)
        # Losses of whole epochs may have fallen for the most part before the fifth of them.
        falls = all(later < earlier for earlier, later in pairwise(loss.early[:START_LOSSES]))
        return loss.early[0] if falls else loss.start

    def _judge_numbers(self, standing: Finding | None) -> End | None:
        """The verdict of a run whose losses cannot be judged; None for any other."""
        memory, gradient = self.memory, self.run.gradient
        if memory.num_steps == 0:
            reason = "the training ended before its first step"
            return End(Outcome.CRASHED, reason, Learning.UNKNOWN, numbers=Numbers.UNKNOWN)
        if not memory.params_finite:
            return self._broken(f"a weight is NaN or infinite at the last step {memory.last_step}", 1, 1)
        if standing is not None and standing.detector in ("nonfinite", "scaler_collapse"):
            evidence = EndEvidence(standing.value, standing.threshold, standing.last_good_step)
            return End(standing.outcome, standing.reason, self.learning_of_failure, evidence, Numbers.BROKEN)
        # Refused steps leave no trace; applied ones are how a program ends that stops soon after the first NaN.
        at_end = self.applied_nonfinite_at_end if memory.last_was_applied else self.nonfinite_at_end
        enough = min(at_end, memory.num_losses)
        if memory.nonfinite_in_row >= max(enough, 1):
            last = "loss is" if memory.nonfinite_in_row == 1 else f"{memory.nonfinite_in_row} losses are"
            return self._broken(f"the last {last} not finite", memory.nonfinite_in_row, enough)
        if self.run.loss.count == 0 and memory.nan_norms_in_row:
            bad = plural(memory.nan_norms_in_row, "gradient norm is NaN", "gradient norms are NaN")
            return self._broken(f"the last {bad}, and no loss is logged", memory.nan_norms_in_row, 1)
        if not gradient.calibrated and self._is_resumed and gradient.num_halvings >= LATE_HALVINGS:
            reason = (
                f"the loss scale fell from {gradient.first_scale:g} to {gradient.last_scale:g} without a finite "
                f"gradient, though the run was at step {memory.first_step} already"
            )
            evidence = EndEvidence(gradient.last_scale or 0.0, gradient.first_scale or 0.0)
            return End(Outcome.SCALER_COLLAPSE, reason, Learning.UNKNOWN, evidence, Numbers.BROKEN)
        if not gradient.calibrated:
            scale = "" if gradient.last_scale is None else f" (now {gradient.last_scale:g})"
            return End(
                Outcome.CALIBRATING,
                f"no gradient was finite in {plural(memory.num_steps, 'step')}: the loss scale{scale} still looks for "
                "its first usable value, so the run says nothing about stability",
                Learning.UNKNOWN,
            )
        num_broken = memory.broken_norms.bit_count()
        if gradient.ever_finite and not gradient.has_scaler and num_broken > BROKEN_NORMS:
            reason = f"{num_broken} of the last {NORMS_AT_END} gradients are not finite"
            return self._broken(reason, num_broken, BROKEN_NORMS)
        # A NaN gradient that is applied makes every weight NaN. A single one may be a loss scaler's that no log names.
        if gradient.ever_finite and not gradient.has_scaler and memory.nan_norms_in_row >= 3:
            return self._broken(
                f"the last {memory.nan_norms_in_row} gradients are NaN, and were applied", memory.nan_norms_in_row, 3
            )
        return None

    def _broken(self, reason: str, value: int, threshold: int) -> End:
        learning = self.learning_of_failure
        evidence = EndEvidence(value, threshold, self.memory.last_sound_step)
        return End(Outcome.DIVERGED_NONFINITE, reason, learning, evidence, Numbers.BROKEN)

    def _describe_end(self) -> str:
        loss, l_const = self.run.loss, self.context.l_const
        assert loss.start is not None
        end = loss.end()
        where = f"the loss ended at {number(end)}"
        if is_known(l_const):
            where += f", {end / l_const:.2f} times the loss of learning nothing, {number(l_const)}"
        elif loss.start > 0:
            times = f"{end / loss.start:.2f}" if end > 0.01 * loss.start else number(end / loss.start, 2)
            where += f", {times} times its beginning {number(loss.start)}"
            where += " (the loss of learning nothing, l_const, is unknown)"
        if self.memory.num_nonfinite:
            are = "was" if self.memory.num_nonfinite == 1 else "were"
            losses = plural(self.memory.num_losses, "loss", "losses")
            where += f"; {self.memory.num_nonfinite} of {losses} {are} not finite"
        if self.memory.validation.num_nonfinite and not self.memory.validation.count:
            where += "; no validation loss was finite"
        return where

    def _judge_loss(self, where: str) -> End | None:
        """A run that lost most of what it had learned, or ended above where it began."""
        loss, end = self.run.loss, self.run.loss.end()
        assert loss.start is not None
        is_open = not is_known(self.context.l_const)
        if self.had_learned and self._has_lost(end):
            stalled = self.rule(StalledConfig())
            smallest_rise = SMALLEST_LOSS_OF_UNKNOWN if is_open else stalled.lost_rise
            rise = max(smallest_rise, stalled.lost_rise_errors * loss.standard_error())
            if is_open and not loss.swings.has_risen(max(rise, WAVERS * loss.swings.wavering())):
                rise = max(rise, PLAIN_RISE)
            bound = max(loss.lowest * factor(rise), negligible_loss(self.context))
            if end > bound:
                reason = f"{where}, after it had been at {number(loss.lowest)}"
                evidence = EndEvidence(end, bound, self.memory.last_low_step)
                return End(Outcome.DIVERGED_LOSS, reason, Learning.LOST, evidence)
        if not self._rises_above_start(self._smallest_above_start):
            return None
        if end < negligible_loss(self.context):
            return End(
                Outcome.UNJUDGED, f"{where}: it rose, but to so little that it may mean nothing", Learning.UNKNOWN
            )
        bound = loss.start * math.exp(self._smallest_above_start)
        learning = self.learning_of_failure
        last_good = self.memory.last_low_step if self.had_learned else loss.last_step_below(bound)
        reason = f"{where}: it ended above {number(loss.start)}, where it began"
        return End(Outcome.DIVERGED_LOSS, reason, learning, EndEvidence(end, bound, last_good))

    def _rises_above_start(self, smallest: float) -> bool:
        """Whether the run ended above its beginning by more than so much (ln loss) and three standard errors."""
        loss = self.run.loss
        assert loss.start is not None
        rise = log_loss(loss.end()) - log_loss(loss.start)
        return rise > smallest and rise > 3 * loss.change_error()

    @property
    def _smallest_above_start(self) -> float:
        return SMALLEST_ABOVE_RESUMED if self._is_resumed else SMALLEST_ABOVE_START

    def _has_lost(self, level: float) -> bool:
        """Whether most of what was learned at the best is lost at a level; of a run that had learned.

        Most of the fall of the loss itself; or of its logarithm, as the run may have begun far above knowing nothing.
        """
        top, lowest = self._uninformed, self.run.loss.lowest
        share = (level - lowest) / (top - lowest)
        log_share = (log_loss(level) - log_loss(lowest)) / (log_loss(top) - log_loss(lowest))
        if level > 4 * lowest and log_share > LOST_LOG_SHARE:
            return True
        if is_known(self.context.l_const):
            return share > LOST_SHARE
        if share > LOST_SHARE_OF_UNKNOWN:
            return True
        return share > 0.5 * LOST_SHARE_OF_UNKNOWN and log_share > LOST_SHARE and not self.run.loss.swings.falls

    def _judge_height(self, where: str) -> End | None:
        """A run that ended far above a uniform output's loss, and does not fall."""
        loss, uniform = self.run.loss, self.rule(DivergedLossConfig()).uniform_bound(self.context)
        if loss.best is None or loss.level <= uniform or loss.slope() < 0:
            return None
        learning = self.learning_of_failure
        evidence = EndEvidence(loss.level, uniform, loss.last_step_below(uniform))
        return End(Outcome.DIVERGED_LOSS, f"{where}, above {number(uniform)}, and does not fall", learning, evidence)

    def _judge_late_rise(self, where: str) -> End | None:
        """A run that left its level so shortly before its end that no level tells."""
        recent, steps = self.run.loss.recent, self.run.loss.steps
        before, newest = recent[-LATE_LOSSES - LEVEL_STEPS : -LATE_LOSSES], recent[-LATE_LOSSES // 2 :]
        if len(before) < LATE_LOSSES:
            return None
        level = median(before)
        errors = 6 * max(noise([log_loss(loss) for loss in before]), SMALLEST_NOISE)
        bound = min(level * factor(max(math.log(2), errors)), 2 * max(before))
        bound = max(bound, negligible_loss(self.context))
        # One that is half way down again is a spike.
        if min(newest) <= bound or recent[-1] < math.sqrt(level) * math.sqrt(max(recent[-LATE_LOSSES:])):
            return None
        num_above = next((k for k, loss in enumerate(reversed(recent)) if loss <= bound), len(recent))
        reason = f"{where}, but the last {num_above} losses rose from {number(level)} to {number(recent[-1])}"
        if self.had_learned and not self._has_lost(median(newest)):
            reason += ": nobody can tell whether that would have come back"
            return End(Outcome.UNJUDGED, reason, Learning.UNKNOWN)
        learning = self.learning_of_failure
        last_good = steps[-1 - num_above] if num_above < len(steps) else None
        return End(Outcome.DIVERGED_LOSS, reason, learning, EndEvidence(median(newest), bound, last_good))

    def _judge_swings(self, where: str) -> End | None:
        """A run whose losses swing ever wider around a level that does not fall."""
        loss = self.run.loss
        if len(loss.recent) < 2 * LEVEL_STEPS or loss.swings.falls:
            return None
        # Not their median: of losses that swing between two values it is one of both.
        ordered, quarter = sorted(loss.recent), len(loss.recent) // 4
        usual = loss.swings.quiet_spread(ordered[quarter] / 2 + ordered[-1 - quarter] / 2)
        if usual is None:
            return None
        ends = [spread(loss.recent[-LEVEL_STEPS:]), spread(loss.recent[-2 * LEVEL_STEPS : -LEVEL_STEPS])]
        wide = spread(loss.recent[-2 * LEVEL_STEPS :])
        late = median(loss.swings.spreads[-max(len(loss.swings.spreads) // 4, 1) :])
        bound = max(WIDER_SWINGS * usual, 0.25 * loss.level, negligible_loss(self.context))
        if wide <= bound or min(ends) <= WIDER_SWINGS / 2 * usual or late <= WIDER_SWINGS / 2 * usual:
            return None
        reason = f"{where}, but its swings grew from {number(usual)} to {number(wide)} and did not settle"
        return End(Outcome.DIVERGED_LOSS, reason, Learning.LOST, EndEvidence(wide, bound, self.memory.last_low_step))

    def _judge_same(self, where: str) -> End | None:
        """A run whose losses are one number, again and again."""
        loss = self.run.loss
        if loss.num_same < SAME_LOSSES or _num_digits(loss.recent[-1]) < _SAME_DIGITS:
            return None
        # All data at each step, without noise: such a loss converges to a number, in ever smaller changes.
        if loss.before_same is not None and loss.last_change < CONVERGED_CHANGE:
            return None
        reason = f"{where}: the last {loss.num_same} losses are the same number, so nothing changes the model any more"
        learning = Learning.LEARNED if self._has_learned else Learning.NOTHING
        evidence = EndEvidence(loss.num_same, SAME_LOSSES, loss.before_same)
        return End(Outcome.STALLED, reason, learning, evidence)

    def _judge_learning(self, where: str) -> End:
        if self._is_starved:
            learning = Learning.LEARNED if self._has_learned else Learning.NOTHING
            return self._starved(learning, f"{self.memory.skips.describe()}; {where}")
        if not self._has_learned:
            return self._judge_unlearned(where)
        if (memorised := self._judge_validation(where)) is not None:
            return memorised
        if self.memory.spikes.num_recovered:
            itself = "itself" if self.memory.spikes.num_recovered == 1 else "themselves"
            spikes = f"{plural(self.memory.spikes.num_recovered, 'loss spike')} came back by {itself}"
            return End(Outcome.SPIKY_RECOVERING, f"{where}; {spikes}", Learning.LEARNED)
        return End(Outcome.STABLE, where, Learning.LEARNED)

    @property
    def _largest_skips(self) -> float:
        return self.rule(SkipStarvedConfig()).largest_skip_rate * len(self.memory.skips.steps)

    @property
    def _is_starved(self) -> bool:
        return self.memory.skips.num_skipped > self._largest_skips

    def _starved(self, learning: Learning, reason: str) -> End:
        skips = self.memory.skips
        evidence = EndEvidence(skips.num_skipped, self._largest_skips, skips.last_applied_before)
        return End(skips.outcome, reason, learning, evidence)

    @property
    def _has_learned(self) -> bool:
        """Whether the level lies clearly below the zero-information loss.

        Without that loss nothing tells what was learned from what merely settled; then the level must at least lie
        clearly below that of the beginning, by the factor `stable_below` and by what counts as progress for `stalled`.
        """
        loss, l_const = self.run.loss, self.context.l_const
        if is_known(l_const):
            return loss.is_below(self.stable_below * l_const, l_const) and not self._rises_above_start(0.0)
        if loss.count < LEVEL_STEPS or self._rests_at_uniform is not None:
            return False
        return loss.has_fallen(-math.log(self.stable_below), self.rule(StalledConfig()).progress_errors)

    @property
    def _rests_at_uniform(self) -> int | None:
        """K, where the losses rest exactly at ln K: what a constant output of K balanced classes gives."""
        recent = self.run.loss.recent
        if len(recent) < FLAT_LOSSES:
            return None
        half = recent[len(recent) // 2 :]
        level = median(half)
        if spread(half) > 2 * FLAT_SHARE * level:
            return None
        return next((k for k in _CLASSES if abs(level / math.log(k) - 1) < FLAT_SHARE / 2), None)

    def _judge_validation(self, where: str) -> End | None:
        """A run whose training loss fell, and whose validation loss shows that nothing else was learned; None if not.

        That is so where it ended at the zero-information loss or above, or turned up for good and lost most of what it
        had gained. Where that loss is unknown, the training's own beginning stands for it, as long as the validation
        loss is plainly on the scale of the training loss.
        """
        validation, start, l_const = self.memory.validation, self.run.loss.start, self.context.l_const
        assert start is not None
        if not validation.count:
            return None
        last = min(median(validation.last), validation.last[-1])
        top, name = (l_const, "zero-information level") if is_known(l_const) else (start, "training's beginning")
        if is_known(l_const):
            is_uninformed = last >= l_const
        else:
            never_fell = 0.9 * start <= validation.best <= validation.first <= 1.5 * start
            is_uninformed = never_fell and validation.count >= 3 and last >= validation.first
        best = f"{number(validation.best)} at step {validation.best_step}"
        if is_uninformed:
            held_out = f"the validation loss is {number(last)}, {percent(last / top)} of the {name} (best: {best})"
        else:
            if validation.count < _MIN_EVALUATIONS or not self._turned_up(top):
                return None
            held_out = f"the validation loss turned up from {best} to {number(last)}"
        evidence = EndEvidence(last, top, validation.best_step)
        return End(Outcome.MEMORISED, f"{where}, but {held_out}", Learning.MEMORISED, evidence)

    def _turned_up(self, top: float) -> bool:
        """Whether the validation loss has lost most of what it had gained from `top` on, and does not come back."""
        validation = self.memory.validation
        lowest, best, gained = min(validation.last), validation.best, top - validation.best
        if is_known(self.context.l_const):
            return 0 < LOST_SHARE * gained < lowest - best
        if 0 < VALIDATION_RISE_ALONE * best < lowest:
            return True
        # Not below the training's own beginning it may be of another scale.
        assert self.run.loss.start is not None
        is_comparable = best < 0.9 * self.run.loss.start
        return is_comparable and 0 < LOST_SHARE * gained < lowest - best and lowest > VALIDATION_RISE * best

    def _judge_unlearned(self, where: str) -> End:
        loss, memory, l_const = self.run.loss, self.memory, self.context.l_const
        learning = self.learning_of_failure
        blank = self.rule(BlankCollapseConfig())
        if blank.describes(loss, l_const, memory.blank_rate, memory.input_dependence):
            assert memory.input_dependence is not None
            return End(
                Outcome.BLANK_COLLAPSE,
                f"{where}, and {memory.blank_rate:.1%} of the frames are blank whatever the input "
                f"(I = {number(memory.input_dependence, 2)} nats)",
                learning,
                EndEvidence(memory.input_dependence, blank.largest_input_dependence),
            )
        if loss.count < LEVEL_STEPS and loss.recent[-1] > ENDLESS_LOSS and loss.recent[-1] > loss.early[0] / 2:
            reason = f"{where}: no training recovers from such a loss"
            return End(Outcome.DIVERGED_LOSS, reason, learning, EndEvidence(loss.recent[-1], ENDLESS_LOSS))
        if loss.count < LEVEL_STEPS and not self._is_flat:
            reason = f"{where}, after too few losses ({loss.count}) to show any learning"
            return End(Outcome.TOO_SHORT, reason, Learning.UNKNOWN)
        if not is_known(l_const) and self._is_resumed:
            reason = f"{where}; it was resumed at step {memory.first_step}, so no change says nothing"
            return End(Outcome.UNJUDGED, reason, Learning.UNKNOWN)
        assert loss.start is not None
        if not is_known(l_const) and max(loss.start, loss.end()) < negligible_loss(self.context):
            reason = f"{where}; it was as low from its first step on, so it may have learned before"
            return End(Outcome.UNJUDGED, reason, Learning.UNKNOWN)
        level = loss.end()
        evidence = EndEvidence(level, self.stable_below * self._uninformed)
        little = self.rule(StalledConfig()).learned_below
        # Where the level of knowing nothing is unknown, one that fell and did not rise again has learned something.
        fell = loss.is_below(little * l_const, l_const) if is_known(l_const) else self._has_fallen(level)
        if self.stable_below < little and fell:
            reason = f"learned too little: {where}; stable asks for less than {number(self.stable_below)} times"
            return End(Outcome.STALLED, reason, Learning.LITTLE, evidence)
        if not is_known(l_const) and (num_classes := self._rests_at_uniform) is not None:
            where += f"; that is ln {num_classes}, the loss of a constant output of {num_classes} balanced classes"
        return End(Outcome.STALLED, f"learned nothing: {where}", learning, evidence)

    def _has_fallen(self, end: float) -> bool:
        return self.had_learned and not self._has_lost(end)

    @property
    def _is_flat(self) -> bool:
        """Whether the loss rests after a small fall: that tells of a stall, however few losses there are."""
        loss = self.run.loss
        if loss.count < FLAT_LOSSES:
            return False
        last = loss.recent[-max(loss.count // 3, 3) :]
        return max(last) - min(last) <= FLAT_SHARE * abs(median(last))

    @property
    def _is_resumed(self) -> bool:
        memory = self.memory
        interval = (memory.last_step - memory.first_step) / max(memory.num_steps - 1, 1)
        return memory.first_step > max(_RESUMED_INTERVALS * interval, _RESUMED_STEPS)

    def _judge_signed(self) -> End:
        """A run with losses below zero: only a direction that is plain beside its swings tells anything."""
        loss = self.run.loss
        assert loss.start is not None
        end, best = loss.end(), loss.lowest
        # From the 10 % to the 90 % quantile of noise, without the trend.
        early_swing = 2.56 * noise(loss.early)
        swing = max(early_swing, 2.56 * noise(loss.recent))
        where = f"the loss ended at {number(end)}, from {number(loss.start)} at its beginning; some were below zero"
        if loss.count < LEVEL_STEPS:
            return End(Outcome.TOO_SHORT, f"{where}, after too few losses ({loss.count})", Learning.UNKNOWN)
        gained, fallen = loss.start - best, loss.start - end
        if (
            end - loss.start > 3 * max(gained, swing, abs(loss.start))
            or end - loss.start > 100 * max(gained, early_swing, abs(loss.start))
            or end - loss.start > gained > 10 * early_swing
        ):
            bound = best + LOST_SHARE * gained
            learning = Learning.LOST if gained > swing else Learning.NOTHING
            evidence = EndEvidence(end, bound, self.memory.last_low_step)
            return End(Outcome.DIVERGED_LOSS, f"{where}, after {number(best)}", learning, evidence)
        error = 1.25 * swing / 2.56 * math.sqrt(1 / START_LOSSES + 1 / LEVEL_STEPS)
        if fallen > max(swing, 4 * error) and end - best <= LOST_SHARE * gained:
            return End(Outcome.STABLE, where, Learning.LEARNED)
        return End(Outcome.UNJUDGED, f"{where}: such a loss tells nothing of what was learned", Learning.UNKNOWN)


def _num_digits(value: float) -> int:
    """Significant digits that a number is written with."""
    return len(repr(value).partition("e")[0].replace(".", "").strip("-0"))
