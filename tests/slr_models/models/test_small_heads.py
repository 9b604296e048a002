"""Attention with small heads against torch's, outputs and gradients, for every way to cut a batch into chunks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from slr_models.models import small_heads
from slr_models.models.small_heads import attend

HEADS, SIZE = 2, 16


def reference(qkv_BTP: Tensor, lengths: list[int]) -> Tensor:
    """torch's attention; 0 in the padding."""
    batch, num_frames, _ = qkv_BTP.shape
    query, key, value = qkv_BTP.view(batch, num_frames, 3, HEADS, SIZE // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
    valid_BT = torch.arange(num_frames) < torch.tensor(lengths)[:, None]
    y_BHTE = F.scaled_dot_product_attention(query, key, value, attn_mask=valid_BT[:, None, None])
    return y_BHTE.transpose(1, 2).flatten(2) * valid_BT[:, :, None]


@pytest.mark.parametrize("num_chunks", [1, 2, 4])
@pytest.mark.parametrize("lengths", [[9, 9, 9, 9], [9, 4, 9, 1], [3, 5, 9, 9]])
def test_output_and_gradient_equal_torch(lengths: list[int], num_chunks: int, monkeypatch) -> None:
    monkeypatch.setattr(small_heads, "CHUNK_SCORES", HEADS * 9 * 9 * 4 // num_chunks)
    valid_BT1 = (torch.arange(9) < torch.tensor(lengths)[:, None])[:, :, None].float()
    qkv_BTP = torch.randn(4, 9, 3 * SIZE, requires_grad=True)
    direction_BTD = torch.randn(4, 9, SIZE) * valid_BT1
    y_BTD = attend(qkv_BTP, torch.tensor(lengths), HEADS) * valid_BT1
    expected_BTD = reference(qkv_BTP, lengths)
    torch.testing.assert_close(y_BTD, expected_BTD)
    gradients = [torch.autograd.grad(y, qkv_BTP, direction_BTD)[0] for y in (y_BTD, expected_BTD)]
    torch.testing.assert_close(*gradients)


def test_frames_fewer_than_a_head_has_elements() -> None:
    qkv_BTP = torch.randn(1, 3, 3 * SIZE)
    torch.testing.assert_close(attend(qkv_BTP, torch.tensor([3]), HEADS), reference(qkv_BTP, [3]))


def test_padding_has_no_effect_not_even_infinite() -> None:
    qkv_BTP = torch.randn(2, 6, 3 * SIZE)
    clean_TD = attend(qkv_BTP, torch.tensor([6, 4]), HEADS)[1, :4]
    qkv_BTP[1, 4:] = 1e30
    torch.testing.assert_close(attend(qkv_BTP, torch.tensor([6, 4]), HEADS)[1, :4], clean_TD)
