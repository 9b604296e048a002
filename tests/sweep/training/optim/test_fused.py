"""Adam with shared step counters against torch's, to the bit; what builds on it against its definition."""

import copy

import pytest
import torch
from torch.nn import Parameter

from slr_models.errors import SettingError
from sweep.training.optim.fused import FusedAdam, MuonWithAdam, StableFusedAdam

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


def stable_reference(parameters: list[Parameter], num_steps: int, beta1: float, beta2: float) -> None:
    """Algorithm 2 of arXiv 2304.13013, as it stands there, with bias-corrected means in place of corrected betas."""
    means = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for count in range(1, num_steps + 1):
        for place, (p, (m, v)) in enumerate(zip(parameters, means, strict=True)):
            g = gradient(place, count)
            m.mul_(beta1).add_((1 - beta1) * g)
            v.mul_(beta2).add_((1 - beta2) * g**2)
            m_hat, v_hat = m / (1 - beta1**count), v / (1 - beta2**count)
            rms = (g**2 / v_hat.clamp(min=1e-16)).mean().sqrt().item()
            rate = 0.1 / max(1.0, rms)
            p.data -= rate * 0.1 * p.data + rate * m_hat / (v_hat.sqrt() + 1e-8)


def gradient(place: int, count: int) -> torch.Tensor:
    """Of a weight at a step; one is a hundred times as large all at once."""
    generator = torch.Generator().manual_seed(100 * count + place)
    return torch.randn(5, 3, generator=generator) * (100 if count == 6 else 1)


def test_stable_adamw_is_its_definition_and_leaves_out_steps() -> None:
    mine, theirs, plain = weights(), weights(), weights()
    settings = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1, "decoupled_weight_decay": True, "fused": True}
    ours_, adamw = StableFusedAdam(mine, **settings), FusedAdam(plain, **settings)
    stable_reference(theirs, 9, 0.9, 0.99)
    for count in range(1, 10):
        for optimizer, parameters in ((ours_, mine), (adamw, plain)):
            for parameter in parameters:
                parameter.grad = torch.full((5, 3), float("nan"))
            optimizer.found_inf = torch.ones(())
            before = [p.clone() for p in parameters]
            optimizer.step()
            assert all(torch.equal(a, b) for a, b in zip(before, parameters, strict=True)), "left out"
            for place, parameter in enumerate(parameters):
                parameter.grad = gradient(place, count)
            optimizer.found_inf = torch.zeros(())
            optimizer.step()
    torch.testing.assert_close(mine, theirs)
    assert not any(torch.allclose(a, b) for a, b in zip(mine, plain, strict=True)), "the large step counts for less"


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_is_torchs_for_matrices_and_adamw_for_others() -> None:
    def weights() -> list[Parameter]:
        generator = torch.Generator().manual_seed(0)
        return [Parameter(torch.randn(*shape, generator=generator)) for shape in ((6, 4), (6,), (8, 3, 5))]

    mine, theirs = weights(), weights()

    def made() -> MuonWithAdam:
        return MuonWithAdam(mine, momentum=0.9, nesterov=True, lr=0.1, weight_decay=0.1, decoupled_weight_decay=True)

    ours_ = made()
    flat = [Parameter(p.data.flatten(1)) for p in (theirs[0], theirs[2])]
    muon = torch.optim.Muon(flat, lr=0.1, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([theirs[1]], lr=0.1, weight_decay=0.1)
    for index in range(8):
        generator = torch.Generator().manual_seed(index)
        gradients = [torch.randn(p.shape, generator=generator) for p in mine]
        for parameter, value in zip(mine, gradients, strict=True):
            parameter.grad = value
        if index == 4:
            # It is saved, goes on, and a step is left out.
            state, ours_ = copy.deepcopy(ours_.state_dict()), made()
            ours_.load_state_dict(state)
            ours_.found_inf = torch.ones(())
            ours_.step()
        ours_.found_inf = torch.zeros(())
        ours_.step()
        flat[0].grad, theirs[1].grad, flat[1].grad = gradients[0], gradients[1], gradients[2].flatten(1)
        muon.step()
        adamw.step()
    torch.testing.assert_close([mine[0], mine[1], mine[2].flatten(1)], [flat[0], theirs[1], flat[1]])


def test_a_torch_without_muon_is_told(monkeypatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(SettingError, match=r"optimizer `muon` needs torch 2\.9 or newer"):
        MuonWithAdam(weights(), momentum=0.9, nesterov=True, lr=0.1)
