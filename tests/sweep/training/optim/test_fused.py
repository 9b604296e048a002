"""Adam with shared step counters against torch's, to the bit."""

import copy

import pytest
import torch
from torch.nn import Parameter

from sweep.training.optim.fused import FusedAdam

LEFT_OUT = (0, 5)


def weights() -> list[Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [Parameter(torch.randn(5, 3, generator=generator)) for _ in range(4)]


def ours(parameters: list[Parameter], decoupled: bool) -> FusedAdam:
    return FusedAdam(parameters, lr=0.1, weight_decay=0.1, decoupled_weight_decay=decoupled, fused=True)


def step(optimizer: torch.optim.Optimizer, parameters: list[Parameter], index: int) -> None:
    """One update with gradients that only some weights have; two of the steps are left out."""
    generator = torch.Generator().manual_seed(index)
    for place, parameter in enumerate(parameters):
        gradient = torch.randn(5, 3, generator=generator)
        parameter.grad = None if (place == 1 and index < 4) or (place == 2 and index % 3 == 0) else gradient
    optimizer.found_inf = torch.tensor(float(index in LEFT_OUT))  # type: ignore[attr-defined]
    optimizer.step()


@pytest.mark.parametrize("decoupled", [False, True])
def test_weights_and_counters_equal_torch_to_the_bit(decoupled: bool) -> None:
    torch_class = torch.optim.AdamW if decoupled else torch.optim.Adam
    mine, theirs = weights(), weights()
    ours_, torchs = ours(mine, decoupled), torch_class(theirs, lr=0.1, weight_decay=0.1, fused=True)
    for index in range(12):
        step(ours_, mine, index)
        step(torchs, theirs, index)
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True)), f"step {index}"
        counted = [[o.state[p]["step"].item() for p in w if o.state[p]] for o, w in ((ours_, mine), (torchs, theirs))]
        assert counted[0] == counted[1]
        if index == 7:
            # A saved training of torch's own goes on.
            ours_ = ours(mine, decoupled)
            ours_.load_state_dict(copy.deepcopy(torchs.state_dict()))


def test_hooks_are_called_once_a_step() -> None:
    parameters, calls = weights(), []
    # Its hooks are put around the class of an optimizer when the first is made.
    torch.optim.Adam(weights(), fused=True)
    optimizer = ours(parameters, True)
    optimizer.register_step_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_step_post_hook(lambda *_: calls.append("after"))
    step(optimizer, parameters, 1)
    assert calls == ["before", "after"]


def test_weights_that_began_together_share_a_counter_also_after_a_load() -> None:
    parameters = weights()
    optimizer = ours(parameters, True)
    for index in (1, 2):
        step(optimizer, parameters, index)
    again = ours(parameters, True)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for each in (optimizer, again):
        assert each.state[parameters[0]]["step"] is each.state[parameters[3]]["step"]
