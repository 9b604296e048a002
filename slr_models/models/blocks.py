"""Layers that the models share: convolution and pooling over frames, attention, and the feature embedding.

Dimension legend: B batch, T input frames, S frames after a stride, C channels, D model size, F features; of attention:
H heads, E = D / H, N utterances times heads.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slr_models.data.batch import FeatureGroup
from slr_models.models.configs import AttentionKernel
from slr_models.models.norm import Frames, full_precision
from slr_models.models.small_heads import LARGEST_HEAD, attend
from slr_models.models.stacking import by_utterance, stackable

CHANNEL_MULTIPLE = 4


def scale_channels(channels: float, width: float, multiple: int = CHANNEL_MULTIPLE) -> int:
    """Channels at this width: rounded to a multiple, never below it."""
    return max(multiple, round(channels * width / multiple) * multiple)


def dropout(x: Tensor, probability: float, training: bool) -> Tensor:
    """Dropout that costs nothing where it is off."""
    return F.dropout(x, probability) if training and probability > 0 else x


class _Convolve(torch.autograd.Function):
    """Windows of frames side by side, zeros outside, times the kernels: [B, T, C] x [N, k, C] -> [B, S, N].

    By hand because autograd's own steps around so small a product, above all the gradient of `unfold`, cost more than
    the product.
    """

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, weight_NKC: Tensor, stride: int) -> Tensor:
        out_channels, kernel_size, _ = weight_NKC.shape
        ctx.stride, ctx.num_frames = stride, x_BTC.shape[1]
        windows_BSW = x_BTC if kernel_size == stride == 1 else _windows(x_BTC, kernel_size, stride)
        windows_RW = windows_BSW.reshape(-1, windows_BSW.shape[2])
        ctx.save_for_backward(windows_RW, weight_NKC)
        y_RN = windows_RW.mm(weight_NKC.view(out_channels, -1).t())
        return y_RN.view(*windows_BSW.shape[:2], out_channels)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BSN: Tensor) -> tuple[Tensor | None, Tensor, None]:
        windows_RW, weight_NKC = ctx.saved_tensors
        grad_RN = grad_BSN.reshape(-1, grad_BSN.shape[2])
        grad_weight_NKC = grad_RN.t().mm(windows_RW).view(weight_NKC.shape)
        if not ctx.needs_input_grad[0]:
            return None, grad_weight_NKC, None
        kernel_size = weight_NKC.shape[1]
        grad_BSW = grad_RN.mm(weight_NKC.view(weight_NKC.shape[0], -1)).view(*grad_BSN.shape[:2], -1)
        if kernel_size == ctx.stride == 1:
            return grad_BSW, grad_weight_NKC, None
        return _windows_gradient(grad_BSW, kernel_size, ctx.stride, ctx.num_frames), grad_weight_NKC, None


def _windows(x_BTC: Tensor, kernel_size: int, stride: int) -> Tensor:
    """[B, T, C] -> [B, S, kernel * C]: the frames under each window side by side, zeros outside."""
    batch, num_frames, channels = x_BTC.shape
    padding = kernel_size // 2
    out_frames = (num_frames - 1) // stride + 1
    padded_BTC = x_BTC.new_zeros(batch, num_frames + 2 * padding, channels)
    padded_BTC[:, padding : padding + num_frames] = x_BTC
    row = padded_BTC.shape[1] * channels
    return padded_BTC.as_strided((batch, out_frames, kernel_size * channels), (row, stride * channels, 1)).contiguous()


def _windows_gradient(grad_BSW: Tensor, kernel_size: int, stride: int, num_frames: int) -> Tensor:
    """The gradient of `_windows`."""
    batch, out_frames, window = grad_BSW.shape
    padding = kernel_size // 2
    grad_BSKC = grad_BSW.view(batch, out_frames, kernel_size, window // kernel_size)
    if stride == 1:
        # Frames stay where they are, but for a shift.
        grad_BTC = grad_BSKC[:, :, padding].contiguous()
        for shift in range(1, padding + 1):
            kept = max(num_frames - shift, 0)
            grad_BTC[:, :kept].add_(grad_BSKC[:, shift:, padding - shift])
            grad_BTC[:, shift:].add_(grad_BSKC[:, :kept, padding + shift])
        return grad_BTC
    padded_BTC = grad_BSW.new_zeros(batch, num_frames + 2 * padding, grad_BSKC.shape[3])
    last = stride * (out_frames - 1) + 1
    for k in range(kernel_size):
        padded_BTC[:, k : k + last : stride].add_(grad_BSKC[:, :, k])
    return padded_BTC[:, padding : padding + num_frames]


class _Windows(torch.autograd.Function):
    """`_windows` with its gradient, for a product outside."""

    @staticmethod
    def forward(ctx: Any, x_BTC: Tensor, kernel_size: int, stride: int) -> Tensor:
        ctx.kernel_size, ctx.stride, ctx.num_frames = kernel_size, stride, x_BTC.shape[1]
        return _windows(x_BTC, kernel_size, stride)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BSW: Tensor) -> tuple[Tensor, None, None]:
        return _windows_gradient(grad_BSW, ctx.kernel_size, ctx.stride, ctx.num_frames), None, None


_apply_convolve = cast(Callable[[Tensor, Tensor, int], Tensor], _Convolve.apply)
_apply_windows = cast(Callable[[Tensor, int, int], Tensor], _Windows.apply)


def _convolve_stacked(x_MBTC: Tensor, weight_MNKC: Tensor, stride: int) -> Tensor:
    """`_convolve` with the kernels of each model, [M, B, S, N]."""
    models, batch, _, _ = x_MBTC.shape
    kernel_size = weight_MNKC.shape[2]
    x_UTC = x_MBTC.flatten(0, 1)
    windows_USW = x_UTC if kernel_size == stride == 1 else _apply_windows(x_UTC, kernel_size, stride)
    y_MRN = torch.bmm(windows_USW.reshape(models, -1, windows_USW.shape[2]), weight_MNKC.flatten(2).mT)
    return y_MRN.view(models, batch, windows_USW.shape[1], -1)


_convolve = stackable(_apply_convolve, _convolve_stacked)
_differentiable_windows = by_utterance(_apply_windows)


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
        if torch.is_autocast_enabled("cuda"):
            # Under autocast, also emulated, the product has to be a call that it sees.
            kernel_size = self.weight.shape[1]
            if kernel_size > 1 or self.stride > 1:
                x_BTC = _differentiable_windows(x_BTC, kernel_size, self.stride)
            return F.linear(x_BTC, self.weight.flatten(1))
        return _convolve(x_BTC, self.weight, self.stride)


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
        return y_BC1S.permute(0, 2, 3, 1).squeeze(1)


def _max_pool(x_BTC: Tensor, stride: int) -> Tensor:
    y_BC1S = F.max_pool2d(x_BTC[:, None].permute(0, 3, 1, 2), (1, 3), (1, stride), (0, 1))
    return y_BC1S.permute(0, 2, 3, 1).squeeze(1)


max_pool = by_utterance(_max_pool)
"""Maximum over 3 frames, stride: [B, T, C] -> [B, ceil(T / stride), C].

The input must be at least 0 with 0 in the padding: then the padding never wins.
"""


def _written_out_attention(
    query_BHTE: Tensor, key_BHTE: Tensor, value_BHTE: Tensor, attend_B11T: Tensor | None
) -> Tensor:
    """softmax(QK^T)V in the order of `nn.MultiheadAttention` with `need_weights=True`: scaled queries, scores, product.

    Under autocast the scores are half, while `scaled_dot_product_attention` keeps them in float32.
    """
    batch, num_heads, _, head = query_BHTE.shape
    query_NTE, key_NTE, value_NTE = (x_BHTE.flatten(0, 1) for x_BHTE in (query_BHTE, key_BHTE, value_BHTE))
    query_NTE = query_NTE * math.sqrt(1.0 / head)
    if attend_B11T is None:
        scores_NTT = torch.bmm(query_NTE, key_NTE.transpose(1, 2))
    else:
        mask_B11T = torch.zeros_like(attend_B11T, dtype=query_NTE.dtype).masked_fill(~attend_B11T, -torch.inf)
        mask_N1T = mask_B11T.expand(batch, num_heads, -1, -1).flatten(0, 1)
        scores_NTT = torch.baddbmm(mask_N1T, query_NTE, key_NTE.transpose(1, 2))
    return torch.bmm(scores_NTT.softmax(2), value_NTE).view(query_BHTE.shape)


_KERNELS: dict[AttentionKernel, Callable[..., Tensor]] = {
    "sdpa": by_utterance(F.scaled_dot_product_attention),
    "written_out": by_utterance(_written_out_attention),
}


class SelfAttention(nn.Module):
    """Multi-head self-attention over valid frames, [B, T, D] -> [B, T, D]."""

    def __init__(self, size: int, num_heads: int, kernel: AttentionKernel = "sdpa") -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel = kernel
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
        if self._is_small(x_BTD):
            qkv_BTP = self.query_key_value(x_BTD)
            return cast(Tensor, self.output(attend(qkv_BTP, frames.lengths_B, self.num_heads)))
        query_BHTE, key_BHTE, value_BHTE = self._project(x_BTD)
        y_BHTE = _KERNELS[self.kernel](query_BHTE, key_BHTE, value_BHTE, frames.attend_B11T)
        return cast(Tensor, self.output(y_BHTE.transpose(1, 2).flatten(2)))

    def _is_small(self, x_BTD: Tensor) -> bool:
        """Whether the heads are so small that torch's kernel is slow. Half precision, also emulated, goes its way."""
        if self.kernel != "sdpa":
            return False
        is_plain = x_BTD.device.type == "cpu" and x_BTD.dtype == torch.float32 and not torch.is_autocast_enabled("cuda")
        return is_plain and x_BTD.shape[2] // self.num_heads <= LARGEST_HEAD

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
        elif isinstance(module, nn.Linear | nn.LSTM):
            for weights in module.parameters(recurse=False):
                if weights.ndim > 1:
                    weights.mul_(init_scale)
