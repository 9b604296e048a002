"""Most batches are skipped, so that hardly any update reaches the weights."""

from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.detectors.base import JSON, GradientState, RunContext, dump_state, load_state
from sweep.records import Finding, Outcome, StepRecord


class SkipStarvedConfig(Spec):
    """Too large a share of the latest steps applied no update; calibration of the loss scale is not counted."""

    kind: Literal["skip_starved"] = "skip_starved"
    window_steps: int = Field(50, ge=2)
    """Steps that are looked back on."""
    largest_skip_rate: float = Field(0.5, gt=0, lt=1)
    """Share of the window; more than that starves the training."""

    def build(self, context: RunContext) -> "SkipStarvedDetector":
        """The detector of one run."""
        return SkipStarvedDetector(self, context)


@dataclass(slots=True)
class _State:
    gradient: GradientState
    skipped: list[bool] = field(default_factory=list)
    """The window, oldest first."""
    infeasible: list[bool] = field(default_factory=list)
    """Whether the step held a sample that CTC cannot align."""
    steps: list[int] = field(default_factory=list)


class SkipStarvedDetector:
    """See `SkipStarvedConfig`."""

    def __init__(self, config: SkipStarvedConfig, context: RunContext) -> None:
        self._config = config
        self._state = _State(gradient=GradientState(has_scaler=context.has_scaler))

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        state = self._state
        state.gradient.update(record)
        if not state.gradient.calibrated:
            return None
        for window, value in (
            (state.skipped, not record.applied),
            (state.infeasible, not record.applied and record.num_infeasible > 0),
        ):
            window.append(value)
            if len(window) > self._config.window_steps:
                del window[0]
        state.steps.append(record.step)
        if len(state.steps) > self._config.window_steps:
            del state.steps[0]
        num_skipped = sum(state.skipped)
        largest = self._config.largest_skip_rate * self._config.window_steps
        if num_skipped <= largest:
            return None
        num_infeasible = sum(state.infeasible)
        # Steps that hold infeasible samples anyway prove nothing unless they make up most of the skips.
        blames_data = 2 * num_infeasible > num_skipped
        reason = f"{num_skipped} of the last {len(state.skipped)} batches were skipped"
        if blames_data:
            reason += f", {num_infeasible} of them with a target that CTC cannot align"
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.INFEASIBLE_DATA if blames_data else Outcome.SKIP_STARVED,
            step=record.step,
            value=float(num_skipped),
            threshold=largest,
            reason=reason,
            first_bad_step=state.steps[state.skipped.index(True)],
        )

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)
