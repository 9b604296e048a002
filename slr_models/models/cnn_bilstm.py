"""The usual network of the field: convolutions over frames with pooling, a bidirectional LSTM, and a classifier.

Dimension legend: B batch, T input frames, S output frames, C channels, D model size, F features, V vocabulary.

Feature groups -> embedding -> convolution over 5 frames, pool of 2, the same again -> BiLSTM layers -> classifier.
Source: Min et al. 2021 (VAC; its K5-P2-K5-P2 and two BiLSTM layers are CorrNet's too), here with padding, so that each
utterance of T frames has ceil(T / 4) outputs.
"""

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slr_models.data.batch import FeatureGroup
from slr_models.models.base import CtcModel, ceil_div_lengths
from slr_models.models.blocks import Conv, GroupEmbedding, dropout, scale_channels, scale_weights
from slr_models.models.configs import OUTPUT_STRIDE, CnnBiLstmConfig
from slr_models.models.norm import Frames, MaskedNorm

EMBEDDING_CHANNELS = 512
KERNEL_SIZE = 5
NUM_CONVOLUTIONS = 2
SIZE_MULTIPLE = 8
"""Of both directions together."""


def halve(x_BTC: Tensor) -> Tensor:
    """Maximum over each two frames, [B, T, C] -> [B, ceil(T / 2), C]; x must be at least 0, and 0 in the padding."""
    return F.max_pool1d(x_BTC.transpose(1, 2), 2, ceil_mode=True).transpose(1, 2)


class BiLstm(nn.Module):
    """One LSTM over the frames in their order and one in reverse, [B, S, C] -> [B, S, D], half of D from each.

    The valid frames of each utterance are reversed by themselves, so that no direction meets padding before them. (A
    packed sequence does the same, but wants the lengths on the host, and to get them there a GPU is waited for.)
    """

    def __init__(self, in_channels: int, size: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(in_channels, size // 2, batch_first=True)
        self.reversed_lstm = nn.LSTM(in_channels, size // 2, batch_first=True)

    def forward(self, x_BSC: Tensor, reversed_BS: Tensor) -> Tensor:
        """Applies both; padding gives values without meaning.

        Args:
            x_BSC: finite, also in the padding.
            reversed_BS: position of each frame where its utterance is reversed.
        """
        in_order_BSE = self.lstm(x_BSC)[0]
        in_reverse_BSE = _reordered(self.reversed_lstm(_reordered(x_BSC, reversed_BS))[0], reversed_BS)
        return torch.cat((in_order_BSE, in_reverse_BSE), 2)


def _reordered(x_BSC: Tensor, positions_BS: Tensor) -> Tensor:
    return x_BSC.gather(1, positions_BS[:, :, None].expand_as(x_BSC))


def reversed_positions(lengths_B: Tensor, num_frames: int) -> Tensor:
    """Where each frame goes if the valid ones are reversed and padding stays, [B, S]; its own inverse."""
    frame_S = torch.arange(num_frames, device=lengths_B.device)
    return torch.where(frame_S < lengths_B[:, None], lengths_B[:, None] - 1 - frame_S, frame_S)


class CnnBiLstm(CtcModel):
    """The network that `CnnBiLstmConfig` describes."""

    def __init__(self, config: CnnBiLstmConfig, groups: Sequence[FeatureGroup], vocabulary_size: int) -> None:
        super().__init__()
        self.dropout_probability = config.dropout
        embedding = scale_channels(EMBEDDING_CHANNELS, config.width)
        size = scale_channels(config.hidden_size, config.width, SIZE_MULTIPLE)
        self.embedding = GroupEmbedding(groups, embedding)
        self.convs = nn.ModuleList(
            Conv(embedding if index == 0 else size, size, KERNEL_SIZE) for index in range(NUM_CONVOLUTIONS)
        )
        self.norms = nn.ModuleList(MaskedNorm(config.norm, size, relu=True) for _ in self.convs)
        self.lstms = nn.ModuleList(BiLstm(size, size) for _ in range(config.num_lstm_layers))
        self.classifier = nn.Linear(size, vocabulary_size)
        scale_weights(self, config.init_scale, config.conv_scale)

    @property
    def num_layers(self) -> int:
        """See `CtcModel.num_layers`."""
        return 2 + len(self.convs) + len(self.lstms)

    @property
    def total_layers(self) -> int:
        """See `CtcModel.total_layers`."""
        return self.num_layers + len(self.embedding.linears) - 1 + len(self.lstms)

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """ceil(length / 4)."""
        return ceil_div_lengths(lengths_B, OUTPUT_STRIDE)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Computes raw logits [B, S, V], S = ceil(T / 4)."""
        frames = Frames.of(lengths_B, features_BTF.shape[1], features_BTF.dtype)
        x_BTC = frames.mask(self.embedding(frames.erase(features_BTF)))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x_BTC = halve(norm(conv(x_BTC), frames))
            frames = frames.strided(2)
        x_BSD = x_BTC
        reversed_BS = reversed_positions(frames.lengths_B, frames.num_frames)
        for lstm in self.lstms:
            x_BSD = dropout(lstm(x_BSD, reversed_BS), self.dropout_probability, self.training)
        return cast(Tensor, self.classifier(x_BSD))
