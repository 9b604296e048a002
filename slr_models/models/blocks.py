"""Layers that the models share: convolution and pooling over frames, attention, and the feature embedding.

Dimension legend: B batch, T input frames, S frames after a stride, C channels, D model size, F features.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slr_models.data.batch import FeatureGroup
from slr_models.models.norm import Frames, full_precision

CHANNEL_MULTIPLE = 4


def scale_channels(channels: float, width: float, multiple: int = CHANNEL_MULTIPLE) -> int:
    """Channels at this width: rounded to a multiple, never below it."""
    return max(multiple, round(channels * width / multiple) * multiple)


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout that costs nothing where it is off."""
    return F.dropout(x, probability) if training and probability > 0 else x


class _Windows(torch.autograd.Function):
    """[B, T, C] -> [B, S, kernel * C]: the frames under each window side by side, zeros outside.

    By hand because the gradient of `unfold` costs more than the product that follows.
    """

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, kernel_size: int, stride: int) -> Tensor:
        batch, num_frames, channels = x_BTC.shape
        padding = kernel_size // 2
        out_frames = (num_frames - 1) // stride + 1
        padded_BTC = x_BTC.new_zeros(batch, num_frames + 2 * padding, channels)
        padded_BTC[:, padding : padding + num_frames] = x_BTC
        ctx.kernel_size, ctx.stride, ctx.num_frames = kernel_size, stride, num_frames
        row = padded_BTC.shape[1] * channels
        return padded_BTC.as_strided(
            (batch, out_frames, kernel_size * channels), (row, stride * channels, 1)
        ).contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BSW: Tensor) -> tuple[Tensor, None, None]:
        batch, out_frames, window = grad_BSW.shape
        padding = ctx.kernel_size // 2
        grad_BSKC = grad_BSW.view(batch, out_frames, ctx.kernel_size, window // ctx.kernel_size)
        padded_BTC = grad_BSW.new_zeros(batch, ctx.num_frames + 2 * padding, grad_BSKC.shape[3])
        last = ctx.stride * (out_frames - 1) + 1
        for k in range(ctx.kernel_size):
            padded_BTC[:, k : k + last : ctx.stride] += grad_BSKC[:, :, k]
        return padded_BTC[:, padding : padding + ctx.num_frames], None, None


_windows = cast(Callable[[Tensor, int, int], Tensor], _Windows.apply)


class Conv(nn.Module):
    """Bias-free convolution over frames, "same" padding, [B, T, C] -> [B, ceil(T / stride), out].

    Computed as a matrix product over windows of frames. Unlike a convolution kernel this has one speed for all
    T, while oneDNN compiles anew for each, and it needs no transposition. Initialized as `nn.Conv1d`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, kernel_size, in_channels))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Convolves; the padding of x_BTC must be zero."""
        kernel_size = self.weight.shape[1]
        if kernel_size > 1 or self.stride > 1:
            x_BTC = _windows(x_BTC, kernel_size, self.stride)
        return F.linear(x_BTC, self.weight.flatten(1))


class DepthwiseConv(nn.Module):
    """Bias-free convolution of each channel by itself, "same" padding, [B, T, C] -> [B, ceil(T / stride), C]."""

    def __init__(self, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Convolves; the padding of x_BTC must be zero."""
        # As an image of height 1 with the channels last, x needs no transposition.
        y_BC1S = F.conv2d(
            x_BTC[:, None].permute(0, 3, 1, 2),
            self.weight[:, :, None],
            stride=(1, self.stride),
            padding=(0, self.weight.shape[2] // 2),
            groups=self.weight.shape[0],
        )
        return y_BC1S[:, :, 0].transpose(1, 2)


def max_pool(x_BTC: Tensor, stride: int) -> Tensor:
    """Maximum over 3 frames, [B, ceil(T / stride), C].

    x_BTC must be at least 0 with 0 in the padding: then the padding never wins.
    """
    y_BC1S = F.max_pool2d(x_BTC[:, None].permute(0, 3, 1, 2), (1, 3), (1, stride), (0, 1))
    return y_BC1S[:, :, 0].transpose(1, 2)


class SelfAttention(nn.Module):
    """Multi-head self-attention over valid frames, [B, T, D] -> [B, T, D]."""

    def __init__(self, size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)

    def _project(self, x_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, T, D / heads]."""
        batch, num_frames, size = x_BTD.shape
        qkv = self.query_key_value(x_BTD).view(batch, num_frames, 3, self.num_heads, size // self.num_heads)
        query_BHTE, key_BHTE, value_BHTE = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return query_BHTE, key_BHTE, value_BHTE

    def forward(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """Attends; padding as a query gives values without meaning."""
        query_BHTE, key_BHTE, value_BHTE = self._project(x_BTD)
        y_BHTE = F.scaled_dot_product_attention(query_BHTE, key_BHTE, value_BHTE, attn_mask=frames.attend_B11T)
        return cast(Tensor, self.output(y_BHTE.transpose(1, 2).flatten(2)))

    @torch.no_grad()
    def largest_logit(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """Largest absolute attention logit (scaled, before the softmax) among valid frames, a scalar.

        Takes what `forward` takes, so that a forward hook can call it with the layer's inputs.
        """
        query_BHTE, key_BHTE, _ = self._project(frames.mask(full_precision(x_BTD)))
        logits_BHTT = torch.matmul(query_BHTE, key_BHTE.transpose(2, 3)).float() * query_BHTE.shape[3] ** -0.5
        if frames.valid_BT1 is not None:
            valid_BT = frames.valid_BT1[:, :, 0]
            logits_BHTT = logits_BHTT * (valid_BT[:, None, :, None] * valid_BT[:, None, None, :])
        largest: Tensor = logits_BHTT.abs().amax()
        return largest


class GroupEmbedding(nn.Module):
    """A linear layer, layer norm and ReLU for each feature group, then their mean, [B, T, F] -> [B, T, D]."""

    def __init__(self, groups: Sequence[FeatureGroup], size: int) -> None:
        super().__init__()
        self.sizes = [group.stop - group.start for group in groups]
        self.linears = nn.ModuleList(nn.Linear(num_columns, size) for num_columns in self.sizes)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in self.sizes)

    def forward(self, features_BTF: Tensor) -> Tensor:
        """Embeds; the groups are taken in column order."""
        total_BTD: Tensor | None = None
        for part, linear, norm in zip(torch.split(features_BTF, self.sizes, 2), self.linears, self.norms, strict=True):
            embedded_BTD = F.relu(norm(full_precision(linear(part))))
            total_BTD = embedded_BTD if total_BTD is None else total_BTD + embedded_BTD
        assert total_BTD is not None, "check_inputs lets no model be built without a group"
        return total_BTD / len(self.sizes)


@torch.no_grad()
def scale_weights(model: nn.Module, init_scale: float, conv_scale: float) -> None:
    """Multiplies every weight matrix and kernel by `init_scale`, and convolution kernels by `conv_scale` too."""
    for module in model.modules():
        if isinstance(module, Conv | DepthwiseConv):
            module.weight.mul_(init_scale * conv_scale)
        elif isinstance(module, nn.Linear):
            module.weight.mul_(init_scale)
