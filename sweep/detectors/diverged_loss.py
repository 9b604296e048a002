"""A finite loss that rose and stayed up."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.detectors.base import JSON, RunContext, counted, dump_state, is_known, load_state
from sweep.detectors.statistics import LEVEL_STEPS, LossLevel
from sweep.records import Finding, Outcome, StepRecord


class DivergedLossConfig(Spec):
    """The loss level rose far above its best to where nothing is known, or never came near a uniform guess.

    The level is a median, and the noise a median deviation, so that a few wild batches move neither.
    """

    kind: Literal["diverged_loss"] = "diverged_loss"
    smallest_rise: float = Field(math.log(2), gt=0)
    """Rise of the level above its best, in units of ln loss (0.69 = a factor of 2)."""
    smallest_rise_errors: float = Field(6.0, gt=0)
    """The same in standard errors of the level; both must be exceeded."""
    back_at_const: float = Field(0.95, gt=0)
    """The level must also exceed this multiple of the zero-information loss."""
    uniform_factor: float = Field(1.5, gt=1)
    """A level above this multiple of a uniform output's loss is bad without any rise."""
    sustain_steps: int = Field(40, ge=1)
    """Steps in a row for which either must hold."""
    recovery_steps: int = Field(200, ge=1)
    """A falling level is given time if its slope leads back below the bound within so many steps."""
    grace_steps: int = Field(20, ge=0)
    """First steps that are not judged."""

    def build(self, context: RunContext) -> "DivergedLossDetector":
        """The detector of one run."""
        return DivergedLossDetector(self, context)


@dataclass(slots=True)
class _State:
    loss: LossLevel = field(default_factory=LossLevel)
    num_bad: int = 0
    """Steps in a row for which the rule held."""
    last_good_step: int = 0
    """Latest step whose level was within a quarter of `smallest_rise` of the best."""


class DivergedLossDetector:
    """See `DivergedLossConfig`."""

    def __init__(self, config: DivergedLossConfig, context: RunContext) -> None:
        self._config = config
        # An unknown reference loss must not switch the rule off (rise) or on (uniform).
        self._known_level = math.log(config.back_at_const * context.l_const) if is_known(context.l_const) else -math.inf
        self._uniform_level = math.log(config.uniform_factor * context.l_unif) if is_known(context.l_unif) else math.inf
        self._state = _State()

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        state, loss = self._state, self._state.loss
        loss.update(record.loss)
        if not self._is_bad(record.step):
            state.num_bad = 0
            if loss.rise <= self._config.smallest_rise / 4 and loss.level <= self._uniform_level:
                state.last_good_step = record.step
            return None
        state.num_bad += 1
        if state.num_bad < self._config.sustain_steps:
            return None
        return self._finding(record.step)

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _is_bad(self, step: int) -> bool:
        loss = self._state.loss
        if step <= self._config.grace_steps or loss.best is None:
            return False
        bounds = [self._uniform_level] if loss.level > self._uniform_level else []
        if self._has_risen():
            bounds.append(max(self._known_level, loss.best + self._config.smallest_rise))
        if not bounds:
            return False
        # A slope that leads back in good time is no divergence; one that would take for ever is.
        fall_needed = loss.level - min(bounds)
        return loss.slope() * self._config.recovery_steps > -fall_needed

    def _has_risen(self) -> bool:
        loss = self._state.loss
        return loss.level > self._known_level and loss.has_risen(
            self._config.smallest_rise, self._config.smallest_rise_errors
        )

    def _finding(self, step: int) -> Finding:
        state, loss = self._state, self._state.loss
        assert loss.best is not None
        level = math.exp(loss.level)
        if self._has_risen():
            rise = max(self._config.smallest_rise, self._config.smallest_rise_errors * loss.standard_error())
            threshold = math.exp(max(loss.best + rise, self._known_level))
            reason = (
                f"loss rose from {math.exp(loss.best):.3g} to {level:.3g} (median of {LEVEL_STEPS} steps) "
                f"and stayed above {threshold:.3g} for {counted(state.num_bad, 'step')}"
            )
        else:
            threshold = math.exp(self._uniform_level)
            reason = (
                f"loss stayed above {threshold:.3g}, {self._config.uniform_factor:g} times the loss of a uniform "
                f"output, for {counted(state.num_bad, 'step')} and does not fall: {level:.3g} "
                f"(median of {LEVEL_STEPS} steps)"
            )
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.DIVERGED_LOSS,
            step=step,
            value=level,
            threshold=threshold,
            reason=reason,
            # A median shows a change after half its window.
            first_bad_step=max(state.last_good_step + 1 - LEVEL_STEPS // 2, 1),
        )
