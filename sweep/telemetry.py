"""Measurements of tensors: cheap torch functions without state. Results stay on the tensors' device."""

from collections.abc import Iterable

import torch
from torch import Tensor

HALF_MAX = 65504.0
"""Largest finite float16."""


def params_finite(parameters: Iterable[Tensor]) -> Tensor:
    """Whether no element of any parameter is NaN or infinite: a bool scalar, from one fused reduction.

    There must be at least one parameter.
    """
    # The largest absolute value, and not the L2 norm: that one overflows for large but finite weights.
    return torch.isfinite(torch.stack(torch._foreach_norm([p.detach() for p in parameters], ord=float("inf")))).all()


def headroom_bits(values: Tensor) -> Tensor:
    """Doublings left before the largest element overflows in fp16: log2(65504 / max abs), a float scalar.

    Negative if it overflows already; infinite for all zeros; NaN if an element is NaN.
    """
    return torch.log2(HALF_MAX / values.detach().float().abs().amax())


def flush_rate(values: Tensor) -> Tensor:
    """Share of the nonzero elements of an fp32 tensor that fp16 flushes to zero (up to 2^-25), a float scalar.

    NaN if all elements are zero. For gradients under a loss scale, pass the scaled ones.
    """
    nonzero = values.detach() != 0
    flushed = nonzero & (values.detach().half() == 0)
    return flushed.sum() / nonzero.sum()
