"""The length that CTC needs, against CTC itself."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_models.data.feasibility import min_frames


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(1, 3), min_size=1, max_size=8), frames_per_output=st.integers(1, 8))
def test_min_frames_is_the_edge_of_a_finite_ctc_loss(labels: list[int], frames_per_output: int) -> None:
    def loss(num_frames: int) -> float:
        outputs = -(-num_frames // frames_per_output)
        log_probs = torch.full((outputs, 1, 4), -float(np.log(4)))
        lengths = torch.tensor([outputs]), torch.tensor([len(labels)])
        return float(torch.nn.functional.ctc_loss(log_probs, torch.tensor([labels]), *lengths, reduction="sum"))

    needed = min_frames(labels, frames_per_output)
    assert np.isfinite(loss(needed))
    if needed > 1:
        assert np.isinf(loss(needed - 1))


@pytest.mark.parametrize(("labels", "frames"), [([1], 1), ([1, 2], 5), ([1, 1], 9), ([2, 2, 2], 17)])
def test_min_frames_at_stride_four(labels: list[int], frames: int) -> None:
    assert min_frames(labels, 4) == frames
