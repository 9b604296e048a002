"""A loss that has not left the zero-information level and makes no way."""

import math
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.detectors.base import JSON, RunContext, State, is_known
from sweep.detectors.statistics import DependenceTrend, LossLevel
from sweep.records import Finding, Outcome, StepRecord


class StalledConfig(Spec):
    """No progress for long: the level neither beats the zero-information loss nor falls, and I does not grow.

    A plateau may end at any time, so the clock starts at `earliest_fraction` and starts anew with every sign of
    progress: a lower level, or an input dependence that doubled.
    """

    kind: Literal["stalled"] = "stalled"
    stalled_above: float = Field(0.98, gt=0)
    """Multiple of the zero-information loss; a level above it has learned nothing."""
    learned_below: float = Field(0.95, gt=0)
    """Multiple of the zero-information loss; a level below it has learned something."""
    progress_errors: float = Field(3.0, gt=0)
    """Fall of the level that counts as progress, in its standard errors."""
    noise_input_dependence: float = Field(0.0005, gt=0)
    """I below which a growth is noise, nats."""
    earliest_fraction: float = Field(0.3, ge=0, le=1)
    """Part of the budget before which the clock does not start."""
    sustain_fraction: float = Field(0.15, gt=0, le=1)
    """Part of the budget without progress."""
    open_budget_steps: int = Field(2000, ge=1)
    """Budget that these fractions refer to where the run's is not known."""

    def build(self, context: RunContext) -> "StalledDetector":
        """The detector of one run."""
        return StalledDetector(self, context)


class _State(State):
    loss: LossLevel = Field(default_factory=LossLevel)
    trend: DependenceTrend = Field(default_factory=DependenceTrend)
    since_step: int | None = None
    """Where the clock started; None while it stands."""
    since_level: float = 0.0
    """Level at that step, ln loss."""


class StalledDetector:
    """See `StalledConfig`."""

    def __init__(self, config: StalledConfig, context: RunContext) -> None:
        self._config = config
        self._l_const = context.l_const if is_known(context.l_const) else None
        budget = context.budget_steps or config.open_budget_steps
        self._earliest_step = config.earliest_fraction * budget
        self._sustain_steps = config.sustain_fraction * budget
        self._state = _State()

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        state, config = self._state, self._config
        state.loss.update(record.loss)
        state.trend.update(record.input_dependence)
        if self._l_const is None or state.loss.best is None or record.step < self._earliest_step:
            return None
        if state.loss.level < math.log(config.learned_below * self._l_const):
            state.since_step = None
            return None
        if state.since_step is None or self._makes_progress():
            state.since_step, state.since_level = record.step, state.loss.level
            state.trend.reset()
        lasted = record.step - state.since_step
        stalled_level = math.log(config.stalled_above * self._l_const)
        # Whether it falls is a costly question, so it comes last.
        if lasted < self._sustain_steps or state.loss.level <= stalled_level or state.loss.is_falling():
            return None
        level = math.exp(state.loss.level)
        return Finding(
            detector=config.kind,
            outcome=Outcome.STALLED,
            step=record.step,
            value=level,
            threshold=config.stalled_above * self._l_const,
            reason=(
                f"learned nothing: the loss is {level:.3g} after {record.step} steps, not below the zero-information "
                f"level {self._l_const:.3g}, and made no progress for {lasted} steps"
            ),
            first_bad_step=state.since_step,
        )

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return self._state.model_dump()

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = _State.model_validate(state)

    def _makes_progress(self) -> bool:
        state = self._state
        fall = state.since_level - state.loss.level
        if fall > 0 and fall > self._config.progress_errors * state.loss.standard_error():
            return True
        return state.trend.is_growing(self._config.noise_input_dependence)
