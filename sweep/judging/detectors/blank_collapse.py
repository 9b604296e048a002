"""The output is blank for every frame whatever the input, and nothing announces a change."""

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
from sweep.judging.detectors.statistics import LEVEL_STEPS, DependenceTrend, Floats, LossLevel, log_loss
from sweep.records import Finding, Outcome, StepRecord, is_finite
from sweep.wording import number, plural


class BlankCollapseConfig(Spec):
    """Loss at the zero-information level, all frames blank, output independent of the input, for long.

    Healthy runs pass through an all-blank phase too, late learners until four fifths of their budget, and nothing may
    announce its end. What no healthy run has shown in the middle of its budget is an input dependence I as good as
    zero: such a run is stopped from `earliest_fraction` on. Any other is stopped from `stop_fraction` on, and one whose
    I is twice its lowest starts the clock anew. Without a known budget nothing tells early from late, and only the end
    is judged.
    """

    kind: Literal["blank_collapse"] = "blank_collapse"
    const_tolerance: float = Field(0.1, gt=0)
    """Largest distance of the level from the zero-information loss, ln loss (three standard errors if more)."""
    smallest_blank_rate: float = Field(0.98, gt=0, lt=1)
    """Share of blank frames in the latest sample."""
    largest_input_dependence: float = Field(0.001, gt=0)
    """I in the latest sample, nats."""
    hot_input_dependence: float = Field(3e-6, gt=0)
    """I below which it is as good as zero, nats: what a too high learning rate leaves. Of 148 real trainings that
    learned nothing 57 % lay below it after 45 % of their budget, but none of 60 late learners (at least 2.5e-5)."""
    slow_fraction: float = Field(0.3, ge=0, le=1)
    """A run that took longer than this part of the budget to come down to the zero-information level is slow: its
    learning rate is too low, or it is too short."""
    noise_input_dependence: float = Field(5e-5, gt=0)
    """I below which a doubling may be noise, nats: there it takes a growth by four, to a fifth of this at least."""
    earliest_fraction: float = Field(0.45, ge=0, le=1)
    """Part of the budget before which nothing is judged."""
    stop_fraction: float = Field(0.85, ge=0, le=1)
    """Part of the budget before which a run is stopped only if its I has been as good as zero all the while."""
    sustain_fraction: float = Field(0.15, gt=0, le=1)
    """Part of the budget for which the state must last, at least 20 steps; some of it may lie before the earliest."""
    samples_needed: int = Field(4, ge=1)
    """Samples of the blank rate, and of I, that the state must last for as well: an old sample says little."""

    def describes(
        self, loss: LossLevel, l_const: float, blank_rate: float | None, input_dependence: float | None
    ) -> bool:
        """Whether the level and the latest samples look collapsed; False where one of them is unknown."""
        return (
            is_known(l_const)
            and loss.best is not None
            and blank_rate is not None
            and input_dependence is not None
            and blank_rate > self.smallest_blank_rate
            and input_dependence < self.largest_input_dependence
            and abs(log_loss(loss.level) - math.log(l_const)) < max(self.const_tolerance, 3 * loss.standard_error())
        )

    def build(self, context: RunContext) -> "BlankCollapseDetector":
        """The detector of one run."""
        return BlankCollapseDetector(self, context)


@dataclass(slots=True)
class _State:
    trend: DependenceTrend = field(default_factory=DependenceTrend)
    blank_rate: float | None = None
    """Latest sample."""
    input_dependence: float | None = None
    """Latest sample, nats."""
    highest_dependence: float = 0.0
    """Highest sample of it since the present collapse began, nats."""
    num_blank_rates: int = 0
    """Samples of it since the present collapse began."""
    since_step: int | None = None
    """Where the present collapse began."""
    arrived_step: int | None = None
    """Where it first looked collapsed."""
    last_good_step: int | None = None
    """Latest step with a known level that did not look collapsed, or at which the input dependence had grown."""


class BlankCollapseDetector:
    """See `BlankCollapseConfig`."""

    def __init__(self, config: BlankCollapseConfig, context: RunContext) -> None:
        self._config = config
        self._l_const = context.l_const
        self._is_open = context.budget_steps is None
        budget = context.budget_steps or 0
        self._earliest_step = config.earliest_fraction * budget
        self._stop_step = config.stop_fraction * budget
        self._slow_step = config.slow_fraction * budget
        # At least one full window of the level, so that a short run is not judged by its first batches.
        self._sustain_steps = max(config.sustain_fraction * budget, LEVEL_STEPS)
        self._state = _State()

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step."""
        state = self._state
        if self._is_open:
            return None
        if is_finite(record.blank_rate):
            state.blank_rate = record.blank_rate
            state.num_blank_rates += 1
        if is_finite(record.input_dependence):
            state.trend.update(record.input_dependence)
            state.input_dependence = record.input_dependence
            state.highest_dependence = max(state.highest_dependence, record.input_dependence)
        config = self._config
        if not run.gradient.calibrated:
            # Nothing was learned because no update was applied yet.
            return None
        if not config.describes(run.loss, self._l_const, state.blank_rate, state.input_dependence):
            state.since_step = None
            state.last_good_step = record.step if run.loss.best is not None else None
            return None
        state.arrived_step = record.step if state.arrived_step is None else state.arrived_step
        if state.since_step is None:
            self._start_clock(record.step)
        elif state.trend.is_growing(config.noise_input_dependence):
            # The growth is a sign of life: the collapse, if it is one, begins after it.
            state.last_good_step = record.step
            self._start_clock(record.step + 1)
        assert state.since_step is not None
        lasted = record.step - state.since_step
        num_steps = record.step - run.gradient.num_calibrating
        is_dead = state.highest_dependence < config.hot_input_dependence
        if num_steps < (self._earliest_step if is_dead else self._stop_step) or lasted < self._sustain_steps:
            return None
        if min(state.trend.num_samples, state.num_blank_rates) < config.samples_needed:
            return None
        return self._finding(record.step, lasted, run)

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | float | None:
        """Nothing is ever said where the budget is unknown."""
        return math.inf if self._is_open else None

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Nothing is remembered of such a run."""

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _start_clock(self, step: int) -> None:
        state = self._state
        state.since_step, state.num_blank_rates = step, 0
        state.highest_dependence = state.input_dependence or 0.0
        state.trend.reset()

    def _finding(self, step: int, lasted: int, run: RunStatistics) -> Finding:
        state = self._state
        assert state.since_step is not None and state.blank_rate is not None
        assert state.input_dependence is not None
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.BLANK_COLLAPSE,
            step=step,
            value=state.input_dependence,
            threshold=self._config.largest_input_dependence,
            reason=(
                f"for {plural(lasted, 'step')} {state.blank_rate:.1%} of the frames are blank whatever the input "
                f"(I = {number(state.input_dependence, 2)} nats), and the loss is {number(run.loss.level)} "
                f"as for a constant output ({number(self._l_const)}){self._describe_kind()}"
            ),
            first_bad_step=state.since_step,
            last_good_step=before(state.last_good_step, state.since_step),
        )

    def _describe_kind(self) -> str:
        """Hot or cold, where that shows."""
        state = self._state
        assert state.input_dependence is not None and state.arrived_step is not None
        if state.input_dependence < self._config.hot_input_dependence:
            return "; so little dependence on the input is what a too high learning rate leaves"
        if state.arrived_step > self._slow_step:
            return f"; it came down to this only at step {state.arrived_step}: the learning rate may be too low"
        return ""
