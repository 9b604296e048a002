"""Whether several trainings of one shape are faster in one process: their weights stacked, against one after another.

The stacked step runs one model over all sets of weights with `torch.func` (`vmap` of `functional_call`), their losses
in one call, one backward pass and one AdamW on the stacked weights. Its operations are torch's own: the hand-written
gradients of the models' convolutions, attention and normalization know no stacking. Against it the models as they are,
one after another, each with its optimizer. All see the same batch. CPU time of one thread, in turns; and the largest
difference of a gradient, relative to the largest of its tensor.

    python -m benchmarks.speed.stacked [--model teacher|baseline] [--width 0.125] [--batch 8] [--trainings 1,2,4,8]
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from slr_models.ctc import ctc_losses
from slr_models.data import SyntheticConfig
from slr_models.data.batches import Batch, collate
from slr_models.models import CtcModel, ModelConfig, blocks, norm

WARMUP_TURNS = 2


def plain_convolve(x_BTC: Tensor, weight_NKC: Tensor, stride: int) -> Tensor:
    """The convolution as windows side by side and a product, [B, S, N]."""
    kernel_size = weight_NKC.shape[1]
    pad = kernel_size // 2
    padded_BTC = F.pad(x_BTC, (0, 0, pad, pad))
    last = stride * ((x_BTC.shape[1] - 1) // stride) + 1
    windows_BSW = torch.cat([padded_BTC[:, k : k + last : stride] for k in range(kernel_size)], -1)
    return F.linear(windows_BSW, weight_NKC.flatten(1))


def plain_normalize(
    x_RKC: Tensor, weight_C: Tensor, bias_C: Tensor, valid_RK1: Tensor | None, inverse_count_R11: Tensor,
    num_groups: int, relu: bool, _: Any,
) -> Tensor:  # fmt: skip
    """The normalization, without running statistics."""
    valid: Tensor | float = 1.0 if valid_RK1 is None else valid_RK1
    masked_RKC = x_RKC * valid
    mean_R1C = norm._group_means(masked_RKC.sum(1, keepdim=True), inverse_count_R11, num_groups)
    centred_RKC = (masked_RKC - mean_R1C) * valid
    var_R1C = norm._group_means((centred_RKC**2).sum(1, keepdim=True), inverse_count_R11, num_groups)
    y_RKC = torch.addcmul(bias_C, centred_RKC, (var_R1C + norm.EPSILON).rsqrt() * weight_C)
    return (y_RKC.relu() if relu else y_RKC) * valid


@contextmanager
def plain_operations() -> Iterator[None]:
    """Within, models compute by torch's own operations alone."""
    with (
        mock.patch.object(blocks, "_convolve", plain_convolve),
        mock.patch.object(blocks.SelfAttention, "_is_small", lambda *_: False),
        mock.patch.object(norm, "_normalize", plain_normalize),
    ):
        yield


def one_by_one(models: list[CtcModel], batch: Batch) -> Callable[[], None]:
    """A step of each model, one after another."""
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True) for model in models]

    def step() -> None:
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            logits_BSV = model(batch.features_BTF, batch.lengths_B)
            lengths_B = model.output_lengths(batch.host_lengths_B)
            ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B).mean().backward()
            optimizer.step()

    return step


def stacked(models: list[CtcModel], batch: Batch) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """A step of all models at once, and their stacked weights."""
    weights, buffers = stack_module_state([*models])
    shape = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-4, foreach=True)
    num = len(models)
    lengths_B = models[0].output_lengths(batch.host_lengths_B).repeat(num)
    targets_BU, target_lengths_B = batch.targets_BU.repeat(num, 1), batch.target_lengths_B.repeat(num)

    def logits_of(one: dict[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        logits: Tensor = functional_call(shape, (one, state), (batch.features_BTF, batch.lengths_B))
        return logits

    def step() -> None:
        with plain_operations():
            optimizer.zero_grad(set_to_none=True)
            logits_KBSV = vmap(logits_of, randomness="different")(weights, buffers)
            losses = ctc_losses(logits_KBSV.flatten(0, 1), lengths_B, targets_BU, target_lengths_B)
            losses.view(num, -1).mean(1).sum().backward()
            optimizer.step()

    return step, weights


def largest_difference(models: list[CtcModel], weights: dict[str, Tensor]) -> float:
    """Of the gradients left by a step of each."""
    worst = 0.0
    for number, model in enumerate(models):
        for name, parameter in model.named_parameters():
            own, other = parameter.grad, weights[name].grad
            assert own is not None and other is not None
            worst = max(worst, ((own - other[number]).abs().max() / own.abs().max().clamp(min=1e-12)).item())
    return worst


def main() -> None:
    """Prints a line for each number of trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--trainings", default="1,2,4,8")
    parser.add_argument("--turns", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = SyntheticConfig().build()
    batch = collate(dataset.train, list(range(options.batch)))
    config = TypeAdapter(ModelConfig).validate_python({"kind": options.model, "width": options.width})
    for num in map(int, options.trainings.split(",")):
        # Without dropout, whose draws would differ.
        models = [
            config.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), seed).eval()
            for seed in range(num)
        ]
        together, weights = stacked(models, batch)
        steps = {"one by one": one_by_one(models, batch), "stacked": together}
        times: dict[str, list[float]] = {name: [] for name in steps}
        difference = 0.0
        for turn in range(WARMUP_TURNS + options.turns):
            for name, step in steps.items():
                started = time.process_time()
                step()
                if turn >= WARMUP_TURNS:
                    times[name].append(time.process_time() - started)
            if turn == 0:
                difference = largest_difference(models, weights)
        each = {name: 1e3 * statistics.median(found) / num for name, found in times.items()}
        ratio = statistics.median(a / b for a, b in zip(times["stacked"], times["one by one"], strict=True))
        print(
            f"{options.model} {options.width:g}, batch {options.batch}, {num} trainings: one by one "
            f"{each['one by one']:.1f} ms a step of one, stacked {each['stacked']:.1f} ms, {ratio:.2f} of it; "
            f"gradients differ by {difference:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
