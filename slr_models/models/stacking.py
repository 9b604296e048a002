"""One model over the stacked weights of several: what the models' own operations do within `torch.func.vmap`.

Gradients are taken outside, by `backward` on what the vmap returned: within, an operation works on the stacked tensors
themselves, and autograd records it like any other.

Dimension legend: M stacked models, B batch.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import _add_batch_dim, _unwrap_batched
from torch._functorch.pyfunctorch import VmapInterpreter, retrieve_current_functorch_interpreter


def is_stacked() -> bool:
    """Whether this runs within `torch.func.vmap`: then no value can be looked at, as it may differ between models."""
    return torch._C._are_functorch_transforms_active()


def stackable(function: Callable[..., Tensor], stacked: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, and within a vmap `stacked`: it takes the same arguments, tensors with the models first.

    An autograd function can have such a rule itself, but torch then takes 37 us more for each call outside of a vmap,
    and 160 us within. This does what torch does with the rule, for one level of vmap.
    """

    def call(*args: Any) -> Tensor:
        if not is_stacked():
            return function(*args)
        interpreter = retrieve_current_functorch_interpreter()
        if not isinstance(interpreter, VmapInterpreter):
            return function(*args)
        level, models = interpreter.level(), interpreter.batch_size()
        tensors = [_models_first(arg, level, models) if isinstance(arg, Tensor) else arg for arg in args]
        with interpreter.lower():
            y = stacked(*tensors)
        return _add_batch_dim(y, 0, level)

    return call


def by_utterance(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`function`, whose tensors are all [B, ...] and which knows no batch: within a vmap the stack is a larger one."""

    def stacked(*args: Any) -> Tensor:
        models = next(arg.shape[0] for arg in args if isinstance(arg, Tensor))
        y = function(*(arg.flatten(0, 1) if isinstance(arg, Tensor) else arg for arg in args))
        return y.view(models, -1, *y.shape[1:])

    return stackable(function, stacked)


def _models_first(tensor: Tensor, level: int, models: int) -> Tensor:
    """[M, ...], what lies under a tensor of the vmap; what all models share is repeated without a copy."""
    stacked, axis = _unwrap_batched(tensor, level)
    return stacked.expand(models, *stacked.shape) if axis is None else stacked.movedim(axis, 0)
