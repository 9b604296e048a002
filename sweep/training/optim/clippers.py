"""Gradient norm, and what clips. Clipping never repairs a NaN: that is the bad-batch policy's matter."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Parameter


def grad_norm(parameters: Sequence[Parameter]) -> Tensor:
    """Global L2 norm of the gradients, a scalar on their device; 0 if there is none.

    NaN or infinite if a gradient is, and infinite if a finite one is above the root of fp32's range (1.8e19).
    """
    gradients = _gradients(parameters)
    if not gradients:
        return torch.zeros((), device=parameters[0].device if parameters else None)
    # As torch's `get_total_norm`, which sorts the gradients by device first.
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _gradients(parameters: Sequence[Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


class Clipper(Protocol):
    """Limits the gradients of one training, in place."""

    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor, refused: Tensor) -> None:
        """Clips, without a host synchronization.

        Args:
            parameters: Those whose gradients are clipped.
            grad_norm: Norm of these gradients as they are. If not finite, no statistic sees it.
            refused: A bool scalar: whether the step will not be applied, so that no statistic may see it, and the
                gradients may become anything.
        """

    def state_dict(self) -> dict[str, Any]:
        """State to continue from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()` of the same configuration."""


class _FixedClipper:
    """A clipper that remembers nothing."""

    def __init__(self, clip: Callable[[Sequence[Parameter], Tensor], None]) -> None:
        self._clip = clip

    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor, refused: Tensor) -> None:
        self._clip(parameters, grad_norm)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def off() -> Clipper:
    """Clips nothing."""
    return _FixedClipper(lambda parameters, norm: None)


def by_norm(max_norm: float) -> Clipper:
    """Scales all gradients by one factor, so that their global norm is at most this."""

    def clip(parameters: Sequence[Parameter], norm: Tensor) -> None:
        # As torch's `clip_grads_with_norm_`, which sorts the gradients by device first.
        torch._foreach_mul_(_gradients(parameters), (max_norm / (norm + 1e-6)).clamp(max=1.0))

    return _FixedClipper(clip)


def by_value(max_value: float) -> Clipper:
    """Limits each element of the gradients to [-max_value, max_value]."""

    def clip(parameters: Sequence[Parameter], norm: Tensor) -> None:
        torch.nn.utils.clip_grad_value_(parameters, max_value, foreach=True)

    return _FixedClipper(clip)


def by_unit(max_ratio: float, eps: float) -> Clipper:
    """Limits each output unit's gradient to this share of the norm of its weights, which is taken as at least `eps`."""

    def clip(parameters: Sequence[Parameter], norm: Tensor) -> None:
        for parameter in parameters:
            if parameter.grad is not None:
                _clip_units_(parameter.grad, parameter.detach(), max_ratio, eps)

    return _FixedClipper(clip)


def _clip_units_(gradient: Tensor, weight: Tensor, max_ratio: float, eps: float) -> None:
    dims = tuple(range(1, weight.ndim)) or None
    limit = torch.linalg.vector_norm(weight, dim=dims, keepdim=True).clamp_(min=eps).mul_(max_ratio)
    norm = torch.linalg.vector_norm(gradient, dim=dims, keepdim=True)
    # A unit without gradient gives a factor of inf, which the clamp makes 1.
    gradient.mul_((limit / norm).clamp_(max=1.0))


class AdaptiveClipper:
    """Keeps the statistics in float64 on the device of the norms (N = warmup_steps)."""

    def __init__(self, *, z: float, decay: float, warmup_steps: int) -> None:
        self._z, self._decay, self._warmup_steps = z, decay, warmup_steps
        self._first_norms_N = torch.full((warmup_steps,), math.nan, dtype=torch.float64)
        self._num_first = torch.zeros((), dtype=torch.int64)
        self._mean = torch.full((), math.nan, dtype=torch.float64)
        self._variance = torch.full((), math.nan, dtype=torch.float64)

    @torch.no_grad()
    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor, refused: Tensor) -> None:
        self._move_to(grad_norm.device)
        norm = grad_norm.double()
        counts = torch.isfinite(norm) & ~refused
        is_judged = counts & (self._num_first == self._warmup_steps)
        limit = self._limit(norm)
        is_cut = is_judged & (limit < norm)
        # As in torch's clip_grads_with_norm_, whose limit cannot be a tensor.
        factor = torch.where(is_cut, (grad_norm + 1e-6).reciprocal() * limit.float(), 1.0).clamp(max=1.0)
        torch._foreach_mul_(_gradients(parameters), factor)
        self._observe(torch.minimum(norm, limit), is_judged)
        self._start(norm, counts & ~is_judged)

    def _move_to(self, device: torch.device) -> None:
        """No effect but in the first step of a training on a GPU."""
        self._first_norms_N = self._first_norms_N.to(device)
        self._num_first = self._num_first.to(device)
        self._mean = self._mean.to(device)
        self._variance = self._variance.to(device)

    def _start(self, norm: Tensor, counts: Tensor) -> None:
        """Collects one of the first norms, and after the last of them sets mean and variance."""
        places_N = torch.arange(self._warmup_steps, device=norm.device)
        self._first_norms_N = torch.where((places_N == self._num_first) & counts, norm, self._first_norms_N)
        self._num_first = self._num_first + counts
        is_last = counts & (self._num_first == self._warmup_steps)
        # Added up one after the other, so that every device rounds alike.
        mean = self._first_norms_N.cumsum(0)[-1] / self._warmup_steps
        variance = ((self._first_norms_N - mean) ** 2).cumsum(0)[-1] / self._warmup_steps
        self._mean = torch.where(is_last, mean, self._mean)
        self._variance = torch.where(is_last, variance, self._variance)

    def _limit(self, norm: Tensor) -> Tensor:
        deviation = self._variance.sqrt()
        # Written without a division by the deviation, which is 0 when all norms were equal.
        excess = norm - self._mean
        limit = self._mean + self._z**2 * self._variance / excess
        return torch.where(excess <= self._z * deviation, math.inf, limit)

    def _observe(self, norm: Tensor, counts: Tensor) -> None:
        keep = self._decay
        mean = keep * self._mean + (1 - keep) * norm
        variance = keep * self._variance + (1 - keep) * (norm - mean) ** 2
        self._mean = torch.where(counts, mean, self._mean)
        self._variance = torch.where(counts, variance, self._variance)

    def state_dict(self) -> dict[str, Any]:
        return {
            "first_norms": self._first_norms_N[: int(self._num_first)].tolist(),
            "mean": self._mean.item(),
            "variance": self._variance.item(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        first_norms = state["first_norms"]
        self._first_norms_N = torch.full((self._warmup_steps,), math.nan, dtype=torch.float64)
        self._first_norms_N[: len(first_norms)] = torch.tensor(first_norms, dtype=torch.float64)
        self._num_first = torch.tensor(len(first_norms))
        self._mean = torch.tensor(state["mean"], dtype=torch.float64)
        self._variance = torch.tensor(state["variance"], dtype=torch.float64)


class TensorClipper:
    """Keeps a running mean of each tensor's clipped norms on the device of the norms (P tensors)."""

    def __init__(self, *, max_ratio: float, decay: float, max_norm: float, warmup_steps: int) -> None:
        self._max_ratio, self._decay, self._max_norm, self._warmup_steps = max_ratio, decay, max_norm, warmup_steps
        self._num_first = torch.zeros((), dtype=torch.int64)
        self._means_P = torch.empty(0)
        """Infinite where no norm was seen yet."""

    @torch.no_grad()
    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor, refused: Tensor) -> None:
        has_gradient = [parameter.grad is not None for parameter in parameters]
        if not any(has_gradient):
            return
        self._make_ready(len(parameters), grad_norm.device)
        gradients = _gradients(parameters)
        norms, zero = iter(torch._foreach_norm(gradients)), grad_norm.new_zeros(())
        norms_P = torch.stack([next(norms) if has else zero for has in has_gradient]).float()
        counts = torch.isfinite(grad_norm) & ~refused
        is_first = self._num_first < self._warmup_steps
        globally = (self._max_norm / (grad_norm + 1e-6)).clamp(max=1.0)
        # 0 / 0 of a tensor without gradient, and inf / 0 before its first one, give NaN or inf: nothing to clip.
        by_mean_P = torch.nan_to_num(self._max_ratio * self._means_P / norms_P, nan=1.0).clamp(max=1.0)
        factors_P = torch.where(counts, torch.where(is_first, globally, by_mean_P), 1.0)
        factors = [factor for factor, has in zip(factors_P.unbind(), has_gradient, strict=True) if has]
        torch._foreach_mul_(gradients, factors)
        self._observe(norms_P * factors_P, counts, is_first)

    def _make_ready(self, num: int, device: torch.device) -> None:
        """No effect but in the first step of a training."""
        if not len(self._means_P):
            self._means_P = torch.full((num,), math.inf)
        self._means_P = self._means_P.to(device)
        self._num_first = self._num_first.to(device)

    def _observe(self, clipped_P: Tensor, counts: Tensor, is_first: Tensor) -> None:
        least_P = torch.minimum(self._means_P, clipped_P)
        mean_P = self._decay * self._means_P + (1 - self._decay) * clipped_P
        new_P = torch.where(is_first | torch.isinf(self._means_P), least_P, mean_P)
        self._means_P = torch.where(counts & (clipped_P > 0), new_P, self._means_P)
        self._num_first = self._num_first + (counts & is_first)

    def state_dict(self) -> dict[str, Any]:
        return {"num_first": int(self._num_first), "means": self._means_P.tolist()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_first = torch.tensor(state["num_first"])
        self._means_P = torch.tensor(state["means"], dtype=torch.float32)
