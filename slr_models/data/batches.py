"""Padded batches of utterances, as tensors.

Dimension legend: B batch, T input frames, F features, U labels of a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
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


def shuffled_updates(
    rng: np.random.Generator, lengths_N: npt.NDArray[np.int64], size: int, length_window: int
) -> list[list[int]]:
    """One epoch: the utterances of each update, in the order of training.

    An incomplete last update is left out if there are others.

    Args:
        rng: draws the order.
        lengths_N: frames of each utterance.
        size: utterances an update.
        length_window: updates that share out their utterances by length; 1 for none. The updates of a window hold
            neighbours in length, shortest first, and all updates of the epoch are shuffled.
    """
    order_N = rng.permutation(len(lengths_N))
    num_updates = max(1, len(order_N) // size)
    order_N = order_N[: num_updates * size]
    if length_window == 1:
        return [order_N[i : i + size].tolist() for i in range(0, len(order_N), size)]
    windows = (order_N[i : i + length_window * size] for i in range(0, len(order_N), length_window * size))
    by_length_N = np.concatenate([window[np.argsort(lengths_N[window], kind="stable")] for window in windows])
    return [by_length_N[i * size : (i + 1) * size].tolist() for i in rng.permutation(num_updates)]
