"""A finite loss that rose and stayed up."""

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from slr_models.spec import Spec
from sweep.judging.detectors.base import (
    JSON,
    PlainSteps,
    RunContext,
    RunStatistics,
    dump_state,
    is_known,
    load_state,
    negligible_loss,
)
from sweep.judging.detectors.statistics import (
    LEVEL_DELAY,
    LEVEL_STEPS,
    SMALLEST_LOSS,
    Floats,
    LossLevel,
    factor,
    log_loss,
    median,
    spread,
    theil_sen,
)
from sweep.records import Finding, Outcome, StepRecord, is_finite
from sweep.wording import number, plural


class DivergedLossConfig(Spec):
    """The loss rose far above its best level to where nothing is known, or never came near a uniform guess, and stays.

    How long it has to stay depends on how far it rose: a loss 64 times its best is told from a spike sooner than one
    that has doubled, and one that is merely back at the zero-information level may be a restart or a burst of noisy
    labels. The level is a median, and the noise a median deviation, so that a few wild batches move neither. A spike
    that has come back is no divergence, even while the level still holds it, and while the loss falls nothing is said.
    But one that lasts as long as a divergence has to stay (36 losses for a rise by 4, 28 for one by 20, 22 for one by
    64) cannot be told from one. A rise that stays below a tenth of the zero-information loss (of 1, where that is
    unknown) harms nothing and stops nothing.

    Where the zero-information loss is unknown, the loss at which the run began stands for it. Losses below zero have no
    factors between them: there a run is stopped only if it rose to a hundred times the width of all that it went
    through before.
    """

    kind: Literal["diverged_loss"] = "diverged_loss"
    smallest_rise: float = Field(math.log(2), gt=0)
    """Rise above the best level, in units of ln loss (0.69 = a factor of 2), of a run that has learned nothing."""
    learned_below: float = Field(0.9, gt=0)
    """A best level below this multiple of the zero-information loss is one that has learned."""
    lost_rise: float = Field(math.log(1.25), gt=0)
    """Smallest rise of a run that has learned, ln loss: back at the zero-information level, it has lost it all."""
    smallest_rise_errors: float = Field(6.0, gt=0)
    """Both rises in standard errors of the level, which must be exceeded too."""
    back_at_const: float = Field(0.95, gt=0)
    """The loss must also exceed this multiple of the zero-information loss."""
    unknown_rise: float = Field(math.log(4), gt=0)
    """Where that loss is unknown: the smallest rise above the lowest level, ln loss; a smaller one may be a swing."""
    unknown_rise_of_first: float = Field(math.log(8), gt=0)
    """The same where the first steps blew up, so that the lowest level is that of a single loss."""
    unknown_share: float = Field(0.5, gt=0, lt=1)
    """There the rise must also undo so much of the fall from the beginning, or `unknown_log_share` of its logarithm."""
    unknown_log_share: float = Field(0.75, gt=0, lt=1)
    """Share of the fall's logarithm that the rise must undo, where it undoes less than `unknown_share` of the fall."""
    signed_factor: float = Field(100.0, gt=1)
    """Of a run with losses below zero: multiple of the width of its losses before; one above their beginning by more
    has diverged. Of one that began with a negligible loss: multiple of the largest such."""
    uniform_factor: float = Field(1.5, gt=1)
    """A loss above this multiple of a uniform output's is bad without any rise."""
    const_factor: float = Field(15.0, gt=1)
    """The same as a multiple of the zero-information loss, where the uniform output's is unknown; that one is 2 to 9
    times as large for the usual lengths and vocabularies."""
    sustain_steps: int = Field(36, ge=1)
    """Losses that must lie above the bound (four in five of the latest), for a rise of up to `slow_rise`. Where they
    are too noisy for that, their level must, for as many steps in a row."""
    slow_rise: float = Field(math.log(4), gt=0)
    """Largest rise that has to wait so long, ln loss: from the best level to the median of the newer half of these."""
    fast_sustain_steps: int = Field(22, ge=1)
    """The same for a rise of `fast_rise` or more; in between the number falls linearly. At most `sustain_steps`."""
    fast_rise: float = Field(math.log(64), gt=0)
    """Rise that has to wait for `fast_sustain_steps` only, ln loss."""
    newest_steps: int = Field(5, ge=1)
    """Latest losses of which four in five must lie above the bound, lest a spike that came back be called one."""
    burst_steps: int = Field(70, ge=1)
    """Losses for which the level must stay up where it is at most `burst_factor` times the zero-information loss (the
    loss at the run's beginning, where that is unknown): restarts and bursts of noisy labels last up to 60."""
    burst_factor: float = Field(1.5, gt=0)
    """Multiple of that loss up to which a level has to stay up for `burst_steps`."""
    grace_steps: int = Field(20, ge=0)
    """First losses that are not judged, after those of the loss scale's calibration."""
    unknown_grace_steps: int = Field(60, ge=0)
    """The same where the zero-information loss is unknown."""
    overshoot_steps: int = Field(100, ge=0)
    """The same of a run whose first steps blew up: without a warm-up many an optimizer overshoots, and comes back."""

    @model_validator(mode="after")
    def _check_rises(self) -> Self:
        if self.fast_rise <= self.slow_rise:
            raise ValueError(f"fast_rise must be above slow_rise, but got {self.fast_rise:g} and {self.slow_rise:g}")
        return self

    def steps_needed(self, rise: float) -> int:
        """How many losses in a row must lie above the bound, for a rise in ln loss."""
        fast_steps = min(self.fast_sustain_steps, self.sustain_steps)
        share = min(max((rise - self.slow_rise) / (self.fast_rise - self.slow_rise), 0.0), 1.0)
        return math.ceil(self.sustain_steps - share * (self.sustain_steps - fast_steps))

    def bound_of_unknown(self, lowest: Floats, loss: LossLevel) -> Floats:
        """Level that is no swing any more where the zero-information loss is unknown, for each lowest level, [N]."""
        assert loss.start is not None
        if loss.blew_up_first:
            return lowest * math.exp(self.unknown_rise_of_first)
        # A level of zero has no logarithm.
        floor = np.maximum(lowest, SMALLEST_LOSS)
        fall = np.maximum(loss.start - floor, 0.0)
        undone_of_log = floor * ((floor + fall) / floor) ** self.unknown_log_share
        undone = np.minimum(floor + self.unknown_share * fall, undone_of_log)
        return np.maximum(lowest * math.exp(self.unknown_rise), undone)

    def uniform_bound(self, context: RunContext) -> float:
        """Loss from which a run is bad without any rise, nats a label; infinite if nothing is known."""
        if is_known(context.l_unif):
            return self.uniform_factor * context.l_unif
        return self.const_factor * context.l_const if is_known(context.l_const) else math.inf

    def build(self, context: RunContext) -> "DivergedLossDetector":
        """The detector of one run."""
        return DivergedLossDetector(self, context)


@dataclass(slots=True)
class _State:
    num_risen: int = 0
    """Losses in a row with which the level was above the bound of a rise."""
    num_above_uniform: int = 0
    """The same above that of a uniform output, since the level last fell."""
    uniform_level: float = 0.0
    """Level with which that count began."""
    low_step: int | None = None
    """Latest step before a level rose above the bound of a rise; None if there was none."""
    low_step_of_uniform: int | None = None
    """Latest step before a level rose above that of a uniform output; None if there was none."""
    num_judged: int = 0
    """Losses after calibration."""
    highest_of_signed: float | None = None
    """Of a run with losses below zero: the highest of its beginning and of its losses but the latest W; None before."""


class DivergedLossDetector:
    """See `DivergedLossConfig`."""

    def __init__(self, config: DivergedLossConfig, context: RunContext) -> None:
        self._config = config
        # An unknown reference loss must not switch the rule off (rise) or on (uniform).
        self._l_const = context.l_const if is_known(context.l_const) else None
        self._learned_level = 0.0 if self._l_const is None else self._l_const * config.learned_below
        self._uniform_level = config.uniform_bound(context)
        self._grace_steps = config.grace_steps if is_known(context.l_const) else config.unknown_grace_steps
        self._negligible = negligible_loss(context)
        self._smallest_factor = math.exp(min(config.lost_rise, config.smallest_rise))
        self._state = _State()

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step."""
        state, loss = self._state, run.loss
        if not is_finite(record.loss):
            return None
        # Before the first update, the loss tells of the initial weights alone.
        state.num_judged += run.gradient.calibrated
        if loss.best is None:
            return None
        if loss.is_signed:
            return self._judge_signed(record.step, loss)
        bound = self._count_above(loss)
        if state.num_judged <= (self._config.overshoot_steps if loss.blew_up_first else self._grace_steps):
            state.num_risen = state.num_above_uniform = 0
            return None
        return self._judge_rise(record.step, bound, loss) or self._judge_height(record.step, loss)

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | None:
        """Below the bound of a rise and that of a uniform output."""
        bounds = self._bounds_without_noise(lowest, run.loss)
        return np.minimum(np.maximum(bounds, lowest * self._smallest_factor), self._uniform_level)

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Takes steps whose level has not risen."""
        state = self._state
        state.num_judged += len(plain.steps)
        state.num_risen = state.num_above_uniform = 0
        state.low_step = state.low_step_of_uniform = run.loss.steps[-1 - LEVEL_DELAY]

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _count_above(self, loss: LossLevel) -> float:
        """Notes since when the level is above each bound; the bound of a rise."""
        state, level = self._state, loss.level
        bound = math.inf
        # Cheap question first: the bound costs a sort.
        if level > loss.lowest * self._smallest_factor:
            bound = self._rise_bound(loss)
        # A level lags behind: so many losses before its rise they rose.
        if level > bound:
            state.num_risen += 1
        else:
            state.num_risen = 0
            state.low_step = loss.steps[-1 - LEVEL_DELAY]
        if level <= self._uniform_level:
            state.num_above_uniform = 0
            state.low_step_of_uniform = loss.steps[-1 - LEVEL_DELAY]
        else:
            if state.num_above_uniform == 0 or self._has_come_down(loss, self._config.smallest_rise_errors):
                state.num_above_uniform, state.uniform_level = 0, level
            state.num_above_uniform += 1
        return bound

    def _has_come_down(self, loss: LossLevel, errors: float) -> bool:
        """Whether the level has fallen by so many standard errors since the count above a uniform output's began."""
        if loss.level >= self._state.uniform_level:
            return False
        fall = log_loss(self._state.uniform_level) - log_loss(loss.level)
        return fall > errors * loss.standard_error()

    def _rise_bound(self, loss: LossLevel) -> float:
        bound = float(self._bounds_without_noise(np.array([loss.lowest]), loss)[0])
        if loss.level <= bound:
            return bound
        return max(bound, loss.lowest * factor(self._config.smallest_rise_errors * loss.standard_error()))

    def _bounds_without_noise(self, lowest: Floats, loss: LossLevel) -> Floats:
        """Level above which the loss may have risen, for each lowest level, [N]."""
        config = self._config
        if self._l_const is None:
            assert loss.start is not None
            # A run that began as good as at zero may have had nothing to tell yet.
            harmless = self._negligible * (config.signed_factor if loss.start < self._negligible else 1.0)
            return np.maximum(config.bound_of_unknown(lowest, loss), harmless)
        rises = np.where(lowest < self._learned_level, math.exp(config.lost_rise), math.exp(config.smallest_rise))
        return np.maximum(lowest * rises, max(self._l_const * config.back_at_const, self._negligible))

    def _judge_rise(self, step: int, bound: float, loss: LossLevel) -> Finding | None:
        state, config = self._state, self._config
        if not state.num_risen or self._came_back(bound, loss):
            return None
        stay = self._num_above(bound, loss)
        newer = median(loss.recent[-max(stay // 2, 1) :])
        uninformed = loss.start if self._l_const is None else self._l_const
        assert uninformed is not None
        if newer <= config.burst_factor * uninformed:
            stay = state.num_risen if state.num_risen >= config.burst_steps else 0
        else:
            if stay < config.steps_needed(log_loss(newer) - log_loss(loss.lowest)):
                stay = 0
            stay = max(stay, state.num_risen if state.num_risen >= config.sustain_steps else 0)
        if not stay or self._falls(stay, loss):
            return None
        reason = (
            f"loss rose from {number(loss.lowest)} to {number(loss.level)} (median of {LEVEL_STEPS} steps) "
            f"and stayed above {number(bound)} for {plural(stay, 'step')}"
        )
        return self._finding(step, self._low_step(stay, bound, loss), bound, reason, loss)

    def _judge_height(self, step: int, loss: LossLevel) -> Finding | None:
        state, bound = self._state, self._uniform_level
        # Steps of the level after the grace, which is for a learning rate that has to warm up.
        stay = state.num_above_uniform
        if stay < self._config.sustain_steps or self._came_back(bound, loss):
            return None
        if self._has_come_down(loss, 2.0) or loss.slope() < 0:
            return None
        reason = (
            f"loss stayed above {number(bound)}, far above that of a uniform output, for {plural(stay, 'step')} and "
            f"does not fall: {number(loss.level)} (median of {LEVEL_STEPS} steps)"
        )
        low_step = state.low_step_of_uniform
        if low_step is None:
            low_step = loss.last_step_below(bound)
        return self._finding(step, low_step, bound, reason, loss)

    def _judge_signed(self, step: int, loss: LossLevel) -> Finding | None:
        """Judges a run with losses below zero: by the width of what it went through before its latest W losses."""
        state = self._state
        assert loss.best is not None and loss.start is not None
        highest = loss.start if state.highest_of_signed is None else state.highest_of_signed
        state.highest_of_signed = max(loss.recent[0], highest)
        width = max(spread(loss.early), state.highest_of_signed - loss.best)
        bound = state.highest_of_signed + self._config.signed_factor * width
        if loss.level <= bound or self._came_back(bound, loss):
            state.num_risen = 0
            state.low_step = loss.steps[-1 - LEVEL_DELAY]
            return None
        state.num_risen += 1
        if state.num_risen < self._config.fast_sustain_steps:
            return None
        reason = (
            f"loss rose to {number(loss.level)} (median of {LEVEL_STEPS} steps), after it had been between "
            f"{number(loss.best)} and {number(state.highest_of_signed)}"
        )
        return self._finding(step, state.low_step, bound, reason, loss)

    def _came_back(self, bound: float, loss: LossLevel) -> bool:
        """Whether too few of the newest losses are above a bound."""
        newest = loss.recent[-self._config.newest_steps :]
        return sum(one > bound for one in newest) < 0.8 * len(newest)

    def _num_above(self, bound: float, loss: LossLevel) -> int:
        """The most latest losses that began above a bound and of which four in five are; three of the oldest five too.

        Else a few wild losses before a spike would make it look longer than it is.
        """
        above = np.asarray(loss.recent)[::-1] > bound
        counts = np.cumsum(above)
        is_dense = counts - np.r_[np.zeros(5), counts[:-5]] >= 3
        begins = np.flatnonzero(above & is_dense & (counts >= 0.8 * np.arange(1, len(above) + 1)))
        return int(begins[-1]) + 1 if len(begins) else 0

    def _falls(self, stay: int, loss: LossLevel) -> bool:
        """Whether the newer half of the latest losses falls: nobody can tell how far it would come down."""
        recent = np.array([log_loss(one) for one in loss.recent[-max(stay // 2, LEVEL_STEPS) :]])
        return theil_sen(recent, loss.sigma()) < 0

    def _low_step(self, stay: int, bound: float, loss: LossLevel) -> int | None:
        """The step before the latest losses that stayed above a bound, if that is before its level rose."""
        low_step = self._state.low_step
        if low_step is None:
            return loss.last_step_below(bound)
        return low_step if len(loss.steps) <= stay else min(low_step, loss.steps[-1 - stay])

    def _finding(self, step: int, low_step: int | None, bound: float, reason: str, loss: LossLevel) -> Finding:
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.DIVERGED_LOSS,
            step=step,
            value=loss.level,
            threshold=bound,
            reason=reason,
            first_bad_step=loss.early_steps[0] if low_step is None else loss.step_after(low_step),
            last_good_step=low_step,
        )
