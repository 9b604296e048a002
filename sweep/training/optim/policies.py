"""What judges batches by loss and gradient norm.

It judges on the device that the two are on, so that a training on a GPU does not wait for them.
"""

import math
from typing import Any, Protocol

import torch
from torch import Tensor

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


class ThresholdPolicy:
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


class RobustZPolicy:
    """Keeps the log norms in a ring (W = window) and their number on the device of the norms."""

    def __init__(self, *, z: float, window: int, warmup_steps: int) -> None:
        self._z, self._window, self._warmup_steps = z, window, warmup_steps
        self._log_norms_W = torch.full((window,), math.nan, dtype=torch.float64)
        self._num_seen = torch.zeros((), dtype=torch.int64)

    def decide(self, loss: Tensor, grad_norm: Tensor) -> Tensor:
        # No effect but in the first step of a training on a GPU.
        log_norms_W = self._log_norms_W.to(grad_norm.device)
        num_seen = self._num_seen.to(grad_norm.device)
        log_norm = grad_norm.double().log()
        is_outlier = (num_seen >= self._warmup_steps) & (_z(log_norm, log_norms_W, num_seen) > self._z)
        # A norm of 0 has no logarithm: it is applied, and not remembered.
        is_remembered = torch.isfinite(loss) & torch.isfinite(log_norm)
        places_W = torch.arange(self._window, device=grad_norm.device)
        is_written_W = (places_W == num_seen % self._window) & is_remembered
        self._log_norms_W = torch.where(is_written_W, log_norm, log_norms_W)
        self._num_seen = num_seen + is_remembered
        return _code(loss, grad_norm, is_outlier, _NONFINITE)

    def state_dict(self) -> dict[str, Any]:
        oldest = max(0, int(self._num_seen) - self._window) % self._window
        ordered = self._log_norms_W.roll(-oldest).tolist() if oldest else self._log_norms_W.tolist()
        return {"log_norms": [log_norm for log_norm in ordered if not math.isnan(log_norm)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        log_norms = state["log_norms"]
        self._log_norms_W = torch.full((self._window,), math.nan, dtype=torch.float64)
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
