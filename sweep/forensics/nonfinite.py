"""Looking for NaN and infinities in tensors, and in what a training keeps between its steps."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from sweep.records import NAN, FirstNonfinite, Place


@dataclass(frozen=True)
class Summary:
    """How large some values are, and how many are none."""

    absmax: float
    """Largest finite absolute value; NaN if there is none."""
    num_nan: int
    num_inf: int


@torch.no_grad()
def summarize(tensors: Iterable[Tensor]) -> Summary:
    """Over all elements of all tensors."""
    absmax, num_nan, num_inf = NAN, 0, 0
    for tensor in tensors:
        values = tensor.detach()
        finite = values.isfinite()
        num_nan += int(values.isnan().sum())
        num_inf += int(values.isinf().sum())
        if bool(finite.any()):
            largest = values.abs().where(finite, 0.0).max().item()
            absmax = largest if math.isnan(absmax) else max(absmax, largest)
    return Summary(absmax, num_nan, num_inf)


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no element of any of them is NaN or infinite."""
    return all(bool(tensor.detach().isfinite().all()) for tensor in tensors)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and mappings."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors_in(item)]
    return []


def _bad_tensor(place: Place, step: int, operation: str, path: str, tensor: Tensor) -> FirstNonfinite:
    summary = summarize([tensor])
    return FirstNonfinite(
        place=place,
        step=step,
        operation=operation,
        path=path,
        dtype=str(tensor.dtype).removeprefix("torch."),
        input_absmax=NAN,
        output_absmax=summary.absmax,
        num_nan=summary.num_nan,
        num_inf=summary.num_inf,
    )


def bad_weight(model: Module, place: Place, step: int) -> FirstNonfinite | None:
    """The first parameter or buffer of the model that is not finite."""
    for path, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and not all_finite([tensor]):
            return _bad_tensor(place, step, "optimizer step" if place is Place.WEIGHT else "", path, tensor)
    return None


def bad_gradient(model: Module, step: int) -> FirstNonfinite:
    """The gradients reached the weights finite and are not so any more, or their norm alone is infinite."""
    for path, parameter in model.named_parameters():
        if parameter.grad is not None and not all_finite([parameter.grad]):
            return _bad_tensor(Place.GRADIENT, step, "unscaling", path, parameter.grad)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return FirstNonfinite(Place.GRADIENT, step, "norm", "", "float32", summarize(gradients).absmax, NAN, 0, 1)


def bad_state(model: Module, optimizer: Optimizer, step: int) -> FirstNonfinite | None:
    """The first moment of the optimizer that is not finite."""
    for path, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor) and value.is_floating_point() and not all_finite([value]):
                return _bad_tensor(Place.OPTIMIZER_STATE, step, key, path, value)
    return None
