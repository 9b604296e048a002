"""A finite loss that rose and stayed up."""

import math
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from slr_models.spec import Spec
from sweep.detectors.base import JSON, RunContext, counted, dump_state, is_known, load_state
from sweep.detectors.statistics import LEVEL_DELAY, LEVEL_STEPS, LossLevel, theil_sen
from sweep.records import Finding, Outcome, StepRecord


class DivergedLossConfig(Spec):
    """The loss rose far above its best level to where nothing is known, or never came near a uniform guess, and stays.

    How long it has to stay depends on how far it rose: a loss 64 times its best is told from a spike sooner than one
    that has doubled. The level is a median, and the noise a median deviation, so that a few wild batches move neither.
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
    uniform_factor: float = Field(1.5, gt=1)
    """A loss above this multiple of a uniform output's is bad without any rise."""
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
    grace_steps: int = Field(20, ge=0)
    """First steps that are not judged."""

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

    def build(self, context: RunContext) -> "DivergedLossDetector":
        """The detector of one run."""
        return DivergedLossDetector(self, context)


@dataclass(slots=True)
class _State:
    loss: LossLevel = field(default_factory=LossLevel)
    num_risen: int = 0
    """Steps in a row whose level was above the bound of a rise."""
    num_above_uniform: int = 0
    """Steps in a row whose level was above that of a uniform output."""
    last_good_step: int = 0
    """Latest step whose level was within a quarter of `smallest_rise` of the best; 0 if there was none."""


class DivergedLossDetector:
    """See `DivergedLossConfig`."""

    def __init__(self, config: DivergedLossConfig, context: RunContext) -> None:
        self._config = config
        # An unknown reference loss must not switch the rule off (rise) or on (uniform).
        log_const = math.log(context.l_const) if is_known(context.l_const) else -math.inf
        self._known_level = log_const + math.log(config.back_at_const)
        self._learned_level = log_const + math.log(config.learned_below)
        self._uniform_level = math.log(config.uniform_factor * context.l_unif) if is_known(context.l_unif) else math.inf
        self._state = _State()

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        state, loss = self._state, self._state.loss
        loss.update(record.loss)
        if loss.best is None:
            return None
        if loss.rise <= self._config.smallest_rise / 4 and loss.level <= self._uniform_level:
            state.last_good_step = record.step
        if record.step <= self._config.grace_steps:
            return None
        return self._judge_rise(record.step) or self._judge_height(record.step)

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _judge_rise(self, step: int) -> Finding | None:
        state, loss, config = self._state, self._state.loss, self._config
        assert loss.best is not None
        smallest_rise = config.lost_rise if loss.best < self._learned_level else config.smallest_rise
        # Cheap question first: the noise costs a sort.
        if loss.level <= max(self._known_level, loss.best + smallest_rise):
            state.num_risen = 0
            return None
        rise = max(smallest_rise, config.smallest_rise_errors * loss.standard_error())
        bound = max(self._known_level, loss.best + rise)
        state.num_risen = state.num_risen + 1 if loss.level > bound else 0
        if not state.num_risen:
            return None
        stay = self._num_above(bound)
        if stay < config.steps_needed(self._newer_level(stay) - loss.best):
            stay = 0
        stay = max(stay, state.num_risen if state.num_risen >= config.sustain_steps else 0)
        if not stay or self._leads_back(bound, stay):
            return None
        level = math.exp(loss.level)
        reason = (
            f"loss rose from {math.exp(loss.best):.3g} to {level:.3g} (median of {LEVEL_STEPS} steps) "
            f"and stayed above {math.exp(bound):.3g} for {counted(stay, 'step')}"
        )
        return self._finding(step, stay, level, bound, reason)

    def _judge_height(self, step: int) -> Finding | None:
        state, loss, bound = self._state, self._state.loss, self._uniform_level
        state.num_above_uniform = state.num_above_uniform + 1 if loss.level > bound else 0
        if not state.num_above_uniform:
            return None
        # Steps of the level after the grace, which is for a learning rate that has to warm up.
        stay = state.num_above_uniform
        if stay < self._config.sustain_steps or self._leads_back(bound, stay):
            return None
        level = math.exp(loss.level)
        reason = (
            f"loss stayed above {math.exp(bound):.3g}, {self._config.uniform_factor:g} times the loss of a uniform "
            f"output, for {counted(stay, 'step')} and does not fall: {level:.3g} (median of {LEVEL_STEPS} steps)"
        )
        return self._finding(step, stay, level, bound, reason)

    def _num_above(self, bound: float) -> int:
        """The most latest losses that began above a bound and of which four in five are; 0 if the newest are not."""
        above = np.asarray(self._state.loss.history)[::-1] > bound
        if np.count_nonzero(above[:5]) < 3:
            return 0
        counts = np.cumsum(above)
        begins = np.flatnonzero(above & (counts >= 0.8 * np.arange(1, len(above) + 1)))
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

    def _finding(self, step: int, stay: int, level: float, bound: float, reason: str) -> Finding:
        last_good_step = min(self._state.last_good_step - LEVEL_DELAY, step - stay)
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.DIVERGED_LOSS,
            step=step,
            value=level,
            threshold=math.exp(bound),
            reason=reason,
            first_bad_step=max(last_good_step + 1, 1),
            last_good_step=last_good_step if last_good_step > 0 else None,
        )
