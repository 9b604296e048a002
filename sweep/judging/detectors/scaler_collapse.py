"""A loss scale so low that small gradients vanish in half precision."""

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from slr_models.spec import Spec
from sweep.judging.detectors.base import JSON, PlainSteps, RunContext, RunStatistics, before, dump_state, load_state
from sweep.judging.detectors.statistics import Floats
from sweep.records import Finding, Outcome, StepRecord

_USUAL_SCALE = 65536.0
"""GradScaler's default. A run that starts far above it may fall to it without harm."""


class ScalerCollapseConfig(Spec):
    """The scale fell many bits below its first usable value, or below 1 and some bits; or it never finds one.

    A scale that never changes has not fallen, and one of 0 or -1 from the start means that there is none.
    """

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
        self._state = _State()

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step."""
        state, gradient = self._state, run.gradient
        if record.loss_scale is None or (scale := gradient.scale) is None or scale != record.loss_scale:
            return None
        if gradient.finite is False:
            state.num_overflows += 1
            state.num_infeasible += record.num_infeasible > 0
            if state.first_overflow is None:
                state.first_overflow, state.finite_before = record.step, state.last_finite
        elif state.usable is None or scale >= state.usable:
            # Calibration is over, or the scale has recovered: earlier overflows belong to no descent.
            state.num_overflows, state.num_infeasible, state.first_overflow = 0, 0, None
        if gradient.finite is True:
            state.last_finite = record.step
        if gradient.calibrated and state.usable is None:
            state.usable = scale
        state.highest = scale if state.highest is None else max(state.highest, scale)
        return self._judge(record.step, scale, state.highest)

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | float | None:
        """Any, as long as the scale is the one before, which was usable."""
        usable, scale = self._state.usable, plain.loss_scale
        is_quiet = scale is None or (usable is not None and scale > self._bound_below(usable))
        return math.inf if is_quiet else None

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Takes steps at which the scale was the one before, and no gradient overflowed."""
        state, scale = self._state, plain.loss_scale
        if scale is None or state.usable is None:
            return
        if scale >= state.usable:
            state.num_overflows, state.num_infeasible, state.first_overflow = 0, 0, None
        state.last_finite = int(plain.steps[-1])

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        return dump_state(self._state)

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        self._state = load_state(_State, state)

    def _judge(self, step: int, scale: float, highest: float) -> Finding | None:
        usable, config = self._state.usable, self._config
        if usable is None:
            bound = min(highest, config.smallest_scale) * 2**-config.lost_bits
            origin = f"{highest:g} without a finite gradient,"
        else:
            bound = self._bound_below(usable)
            origin = f"its first usable value {usable:g}"
        if scale > bound:
            return None
        return self._finding(step, scale, bound, f"the loss scale fell from {origin} to {scale:g} by step {step}")

    def _bound_below(self, usable: float) -> float:
        """Scale from which on no gradient survives, given the first usable one."""
        config = self._config
        bound = min(usable, _USUAL_SCALE) * 2**-config.lost_bits
        if usable >= config.smallest_scale:
            below_smallest = min(usable * 2**-config.least_lost_bits, math.nextafter(config.smallest_scale, 0))
            bound = max(bound, below_smallest)
        return bound

    def _finding(self, step: int, scale: float, threshold: float, reason: str) -> Finding:
        state = self._state
        first_bad_step = step if state.first_overflow is None else state.first_overflow
        last_good_step = state.last_finite if state.first_overflow is None else state.finite_before
        blames_data = 0 < state.num_overflows == state.num_infeasible
        if blames_data:
            overflows = "the overflow" if state.num_overflows == 1 else f"all {state.num_overflows} overflows"
            reason += f"; {overflows} came with a target that CTC cannot align"
        return Finding(
            detector=self._config.kind,
            outcome=Outcome.INFEASIBLE_DATA if blames_data else Outcome.SCALER_COLLAPSE,
            step=step,
            value=scale,
            threshold=threshold,
            reason=reason,
            first_bad_step=first_bad_step,
            last_good_step=before(last_good_step, first_bad_step),
        )
