"""Weights, losses or gradients that are NaN or infinite for good."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.judging.detectors.base import JSON, PlainSteps, RunContext, RunStatistics, before, dump_state, load_state
from sweep.judging.detectors.statistics import Floats
from sweep.records import IRREPARABLE, Finding, Outcome, StepRecord, is_broken
from sweep.wording import plural


class NonfiniteConfig(Spec):
    """A non-finite weight at once; losses or gradients when several in a row, or most of the latest, are not finite."""

    kind: Literal["nonfinite"] = "nonfinite"
    losses_in_row: int = Field(5, ge=1)
    """Steps in a row with a non-finite loss."""
    gradients_in_row: int = Field(5, ge=1)
    """Steps in a row with a non-finite gradient, without a loss scaler."""
    scaled_gradients_in_row: int = Field(17, ge=1)
    """The same with a loss scaler, after calibration: 17 halvings take 65536 below 1. And of a run that has not had a
    finite gradient yet, as a loss scale that the log does not name may still calibrate; it is no such run where the
    loss falls, as the norms are then just not measured."""
    window_steps: int = Field(20, ge=1)
    """Latest steps of which at most half may have a non-finite loss; not judged before there are so many."""

    def build(self, context: RunContext) -> "NonfiniteDetector":
        """The detector of one run."""
        return NonfiniteDetector(self, context)


@dataclass(slots=True)
class _Streak:
    """Steps in a row with a non-finite value."""

    length: int = 0
    start: int = 0
    num_infeasible: int = 0
    """How many of them held a sample that CTC cannot align."""

    def update(self, bad: bool, record: StepRecord) -> None:
        if not bad:
            self.length = 0
            return
        if self.length == 0:
            self.start, self.num_infeasible = record.step, 0
        self.length += 1
        self.num_infeasible += record.num_infeasible > 0

    @property
    def is_infeasible_data(self) -> bool:
        return 0 < self.length == self.num_infeasible

    def describe(self, one: str, many: str) -> str:
        """What happened, from one or many of what is counted."""
        if self.length == 1:
            return f"the {one} is not finite at step {self.start}"
        return f"{self.length} {many} in a row are not finite, from step {self.start}"


@dataclass(slots=True)
class _State:
    losses: _Streak = field(default_factory=_Streak)
    gradients: _Streak = field(default_factory=_Streak)
    recent: list[bool] = field(default_factory=list)
    """Whether the loss was not finite, over the latest steps; oldest first."""
    scattered: _Streak = field(default_factory=_Streak)
    """Non-finite losses with at most `window_steps` between two of them."""
    last_good_step: int | None = None
    """Latest step with finite loss, gradient and weights; overflows of calibration are well."""
    good_before_scattered: int | None = None
    """That step when `scattered` began."""


class NonfiniteDetector:
    """See `NonfiniteConfig`. Streaks in which every step held an infeasible sample blame the data."""

    def __init__(self, config: NonfiniteConfig, context: RunContext) -> None:
        self._config = config
        self._state = _State()

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step."""
        state, gradient = self._state, run.gradient
        # While a scale halves on its way to the first usable value, non-finite gradients are its method.
        calibrating = not gradient.calibrated and gradient.halving
        is_bad_loss = is_broken(record.loss)
        is_bad_gradient = gradient.finite is False and not calibrating
        # A step that logs no such value says nothing of it.
        if record.loss is not None:
            state.losses.update(is_bad_loss, record)
            self._note_scattered(is_bad_loss, record)
        if gradient.finite is not None:
            state.gradients.update(is_bad_gradient, record)
        finding = self._judge(record, run)
        says_something = record.loss is not None or gradient.finite is not None
        if says_something and not is_bad_loss and not is_bad_gradient and record.params_finite:
            state.last_good_step = record.step
        return finding

    def _note_scattered(self, is_bad_loss: bool, record: StepRecord) -> None:
        state = self._state
        state.recent.append(is_bad_loss)
        if len(state.recent) > self._config.window_steps:
            del state.recent[0]
        if is_bad_loss:
            if state.scattered.length == 0:
                state.good_before_scattered = state.last_good_step
            state.scattered.update(True, record)
        elif state.scattered.length and not any(state.recent):
            state.scattered.update(False, record)

    def _judge(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        state, config = self._state, self._config
        if not record.params_finite:
            streak = state.losses if state.losses.length else state.gradients
            cause = f", after non-finite values from step {streak.start}" if streak.length else ""
            reason = f"a weight is NaN or infinite at step {record.step}{cause}; {IRREPARABLE}"
            return self._finding(record, streak, 1, reason, irreversible=True)
        if state.losses.length >= config.losses_in_row:
            reason = state.losses.describe("loss", "losses")
            return self._finding(record, state.losses, config.losses_in_row, reason)
        if state.gradients.length and (enough := self._gradients_needed(run)) <= state.gradients.length:
            reason = state.gradients.describe("gradient", "gradients")
            return self._finding(record, state.gradients, enough, reason)
        num_bad, largest = sum(state.recent), config.window_steps // 2
        if len(state.recent) == config.window_steps and num_bad > largest:
            reason = (
                f"{num_bad} of the last {plural(config.window_steps, 'loss', 'losses')} are not finite, "
                f"from step {state.scattered.start}"
            )
            return self._finding(
                record, state.scattered, largest, reason, value=num_bad, last_good_step=state.good_before_scattered
            )
        return None

    def _gradients_needed(self, run: RunStatistics) -> float:
        """Non-finite gradients in a row from which the run is lost."""
        if run.gradient.ever_finite and not run.gradient.has_scaler:
            return self._config.gradients_in_row
        measures_nothing = not run.gradient.has_scaler and run.loss.has_fallen(math.log(1 / 0.95), 4.0)
        return math.inf if measures_nothing else self._config.scaled_gradients_in_row

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | float | None:
        """Any, as long as nothing that is not finite is remembered."""
        state = self._state
        is_quiet = not (state.losses.length or state.gradients.length or state.scattered.length or any(state.recent))
        return math.inf if is_quiet else None

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Takes steps at which all was finite."""
        num = min(len(self._state.recent) + len(plain.steps), self._config.window_steps)
        self._state.recent = [False] * num
        self._state.last_good_step = int(plain.steps[-1])

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _finding(
        self,
        record: StepRecord,
        streak: _Streak,
        threshold: float,
        reason: str,
        *,
        value: int | None = None,
        last_good_step: int | None = None,
        irreversible: bool = False,
    ) -> Finding:
        state = self._state
        blames_data = streak.is_infeasible_data
        if blames_data:
            reason += "; each of these steps held a target that CTC cannot align"
        first_bad_step = streak.start if streak.length else record.step
        if last_good_step is None:
            last_good_step = state.last_good_step
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.INFEASIBLE_DATA if blames_data else Outcome.DIVERGED_NONFINITE,
            step=record.step,
            value=float(max(streak.length, 1) if value is None else value),
            threshold=float(threshold),
            reason=reason,
            first_bad_step=first_bad_step,
            last_good_step=before(last_good_step, first_bad_step),
            irreversible=irreversible,
        )
