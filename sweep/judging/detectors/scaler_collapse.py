"""A loss scale so low that small gradients vanish in half precision."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.judging.detectors.base import JSON, GradientState, RunContext, before, dump_state, load_state
from sweep.records import Finding, Outcome, StepRecord

_USUAL_SCALE = 65536.0
"""GradScaler's default. A run that starts far above it may fall to it without harm."""


class ScalerCollapseConfig(Spec):
    """The scale fell many bits below its first usable value, or below 1 and some bits; or it never finds one."""

    kind: Literal["scaler_collapse"] = "scaler_collapse"
    smallest_scale: float = Field(1.0, gt=0)
    """Loss scale; a run whose first usable value is below it is judged by `lost_bits` alone."""
    least_lost_bits: float = Field(4.0, gt=0)
    """Halvings below the first usable value without which a scale below the smallest is no collapse: a run that starts
    at 1 may overflow now and then."""
    lost_bits: float = Field(8.0, gt=0)
    """Halvings below the scale at the first finite gradient (at most 65536 counts as that). Until there is one: below
    `smallest_scale`, or below the first scale if that is lower."""

    def build(self, context: RunContext) -> "ScalerCollapseDetector":
        """The detector of one run."""
        return ScalerCollapseDetector(self, context)


@dataclass(slots=True)
class _State:
    gradient: GradientState
    highest: float | None = None
    """Highest scale so far."""
    usable: float | None = None
    """Scale at the first finite gradient."""
    num_overflows: int = 0
    num_infeasible: int = 0
    """Overflows in steps with a sample that CTC cannot align."""
    first_overflow: int | None = None
    """Step of the first overflow of the present descent."""
    last_finite: int | None = None
    """Latest step with a finite gradient."""
    finite_before: int | None = None
    """That step when the present descent began."""


class ScalerCollapseDetector:
    """See `ScalerCollapseConfig`."""

    def __init__(self, config: ScalerCollapseConfig, context: RunContext) -> None:
        self._config = config
        self._has_scaler = context.has_scaler
        self._state = _State(gradient=GradientState(has_scaler=context.has_scaler))

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        state, scale = self._state, record.loss_scale
        state.gradient.update(record)
        if not self._has_scaler or not math.isfinite(scale):
            return None
        if state.gradient.finite is False:
            state.num_overflows += 1
            state.num_infeasible += record.num_infeasible > 0
            if state.first_overflow is None:
                state.first_overflow, state.finite_before = record.step, state.last_finite
        elif state.usable is None or scale >= state.usable:
            # Calibration is over, or the scale has recovered: earlier overflows belong to no descent.
            state.num_overflows, state.num_infeasible, state.first_overflow = 0, 0, None
        if state.gradient.finite is True:
            state.last_finite = record.step
        if state.gradient.calibrated and state.usable is None:
            state.usable = scale
        state.highest = scale if state.highest is None else max(state.highest, scale)
        return self._judge(record, state.highest)

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _judge(self, record: StepRecord, highest: float) -> Finding | None:
        scale, usable, config = record.loss_scale, self._state.usable, self._config
        if usable is None:
            bound = min(highest, config.smallest_scale) * 2**-config.lost_bits
            origin = f"{highest:g} without a finite gradient,"
        else:
            bound = min(usable, _USUAL_SCALE) * 2**-config.lost_bits
            if usable >= config.smallest_scale > scale:
                bound = max(bound, min(usable * 2**-config.least_lost_bits, config.smallest_scale))
            origin = f"its first usable value {usable:g}"
        if scale > bound:
            return None
        return self._finding(record, bound, f"the loss scale fell from {origin} to {scale:g} by step {record.step}")

    def _finding(self, record: StepRecord, threshold: float, reason: str) -> Finding:
        state = self._state
        first_bad_step = record.step if state.first_overflow is None else state.first_overflow
        last_good_step = state.last_finite if state.first_overflow is None else state.finite_before
        blames_data = 0 < state.num_overflows == state.num_infeasible
        if blames_data:
            overflows = "the overflow" if state.num_overflows == 1 else f"all {state.num_overflows} overflows"
            reason += f"; {overflows} came with a target that CTC cannot align"
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.INFEASIBLE_DATA if blames_data else Outcome.SCALER_COLLAPSE,
            step=record.step,
            value=record.loss_scale,
            threshold=threshold,
            reason=reason,
            first_bad_step=first_bad_step,
            last_good_step=before(last_good_step, first_bad_step),
        )
