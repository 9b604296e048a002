"""Masked normalization against torch's own on the valid frames alone."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slr_models.models.configs import NormKind
from slr_models.models.norm import EPSILON, Frames, MaskedNorm, num_norm_groups

LENGTHS = (7, 1, 4)
CHANNELS = 24


def ragged(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Frames]:
    x_BTC = torch.randn(3, 7, CHANNELS, generator=torch.Generator().manual_seed(0), dtype=dtype) * 3 + 2
    return x_BTC, Frames.of(torch.tensor(LENGTHS), 7, dtype)


def randomized(kind: NormKind, relu: bool, dtype: torch.dtype = torch.float32) -> MaskedNorm:
    norm = MaskedNorm(kind, CHANNELS, relu).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(-1, 2, CHANNELS))
        norm.bias.copy_(torch.linspace(1, -1, CHANNELS))
    return norm


@pytest.mark.parametrize("relu", [False, True])
def test_group_norm_equals_torch_on_each_utterance_alone(relu: bool) -> None:
    x_BTC, frames = ragged()
    norm = randomized("group", relu)
    y_BTC = norm(x_BTC, frames)
    for row, length in enumerate(LENGTHS):
        alone_1CT = x_BTC[row : row + 1, :length].transpose(1, 2)
        expected_1CT = F.group_norm(alone_1CT, norm.num_groups, norm.weight, norm.bias, EPSILON)
        expected_TC = (expected_1CT.relu() if relu else expected_1CT)[0].T
        torch.testing.assert_close(y_BTC[row, :length], expected_TC, atol=1e-5, rtol=1e-5)
        assert not y_BTC[row, length:].any()


def test_group_norm_keeps_its_precision_far_from_zero() -> None:
    x_BTC, frames = ragged()
    norm = randomized("group", relu=False)
    torch.testing.assert_close(norm(x_BTC + 1000, frames), norm(x_BTC, frames), atol=2e-3, rtol=1e-3)


def test_batch_norm_equals_torch_on_all_valid_frames() -> None:
    x_BTC, frames = ragged()
    norm = randomized("batch", relu=False)
    reference = torch.nn.BatchNorm1d(CHANNELS, eps=EPSILON)
    reference.load_state_dict({**reference.state_dict(), **norm.state_dict()})
    valid_BT = torch.arange(7) < torch.tensor(LENGTHS)[:, None]
    for training in (True, False):
        norm.train(training)
        reference.train(training)
        expected_NC = reference(x_BTC[valid_BT])
        y_BTC = norm(x_BTC, frames)
        torch.testing.assert_close(y_BTC[valid_BT], expected_NC, atol=1e-5, rtol=1e-5)
        assert not y_BTC[~valid_BT].any()
        torch.testing.assert_close(norm.running_mean, reference.running_mean)
        torch.testing.assert_close(norm.running_var, reference.running_var)


def test_batch_norm_survives_a_single_frame() -> None:
    norm = MaskedNorm("batch", CHANNELS, relu=False)
    norm(torch.randn(1, 1, CHANNELS), Frames.of(torch.tensor([1]), 1, torch.float32))
    assert bool(torch.isfinite(norm.running_var).all())


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_gradients_are_those_of_finite_differences(kind: NormKind, relu: bool, padded: bool) -> None:
    x_BTC, frames = ragged(torch.float64)
    if not padded:
        frames = Frames.of(torch.full((3,), 7), 7, torch.float64)
    norm = randomized(kind, relu, torch.float64)

    def apply(x_BTC: Tensor, weight_C: Tensor, bias_C: Tensor) -> Tensor:
        parameters = {"weight": weight_C, "bias": bias_C}
        y_BTC: Tensor = torch.func.functional_call(norm, parameters, (x_BTC, frames))
        return y_BTC

    inputs = (x_BTC.requires_grad_(), norm.weight.detach().requires_grad_(), norm.bias.detach().requires_grad_())
    assert torch.autograd.gradcheck(apply, inputs, fast_mode=True)


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_half_precision_input_is_normalized_in_float32(kind: NormKind) -> None:
    x_BTC, frames = ragged()
    y_BTC = randomized(kind, relu=True)((x_BTC * 1000).half(), frames)
    assert y_BTC.dtype == torch.float32
    assert bool(torch.isfinite(y_BTC).all())


@pytest.mark.parametrize("kind", ["batch", "group", "layer"])
def test_half_precision_overflow_in_the_padding_stays_there(kind: NormKind) -> None:
    x_BTC, frames = ragged()
    norm = randomized(kind, relu=True)
    clean_BTC = norm(x_BTC.half(), frames)
    x_BTC[1, 3:] = float("inf")
    torch.testing.assert_close(norm(x_BTC.half(), frames), clean_BTC, atol=0, rtol=0)


@given(st.integers(min_value=1, max_value=4096))
@settings(max_examples=50, deadline=None)
def test_groups_divide_the_channels(channels: int) -> None:
    count = num_norm_groups(channels)
    assert 1 <= count <= 32
    assert channels % count == 0
    assert channels // count >= min(16, channels)


def test_frames_without_padding_need_no_mask() -> None:
    assert Frames.of(torch.tensor([5, 5]), 5, torch.float32).valid_BT1 is None
    assert Frames.of(torch.tensor([5, 4]), 5, torch.float32).valid_BT1 is not None
    # ceil(5 / 2) = ceil(6 / 2): the padding disappears with the stride.
    assert Frames.of(torch.tensor([5, 6]), 6, torch.float32).strided(2).valid_BT1 is None
