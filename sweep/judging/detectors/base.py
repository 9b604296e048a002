"""What every detector shares: the run's context, the interface, and serialisable state.

A detector reads one `StepRecord` after the other, with the statistics of the run up to it, and returns a `Finding`
when its rule holds. It never raises on a record, and NaN and inf never enter the statistics: they are recognised by
name first, because every comparison with NaN is False and would blind the rule.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from pydantic import JsonValue, TypeAdapter

from sweep.judging.detectors.statistics import Floats, Ints, LossLevel
from sweep.records import Finding, SkipReason, StepRecord, is_finite

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
    """Whether gradients are computed on a scaled loss (fp16); a record that holds a loss scale says so too."""


NEGLIGIBLE_SHARE = 0.1
"""Of the zero-information loss, or of 1 where that is unknown: a loss below it has left nothing to lose."""


def negligible_loss(context: RunContext) -> float:
    """Loss below which a rise harms nothing that matters: it stops no run, and ends none badly."""
    return NEGLIGIBLE_SHARE * (context.l_const if is_known(context.l_const) else 1.0)


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


def is_known(bound: float) -> bool:
    """Whether a reference loss of the context can be used."""
    return math.isfinite(bound) and bound > 0


@dataclass(slots=True)
class GradientState:
    """Whether gradients are finite, and whether the loss scale still calibrates.

    A scaler starts high and halves on each overflow: the overflows before the first finite gradient are its
    calibration, healthy by design. Logs without a scaler hold a scale of 0 or -1.
    """

    has_scaler: bool = False
    calibrated: bool = False
    """Without a scaler from the first step; with one from the first finite gradient."""
    finite: bool | None = None
    """Of the latest step; None if unknown."""
    ever_finite: bool = False
    first_scale: float | None = None
    last_scale: float | None = None
    """The latest positive one."""
    num_halvings: int = 0
    """Falls of the scale."""
    fell_to_zero: bool = False
    """Whether the scale of the latest step is 0 after a positive one."""
    halving: bool = False
    """Whether the scale fell between the latest two steps."""
    num_calibrating: int = 0
    """Steps before the calibrated ones; no update was applied in them."""

    def update(self, record: StepRecord) -> None:
        """Reads the next step."""
        scale = record.loss_scale
        known_scale = scale if is_finite(scale) and scale > 0 else None
        self.has_scaler |= known_scale is not None
        norm = record.grad_norm
        if norm is not None:
            self.finite = math.isfinite(norm)
        elif record.skip_reason in _OVERFLOWS:
            self.finite = False
        elif self.has_scaler and record.applied and record.params_finite and is_finite(record.loss):
            # A scaler applies a step only if it has seen finite gradients.
            self.finite = True
        else:
            self.finite = None
        self.ever_finite |= self.finite is True
        self.calibrated |= self.finite is True or not self.has_scaler
        self.num_calibrating += not self.calibrated
        self.fell_to_zero = scale == 0 and self.last_scale is not None
        if known_scale is not None:
            self.halving = self.last_scale is not None and known_scale < self.last_scale
            self.num_halvings += self.halving
            self.last_scale = known_scale
            if self.first_scale is None:
                self.first_scale = known_scale

    @property
    def scale(self) -> float | None:
        """The loss scale as it is now: the latest, or 0 where it fell to that; None without a scaler."""
        return 0.0 if self.fell_to_zero else self.last_scale


_OVERFLOWS = (SkipReason.NONFINITE, SkipReason.CALIBRATION, SkipReason.INFEASIBLE)


@dataclass(slots=True)
class RunStatistics:
    """What is known of a run up to its latest step, for all detectors."""

    gradient: GradientState = field(default_factory=GradientState)
    loss: LossLevel = field(default_factory=LossLevel)

    def update(self, record: StepRecord) -> None:
        """Reads the next step."""
        self.gradient.update(record)
        if is_finite(record.loss):
            self.loss.update(record.loss, record.step)


class Detector(Protocol):
    """One rule at work on one run.

    | call              | effect                                                                    |
    |-------------------|---------------------------------------------------------------------------|
    | `observe`         | advances by one step; a Finding if the rule holds at this step            |
    | `state_dict`      | all memory of its own as JSON values                                      |
    | `load_state_dict` | continues as if the run had not been interrupted; same config and context |
    """

    def observe(self, record: StepRecord, run: RunStatistics) -> Finding | None:
        """Reads the next step; `run` has read it already."""
        ...

    def state_dict(self) -> dict[str, JSON]:
        """The memory, for a checkpoint."""
        ...

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        ...


@dataclass(frozen=True)
class PlainSteps:
    """Applied steps with finite weights and a finite loss above zero; nothing that is sampled was sampled."""

    steps: Ints
    """[N]"""
    losses: Floats
    """[N]"""
    has_norms: bool
    """Whether all of them log a gradient norm, a finite one; else none does."""
    loss_scale: float | None = None
    """The same positive one at each step; None where none was logged."""


@runtime_checkable
class QuietDetector(Protocol):
    """A detector that can tell beforehand that it will have nothing to say of plain steps."""

    def highest_quiet_level(self, plain: PlainSteps, lowest: Floats, run: RunStatistics) -> Floats | float | None:
        """Level of the loss up to which the rule neither holds nor begins to, where the lowest level was `lowest`.

        Args:
            plain: the steps.
            lowest: at each step, [N].
            run: before these steps.

        Returns:
            [N], or one for all; None if the detector has to see every step as things stand.
        """
        ...

    def pass_over(self, plain: PlainSteps, run: RunStatistics) -> None:
        """Takes steps whose level was not above that; `run` has taken them already."""
        ...


class DetectorSpec(Protocol):
    """The configuration of a detector, as `DetectorConfig` holds them."""

    @property
    def kind(self) -> str:
        """The detector's name; its findings bear it."""
        ...

    def build(self, context: RunContext) -> Detector:
        """The detector of one run."""
        ...


class LoneDetector:
    """A detector at work without a monitor, with statistics of its own."""

    def __init__(self, config: DetectorSpec, context: RunContext) -> None:
        self._detector = config.build(context)
        self._run = RunStatistics(GradientState(has_scaler=context.has_scaler))

    def observe(self, record: StepRecord) -> Finding | None:
        """Reads the next step."""
        self._run.update(record)
        return self._detector.observe(record, self._run)

    def state_dict(self) -> dict[str, JSON]:
        """All memory."""
        return {"run": dump_state(self._run), "detector": self._detector.state_dict()}

    def load_state_dict(self, state: dict[str, JSON]) -> None:
        """Takes the memory of `state_dict`."""
        run, own = state["run"], state["detector"]
        assert isinstance(run, dict) and isinstance(own, dict)
        self._run = load_state(RunStatistics, run)
        self._detector.load_state_dict(own)
