"""Padded batches of utterances, as tensors.

Dimension legend: B batch, T input frames, F features, U labels of a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from slr_models.data.batch import Split
from slr_models.transfer import to_device


@dataclass(frozen=True)
class Batch:
    """Padded utterances. Padding is zero; nothing may depend on it."""

    features_BTF: Tensor
    lengths_B: Tensor
    """Valid frames, int64."""
    host_lengths_B: Tensor
    """The same on the CPU, whatever the device of the batch: torch's CTC loss wants lengths there."""
    targets_BU: Tensor
    """Labels, int64, padded with 0."""
    target_lengths_B: Tensor
    """Valid labels, int64; always on the CPU."""
    indices: tuple[int, ...]
    """Positions in the split."""

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device, apart from what stays on the CPU; does not wait for the copy."""
        return Batch(
            to_device(self.features_BTF, device),
            to_device(self.lengths_B, device),
            self.host_lengths_B,
            to_device(self.targets_BU, device),
            self.target_lengths_B,
            self.indices,
        )


def collate(split: Split, indices: Sequence[int]) -> Batch:
    """Pads the named utterances to the longest of them."""
    lengths = [len(split.utterance(i)) for i in indices]
    target_lengths = [len(split.target(i)) for i in indices]
    features = np.zeros((len(indices), max(lengths), split.num_features), dtype=np.float32)
    targets = np.zeros((len(indices), max(target_lengths)), dtype=np.int64)
    for row, index in enumerate(indices):
        features[row, : lengths[row]] = split.utterance(index)
        targets[row, : target_lengths[row]] = split.target(index)
    lengths_B = torch.tensor(lengths)
    return Batch(
        torch.from_numpy(features),
        lengths_B,
        lengths_B,
        torch.from_numpy(targets),
        torch.tensor(target_lengths),
        tuple(int(i) for i in indices),
    )
