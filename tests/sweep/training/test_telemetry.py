"""Tensor measurements on values worked out by hand."""

import math

import pytest
import torch
from torch import nn

from sweep.training.telemetry import ABSENT, absmax, adam_rms, flush_rate, headroom_bits, params_finite, update_ratios


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("layer", [0, 1])
def test_one_bad_weight_is_found(bad: float, layer: int) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    assert bool(params_finite(model.parameters()))
    with torch.no_grad():
        list(model[layer].parameters())[0][-1, -1] = bad
    assert not bool(params_finite(model.parameters()))


def test_large_finite_weights_are_finite() -> None:
    assert bool(params_finite([torch.full((8,), 3e38)]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_absmax_sees_both_signs_and_keeps_what_is_not_finite(dtype: torch.dtype) -> None:
    values = torch.tensor([[0.0, -8.0], [2.0, 4.0]], dtype=dtype)
    assert absmax(values).item() == 8.0 and absmax(values).dtype is torch.float32
    assert absmax(-values).item() == 8.0
    assert absmax(values.index_fill(1, torch.tensor([1]), -math.inf)).item() == math.inf
    assert math.isnan(absmax(values.index_fill(1, torch.tensor([0]), math.nan)).item())


@pytest.mark.parametrize(
    ("largest", "bits"), [(65504.0, 0.0), (8188.0, 3.0), (131008.0, -1.0), (0.0, math.inf), (math.inf, -math.inf)]
)
def test_headroom(largest: float, bits: float) -> None:
    assert headroom_bits(largest, torch.float16) == pytest.approx(bits, abs=1e-12)


def test_headroom_is_that_of_the_format() -> None:
    assert headroom_bits(0.5, torch.float32) == pytest.approx(129)
    assert headroom_bits(1.0, torch.bfloat16) == pytest.approx(128, abs=0.01)
    assert math.isnan(headroom_bits(math.nan, torch.float16))


def test_flush_rate_counts_what_the_reference_has() -> None:
    reference = torch.tensor([0.0, 1.0, 1e-9, -1e-12, 2.0])
    half = torch.tensor([5.0, 1.1, 0.0, -0.0, math.nan])
    assert flush_rate(half, reference).item() == 0.5
    assert flush_rate(half, torch.zeros(5)).item() == ABSENT


def test_update_ratios() -> None:
    before = [torch.tensor([3.0, 4.0]), torch.zeros(2), torch.tensor([math.nan]), torch.ones(3)]
    after = [torch.tensor([3.0, 4.5]), torch.ones(2), torch.tensor([1.0]), torch.ones(3)]
    ratio, of_zeros, of_nan, unchanged = update_ratios(before, after).tolist()
    assert ratio == pytest.approx(0.1)
    assert of_zeros == ABSENT and math.isnan(of_nan) and unchanged == 0.0


def test_adam_rms_is_one_for_the_gradients_that_adam_knows() -> None:
    beta2 = 0.99
    parameter = nn.Parameter(torch.randn(4, 3))
    optimizer = torch.optim.Adam([parameter], betas=(0.9, beta2))
    gradient = torch.randn(4, 3)

    def step(factor: float) -> float:
        parameter.grad = factor * gradient
        optimizer.step()
        state = optimizer.state[parameter]
        return adam_rms([parameter.grad], [state["exp_avg_sq"]], state["step"][None], beta2, 1e-8).item()

    assert [step(1.0) for _ in range(3)] == pytest.approx([1.0] * 3, rel=1e-5)
    # v of four steps, the last of them seven times as large.
    weights = [0.01 * beta2**k for k in (3, 2, 1, 0)]
    v = (sum(weights[:3]) + 49 * weights[3]) / sum(weights)
    assert step(7.0) == pytest.approx(7 / math.sqrt(v), rel=1e-5)


def test_adam_rms_of_unequal_elements() -> None:
    # v = (4, 0): the ratios are 3^2 / 4 and, bounded by eps, 0.5^2 / 0.1^2.
    squares = torch.tensor([4.0, 0.0]) * (1 - 0.9**2)
    rms = adam_rms([torch.tensor([3.0, 0.5])], [squares], torch.tensor([2.0]), 0.9, 0.1)
    assert rms.item() == pytest.approx(math.sqrt((2.25 + 25.0) / 2), rel=1e-5)
