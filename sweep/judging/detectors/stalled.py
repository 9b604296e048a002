"""A loss that has not left the zero-information level and makes no way."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.judging.detectors.base import (
    JSON,
    PlainSteps,
    RunContext,
    RunStatistics,
    before,
    dump_state,
    is_known,
    load_state,
)
from sweep.judging.detectors.statistics import LEVEL_STEPS, DependenceTrend, Floats, log_loss
from sweep.records import Finding, Outcome, StepRecord, is_finite
from sweep.wording import number, plural


class StalledConfig(Spec):
    """No progress for long: the level neither beats the zero-information loss nor falls, and I does not grow.

    A plateau may end at any time: some trainings begin to learn after four fifths of their budget, and nothing tells
    them from those that never do. So nothing is stopped before `stop_fraction`, and the clock starts anew with every
    sign of progress: a lower level, or an input dependence twice its lowest since. In a short run it takes two windows
    of the level at least, so that a slow but healthy one can show itself. Without a known budget only the end is
    judged.
    """

    kind: Literal["stalled"] = "stalled"
    stalled_above: float = Field(0.98, gt=0)
    """Multiple of the zero-information loss; a level above it has learned nothing."""
    learned_below: float = Field(0.95, gt=0)
    """Multiple of the zero-information loss; a level below it has learned something."""
    lost_rise: float = Field(math.log(1.25), gt=0)
    """Rise above the best level, ln loss: such a run has learned and lost it, which is a diverged loss."""
    lost_rise_errors: float = Field(6.0, gt=0)
    """The same in standard errors of the level; both must be exceeded."""
    progress_errors: float = Field(4.0, gt=0)
    """Fall of the level that counts as progress, in its standard errors."""
    noise_input_dependence: float = Field(5e-5, gt=0)
    """I below which a doubling may be noise, nats: there it takes a growth by four, to a fifth of this at least."""
    earliest_fraction: float = Field(0.3, ge=0, le=1)
    """Part of the budget before which the clock does not start."""
    stop_fraction: float = Field(0.85, ge=0, le=1)
    """Part of the budget before which nothing is stopped."""
    sustain_fraction: float = Field(0.15, gt=0, le=1)
    """Part of the budget without progress, at least 40 steps; twice that where the input dependence is not sampled,
    because then nothing announces the end of a plateau, or where it is large."""
    alive_input_dependence: float = Field(0.05, gt=0)
    """I from which the output depends on its input for certain, nats: the loss is then likely to follow. Collapsed
    outputs lie below 0.001, plateaus that are about to end around 0.01."""
    samples_needed: int = Field(4, ge=1)
    """Samples of I on the clock from which it counts as sampled."""

    def build(self, context: RunContext) -> "StalledDetector":
        """The detector of one run."""
        return StalledDetector(self, context)


@dataclass(slots=True)
class _State:
    trend: DependenceTrend = field(default_factory=DependenceTrend)
    since_step: int | None = None
    """Where the clock started; None while it stands."""
    since_level: float = 0.0
    """Level at that step."""
    num_high: int = 0
    """Steps in a row whose level was above `stalled_above`: two windows, so that a spike is no stall."""
    last_good_step: int | None = None
    """Latest step that had learned something or made progress; None if there was none."""


class StalledDetector:
    """See `StalledConfig`."""

    def __init__(self, config: StalledConfig, context: RunContext) -> None:
        self._config = config
        self._l_const = context.l_const if is_known(context.l_const) else None
        self._is_open = context.budget_steps is None
        budget = context.budget_steps or 0
        self._earliest_step = config.earliest_fraction * budget
        self._stop_step = config.stop_fraction * budget
        # Two windows of the level: it is compared with one that shares no loss with it.
        self._sustain_steps = max(config.sustain_fraction * budget, 2 * LEVEL_STEPS)
        self._state = _State()

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step."""
        state, config, loss = self._state, self._config, run.loss
        if self._l_const is None or self._is_open:
            return None
        if is_finite(record.input_dependence):
            state.trend.update(record.input_dependence)
        num_steps = record.step - run.gradient.num_calibrating
        if not run.gradient.calibrated or loss.best is None or loss.is_signed or num_steps < self._earliest_step:
            return None
        if loss.is_below(config.learned_below * self._l_const, self._l_const):
            state.since_step, state.last_good_step, state.num_high = None, record.step, 0
            return None
        if state.since_step is None:
            self._start_clock(record.step, run)
        elif self._makes_progress(run):
            state.last_good_step = record.step
            self._start_clock(record.step + 1, run)
        assert state.since_step is not None
        lasted = record.step - state.since_step
        is_sampled = state.trend.reference is not None and state.trend.num_samples >= config.samples_needed
        is_lifeless = is_sampled and state.trend.recent.median < config.alive_input_dependence
        enough = self._sustain_steps * (1 if is_lifeless else 2)
        state.num_high = state.num_high + 1 if loss.level > config.stalled_above * self._l_const else 0
        if num_steps < self._stop_step or lasted < enough or state.num_high < 2 * LEVEL_STEPS:
            return None
        # The slope is costly, so it comes last.
        return None if loss.slope() < 0 else self._finding(record.step, lasted, self._l_const, run)

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | float | None:
        """Nothing is ever said where the budget or the zero-information loss is unknown."""
        return math.inf if self._is_open or self._l_const is None else None

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Nothing is remembered of such a run."""

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _finding(self, step: int, lasted: int, l_const: float, run: RunStatistics) -> Finding:
        state, config, level = self._state, self._config, run.loss.level
        assert state.since_step is not None and run.loss.best is not None
        has_lost = run.loss.has_risen(config.lost_rise, config.lost_rise_errors)
        where = (
            f"the loss is {number(level)} after {plural(step, 'step')}, that of learning nothing is {number(l_const)}"
        )
        history = f"it had been at {number(run.loss.best)}, but" if has_lost else "it"
        return Finding(
            detector=config.kind,
            outcome=Outcome.DIVERGED_LOSS if has_lost else Outcome.STALLED,
            step=step,
            value=level,
            threshold=config.stalled_above * l_const,
            reason=(
                f"{'forgot' if has_lost else 'learned nothing'}: {where}; {history} made no progress "
                f"for {plural(lasted, 'step')}"
            ),
            first_bad_step=state.since_step,
            last_good_step=before(state.last_good_step, state.since_step),
        )

    def _start_clock(self, step: int, run: RunStatistics) -> None:
        state = self._state
        state.since_step, state.since_level = step, run.loss.level
        state.trend.reset()

    def _makes_progress(self, run: RunStatistics) -> bool:
        # Cheap question first: the noise costs a sort.
        if run.loss.level < self._state.since_level:
            fall = log_loss(self._state.since_level) - log_loss(run.loss.level)
            if fall > self._config.progress_errors * run.loss.standard_error():
                return True
        return self._state.trend.is_growing(self._config.noise_input_dependence)
