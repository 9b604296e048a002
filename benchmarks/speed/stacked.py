"""Whether several trainings of one shape are faster in one process: their weights stacked, against one after another.

The stacked step runs one model over all sets of weights with `torch.func` (`vmap` of `functional_call`), their losses
in one call, one backward pass and one AdamW on the stacked weights. Against it the same models one after another, each
with its optimizer. Each training has a batch of its own; stacked, all are padded to the longest utterance of them. CPU
time of one thread, in turns; and the largest difference of a gradient, relative to the largest of its tensor.

Dimension legend: M trainings, B batch, T input frames, S output frames, F features, U labels, V vocabulary.

    python -m benchmarks.speed.stacked [--model teacher|baseline] [--width 0.125] [--batch 8] [--trainings 1,2,4,8]
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from pydantic import TypeAdapter
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from slr_models.ctc import ctc_losses
from slr_models.data import SyntheticConfig
from slr_models.data.batches import Batch, collate
from slr_models.models import CtcModel, ModelConfig

WARMUP_TURNS = 2


def one_by_one(models: list[CtcModel], batches: list[Batch]) -> Callable[[], None]:
    """A step of each model, one after another."""
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4, foreach=True) for model in models]

    def step() -> None:
        for model, optimizer, batch in zip(models, optimizers, batches, strict=True):
            optimizer.zero_grad(set_to_none=True)
            logits_BSV = model(batch.features_BTF, batch.lengths_B)
            lengths_B = model.output_lengths(batch.host_lengths_B)
            ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B).mean().backward()
            optimizer.step()

    return step


def stacked(models: list[CtcModel], batches: list[Batch]) -> tuple[Callable[[], None], dict[str, Tensor]]:
    """A step of all models at once, and their stacked weights."""
    weights, buffers = stack_module_state([*models])
    shape = copy.deepcopy(models[0]).to("meta")
    optimizer = torch.optim.AdamW(weights.values(), lr=1e-4, foreach=True)
    features_MBTF = padded([batch.features_BTF for batch in batches])
    targets_MBU = padded([batch.targets_BU for batch in batches])
    lengths_MB = torch.stack([batch.lengths_B for batch in batches])
    target_lengths_MB = torch.stack([batch.target_lengths_B for batch in batches])
    output_lengths_MB = models[0].output_lengths(lengths_MB)

    def logits_of(one: dict[str, Tensor], state: dict[str, Tensor], features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        logits_BSV: Tensor = functional_call(shape, (one, state), (features_BTF, lengths_B))
        return logits_BSV

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        logits_MBSV = vmap(logits_of)(weights, buffers, features_MBTF, lengths_MB)
        losses = ctc_losses(
            logits_MBSV.flatten(0, 1),
            output_lengths_MB.flatten(),
            targets_MBU.flatten(0, 1),
            target_lengths_MB.flatten(),
        )
        losses.view(len(models), -1).mean(1).sum().backward()
        optimizer.step()

    return step, weights


def padded(tensors: list[Tensor]) -> Tensor:
    """Stacked, with zeros after the second axis of those that are shorter."""
    longest = max(tensor.shape[1] for tensor in tensors)
    missing = [[0, 0] * (tensor.dim() - 2) + [0, longest - tensor.shape[1]] for tensor in tensors]
    return torch.stack([F.pad(tensor, pad) for tensor, pad in zip(tensors, missing, strict=True)])


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
    config = TypeAdapter(ModelConfig).validate_python({"kind": options.model, "width": options.width})
    for num in map(int, options.trainings.split(",")):
        models = [
            config.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), seed) for seed in range(num)
        ]
        size = options.batch
        batches = [collate(dataset.train, list(range(seed * size, (seed + 1) * size))) for seed in range(num)]
        together, weights = stacked(models, batches)
        steps = {"one by one": one_by_one(models, batches), "stacked": together}
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
