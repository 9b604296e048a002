"""The bound on Adam's moments: no run of gradients crosses it, damage does."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.forensics.adam_state import impossible_rate, is_damaged
from sweep.training.optim import AdamW, Sgd
from sweep.training.snapshots import Snapshot


def snapshot(mean, square) -> Snapshot:
    state = {"exp_avg": mean, "exp_avg_sq": square, "step": torch.tensor(10.0)}
    return Snapshot(10, {}, {"optimizer": {"state": {0: state}}})


@settings(max_examples=12, deadline=None)
@given(
    gradients=st.lists(st.floats(-1e6, 1e6, allow_nan=False, width=32), min_size=1, max_size=40),
    growth=st.floats(0.5, 3.0),
)
def test_no_sequence_of_gradients_looks_damaged(gradients, growth) -> None:
    config = AdamW(lr=1e-3)
    weight = torch.nn.Parameter(torch.zeros(4))
    optimizer = config.build([weight])
    for index, gradient in enumerate(gradients):
        weight.grad = torch.tensor([gradient, gradient * growth**index % 1e12, 1.0 * growth**-index, 0.0])
        optimizer.step()
    state = optimizer.state[weight]
    assert not is_damaged(config, snapshot(state["exp_avg"], state["exp_avg_sq"]))


def test_lost_or_negative_second_moments_are_damage() -> None:
    config = AdamW(lr=1e-3)
    mean = torch.tensor([1.0, 1.0, 1.0, 0.0])
    assert impossible_rate(config, snapshot(mean, torch.zeros(4))) == 0.75
    assert is_damaged(config, snapshot(mean, torch.tensor([1.0, 1.0, -1.0, 1.0])))
    assert not is_damaged(config, snapshot(mean, torch.full((4,), 0.02)))
    assert not is_damaged(Sgd(lr=1e-3), snapshot(mean, torch.zeros(4)))
