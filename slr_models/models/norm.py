"""Normalizations whose statistics come from valid frames only, and whose outputs are zero in the padding.

Dimension legend: B batch, T frames, C channels; R rows that share statistics, K frames of such a row.

The layout is [B, T, C] everywhere: pointwise layers are plain matrix products, and per-channel work runs along
contiguous memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slr_models.models.base import ceil_div_lengths
from slr_models.models.configs import NormKind
from slr_models.models.stacking import is_stacked, stackable

EPSILON = 1e-5
BATCH_MOMENTUM = 0.1
MAX_NORM_GROUPS = 32
MIN_GROUP_CHANNELS = 16
"""With a few values only (a short utterance, a narrow model) a variance near 0 would magnify rounding errors."""


@dataclass(frozen=True)
class Frames:
    """Which frames of a padded batch are valid, prepared once for all layers of one frame rate."""

    lengths_B: Tensor
    num_frames: int
    """Frames of the padded batch, T."""
    valid_BT1: Tensor | None
    """1 at valid frames, else 0; None where the batch has no padding, so that masking costs nothing."""
    inverse_count_B11: Tensor
    """1 / valid frames of each row."""
    inverse_total_111: Tensor
    """1 / valid frames of the batch."""
    attend_B11T: Tensor | None
    """Keys that attention may look at; None where the batch has no padding."""

    @staticmethod
    def of(lengths_B: Tensor, num_frames: int, dtype: torch.dtype) -> "Frames":
        """Masks for `lengths_B` valid frames of `num_frames`.

        On an accelerator the masks are always made: to look at the lengths would wait for the device. Within a vmap
        too: there each model has lengths of its own.
        """
        counts_B = lengths_B.clamp(min=1).to(dtype)
        valid_BT1 = attend_B11T = None
        if lengths_B.device.type != "cpu" or is_stacked() or not bool((lengths_B == num_frames).all()):
            valid_BT = torch.arange(num_frames, device=lengths_B.device) < lengths_B[:, None]
            valid_BT1 = valid_BT[:, :, None].to(dtype)
            # A row without any key would make softmax 0/0; its outputs are padding, so any key will do.
            attend_BT = valid_BT.clone()
            attend_BT[:, 0] = True
            attend_B11T = attend_BT[:, None, None, :]
        return Frames(
            lengths_B,
            num_frames,
            valid_BT1,
            counts_B.reciprocal()[:, None, None],
            counts_B.sum().reciprocal().view(1, 1, 1),
            attend_B11T,
        )

    def strided(self, stride: int) -> "Frames":
        """The frames that are left after a "same"-padded layer with this stride."""
        return Frames.of(
            ceil_div_lengths(self.lengths_B, stride), -(-self.num_frames // stride), self.inverse_count_B11.dtype
        )

    def mask(self, x_BTC: Tensor) -> Tensor:
        """Zeroes the padding, which must be finite."""
        return x_BTC if self.valid_BT1 is None else x_BTC * self.valid_BT1

    def erase(self, x_BTC: Tensor) -> Tensor:
        """Zeroes the padding, whatever it holds (at several times the cost of `mask`)."""
        return x_BTC if self.valid_BT1 is None else torch.where(self.valid_BT1 > 0, x_BTC, 0.0)


def _group_means(sums_RNC: Tensor, inverse_count_R11: Tensor, num_groups: int) -> Tensor:
    """Means over frames and the channels of a group, for N kinds of sums: [R, N, C], or [R, N, 1] of one group."""
    rows, kinds, channels = sums_RNC.shape
    size = channels // num_groups
    if size == 1:
        return sums_RNC * inverse_count_R11
    grouped = sums_RNC.view(rows, kinds, num_groups, size).sum(3, keepdim=True)
    means = grouped.mul_(inverse_count_R11[:, :, :, None]).mul_(1 / size)
    if num_groups == 1:
        return means.view(rows, kinds, 1)
    return means.expand(rows, kinds, num_groups, size).reshape(rows, kinds, channels)


class _MaskedNormalize(torch.autograd.Function):
    """weight * (x - mean) / sqrt(var + eps) + bias over valid frames, then optionally ReLU; padding gives 0.

    Two-pass statistics. Written by hand because autograd's chain of small operations costs more than the
    convolutions around it. Running statistics, where given, follow in place (with the unbiased variance).

    Weights may also be [R, 1, C], those of each row, and running statistics [R, C].
    """

    @staticmethod
    def forward(
        ctx: Any,
        x_RKC: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        valid_RK1: Tensor | None,
        inverse_count_R11: Tensor,
        num_groups: int,
        relu: bool,
        running_mean_C: Tensor | None,
        running_var_C: Tensor | None,
    ) -> Tensor:
        masked_RKC = x_RKC if valid_RK1 is None else x_RKC * valid_RK1
        mean_R1C = _group_means(masked_RKC.sum(1, keepdim=True), inverse_count_R11, num_groups)
        centred_RKC = masked_RKC - mean_R1C
        if valid_RK1 is not None:
            centred_RKC.mul_(valid_RK1)
        square_sum_R1C = (centred_RKC * centred_RKC).sum(1, keepdim=True)
        var_R1C = _group_means(square_sum_R1C, inverse_count_R11, num_groups)
        rstd_R1C = (var_R1C + EPSILON).rsqrt_()
        y_RKC = torch.addcmul(bias_C, centred_RKC, rstd_R1C * weight_C)
        if relu:
            y_RKC.relu_()
        if valid_RK1 is not None:
            y_RKC.mul_(valid_RK1)
        ctx.save_for_backward(centred_RKC, rstd_R1C, weight_C, valid_RK1, inverse_count_R11, y_RKC if relu else None)
        ctx.num_groups = num_groups
        if running_mean_C is not None and running_var_C is not None:
            # n / (n - 1), and 2 where one frame alone has no variance to correct.
            unbias_R1 = 1 / (1 - inverse_count_R11[:, 0]).clamp(min=0.5)
            channels = running_mean_C.shape[-1]
            running_mean_C.view(-1, channels).lerp_(mean_R1C[:, 0], BATCH_MOMENTUM)
            running_var_C.view(-1, channels).lerp_(var_R1C[:, 0] * unbias_R1, BATCH_MOMENTUM)
        return y_RKC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_RKC: Tensor) -> tuple[Tensor | None, ...]:
        centred_RKC, rstd_R1C, weight_C, valid_RK1, inverse_count_R11, y_RKC = ctx.saved_tensors
        if y_RKC is not None:
            # The output is 0 in the padding too, so this also masks.
            grad_RKC = torch.ops.aten.threshold_backward(grad_RKC, y_RKC, 0)
        elif valid_RK1 is not None:
            grad_RKC = grad_RKC * valid_RK1
        grad_sum_R1C = grad_RKC.sum(1, keepdim=True)
        product_sum_R1C = (grad_RKC * centred_RKC).sum(1, keepdim=True)
        grad_weight_C, grad_bias_C = product_sum_R1C * rstd_R1C, grad_sum_R1C
        if weight_C.dim() == 1:
            grad_weight_C, grad_bias_C = grad_weight_C.sum((0, 1)), grad_bias_C.sum((0, 1))
        sums_R2C = torch.cat((grad_sum_R1C, product_sum_R1C), 1) * weight_C
        means_R2C = _group_means(sums_R2C, inverse_count_R11, ctx.num_groups)
        mean_grad_R1C, mean_product_R1C = means_R2C[:, :1], means_R2C[:, 1:]
        grad_x_RKC = torch.addcmul(mean_grad_R1C * -rstd_R1C, grad_RKC, rstd_R1C * weight_C)
        grad_x_RKC.addcmul_(centred_RKC, mean_product_R1C * (rstd_R1C * rstd_R1C * rstd_R1C), value=-1)
        if valid_RK1 is not None:
            grad_x_RKC.mul_(valid_RK1)
        return grad_x_RKC, grad_weight_C, grad_bias_C, None, None, None, None, None, None


_apply_normalize = cast(Callable[..., Tensor], _MaskedNormalize.apply)


def _normalize_stacked(
    x_MRKC: Tensor,
    weight_MC: Tensor,
    bias_MC: Tensor,
    valid_MRK1: Tensor | None,
    inverse_count_MR11: Tensor,
    *others: Any,
) -> Tensor:
    """`_normalize` with the weights of each model, [M, R, K, C]: the rows of all models are rows."""
    rows = x_MRKC.shape[1]
    y_LKC = _apply_normalize(
        x_MRKC.flatten(0, 1),
        weight_MC[:, None, None].expand(-1, rows, -1, -1).flatten(0, 1),
        bias_MC[:, None, None].expand(-1, rows, -1, -1).flatten(0, 1),
        None if valid_MRK1 is None else valid_MRK1.flatten(0, 1),
        inverse_count_MR11.flatten(0, 1),
        *others,
    )
    return y_LKC.view(x_MRKC.shape)


_normalize = stackable(_apply_normalize, _normalize_stacked)


def full_precision(x: Tensor) -> Tensor:
    """Half-precision values as float32: norms compute in float32, as CUDA autocast has them do."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def num_norm_groups(channels: int) -> int:
    """Groups of a group norm: the largest divisor of `channels` that is at most 32 and leaves 16 channels."""
    limit = max(1, min(MAX_NORM_GROUPS, channels // MIN_GROUP_CHANNELS))
    return next(count for count in range(limit, 0, -1) if channels % count == 0)


class MaskedNorm(nn.Module):
    """Batch, group or layer normalization of [B, T, C], then ReLU if asked, with zeros in the padding.

    | kind  | one mean and variance for                                         |
    |-------|-------------------------------------------------------------------|
    | batch | a channel, over all valid frames of the batch (running in eval)   |
    | group | an utterance and a group of channels, over its valid frames       |
    | layer | a frame, over its channels                                        |
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, kind: NormKind, channels: int, relu: bool) -> None:
        super().__init__()
        self.kind = kind
        self.relu = relu
        self.num_groups = num_norm_groups(channels)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if kind == "batch":
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x_BTC: Tensor, frames: Frames) -> Tensor:
        """Normalizes; [B, T, C] float32."""
        if x_BTC.dtype != self.weight.dtype:
            # Half precision may have overflowed in the padding alone, and inf * 0 is NaN.
            x_BTC = frames.erase(full_precision(x_BTC))
        if self.kind == "group":
            return _normalize(
                x_BTC,
                self.weight,
                self.bias,
                frames.valid_BT1,
                frames.inverse_count_B11,
                self.num_groups,
                self.relu,
                None,
                None,
            )
        if self.kind == "batch" and self.training:
            return self._batch_norm(x_BTC, frames)
        if self.kind == "batch":
            scale_C = self.weight * (self.running_var + EPSILON).rsqrt()
            y_BTC = torch.addcmul(self.bias - self.running_mean * scale_C, x_BTC, scale_C)
        else:
            y_BTC = F.layer_norm(x_BTC, (x_BTC.shape[2],), self.weight, self.bias, EPSILON)
        return frames.mask(F.relu(y_BTC) if self.relu else y_BTC)

    def _batch_norm(self, x_BTC: Tensor, frames: Frames) -> Tensor:
        """Normalizes by the batch's own statistics and lets the running ones follow."""
        batch, num_frames, channels = x_BTC.shape
        valid_1K1 = None if frames.valid_BT1 is None else frames.valid_BT1.view(1, batch * num_frames, 1)
        y_1KC = _normalize(
            x_BTC.reshape(1, batch * num_frames, channels),
            self.weight,
            self.bias,
            valid_1K1,
            frames.inverse_total_111,
            channels,
            self.relu,
            self.running_mean,
            self.running_var,
        )
        return y_1KC.view(batch, num_frames, channels)
