"""How many input frames CTC needs to align a target."""

from collections.abc import Sequence


def num_outputs_needed(labels: Sequence[int]) -> int:
    """U + repeats: one output a label, and a blank between equal neighbours."""
    return len(labels) + sum(a == b for a, b in zip(labels[:-1], labels[1:], strict=True))


def min_frames(labels: Sequence[int], frames_per_output: int) -> int:
    """The smallest T with ceil(T / frames_per_output) >= U + repeats (and at least 1)."""
    return max(1, frames_per_output * (num_outputs_needed(labels) - 1) + 1)
