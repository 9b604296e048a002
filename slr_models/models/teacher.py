"""The teacher: a deep 1-D Inception network (I3D along time only) with attention, shaped for CTC.

Dimension legend: B batch, T input frames, S output frames, C channels, D model size, F features, V vocabulary.

Feature groups -> embedding -> attention over frames -> three convolutions (stride 2) -> Inception modules, a pool
with stride 2 after the second -> projection -> two encoder layers -> classifier. The total stride is 4.
Sources: Carreira & Zisserman 2017 (I3D, channels doubled), Vaswani et al. 2017 (encoder, pre-norm).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slr_models.data.batch import FeatureGroup
from slr_models.models.base import CtcModel, ceil_div_lengths
from slr_models.models.blocks import (
    Conv,
    GroupEmbedding,
    SelfAttention,
    dropout,
    max_pool,
    scale_channels,
    scale_weights,
)
from slr_models.models.configs import OUTPUT_STRIDE, AttentionKernel, NormKind, TeacherConfig
from slr_models.models.norm import Frames, MaskedNorm, full_precision


class Branches(NamedTuple):
    """Channels of one Inception module."""

    direct: int
    """Pointwise branch."""
    narrow_a: int
    """Pointwise input of the first 3-frame convolution, then its output."""
    wide_a: int
    narrow_b: int
    """Pointwise input of the second 3-frame convolution, then its output."""
    wide_b: int
    pooled: int
    """Pointwise branch after a max-pool."""

    @property
    def out_channels(self) -> int:
        """Channels of the module's output."""
        return self.direct + self.wide_a + self.wide_b + self.pooled

    def scaled(self, width: float) -> "Branches":
        """The same module at another width."""
        return Branches(*(scale_channels(channels, width) for channels in self))


I3D_MODULES = (
    Branches(128, 192, 256, 32, 64, 64),  # 3b
    Branches(256, 256, 384, 64, 192, 128),  # 3c
    Branches(384, 192, 416, 32, 96, 128),  # 4b
    Branches(320, 224, 448, 48, 128, 128),  # 4c
    Branches(256, 256, 512, 48, 128, 128),  # 4d
    Branches(224, 288, 576, 64, 128, 128),  # 4e
    Branches(512, 320, 640, 64, 256, 256),  # 4f
    Branches(512, 320, 640, 64, 256, 256),  # 5b
    Branches(768, 384, 768, 96, 256, 256),  # 5c
)
"""I3D's modules with all channels doubled. A deeper network repeats the last."""

EMBEDDING_CHANNELS = 512
STEM_CHANNELS = (128, 128, 384)
MODULES_BEFORE_POOL = 2
FEED_FORWARD_FACTOR = 4


class Inception(nn.Module):
    """Four parallel branches joined along the channels, [B, T, C] -> [B, T, out_channels].

    The pointwise convolutions that read the same input run as one product, and one normalization serves all
    branches of a step: at a narrow width the number of operations, not their arithmetic, is what costs.
    """

    def __init__(self, in_channels: int, branches: Branches, norm: NormKind) -> None:
        super().__init__()
        self.branches = branches
        narrow = branches.narrow_a + branches.narrow_b
        self.pointwise = Conv(in_channels, branches.direct + narrow)
        self.narrow_norm = MaskedNorm(norm, narrow, relu=True)
        self.wide_a = Conv(branches.narrow_a, branches.wide_a, kernel_size=3)
        self.wide_b = Conv(branches.narrow_b, branches.wide_b, kernel_size=3)
        self.pooled = Conv(in_channels, branches.pooled)
        self.norm = MaskedNorm(norm, branches.out_channels, relu=True)

    def forward(self, x_BTC: Tensor, frames: Frames) -> Tensor:
        """Applies the module; x_BTC and the output are at least 0, and 0 in the padding."""
        direct_BTC, narrow_BTC = torch.split(
            self.pointwise(x_BTC), [self.branches.direct, self.branches.narrow_a + self.branches.narrow_b], 2
        )
        narrow_a_BTC, narrow_b_BTC = torch.split(
            self.narrow_norm(narrow_BTC, frames), [self.branches.narrow_a, self.branches.narrow_b], 2
        )
        y_BTC = torch.cat(
            (direct_BTC, self.wide_a(narrow_a_BTC), self.wide_b(narrow_b_BTC), self.pooled(max_pool(x_BTC, 1))), 2
        )
        return cast(Tensor, self.norm(y_BTC, frames))


class EncoderLayer(nn.Module):
    """Pre-norm attention (if any) and feed-forward layer with residuals, [B, S, D] -> [B, S, D]."""

    def __init__(self, size: int, num_heads: int, kernel: AttentionKernel | None, dropout_probability: float) -> None:
        super().__init__()
        self.dropout_probability = dropout_probability
        self.attention_norm = nn.LayerNorm(size) if kernel is not None else None
        self.attention = SelfAttention(size, num_heads, kernel) if kernel is not None else None
        self.feed_forward_norm = nn.LayerNorm(size)
        self.expand = nn.Linear(size, FEED_FORWARD_FACTOR * size)
        self.contract = nn.Linear(FEED_FORWARD_FACTOR * size, size)

    def forward(self, x_BSD: Tensor, frames: Frames) -> Tensor:
        """Applies the layer; padding gives values without meaning."""
        if self.attention is not None and self.attention_norm is not None:
            attended_BSD = self.attention(self.attention_norm(full_precision(x_BSD)), frames)
            x_BSD = x_BSD + dropout(attended_BSD, self.dropout_probability, self.training)
        expanded_BSE = F.relu(self.expand(self.feed_forward_norm(full_precision(x_BSD))))
        expanded_BSE = dropout(expanded_BSE, self.dropout_probability, self.training)
        return x_BSD + dropout(self.contract(expanded_BSE), self.dropout_probability, self.training)


class Teacher(CtcModel):
    """The network that `TeacherConfig` describes."""

    def __init__(self, config: TeacherConfig, groups: Sequence[FeatureGroup], vocabulary_size: int) -> None:
        super().__init__()
        width, norm, heads = config.width, config.norm, config.num_heads
        kernel = config.attention_kernel if config.attention else None
        self.dropout_probability = config.dropout
        embedding = scale_channels(EMBEDDING_CHANNELS, width, heads)
        hidden = scale_channels(config.hidden_size, width, heads)
        stem = [scale_channels(channels, width) for channels in STEM_CHANNELS]
        self.embedding = GroupEmbedding(groups, embedding)
        self.fusion_norm = nn.LayerNorm(embedding) if kernel is not None else None
        self.fusion = SelfAttention(embedding, heads, kernel) if kernel is not None else None
        self.stem_convs = nn.ModuleList(
            [
                Conv(embedding, stem[0], kernel_size=7, stride=2),
                Conv(stem[0], stem[1]),
                Conv(stem[1], stem[2], kernel_size=3),
            ]
        )
        self.stem_norms = nn.ModuleList(MaskedNorm(norm, channels, relu=True) for channels in stem)
        self.inceptions = nn.ModuleList()
        channels = stem[2]
        for index in range(config.num_modules):
            branches = I3D_MODULES[min(index, len(I3D_MODULES) - 1)].scaled(width)
            self.inceptions.append(Inception(channels, branches, norm))
            channels = branches.out_channels
        self.projection = nn.Linear(channels, hidden)
        self.encoder = nn.ModuleList(
            EncoderLayer(hidden, heads, kernel, config.dropout) for _ in range(config.num_encoder_layers)
        )
        self.final_norm = nn.LayerNorm(hidden)
        self.classifier = nn.Linear(hidden, vocabulary_size)
        scale_weights(self, config.init_scale, config.conv_scale)

    @property
    def num_layers(self) -> int:
        """See `CtcModel.num_layers`: an Inception module is two deep."""
        return 1 + self._num_attentions + len(self.stem_convs) + 2 * len(self.inceptions) + 2 * len(self.encoder) + 2

    @property
    def total_layers(self) -> int:
        """See `CtcModel.total_layers`: an Inception module has six, as its source counts them."""
        return self.num_layers + len(self.embedding.linears) - 1 + 4 * len(self.inceptions)

    @property
    def _num_attentions(self) -> int:
        return 0 if self.fusion is None else 1 + len(self.encoder)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """ceil(length / 4)."""
        return ceil_div_lengths(lengths_B, OUTPUT_STRIDE)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Computes raw logits [B, S, V], S = ceil(T / 4)."""
        frames = Frames.of(lengths_B, features_BTF.shape[1], features_BTF.dtype)
        x_BTD = self.embedding(frames.erase(features_BTF))
        if self.fusion is not None and self.fusion_norm is not None:
            x_BTD = x_BTD + self.fusion(self.fusion_norm(full_precision(x_BTD)), frames)
        x_BTC = frames.mask(dropout(x_BTD, self.dropout_probability, self.training))
        frames = frames.strided(2)
        for conv, norm in zip(self.stem_convs, self.stem_norms, strict=True):
            x_BTC = norm(conv(x_BTC), frames)
        for index, inception in enumerate(self.inceptions):
            if index == MODULES_BEFORE_POOL:
                frames = frames.strided(2)
                x_BTC = max_pool(x_BTC, 2)
            x_BTC = inception(x_BTC, frames)
        if len(self.inceptions) <= MODULES_BEFORE_POOL:
            frames = frames.strided(2)
            x_BTC = max_pool(x_BTC, 2)
        x_BSD = self.projection(x_BTC)
        for layer in self.encoder:
            x_BSD = layer(x_BSD, frames)
        x_BSD = self.final_norm(full_precision(x_BSD))
        return cast(Tensor, self.classifier(dropout(x_BSD, self.dropout_probability, self.training)))
