"""What every CTC model offers, and what every model configuration shares.

Dimension legend: B batch, T input frames, S output frames, F features, V vocabulary (with the blank).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from slr_models.data.batch import FeatureGroup
from slr_models.errors import SettingError

ModelT = TypeVar("ModelT", bound=nn.Module)


class CtcModel(nn.Module, ABC):
    """A network from padded feature sequences to unnormalised CTC logits."""

    @abstractmethod
    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Computes logits.

        Args:
            features_BTF: features; what lies beyond an utterance's length has no effect.
            lengths_B: valid frames of each row, int64.

        Returns:
            Raw logits [B, S, V] with S = output_lengths(T): normalise them exactly once, in the loss.
        """

    @abstractmethod
    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """Valid output frames of utterances with so many input frames, [B] int64."""

    @property
    def num_layers(self) -> int:
        """Layers with weights; here the linear and convolutional ones of torch.

        The built-in models count as their sources do (each says how): biases, norms and pools count nothing, an
        attention counts one with its projections.
        """
        kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LSTM, nn.GRU, nn.MultiheadAttention)
        return sum(isinstance(module, kinds) for module in self.modules())


def ceil_div_lengths(lengths_B: Tensor, stride: int) -> Tensor:
    """Lengths after a stride with "same" padding: ceil(length / stride)."""
    return torch.div(lengths_B + (stride - 1), stride, rounding_mode="floor")


def check_inputs(num_features: int, groups: Sequence[FeatureGroup], vocabulary_size: int) -> None:
    """Raises SettingError unless `groups` partition the feature columns in order and a label exists."""
    if vocabulary_size < 2:
        raise SettingError(
            f"a vocabulary needs the blank and at least one label, but its size is {vocabulary_size}; "
            "check the labels of the data"
        )
    expected_start = 0
    for group in groups:
        if group.start != expected_start or group.stop <= group.start:
            raise SettingError(
                f"feature group {group.name!r} covers columns {group.start}:{group.stop}, but it must start at "
                f"{expected_start} and not be empty; list the groups in column order, without gaps"
            )
        expected_start = group.stop
    if expected_start != num_features:
        raise SettingError(
            f"the feature groups cover {expected_start} columns, but a frame has {num_features} features; "
            "make the groups a partition of the columns"
        )


def build_seeded(make: Callable[[], ModelT], seed: int) -> ModelT:
    """Calls `make` under an own CPU random stream; the caller's stream is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make()
