"""Measurements of tensors: torch functions without state. Results stay on the tensors' device; nothing syncs."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

HALF_MAX = torch.finfo(torch.float16).max
"""Largest finite float16: 65504."""
ABSENT = -1.0
"""Stands where a measurement is not defined, such as a ratio to zero; measured values are at least 0, or NaN."""


def params_finite(parameters: Iterable[Tensor]) -> Tensor:
    """Whether no element of any parameter is NaN or infinite: a bool scalar, from fused operations.

    There must be at least one parameter.
    """
    # The largest absolute value, and not the L2 norm: that one overflows for large but finite weights. A fused norm
    # of order infinity says the same, but is five times slower on a CPU.
    return torch.isfinite(torch.stack(torch._foreach_max(torch._foreach_abs([p.detach() for p in parameters])))).all()


def absmax(values: Tensor) -> Tensor:
    """Largest absolute element, a float32 scalar; NaN if an element is NaN. There must be at least one element."""
    low, high = torch.aminmax(values.detach())
    return torch.maximum(-low, high).float()


def headroom_bits(largest: float, dtype: torch.dtype) -> float:
    """Doublings left before a largest absolute value overflows in a format: log2(maximum / largest).

    Infinite for 0, minus infinite for an infinite value, NaN for NaN.
    """
    if math.isnan(largest):
        return math.nan
    if largest == 0.0:
        return math.inf
    return math.log2(torch.finfo(dtype).max) - math.log2(largest) if largest < math.inf else -math.inf


def flush_rate(gradient: Tensor, reference: Tensor) -> Tensor:
    """Share of the elements that are zero in a gradient, of those that are not zero in its reference, a float scalar.

    ABSENT if the whole reference is zero. The two need not be on the same scale.
    """
    nonzero = reference != 0
    count = nonzero.sum()
    return torch.where(count > 0, (nonzero & (gradient == 0)).sum() / count, ABSENT)


def update_ratios(before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
    """Norm of the change of each weight tensor over its norm before, [N]; ABSENT for one that was all zeros."""
    changes = torch.stack(torch._foreach_norm(torch._foreach_sub(list(after), list(before))))
    norms = torch.stack(torch._foreach_norm(list(before)))
    return torch.where(norms == 0, ABSENT, changes / norms)


def adam_rms(
    gradients: Sequence[Tensor], squares: Sequence[Tensor], steps_N: Tensor, beta2: float, eps: float
) -> Tensor:
    """RMS_t of each weight tensor, [N]: sqrt(mean(g^2 / max(v, eps^2))), after a step.

    About 1 or less while gradients are as large as Adam remembers them; 1 at the first step. This is the definition
    of StableAdamW (Wortsman et al. 2023, arXiv 2304.13013): v has seen g. With v from before the step, a few elements
    that hardly had a gradient before would decide the mean.

    Args:
        gradients: g, as the optimizer took them.
        squares: Adam's running means of squared gradients; v is these, bias-corrected.
        steps_N: steps that each of them has seen.
        beta2: decay of `squares`.
        eps: Adam's epsilon.
    """
    corrections_N = torch.sqrt(1.0 - beta2**steps_N)
    roots = torch._foreach_sqrt(list(squares))
    torch._foreach_div_(roots, list(corrections_N.unbind()))
    torch._foreach_clamp_min_(roots, eps)
    norms_N = torch.stack(torch._foreach_norm(torch._foreach_div(list(gradients), roots)))
    sizes_N = torch.tensor([float(g.numel()) for g in gradients]).to(steps_N.device, non_blocking=True)
    return norms_N / sizes_N.sqrt()
