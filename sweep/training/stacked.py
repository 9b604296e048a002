"""The gradients of several trainings in one pass over their stacked weights.

A small model's step is mostly the cost of starting operations, which one operation over the weights of all trainings
pays once. Everything else of a step stays each training's own: its batch, loss, norm, clip, optimizer and records.

Dimension legend: K trainings, B batch, T input frames, F features, S output frames, V vocabulary, U labels of a target.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, vmap

from slr_models.ctc import as_scores, blank_rate, ctc_losses, input_dependence
from slr_models.data.batches import Batch
from slr_models.models.configs import NetworkSpec
from sweep.records import EvalRecord, HealthSample, StepRecord
from sweep.training.config import TrialConfig
from sweep.training.late import Stopwatch
from sweep.training.precision import Fp32
from sweep.training.train import Gradients, GradientsDue, Training

_OF_ITS_OWN = {"init_scale": 1.0, "conv_scale": 1.0}
"""Settings of a model that only its first weights depend on."""


def shape(config: TrialConfig) -> Hashable | None:
    """What trainings have in common whose gradients can be computed together; None for one that has to be alone.

    Learning rate, schedule, optimizer, clip, bad-batch policy, seed and scales of the first weights may differ. Alone
    are models of the user's own and those that cannot be stacked, dropout (each training draws its own), precisions
    below fp32, and smoothed labels.
    """
    model, training = config.model, config.training
    if not (isinstance(model, NetworkSpec) and model.is_stackable and model.dropout == 0):
        return None
    if not isinstance(training.precision, Fp32) or training.label_smoothing:
        return None
    return model.model_copy(update=_OF_ITS_OWN).model_dump_json(), training.normalization


def compute_together(trainings: Sequence[tuple[Training, GradientsDue]]) -> None:
    """Computes the gradients that trainings of one shape wait for; those whose batches are as large, in one pass.

    The gradients are those that each would compute by itself, up to the order of sums in float32. What a training is
    left alone with, since no other's batch is as large, it computes itself.
    """
    by_size: dict[Hashable, list[tuple[Training, GradientsDue]]] = {}
    for training, due in trainings:
        by_size.setdefault(tuple(map(len, due.micro_batches)), []).append((training, due))
    for members in by_size.values():
        if len(members) > 1:
            _compute([training for training, _ in members], [due for _, due in members])


def train_together(trainings: Sequence[Training]) -> Iterator[tuple[int, StepRecord | EvalRecord | HealthSample]]:
    """Trains all to their ends side by side; the records of each, with its position in the sequence.

    Args:
        trainings: of one `shape`.
    """
    streams = {position: training.paused_records() for position, training in enumerate(trainings)}
    while streams:
        due = []
        for position, stream in list(streams.items()):
            for record in stream:
                if isinstance(record, GradientsDue):
                    due.append((trainings[position], record))
                    break
                yield position, record
            else:
                del streams[position]
        compute_together(due)


def _compute(trainings: list[Training], due: list[GradientsDue]) -> None:
    first, num = trainings[0], len(trainings)
    device = first.device
    stopwatch = Stopwatch(device)
    weights = {name: stacked.requires_grad_() for name, stacked in _stacked([t.parameters for t in trainings]).items()}
    buffers = _stacked([dict(t.model.named_buffers()) for t in trainings])

    def logits_of(weights: dict[str, Tensor], buffers: dict[str, Tensor], x_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        logits: Tensor = functional_call(first.model, (weights, buffers), (x_BTF, lengths_B))
        return logits

    num_micro_batches = len(due[0].micro_batches)
    loss_K = torch.zeros(num, device=device)
    telemetry = [(first.unknown, first.unknown)] * num
    first.model.train()
    for micro_batch in range(num_micro_batches):
        batches = [t.batch(d.micro_batches[micro_batch]) for t, d in zip(trainings, due, strict=True)]
        with first.precision.forward_context():
            features_KBTF = _padded([batch.features_BTF for batch in batches])
            lengths_KB = torch.stack([batch.lengths_B for batch in batches])
            logits_KBSV = as_scores(
                vmap(logits_of)(weights, buffers, features_KBTF, lengths_KB), first.config.training.normalization
            )
            losses_K = _losses(first, logits_KBSV, batches)
        (losses_K / num_micro_batches).sum().backward()
        loss_K += losses_K.detach() / num_micro_batches
        telemetry = [
            _telemetry(t, logits_BSV, batch) if d.is_measured else (t.unknown, t.unknown)
            for t, d, logits_BSV, batch in zip(trainings, due, logits_KBSV.detach(), batches, strict=True)
        ]
    for number, training in enumerate(trainings):
        for name, parameter in training.parameters.items():
            gradient = weights[name].grad
            parameter.grad = None if gradient is None else gradient[number]
        for name, buffer in training.model.named_buffers():
            buffer.copy_(buffers[name][number])
    stopwatch.stop()
    for training, loss, (blanks, dependence) in zip(trainings, loss_K, telemetry, strict=True):
        training.take_gradients(Gradients(loss, blanks, dependence, stopwatch, num))


@torch.no_grad()
def _stacked(named: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """[...] of each training as [K, ...]."""
    return {name: torch.stack([tensors[name] for tensors in named]) for name in named[0]}


def _padded(features: list[Tensor]) -> Tensor:
    """[B, T, F] of each training, T its own, as [K, B, T, F]."""
    longest = max(x_BTF.shape[1] for x_BTF in features)
    return torch.stack([F.pad(x_BTF, (0, 0, 0, longest - x_BTF.shape[1])) for x_BTF in features])


def _losses(training: Training, logits_KBSV: Tensor, batches: list[Batch]) -> Tensor:
    """The loss of each training's batch, [K]."""
    longest = max(batch.targets_BU.shape[1] for batch in batches)
    losses_R = ctc_losses(
        logits_KBSV.flatten(0, 1),
        training.model.output_lengths(torch.cat([batch.host_lengths_B for batch in batches])),
        torch.cat([F.pad(batch.targets_BU, (0, longest - batch.targets_BU.shape[1])) for batch in batches]),
        torch.cat([batch.target_lengths_B for batch in batches]),
    )
    return losses_R.view(len(batches), -1).mean(1)


def _telemetry(training: Training, logits_BSV: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    lengths_B = training.model.output_lengths(batch.host_lengths_B)
    return blank_rate(logits_BSV, lengths_B), input_dependence(logits_BSV, lengths_B)
