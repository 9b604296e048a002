"""Shared layers against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from slr_models.data.batch import FeatureGroup
from slr_models.models.blocks import Conv, DepthwiseConv, GroupEmbedding, SelfAttention, max_pool, scale_channels
from slr_models.models.configs import AttentionKernel
from slr_models.models.norm import Frames


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("num_frames", [1, 2, 9, 10])
def test_convolutions_equal_torch(kernel_size: int, stride: int, num_frames: int) -> None:
    x_BTC = torch.randn(2, num_frames, 6, dtype=torch.float64, requires_grad=True)
    for conv, weight_OCK, groups in (
        (dense := Conv(6, 5, kernel_size, stride).double(), dense.weight.transpose(1, 2), 1),
        (depthwise := DepthwiseConv(6, kernel_size, stride).double(), depthwise.weight, 6),
    ):
        y_BSC = conv(x_BTC)
        expected_BCS = F.conv1d(
            x_BTC.transpose(1, 2), weight_OCK, stride=stride, padding=kernel_size // 2, groups=groups
        )
        torch.testing.assert_close(y_BSC, expected_BCS.transpose(1, 2))
        cotangent_BSC = torch.randn_like(y_BSC)
        inputs = (x_BTC, conv.weight)
        gradients = torch.autograd.grad(y_BSC, inputs, cotangent_BSC)
        expected = torch.autograd.grad(expected_BCS, inputs, cotangent_BSC.transpose(1, 2))
        torch.testing.assert_close(gradients, expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_equals_torch(stride: int) -> None:
    x_BTC = torch.rand(2, 9, 6)
    expected_BCS = F.max_pool1d(x_BTC.transpose(1, 2), 3, stride, 1)
    torch.testing.assert_close(max_pool(x_BTC, stride), expected_BCS.transpose(1, 2))


KERNELS: tuple[AttentionKernel, ...] = ("sdpa", "written_out")


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [16, 128])
def test_attention_equals_multihead_attention(kernel: AttentionKernel, size: int) -> None:
    attention = SelfAttention(size, 4, kernel)
    reference = torch.nn.MultiheadAttention(size, 4, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(attention.query_key_value.weight)
        reference.in_proj_bias.copy_(attention.query_key_value.bias)
        reference.out_proj.weight.copy_(attention.output.weight)
        reference.out_proj.bias.copy_(attention.output.bias)
    x_BTD = torch.randn(2, 7, size)
    needs_weights = kernel == "written_out"
    for lengths_B in (torch.tensor([7, 3]), torch.tensor([7, 7])):
        frames = Frames.of(lengths_B, 7, torch.float32)
        is_padding_BT = torch.arange(7) >= lengths_B[:, None]
        y_BTD = attention(x_BTD, frames)
        expected_BTD = reference(x_BTD, x_BTD, x_BTD, key_padding_mask=is_padding_BT, need_weights=needs_weights)[0]
        torch.testing.assert_close(y_BTD[~is_padding_BT], expected_BTD[~is_padding_BT], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_attention_of_an_empty_row_is_finite(kernel: AttentionKernel) -> None:
    attention = SelfAttention(16, 4, kernel)
    x_BTD = torch.randn(2, 5, 16, requires_grad=True)
    y_BTD = attention(x_BTD, Frames.of(torch.tensor([5, 0]), 5, torch.float32))
    y_BTD.sum().backward()
    assert bool(torch.isfinite(y_BTD).all())
    assert x_BTD.grad is not None and bool(torch.isfinite(x_BTD.grad).all())


def test_largest_logit_sees_valid_frames_only() -> None:
    attention = SelfAttention(8, 2)
    x_BTD = torch.randn(2, 5, 8)
    frames = Frames.of(torch.tensor([5, 2]), 5, torch.float32)
    clean = attention.largest_logit(x_BTD, frames)
    size = 8
    query, key, _ = F.linear(x_BTD, attention.query_key_value.weight, attention.query_key_value.bias).split(size, 2)
    logits = torch.einsum("bqhe,bkhe->bhqk", query.unflatten(2, (2, 4)), key.unflatten(2, (2, 4))) / 2
    expected = torch.stack([logits[0].abs().max(), logits[1, :, :2, :2].abs().max()]).max()
    torch.testing.assert_close(clean, expected)
    junk_BTD = x_BTD.clone()
    junk_BTD[1, 2:] = 1e4
    torch.testing.assert_close(attention.largest_logit(junk_BTD, frames), clean)


def test_each_group_has_its_own_columns() -> None:
    embedding = GroupEmbedding((FeatureGroup("a", 0, 3), FeatureGroup("b", 3, 5)), 8)
    features_BTF = torch.randn(1, 4, 5)
    first, second = embedding.linears
    expected = (
        F.relu(F.layer_norm(first(features_BTF[:, :, :3]), (8,)))
        + F.relu(F.layer_norm(second(features_BTF[:, :, 3:]), (8,)))
    ) / 2
    torch.testing.assert_close(embedding(features_BTF), expected)


def test_channels_are_multiples_and_never_vanish() -> None:
    assert scale_channels(512, 0.125) == 64
    assert scale_channels(32, 0.0625) == 4
    assert scale_channels(1024, 0.1, 8) == 104
