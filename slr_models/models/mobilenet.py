"""The baseline, MobileNetV3-Large along time only with stride 4, and a scaled-up version as large as the teacher.

Dimension legend: B batch, T input frames, S output frames, C channels, D model size, F features, V vocabulary.
Source: Howard et al. 2019, table 1 (channels doubled; of its strides only the stem's and row 2's are kept).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from slr_models.data.batch import FeatureGroup
from slr_models.models.base import CtcModel, ceil_div_lengths
from slr_models.models.blocks import (
    Conv,
    DepthwiseConv,
    GroupEmbedding,
    dropout,
    scale_channels,
    scale_weights,
)
from slr_models.models.configs import OUTPUT_STRIDE, NetworkSpec, NormKind
from slr_models.models.norm import Frames, MaskedNorm


class Row(NamedTuple):
    """One inverted residual of MobileNetV3-Large, as in the paper."""

    kernel_size: int
    expanded: int
    out: int
    squeeze: bool
    hard_swish: bool
    stride: int = 1


ROWS = (
    Row(3, 16, 16, False, False),
    Row(3, 64, 24, False, False, stride=2),
    Row(3, 72, 24, False, False),
    Row(5, 72, 40, True, False),
    Row(5, 120, 40, True, False),
    Row(5, 120, 40, True, False),
    Row(3, 240, 80, False, True),
    Row(3, 200, 80, False, True),
    Row(3, 184, 80, False, True),
    Row(3, 184, 80, False, True),
    Row(3, 480, 112, True, True),
    Row(3, 672, 112, True, True),
    Row(5, 672, 160, True, True),
    Row(5, 960, 160, True, True),
    Row(5, 960, 160, True, True),
)
STEM_CHANNELS = 16
LAST_CHANNELS = 960
EMBEDDING_SIZE = 128
FULLY_CONNECTED_SIZE = 640
SQUEEZE_FACTOR = 4
SQUEEZE_MULTIPLE = 8
FRAME_MULTIPLE = 16
"""oneDNN prepares a kernel for each new length, which costs more than the convolution: round lengths up."""


BASELINE_FACTOR = 2.0
TEACHER_FACTOR = 2.1
TEACHER_REPEATS = 4


def repeat_rows(times: int) -> tuple[Row, ...]:
    """The rows with each shape-keeping one `times` times."""
    rows: list[Row] = []
    channels = STEM_CHANNELS
    for row in ROWS:
        keeps_shape = row.stride == 1 and row.out == channels
        rows.extend([row] * (times if keeps_shape else 1))
        channels = row.out
    return tuple(rows)


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate that sees the mean over valid frames, [B, T, C] -> [B, T, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = scale_channels(channels / SQUEEZE_FACTOR, 1.0, SQUEEZE_MULTIPLE)
        self.squeeze = nn.Linear(channels, squeezed)
        self.excite = nn.Linear(squeezed, channels)

    def forward(self, x_BTC: Tensor, frames: Frames) -> Tensor:
        """Gates; the padding of x_BTC must be zero and stays so."""
        mean_B1C = x_BTC.sum(1, keepdim=True) * frames.inverse_count_B11
        gate_B1C = F.hardsigmoid(self.excite(F.relu(self.squeeze(mean_B1C))))
        return x_BTC * gate_B1C


class InvertedResidual(nn.Module):
    """Expand, convolve each channel over frames, gate, project; residual where the shape is kept."""

    def __init__(self, in_channels: int, row: Row, factor: float, norm: NormKind) -> None:
        super().__init__()
        expanded = scale_channels(row.expanded, factor)
        out_channels = scale_channels(row.out, factor)
        relu = not row.hard_swish
        self.hard_swish = row.hard_swish
        self.residual = row.stride == 1 and in_channels == out_channels
        # The paper's first row expands nothing.
        expands = expanded != in_channels
        self.expand = Conv(in_channels, expanded) if expands else None
        self.expand_norm = MaskedNorm(norm, expanded, relu) if expands else None
        self.depthwise = DepthwiseConv(expanded, row.kernel_size, row.stride)
        self.depthwise_norm = MaskedNorm(norm, expanded, relu)
        self.squeeze_excite = SqueezeExcite(expanded) if row.squeeze else None
        self.project = Conv(expanded, out_channels)
        self.project_norm = MaskedNorm(norm, out_channels, relu=False)

    @property
    def num_layers(self) -> int:
        """Two or three convolutions, and two layers of the gate."""
        return 2 + (self.expand is not None) + 2 * (self.squeeze_excite is not None)

    def _activate(self, x_BTC: Tensor) -> Tensor:
        """Hard-swish where the row has it; ReLU is part of the norms."""
        return F.hardswish(x_BTC) if self.hard_swish else x_BTC

    def forward(self, x_BTC: Tensor, frames_in: Frames, frames_out: Frames) -> Tensor:
        """Applies the block, [B, T, C] -> [B, ceil(T / stride), out]; padding is zero before and after."""
        y_BTC = x_BTC
        if self.expand is not None and self.expand_norm is not None:
            y_BTC = self._activate(self.expand_norm(self.expand(y_BTC), frames_in))
        y_BTC = self._activate(self.depthwise_norm(self.depthwise(y_BTC), frames_out))
        if self.squeeze_excite is not None:
            y_BTC = self.squeeze_excite(y_BTC, frames_out)
        y_BTC = cast(Tensor, self.project_norm(self.project(y_BTC), frames_out))
        return x_BTC + y_BTC if self.residual else y_BTC


class MobileNet(CtcModel):
    """The network that `MobileNetConfig` and `MobileNetTeacherConfig` describe."""

    def __init__(
        self,
        spec: NetworkSpec,
        rows: Sequence[Row],
        channel_factor: float,
        groups: Sequence[FeatureGroup],
        vocabulary_size: int,
    ) -> None:
        super().__init__()
        factor = channel_factor * spec.width
        self.dropout_probability = spec.dropout
        embedding = scale_channels(EMBEDDING_SIZE, factor)
        channels = scale_channels(STEM_CHANNELS, factor)
        last = scale_channels(LAST_CHANNELS, factor)
        fully_connected = scale_channels(FULLY_CONNECTED_SIZE, factor)
        self.embedding = GroupEmbedding(groups, embedding)
        self.stem = Conv(embedding, channels, kernel_size=3, stride=2)
        self.stem_norm = MaskedNorm(spec.norm, channels, relu=False)
        self.strides = [row.stride for row in rows]
        self.blocks = nn.ModuleList()
        for row in rows:
            self.blocks.append(InvertedResidual(channels, row, factor, spec.norm))
            channels = scale_channels(row.out, factor)
        self.last = Conv(channels, last)
        self.last_norm = MaskedNorm(spec.norm, last, relu=False)
        self.fully_connected = nn.Linear(last, fully_connected)
        self.classifier = nn.Linear(fully_connected, vocabulary_size)
        scale_weights(self, spec.init_scale, spec.conv_scale)

    @property
    def num_layers(self) -> int:
        """See `CtcModel.num_layers`; the paper's table has an inverted residual as one row."""
        return 5 + sum(cast(InvertedResidual, block).num_layers for block in self.blocks)

    @property
    def total_layers(self) -> int:
        """See `CtcModel.total_layers`."""
        return self.num_layers + len(self.embedding.linears) - 1

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """ceil(length / 4)."""
        return ceil_div_lengths(lengths_B, OUTPUT_STRIDE)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Computes raw logits [B, S, V], S = ceil(T / 4)."""
        num_frames = features_BTF.shape[1]
        rounded = -(-num_frames // FRAME_MULTIPLE) * FRAME_MULTIPLE
        frames = Frames.of(lengths_B, rounded, features_BTF.dtype)
        padded_BTF = F.pad(features_BTF, (0, 0, 0, rounded - num_frames))
        x_BTC = frames.mask(self.embedding(frames.erase(padded_BTF)))
        frames = frames.strided(2)
        x_BTC = F.hardswish(self.stem_norm(self.stem(x_BTC), frames))
        for block, stride in zip(self.blocks, self.strides, strict=True):
            frames_in, frames = frames, frames.strided(stride) if stride > 1 else frames
            x_BTC = block(x_BTC, frames_in, frames)
        x_BSC = F.hardswish(self.last_norm(self.last(x_BTC), frames))
        x_BSD = F.hardswish(self.fully_connected(x_BSC[:, : -(-num_frames // OUTPUT_STRIDE)]))
        return cast(Tensor, self.classifier(dropout(x_BSD, self.dropout_probability, self.training)))


def baseline(spec: NetworkSpec, groups: Sequence[FeatureGroup], vocabulary_size: int) -> MobileNet:
    """The network of `MobileNetConfig`."""
    return MobileNet(spec, ROWS, BASELINE_FACTOR, groups, vocabulary_size)


def large(spec: NetworkSpec, groups: Sequence[FeatureGroup], vocabulary_size: int) -> MobileNet:
    """The network of `MobileNetTeacherConfig`."""
    return MobileNet(spec, repeat_rows(TEACHER_REPEATS), TEACHER_FACTOR, groups, vocabulary_size)
