"""Bad-batch policies: whether the update of a batch is applied, judged by its loss and gradient norm.

They judge on the device that the two are on, so that a training on a GPU does not wait for them.
"""

import math
from typing import Annotated, Any, Literal, Protocol, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from slr_models.spec import Spec
from sweep.records import SkipReason

_LEAST_DEVIATION = 0.05
"""Deviation of log norms that is taken for granted: 5 % of wobble is never an outlier."""

_REASONS = (None, SkipReason.NONFINITE, SkipReason.THRESHOLD)
"""By the code that a policy answers."""
_APPLY, _NONFINITE, _THRESHOLD = range(len(_REASONS))


def refusal_reason(code: float) -> SkipReason | None:
    """What a policy's code means, once it has been read; None: the batch is applied."""
    return _REASONS[int(code)]


class BadBatchPolicy(Protocol):
    """Judges the batches of one training, in their order."""

    def decide(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        """Whether not to apply this batch: 0 to apply it, else a code for `refusal_reason`.

        A float32 scalar on the arguments' device, without a host synchronization.

        Args:
            loss: Unscaled loss, a float32 scalar; may be NaN or infinite.
            grad_norm: Norm of the unscaled gradient before clipping, likewise.
        """

    def state_dict(self) -> dict[str, Any]:
        """State to continue from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()` of the same configuration."""


class _ThresholdPolicy:
    """A policy that remembers nothing."""

    def __init__(self, skip_nonfinite: bool, threshold: float) -> None:
        self._nonfinite = _NONFINITE if skip_nonfinite else _APPLY
        self._threshold = threshold

    def decide(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        # In float64, so that the threshold is not rounded.
        return _code(loss, grad_norm, grad_norm.double() > self._threshold, self._nonfinite)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class NeverSkip(Spec):
    """Applies every batch. Without a loss scaler, one non-finite gradient then makes weights NaN."""

    kind: Literal["never_skip"] = "never_skip"

    def build(self) -> BadBatchPolicy:
        """A loss scaler still refuses steps with non-finite gradients by itself."""
        return _ThresholdPolicy(skip_nonfinite=False, threshold=math.inf)


class SkipNonfinite(Spec):
    """Skips a batch whose loss or gradient norm is NaN or infinite."""

    kind: Literal["skip_nonfinite"] = "skip_nonfinite"

    def build(self) -> BadBatchPolicy:
        """A policy without state."""
        return _ThresholdPolicy(skip_nonfinite=True, threshold=math.inf)


class SkipAbove(Spec):
    """Skips a batch whose gradient norm is above a fixed threshold, or not finite.

    The norm grows with the number of output frames a label: a threshold fits one model on one data set.
    """

    kind: Literal["skip_above"] = "skip_above"
    threshold: float = Field(gt=0)
    """Largest norm that is applied, before clipping."""

    def build(self) -> BadBatchPolicy:
        """A policy without state."""
        return _ThresholdPolicy(skip_nonfinite=True, threshold=self.threshold)


class RobustZ(Spec):
    """Skips a batch whose log gradient norm stands out of the recent ones, or is not finite.

    z = (log norm - median) / (1.4826 MAD) over the last `window` finite norms, skipped ones included: when
    norms rise for good, the policy follows after half a window and cannot lock the training out.
    """

    kind: Literal["robust_z"] = "robust_z"
    z: float = Field(default=6.0, gt=0)
    """Deviations above the median from which a batch is skipped."""
    window: int = Field(default=128, ge=8)
    """Finite norms that are remembered."""
    warmup_steps: int = Field(default=32, ge=4)
    """Finite norms to be seen before the first judgement."""

    @model_validator(mode="after")
    def _warmup_fits_window(self) -> Self:
        if self.warmup_steps > self.window:
            raise ValueError(
                f"`warmup_steps` must be at most `window`, but {self.warmup_steps} > {self.window}; "
                "with fewer remembered norms the policy would never judge."
            )
        return self

    def build(self) -> BadBatchPolicy:
        """A policy with an empty window."""
        return _RobustZPolicy(self)


BadBatchConfig = Annotated[NeverSkip | SkipNonfinite | SkipAbove | RobustZ, Field(discriminator="kind")]


class _RobustZPolicy:
    """Keeps the log norms in a ring (W = window) and their number on the device of the norms."""

    def __init__(self, config: RobustZ) -> None:
        self._config = config
        self._log_norms_W = torch.full((config.window,), math.nan, dtype=torch.float64)
        self._num_seen = torch.zeros((), dtype=torch.int64)

    def decide(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        # No effect but in the first step of a training on a GPU.
        log_norms_W = self._log_norms_W.to(grad_norm.device)
        num_seen = self._num_seen.to(grad_norm.device)
        log_norm = grad_norm.double().log()
        is_outlier = (num_seen >= self._config.warmup_steps) & (_z(log_norm, log_norms_W, num_seen) > self._config.z)
        # A norm of 0 has no logarithm: it is applied, and not remembered.
        is_remembered = torch.isfinite(loss) & torch.isfinite(log_norm)
        places_W = torch.arange(self._config.window, device=grad_norm.device)
        is_written_W = (places_W == num_seen % self._config.window) & is_remembered
        self._log_norms_W = torch.where(is_written_W, log_norm, log_norms_W)
        self._num_seen = num_seen + is_remembered
        return _code(loss, grad_norm, is_outlier, _NONFINITE)

    def state_dict(self) -> dict[str, Any]:
        oldest = max(0, int(self._num_seen) - self._config.window) % self._config.window
        ordered = self._log_norms_W.roll(-oldest).tolist() if oldest else self._log_norms_W.tolist()
        return {"log_norms": [log_norm for log_norm in ordered if not math.isnan(log_norm)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        log_norms = state["log_norms"]
        self._log_norms_W = torch.full((self._config.window,), math.nan, dtype=torch.float64)
        self._log_norms_W[: len(log_norms)] = torch.tensor(log_norms, dtype=torch.float64)
        self._num_seen = torch.tensor(len(log_norms))


def _code(loss: Tensor, grad_norm: Tensor, is_outlier: Tensor, nonfinite: int) -> Tensor:
    is_finite = torch.isfinite(loss) & torch.isfinite(grad_norm)
    return torch.where(is_finite, torch.where(is_outlier, _THRESHOLD, _APPLY), nonfinite).float()


def _z(log_norm: Tensor, log_norms_W: Tensor, num_seen: Tensor) -> Tensor:
    """Deviations that `log_norm` lies above the median; NaN as long as there is none."""
    num_known = num_seen.clamp(max=len(log_norms_W))
    median = _median(log_norms_W, num_known)
    deviation = 1.4826 * _median((log_norms_W - median).abs(), num_known)
    return (log_norm - median) / deviation.clamp(min=_LEAST_DEVIATION)


def _median(values_W: Tensor, num_known: Tensor) -> Tensor:
    """Median of the values, of which `num_known` are not NaN; the mean of the middle two if that is even."""
    middle_2 = torch.stack([(num_known - 1).clamp(min=0) // 2, num_known // 2])
    # NaN comes last.
    lower, upper = values_W.sort().values.index_select(0, middle_2).unbind()
    return (lower + upper) / 2
