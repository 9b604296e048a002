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
        """Layers with weights on the longest path from the features to the logits.

        All models are counted alike. A layer is a linear layer, a convolution, a recurrent layer, or an attention with
        its projections; biases, norms and pools are none. Of parallel branches the longest counts, be they those of a
        module, the embeddings of the feature groups, or the directions of a recurrent layer. `total_layers` has the
        same layers, each branch counted.

        Here torch's own layers are counted as if they followed one another; a model with branches says it itself.
        """
        return _count_layers(self, all_directions=False)

    @property
    def total_layers(self) -> int:
        """Layers with weights in all, see `num_layers`."""
        return _count_layers(self, all_directions=True)


_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.MultiheadAttention)


def _count_layers(module: nn.Module, all_directions: bool) -> int:
    if isinstance(module, nn.RNNBase):
        return module.num_layers * (2 if all_directions and module.bidirectional else 1)
    if isinstance(module, _LAYERS):
        return 1
    return sum(_count_layers(child, all_directions) for child in module.children())


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
