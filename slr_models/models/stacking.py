"""One model over the stacked weights of several: what the models' own operations do within `torch.func.vmap`.

Gradients are taken outside, by `backward` on what the vmap returned: within, an operation works on the stacked tensors
themselves, and autograd records it like any other.

Dimension legend: M stacked models, B batch.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor


def is_stacked() -> bool:
    """Whether this runs within `torch.func.vmap`: then no value can be looked at, as it may differ between models."""
    return torch._C._are_functorch_transforms_active()


def stackable(function: Callable[..., Tensor], stacked: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, and within a vmap `stacked`: it takes the same arguments, tensors with the models first.

    An autograd function can have such a rule itself, but torch then takes 37 us more for each call outside of a vmap.
    """

    class Stackable(torch.autograd.Function):
        @staticmethod
        def forward(*args: Any) -> Tensor:
            return function(*args)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            pass

        @staticmethod
        def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Tensor, int]:
            return stacked(
                *(_models_first(arg, dim, info.batch_size) for arg, dim in zip(args, in_dims, strict=True))
            ), 0

    within_vmap = cast(Callable[..., Tensor], Stackable.apply)

    def call(*args: Any) -> Tensor:
        return within_vmap(*args) if is_stacked() else function(*args)

    return call


def by_utterance(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, whose tensors are all [B, ...] and which knows no batch: within a vmap the stack is a larger one."""

    def stacked(*args: Any) -> Tensor:
        models = next(arg.shape[0] for arg in args if isinstance(arg, Tensor))
        y = function(*(arg.flatten(0, 1) if isinstance(arg, Tensor) else arg for arg in args))
        return y.view(models, -1, *y.shape[1:])

    return stackable(function, stacked)


def _models_first(arg: Any, dim: int | None, models: int) -> Any:
    """[M, ...] of a tensor with the models on axis `dim`; what all models share is repeated without a copy."""
    if not isinstance(arg, Tensor):
        return arg
    return arg.expand(models, *arg.shape) if dim is None else arg.movedim(dim, 0)
