"""Most batches are skipped, so that hardly any update reaches the weights."""

import math
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.judging.detectors.base import JSON, PlainSteps, RunContext, RunStatistics, before, dump_state, load_state
from sweep.judging.detectors.statistics import Floats, Ints
from sweep.records import Finding, Outcome, StepRecord


class SkipStarvedConfig(Spec):
    """Too large a share of the latest steps applied no update; calibration of the loss scale is not counted.

    A run shorter than the window is judged by its own steps, at its end.
    """

    kind: Literal["skip_starved"] = "skip_starved"
    window_steps: int = Field(50, ge=2)
    """Steps that are looked back on."""
    largest_skip_rate: float = Field(0.5, gt=0, lt=1)
    """Share of the window; more than that starves the training."""

    def build(self, context: RunContext) -> "SkipStarvedDetector":
        """The detector of one run."""
        return SkipStarvedDetector(self, context)


@dataclass(slots=True)
class SkipWindow:
    """The latest steps since calibration, and which of them applied no update."""

    size: int
    skipped: list[bool] = field(default_factory=list)
    """Oldest first."""
    infeasible: list[bool] = field(default_factory=list)
    """Whether the step was skipped and held a sample that CTC cannot align."""
    steps: list[int] = field(default_factory=list)
    applied_before: int | None = None
    """Latest applied step that has left the window."""

    def update(self, record: StepRecord, *, calibrated: bool) -> None:
        """Reads the next step; nothing is counted before the loss scale is calibrated."""
        if not calibrated:
            return
        self.skipped.append(not record.applied)
        self.infeasible.append(not record.applied and record.num_infeasible > 0)
        self.steps.append(record.step)
        if len(self.steps) > self.size:
            if not self.skipped[0]:
                self.applied_before = self.steps[0]
            del self.skipped[0], self.infeasible[0], self.steps[0]

    def extend(self, steps: Ints) -> None:
        """Takes many applied steps at once."""
        kept = steps[-self.size - 1 :].tolist()
        all_steps, skipped = self.steps + kept, self.skipped + [False] * len(kept)
        gone = max(len(all_steps) - self.size, 0)
        self.applied_before = next(
            (step for step, one in zip(reversed(all_steps[:gone]), reversed(skipped[:gone]), strict=True) if not one),
            self.applied_before,
        )
        self.steps, self.skipped = all_steps[gone:], skipped[gone:]
        self.infeasible = (self.infeasible + [False] * len(kept))[gone:]

    @property
    def num_skipped(self) -> int:
        """Steps of the window without an update."""
        return sum(self.skipped)

    @property
    def first_skipped(self) -> int:
        """The first skipped step of the window, which must hold one."""
        return self.steps[self.skipped.index(True)]

    @property
    def last_applied_before(self) -> int | None:
        """The latest applied step before that; None if there was none since calibration."""
        index = self.skipped.index(True)
        return before(self.steps[index - 1] if index else self.applied_before, self.steps[index])

    @property
    def blames_data(self) -> bool:
        """Whether infeasible samples explain the skips: they make up most, because some come along with any cause."""
        return 2 * sum(self.infeasible) > self.num_skipped

    @property
    def outcome(self) -> Outcome:
        """What a starved run is called."""
        return Outcome.INFEASIBLE_DATA if self.blames_data else Outcome.SKIP_STARVED

    def describe(self) -> str:
        """The numbers, for a person."""
        num_skipped, num_steps, num_infeasible = self.num_skipped, len(self.steps), sum(self.infeasible)
        if num_steps == 1:
            reason = f"the last batch was {'skipped' if num_skipped else 'not skipped'}"
        else:
            reason = f"{num_skipped} of the last {num_steps} batches {'was' if num_skipped == 1 else 'were'} skipped"
        if self.blames_data:
            share = "" if num_skipped == 1 else f"{num_infeasible} of them "
            reason += f", {share}with a target that CTC cannot align"
        return reason


class SkipStarvedDetector:
    """See `SkipStarvedConfig`."""

    def __init__(self, config: SkipStarvedConfig, context: RunContext) -> None:
        self._config = config
        self._state = SkipWindow(config.window_steps)

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step."""
        state = self._state
        state.update(record, calibrated=run.gradient.calibrated)
        # Of a full window, so that the first steps of a run are not judged by their own small number.
        largest = self._config.largest_skip_rate * self._config.window_steps
        if state.num_skipped <= largest:
            return None
        return Finding(
            detector=self._config.kind,
            outcome=state.outcome,
            step=record.step,
            value=float(state.num_skipped),
            threshold=largest,
            reason=state.describe(),
            first_bad_step=state.first_skipped,
            last_good_step=state.last_applied_before,
        )

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | float | None:
        """Applied steps starve nobody."""
        return math.inf

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Takes steps that were applied."""
        self._state.extend(plain.steps)

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(SkipWindow, state)
