"""A finite loss that rose and stayed up."""

import math
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from slr_models.spec import Spec
from sweep.judging.detectors.base import JSON, GradientState, RunContext, dump_state, is_known, load_state
from sweep.judging.detectors.statistics import LEVEL_DELAY, LEVEL_STEPS, NOISE_STEPS, LossLevel, theil_sen
from sweep.records import Finding, Outcome, StepRecord
from sweep.wording import number, plural


class DivergedLossConfig(Spec):
    """The loss rose far above its best level to where nothing is known, or never came near a uniform guess, and stays.

    How long it has to stay depends on how far it rose: a loss 64 times its best is told from a spike sooner than one
    that has doubled. The level is a median, and the noise a median deviation, so that a few wild batches move neither.
    A spike that has come back is no divergence, even while the level still holds it. But one that lasts as long as a
    divergence has to stay (36 steps for a rise by 4, 28 for one by 20, 22 for one by 64) cannot be told from one.
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
    unknown_rise: float = Field(math.log(8), gt=0)
    """Where that loss is unknown: the smallest rise, ln loss; a smaller one may be a swing."""
    back_at_first: float = Field(0.5, gt=0)
    """Or a smaller rise to above this multiple of the run's first level."""
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
    recovery_steps: int = Field(200, ge=1)
    """A falling loss is given time if its slope leads back below the bound within so many steps."""
    newest_steps: int = Field(5, ge=1)
    """Latest losses of which four in five must lie above the bound, lest a spike that came back be called one."""
    grace_steps: int = Field(20, ge=0)
    """First steps that are not judged, after those of the loss scale's calibration."""

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

    def bound_of_unknown(self, loss: LossLevel) -> float:
        """Level that is no swing any more where the zero-information loss is unknown, ln loss; after a full window."""
        assert loss.best is not None and loss.first is not None
        return min(loss.best + self.unknown_rise, loss.first + math.log(self.back_at_first))

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
    gradient: GradientState
    loss: LossLevel = field(default_factory=LossLevel)
    first_step: int | None = None
    """Of all that were observed."""
    steps: list[int] = field(default_factory=list)
    """Of the losses in the level's history, and of the one before them; oldest first."""
    num_risen: int = 0
    """Steps in a row whose level was above the bound of a rise."""
    num_above_uniform: int = 0
    """Steps in a row whose level was above that of a uniform output."""
    low_step: int | None = None
    """Latest step before a level rose above the bound of a rise; None if there was none."""
    low_step_of_uniform: int | None = None
    """Latest step before a level rose above that of a uniform output; None if there was none."""


class DivergedLossDetector:
    """See `DivergedLossConfig`."""

    def __init__(self, config: DivergedLossConfig, context: RunContext) -> None:
        self._config = config
        # An unknown reference loss must not switch the rule off (rise) or on (uniform).
        log_const = math.log(context.l_const) if is_known(context.l_const) else -math.inf
        self._knows_const = is_known(context.l_const)
        self._known_level = log_const + math.log(config.back_at_const)
        self._learned_level = log_const + math.log(config.learned_below)
        self._uniform_level = math.log(config.uniform_bound(context))
        self._state = _State(GradientState(has_scaler=context.has_scaler))

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        state = self._state
        state.gradient.update(record)
        state.loss.update(record.loss)
        state.first_step = record.step if state.first_step is None else state.first_step
        if math.isfinite(record.loss):
            state.steps.append(record.step)
            if len(state.steps) > NOISE_STEPS + 2:
                del state.steps[0]
        if state.loss.best is None:
            return None
        rise_bound = self._count_above()
        is_grace = record.step - state.gradient.num_calibrating <= self._config.grace_steps
        # Before the first update, the loss tells of the initial weights alone.
        if is_grace or not state.gradient.calibrated:
            state.num_risen = state.num_above_uniform = 0
            return None
        return self._judge_rise(record.step, rise_bound) or self._judge_height(record.step)

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _count_above(self) -> float:
        """Notes since when the level is above each bound; the bound of a rise, ln loss."""
        state, level = self._state, self._state.loss.level
        # A level lags behind: so long before its rise the losses rose.
        before_rise = state.steps[-1 - LEVEL_DELAY]
        bound = self._rise_bound()
        state.num_risen = state.num_risen + 1 if level > bound else 0
        if not state.num_risen:
            state.low_step = before_rise
        state.num_above_uniform = state.num_above_uniform + 1 if level > self._uniform_level else 0
        if not state.num_above_uniform:
            state.low_step_of_uniform = before_rise
        return bound

    def _rise_bound(self) -> float:
        loss, config = self._state.loss, self._config
        assert loss.best is not None
        smallest_rise = config.lost_rise if loss.best < self._learned_level else config.smallest_rise
        lowest = self._known_level if self._knows_const else config.bound_of_unknown(loss)
        bound = max(lowest, loss.best + smallest_rise)
        # Cheap question first: the noise costs a sort.
        if loss.level <= bound:
            return bound
        return max(bound, loss.best + config.smallest_rise_errors * loss.standard_error())

    def _judge_rise(self, step: int, bound: float) -> Finding | None:
        state, loss, config = self._state, self._state.loss, self._config
        assert loss.best is not None
        if not state.num_risen or self._came_back(bound):
            return None
        stay = self._num_above(bound)
        if stay < config.steps_needed(self._newer_level(stay) - loss.best):
            stay = 0
        stay = max(stay, state.num_risen if state.num_risen >= config.sustain_steps else 0)
        if not stay or self._leads_back(bound, stay):
            return None
        level = math.exp(loss.level)
        reason = (
            f"loss rose from {number(math.exp(loss.best))} to {number(level)} (median of {LEVEL_STEPS} steps) "
            f"and stayed above {number(math.exp(bound))} for {plural(stay, 'step')}"
        )
        return self._finding(step, self._low_step(state.low_step, stay), level, bound, reason)

    def _judge_height(self, step: int) -> Finding | None:
        state, loss, bound = self._state, self._state.loss, self._uniform_level
        # Steps of the level after the grace, which is for a learning rate that has to warm up.
        stay = state.num_above_uniform
        if stay < self._config.sustain_steps or self._came_back(bound) or self._leads_back(bound, stay):
            return None
        level = math.exp(loss.level)
        reason = (
            f"loss stayed above {number(math.exp(bound))}, far above that of a uniform "
            f"output, for {plural(stay, 'step')} and does not fall: {number(level)} (median of {LEVEL_STEPS} steps)"
        )
        return self._finding(step, state.low_step_of_uniform, level, bound, reason)

    def _came_back(self, bound: float) -> bool:
        """Whether too few of the newest losses are above a bound."""
        newest = self._state.loss.history[-self._config.newest_steps :]
        return sum(loss > bound for loss in newest) < 0.8 * len(newest)

    def _num_above(self, bound: float) -> int:
        """The most latest losses that began above a bound and of which four in five are; three of the oldest five too.

        Else a few wild losses before a spike would make it look longer than it is.
        """
        above = np.asarray(self._state.loss.history)[::-1] > bound
        counts = np.cumsum(above)
        is_dense = counts - np.r_[np.zeros(5), counts[:-5]] >= 3
        begins = np.flatnonzero(above & is_dense & (counts >= 0.8 * np.arange(1, len(above) + 1)))
        return int(begins[-1]) + 1 if len(begins) else 0

    def _newer_level(self, stay: int) -> float:
        """Median of the newer half of the latest losses, ln loss."""
        return float(np.median(self._state.loss.history[-max(stay // 2, 1) :]))

    def _leads_back(self, bound: float, stay: int) -> bool:
        """Whether the newer half of the latest losses has a slope that leads back below the bound in good time."""
        loss = self._state.loss
        recent = np.asarray(loss.history[-max(stay // 2, LEVEL_STEPS) :])
        fall_needed = float(np.median(recent)) - bound
        return theil_sen(recent, loss.sigma()) * self._config.recovery_steps <= -fall_needed

    def _low_step(self, low_step: int | None, stay: int) -> int | None:
        """The step before the latest losses that stayed above a bound, if that is before its level rose."""
        steps = self._state.steps
        if low_step is None or len(steps) <= stay:
            return low_step
        return min(low_step, steps[-1 - stay])

    def _finding(self, step: int, low_step: int | None, level: float, bound: float, reason: str) -> Finding:
        assert self._state.first_step is not None
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.DIVERGED_LOSS,
            step=step,
            value=level,
            threshold=math.exp(bound),
            reason=reason,
            first_bad_step=self._state.first_step if low_step is None else low_step + 1,
            last_good_step=low_step,
        )
