"""What every detector shares: the run's context, the interface, and serialisable state.

A detector reads one `StepRecord` after the other and returns a `Finding` when its rule holds. It never raises on
a record, and NaN and inf never enter its statistics: they are recognised by name first, because every
comparison with NaN is False and would blind the rule.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from pydantic import JsonValue, TypeAdapter

from sweep.records import Finding, SkipReason, StepRecord

JSON: TypeAlias = JsonValue


@dataclass(frozen=True)
class RunContext:
    """What the rules have to know of a run before its first step."""

    l_const: float = math.nan
    """Zero-information loss, nats a label (`slr_models.ctc.constant_floor`); NaN if unknown."""
    l_unif: float = math.nan
    """Loss of a uniform output, nats a label (`slr_models.ctc.uniform_loss`); NaN if unknown."""
    budget_steps: int | None = None
    """Steps that the run is planned for; None if open."""
    has_scaler: bool = False
    """Whether gradients are computed on a scaled loss (fp16)."""


S = TypeVar("S")


def before(step: int | None, first_bad_step: int) -> int | None:
    """`Finding.last_good_step`: a step if it lies before the first bad one; None where there was none.

    Steps that were logged out of order may say otherwise.
    """
    return step if step is not None and step < first_bad_step else None


def dump_state(state: object) -> dict[str, JSON]:
    """The memory of a detector (a plain, fast dataclass) as JSON values."""
    dumped: dict[str, JSON] = _adapter(type(state)).dump_python(state, mode="json")
    return dumped


def load_state(kind: type[S], state: dict[str, JSON]) -> S:
    """The memory that `dump_state` wrote; checked, so that a damaged checkpoint is noticed."""
    return _adapter(kind).validate_python(state)


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}
"""Made once a type: making one costs milliseconds."""


def _adapter(kind: type[S]) -> TypeAdapter[S]:
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


class Detector(Protocol):
    """One rule at work on one run.

    | call              | effect                                                                    |
    |-------------------|---------------------------------------------------------------------------|
    | `observe`         | advances by one step; a Finding if the rule holds at this step            |
    | `state_dict`      | all memory as JSON values                                                 |
    | `load_state_dict` | continues as if the run had not been interrupted; same config and context |
    """

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        ...

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        ...


def is_known(bound: float) -> bool:
    """Whether a reference loss of the context can be used."""
    return math.isfinite(bound) and bound > 0


@dataclass(slots=True)
class GradientState:
    """Whether gradients are finite, and whether the loss scale still calibrates.

    A scaler starts high and halves on each overflow: the overflows before the first finite gradient are its
    calibration, healthy by design. A NaN norm of an applied step with finite loss and weights was not logged: had the
    gradient been NaN, it would have made the weights NaN. Elsewhere a NaN norm is a NaN gradient if norms are being
    recorded or the step was skipped as non-finite.
    """

    has_scaler: bool
    norms_recorded: bool = False
    calibrated: bool = False
    """Without a scaler from the first step; with one from the first finite gradient."""
    finite: bool | None = None
    """Of the latest step; None if unknown."""
    last_scale: float | None = None
    halving: bool = False
    """Whether the scale fell between the latest two steps."""
    num_calibrating: int = 0
    """Steps before the calibrated ones; no update was applied in them."""

    def update(self, record: StepRecord) -> None:
        """Reads the next step."""
        norm = record.grad_norm
        flagged = record.skip_reason in (SkipReason.NONFINITE, SkipReason.CALIBRATION, SkipReason.INFEASIBLE)
        if math.isfinite(norm):
            self.finite = True
        elif math.isinf(norm) or flagged:
            self.finite = False
        elif record.applied and record.params_finite and math.isfinite(record.loss):
            # A scaler applies a step only if it has seen finite gradients.
            self.finite = True if self.has_scaler else None
        else:
            self.finite = False if self.norms_recorded else None
        self.norms_recorded |= not math.isnan(norm)
        self.calibrated |= self.finite is True or not self.has_scaler
        self.num_calibrating += not self.calibrated
        if math.isfinite(record.loss_scale):
            self.halving = self.last_scale is not None and record.loss_scale < self.last_scale
            self.last_scale = record.loss_scale
