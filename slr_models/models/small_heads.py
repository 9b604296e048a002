"""Self-attention with small heads on a CPU, in the shapes of product that its matrix library is fast at.

Dimension legend: B batch, T frames, D model size, H heads, E = D / H, P = 3 D; of a chunk of utterances: N utterances
times heads, S frames of the longest.

torch's fused kernel, and any product whose output has 8 columns, spend most of their time on overhead: here every
product has frames as its columns. Utterances that are long go one by one, so that their scores stay in the cache and no
time goes into padding; short ones together, so that there are few operations.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slr_models.models.stacking import by_utterance

LARGEST_HEAD = 16
"""Elements of a head up to which this is faster than torch's kernel; from 32 on it is not."""
CHUNK_SCORES = 1 << 16
"""Attention scores that are worked on together, 256 KiB: a fraction of a core's second-level cache."""


def _chunks(lengths: Sequence[int], num_heads: int) -> Iterator[tuple[int, int, int]]:
    """First utterance, the one after the last, and frames of the longest, for each chunk of a batch."""
    longest = max(1, *lengths)
    size = max(1, CHUNK_SCORES // (num_heads * longest * longest))
    for start in range(0, len(lengths), size):
        stop = min(start + size, len(lengths))
        yield start, stop, max(1, *lengths[start:stop])


class _Attend(torch.autograd.Function):
    """softmax(queries keys^T / sqrt(E)) values for queries, keys and values side by side, [B, T, 3 D] -> [B, T, D]."""

    @staticmethod
    def forward(ctx: Any, qkv_BTP: Tensor, lengths: Sequence[int], num_heads: int) -> Tensor:
        batch, num_frames, projected = qkv_BTP.shape
        size = projected // 3
        head = size // num_heads
        y_BTD = qkv_BTP.new_zeros(batch, num_frames, size)
        ctx.num_heads, ctx.chunks = num_heads, list(_chunks(lengths, num_heads))
        saved: list[Tensor] = []
        for start, stop, longest in ctx.chunks:
            heads = (stop - start) * num_heads
            transposed = qkv_BTP[start:stop, :longest].view(stop - start, longest, 3, num_heads, head)
            query_NES, key_NES, value_NES = transposed.permute(2, 0, 3, 4, 1).reshape(3, heads, head, longest).unbind(0)
            scores_NSS = _product(query_NES.transpose(1, 2), key_NES, head**-0.5)
            if min(lengths[start:stop]) < longest:
                _hide(scores_NSS, lengths[start:stop], num_heads)
            torch._softmax(scores_NSS, -1, False, out=scores_NSS)
            y_NES = torch.bmm(value_NES, scores_NSS.transpose(1, 2))
            y_BTD[start:stop, :longest] = y_NES.view(stop - start, size, longest).transpose(1, 2)
            saved += (query_NES, key_NES, value_NES, scores_NSS)
        ctx.save_for_backward(*saved)
        return y_BTD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, None, None]:
        batch, num_frames, size = grad_BTD.shape
        num_heads, saved = ctx.num_heads, ctx.saved_tensors
        scale = (size // num_heads) ** -0.5
        grad_BTP = grad_BTD.new_zeros(batch, num_frames, 3 * size)
        for index, (start, stop, longest) in enumerate(ctx.chunks):
            query_NES, key_NES, value_NES, probs_NSS = saved[4 * index : 4 * index + 4]
            grad_NES = grad_BTD[start:stop, :longest].transpose(1, 2).reshape(query_NES.shape)
            grads_3NES = query_NES.new_empty(3, *query_NES.shape)
            torch.bmm(grad_NES, probs_NSS, out=grads_3NES[2])
            grad_NSS = torch.bmm(grad_NES.transpose(1, 2), value_NES)
            torch._softmax_backward_data(grad_NSS, probs_NSS, -1, grad_NSS.dtype, grad_input=grad_NSS)
            _product(key_NES, grad_NSS.transpose(1, 2), scale, out=grads_3NES[0])
            _product(query_NES, grad_NSS, scale, out=grads_3NES[1])
            grads_3BDS = grads_3NES.view(3, stop - start, size, longest)
            grad_BTP[start:stop, :longest].unflatten(2, (3, size)).copy_(grads_3BDS.permute(1, 3, 0, 2))
        return grad_BTP, None, None


_apply = cast(Callable[[Tensor, Sequence[int], int], Tensor], _Attend.apply)

attend = by_utterance(lambda qkv_BTP, lengths_B, num_heads: _apply(qkv_BTP, lengths_B.tolist(), num_heads))
"""Queries, keys and values side by side [B, T, 3 D], valid frames of each utterance [B], heads -> [B, T, D].

Frames beyond an utterance's length are not attended to; as queries they give values without meaning.
"""


def _product(left: Tensor, right: Tensor, scale: float, out: Tensor | None = None) -> Tensor:
    """scale * left @ right, for batches of matrices."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=scale, out=out)


def _hide(scores_NSS: Tensor, lengths: Sequence[int], num_heads: int) -> None:
    """Makes the scores of keys in the padding minus infinite; an utterance without a frame keeps its first."""
    for index, length in enumerate(lengths):
        scores_NSS[index * num_heads : (index + 1) * num_heads, :, max(length, 1) :] = -torch.inf
