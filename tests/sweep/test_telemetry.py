"""Tensor measurements on values worked out by hand."""

import math

import pytest
import torch
from torch import nn

from sweep.telemetry import flush_rate, headroom_bits, params_finite


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


@pytest.mark.parametrize(("amax", "bits"), [(65504.0, 0.0), (8188.0, 3.0), (131008.0, -1.0), (0.0, math.inf)])
def test_headroom(amax: float, bits: float) -> None:
    assert headroom_bits(torch.tensor([0.0, -amax, amax / 2])).item() == bits
    assert math.isnan(headroom_bits(torch.tensor([amax, math.nan])).item())


def test_flush_rate_counts_nonzero_elements_only() -> None:
    values = torch.tensor([0.0, 1.0, 2.0**-24, 2.0**-25, -(2.0**-30)])
    assert flush_rate(values).item() == 0.5
    assert math.isnan(flush_rate(torch.zeros(3)).item())
