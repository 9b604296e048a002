"""Optimizers against the textbook update, and every setting against the update that it must change."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from sweep.training.optim import Adam, AdamW, Muon, OptimizerConfig, Sgd, StableAdamW

CONFIGS: list[OptimizerConfig] = [
    AdamW(lr=0.1, weight_decay=0.1),
    Adam(lr=0.1),
    Sgd(lr=0.1, momentum=0.5),
    StableAdamW(lr=0.1, weight_decay=0.1),
    Muon(lr=0.1, weight_decay=0.1),
]


def _run(config: OptimizerConfig, num_steps: int = 3) -> Tensor:
    """A vector of three and a matrix of six, after some steps."""
    weight, matrix = nn.Parameter(torch.tensor([1.0, -2.0, 3.0])), nn.Parameter(torch.linspace(-1, 1, 6).view(2, 3))
    optimizer = config.build([weight, matrix])
    for step in range(num_steps):
        weight.grad = torch.tensor([0.5, 1.0, -0.25]) * (step + 1)
        matrix.grad = torch.sin(torch.arange(6.0) * (step + 1)).view(2, 3) * (step + 1)
        optimizer.step()
    return torch.cat([weight.detach(), matrix.detach().flatten()])


def test_adamw_first_step_moves_each_weight_by_lr() -> None:
    # Bias correction makes the first update lr * sign(gradient), after the decay of lr * weight_decay.
    expected = torch.tensor([1.0, -2.0, 3.0]) * (1 - 0.1 * 0.1) - 0.1 * torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(_run(CONFIGS[0], 1)[:3], expected, rtol=1e-5, atol=1e-6)


def test_sgd_with_momentum_adds_up() -> None:
    g = torch.tensor([0.5, 1.0, -0.25])
    expected = torch.tensor([1.0, -2.0, 3.0]) - 0.1 * (g + (2 * g + 0.5 * g) + (3 * g + 0.5 * (2.5 * g)))
    torch.testing.assert_close(_run(CONFIGS[2])[:3], expected)


CHANGES = [
    (config, name, value)
    for config, changes in [
        (CONFIGS[0], {"lr": 0.2, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.5}),
        (CONFIGS[1], {"lr": 0.2, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.5}),
        (CONFIGS[2], {"lr": 0.2, "momentum": 0.9, "nesterov": True, "weight_decay": 0.5}),
        (CONFIGS[3], {"lr": 0.2, "beta1": 0.5, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.5}),
        (
            CONFIGS[4],
            {"lr": 0.2, "momentum": 0.5, "nesterov": False, "weight_decay": 0.5}
            | {"beta1": 0.5, "beta2": 0.9, "eps": 0.1},
        ),
    ]
    for name, value in changes.items()
]


@pytest.mark.parametrize(("config", "name", "value"), CHANGES)
def test_every_setting_changes_the_update(config: OptimizerConfig, name: str, value: float) -> None:
    changed = config.model_copy(update={name: value})
    assert not torch.allclose(_run(config), _run(changed), rtol=1e-4)


def test_all_settings_are_covered() -> None:
    for config in CONFIGS:
        assert {name for c, name, _ in CHANGES if c is config} == set(type(config).model_fields) - {"kind"}


@pytest.mark.parametrize("config", CONFIGS)
def test_round_trip_through_the_union(config: OptimizerConfig) -> None:
    adapter: TypeAdapter[OptimizerConfig] = TypeAdapter(OptimizerConfig)
    assert adapter.validate_python(adapter.dump_python(config)) == config


def test_nesterov_without_momentum_is_an_error() -> None:
    with pytest.raises(ValidationError, match="no effect with `momentum: 0`"):
        Sgd(momentum=0.0, nesterov=True)


@pytest.mark.parametrize("bad", [{"lr": 0.0}, {"lr": float("nan")}, {"beta1": 1.0}, {"betas": [0.9, 0.99]}])
def test_bad_values_are_rejected(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        AdamW.model_validate(bad)


@pytest.mark.parametrize("config", [*CONFIGS, Sgd(lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)])
def test_steps_that_are_left_out_leave_no_trace(config: OptimizerConfig) -> None:
    """The first one above all: torch's SGD makes its momentum then, and would leave it unfilled."""
    plain, shaken = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    optimizers = config.build([plain]), config.build([shaken])
    for step in range(3):
        shaken.grad = torch.full((3,), float("nan"))
        optimizers[1].found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
        optimizers[1].step()
        del optimizers[1].found_inf  # type: ignore[attr-defined]
        for weight, optimizer in zip((plain, shaken), optimizers, strict=True):
            weight.grad = torch.tensor([0.5, 1.0, -0.25]) * (step + 1)
            optimizer.step()
        assert torch.equal(plain, shaken)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torchs_own(nesterov: bool) -> None:
    ours, theirs = (nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    optimizers = (
        Sgd(lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.1).build([ours]),
        torch.optim.SGD([theirs], lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=0.1, fused=True),
    )
    for step in range(3):
        for weight, optimizer in zip((ours, theirs), optimizers, strict=True):
            weight.grad = torch.tensor([0.5, -1.0, 0.25]) * (step + 1)
            optimizer.step()
        assert torch.equal(ours, theirs)
