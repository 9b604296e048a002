"""What is read of torch's gradients and weights, for a callback in a torch training."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor | None:
    """Global L2 norm of the gradients as they are; None without any. Sharded ones are summed over their processes."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return None
    norm = torch.nn.utils.get_total_norm(gradients)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def are_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether no weight of this process is NaN or infinite; waits for the device once."""
    local = [p.to_local() if isinstance(p, DTensor) else p for p in parameters]
    floating = [p.detach() for p in local if p.is_floating_point() and p.numel()]
    # The largest absolute value: a sum of squares overflows where all is well.
    return not floating or bool(torch.nn.utils.get_total_norm(floating, norm_type=float("inf")).isfinite())


def read(values: Sequence[Tensor | None]) -> list[float | None]:
    """The numbers in one-element tensors, None for None; waits for the device once."""
    known = [value.detach().reshape(()).double() for value in values if value is not None]
    numbers = iter(torch.stack([value.to(known[0].device) for value in known]).tolist() if known else ())
    return [None if value is None else next(numbers) for value in values]


def mean(values: Sequence[Tensor]) -> Tensor | None:
    """Mean of one-element tensors, on the device of the first; None without any."""
    if not values:
        return None
    return torch.stack([value.detach().double().to(values[0].device) for value in values]).mean()
