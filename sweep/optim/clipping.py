"""Gradient norm and clipping. Clipping never repairs a NaN: that is the bad-batch policy's matter."""

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import Parameter

from slr_models.spec import Spec


def grad_norm(parameters: Sequence[Parameter]) -> Tensor:
    """Global L2 norm of the gradients, a scalar on their device; 0 if there is none.

    NaN or infinite if a gradient is, and infinite if a finite one is above the root of fp32's range (1.8e19).
    """
    return torch.nn.utils.get_total_norm(
        [parameter.grad for parameter in parameters if parameter.grad is not None], foreach=True
    )


class Clipper(Protocol):
    """Limits the gradients of one training, in place."""

    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor) -> None:
        """Clips; `grad_norm` is the norm of these gradients as they are. If not finite, no statistic sees it."""

    def state_dict(self) -> dict[str, Any]:
        """State to continue from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state_dict()` of the same configuration."""


class _FixedClipper:
    """A clipper that remembers nothing."""

    def __init__(self, clip: Callable[[Sequence[Parameter], Tensor], None]) -> None:
        self._clip = clip

    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor) -> None:
        self._clip(parameters, grad_norm)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Off(Spec):
    """No clipping."""

    kind: Literal["off"] = "off"

    def build(self) -> Clipper:
        """A clipper that does nothing."""
        return _FixedClipper(lambda parameters, norm: None)


class ByNorm(Spec):
    """Scales all gradients by one factor, so that their global L2 norm is at most `max_norm`."""

    kind: Literal["norm"] = "norm"
    max_norm: float = Field(default=1.0, gt=0)
    """Largest norm, in the unit of the (unscaled) gradient."""

    def build(self) -> Clipper:
        """A NaN or infinite norm spoils every gradient."""

        def clip(parameters: Sequence[Parameter], norm: Tensor) -> None:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_norm, norm, foreach=True)

        return _FixedClipper(clip)


class ByValue(Spec):
    """Limits each gradient element to [-max_value, max_value]; this turns the gradient's direction."""

    kind: Literal["value"] = "value"
    max_value: float = Field(default=1.0, gt=0)
    """Largest absolute value."""

    def build(self) -> Clipper:
        """An infinite element becomes finite; a NaN stays."""

        def clip(parameters: Sequence[Parameter], norm: Tensor) -> None:
            torch.nn.utils.clip_grad_value_(parameters, self.max_value, foreach=True)

        return _FixedClipper(clip)


class Agc(Spec):
    """Adaptive gradient clipping: limits the gradient of each output unit relative to its weights.

    Brock et al. 2021 (arXiv 2102.06171). A unit is a row of a weight matrix, an output channel of a
    convolution, or a whole vector. All parameters are clipped, the classifier's too (the paper exempts it).
    """

    kind: Literal["agc"] = "agc"
    max_ratio: float = Field(default=0.01, gt=0)
    """Largest norm of a unit's gradient over the norm of its weights."""
    eps: float = Field(default=1e-3, gt=0)
    """Least norm that a unit's weights are taken to have: zero-initialized ones must be able to move."""

    def build(self) -> Clipper:
        """A non-finite unit stays non-finite; the others are clipped as usual."""

        def clip(parameters: Sequence[Parameter], norm: Tensor) -> None:
            for parameter in parameters:
                if parameter.grad is not None:
                    _clip_units_(parameter.grad, parameter.detach(), self.max_ratio, self.eps)

        return _FixedClipper(clip)


class Adaptive(Spec):
    """ZClip (arXiv 2504.02507): limits norms that stand out of their own running mean and deviation.

    A norm that lies s > z deviations above the mean is cut to mean + z^2 / s * deviation: the farther out,
    the stronger the cut. The cut norm is what enters the running statistics.
    """

    kind: Literal["adaptive"] = "adaptive"
    z: float = Field(default=2.5, gt=0)
    """Deviations above the mean from which a norm is cut."""
    decay: float = Field(default=0.97, gt=0, lt=1)
    """Share of the running mean and variance that one step keeps."""
    warmup_steps: int = Field(default=25, ge=2)
    """Finite norms that set the first mean and variance; these are not clipped."""

    def build(self) -> Clipper:
        """A non-finite norm is neither clipped nor remembered."""
        return _AdaptiveClipper(self)


ClipConfig = Annotated[Off | ByNorm | ByValue | Agc | Adaptive, Field(discriminator="kind")]


def _clip_units_(gradient: Tensor, weight: Tensor, max_ratio: float, eps: float) -> None:
    dims = tuple(range(1, weight.ndim)) or None
    limit = torch.linalg.vector_norm(weight, dim=dims, keepdim=True).clamp_(min=eps).mul_(max_ratio)
    norm = torch.linalg.vector_norm(gradient, dim=dims, keepdim=True)
    # A unit without gradient gives a factor of inf, which the clamp makes 1.
    gradient.mul_((limit / norm).clamp_(max=1.0))


class _AdaptiveClipper:
    def __init__(self, config: Adaptive) -> None:
        self._config = config
        self._first_norms: list[float] = []
        self._mean = math.nan
        self._variance = math.nan

    def clip_(self, parameters: Sequence[Parameter], grad_norm: Tensor) -> None:
        norm = grad_norm.item()
        if not math.isfinite(norm):
            return
        if len(self._first_norms) < self._config.warmup_steps:
            self._start(norm)
            return
        limit = self._limit(norm)
        if limit < norm:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, grad_norm, foreach=True)
        self._observe(min(norm, limit))

    def _start(self, norm: float) -> None:
        self._first_norms.append(norm)
        if len(self._first_norms) == self._config.warmup_steps:
            self._mean = sum(self._first_norms) / len(self._first_norms)
            self._variance = sum((x - self._mean) ** 2 for x in self._first_norms) / len(self._first_norms)

    def _limit(self, norm: float) -> float:
        deviation = math.sqrt(self._variance)
        # Written without a division by the deviation, which is 0 when all norms were equal.
        excess = norm - self._mean
        if excess <= self._config.z * deviation:
            return math.inf
        return self._mean + self._config.z**2 * self._variance / excess

    def _observe(self, norm: float) -> None:
        keep = self._config.decay
        self._mean = keep * self._mean + (1 - keep) * norm
        self._variance = keep * self._variance + (1 - keep) * (norm - self._mean) ** 2

    def state_dict(self) -> dict[str, Any]:
        return {"first_norms": list(self._first_norms), "mean": self._mean, "variance": self._variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._first_norms = list(state["first_norms"])
        self._mean = state["mean"]
        self._variance = state["variance"]
