"""How many first steps a loss scale will skip before its first usable value, found out before any training.

A scaler starts high and backs off at each overflow. Gradients of activations overflow first, long before those of the
weights (summed in fp32 afterwards) do, so what counts is the largest value anywhere in backward that half precision
has to hold.

    expected skips = max(0, ceil(log(initial scale x largest gradient / 65504) / log(1 / backoff factor)))
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from slr_models.ctc import as_scores, ctc_losses
from slr_models.data.batch import Dataset
from slr_models.data.batches import collate
from sweep.records import StepRecord, is_finite
from sweep.training.config import TrialConfig
from sweep.training.optim import Constant
from sweep.training.precision import Fp16, Fp16Unscaled
from sweep.training.telemetry import HALF_MAX
from sweep.training.train import Training

MAX_STEPS = 40
"""Steps of a measured start at most: 2^32 needs about 20."""


@dataclass(frozen=True)
class Calibration:
    """The start of one loss scale with the model as it is initialized."""

    initial_scale: float
    expected_skips: int | None
    """From the gradients of one batch, by the formula; None where they are not finite."""
    measured_skips: int | None
    """Steps before the first finite gradient of a real start, emulated on the CPU; None where it took too long."""


def calibrations(
    config: TrialConfig,
    precisions: Sequence[Fp16],
    dataset: Dataset,
    batch: Sequence[int],
    *,
    seed: int,
    limit_s: float,
) -> tuple[float, tuple[Calibration, ...]]:
    """The largest gradient, unscaled, that half precision has to hold at the start, and what each scale will do.

    Args:
        config: model and training.
        precisions: the scales to look at.
        dataset: as for training.
        batch: training utterances that the gradient is measured on; finite and feasible ones.
        seed: of the weights and the order of the data.
        limit_s: when to give up measuring, CPU seconds in all: a busy machine must not change what is found.
    """
    started = time.process_time()
    largest = largest_half_gradient(config, dataset, batch, seed)
    found = []
    for precision in precisions:
        left_s = limit_s - (time.process_time() - started)
        measured = leading_skips(config, precision, dataset, seed, left_s)
        found.append(Calibration(precision.initial_scale, expected_skips(precision, largest), measured))
    return largest, tuple(found)


def expected_skips(precision: Fp16, largest_gradient: float) -> int | None:
    """Overflows before the scaled gradient fits; None where the gradient is unknown."""
    if not math.isfinite(largest_gradient):
        return None
    excess = precision.initial_scale * largest_gradient / HALF_MAX
    return max(0, math.ceil(math.log(excess) / -math.log(precision.backoff_factor))) if excess > 0 else 0


def largest_half_gradient(config: TrialConfig, dataset: Dataset, batch: Sequence[int], seed: int) -> float:
    """Largest absolute value that one backward pass rounds to fp16, divided by the loss scale; NaN if none is finite.

    Runs without a scaler, at a scale at which nothing overflows; gradients that flush to zero are not the largest.
    """
    model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), seed)
    precision = Fp16Unscaled().build(torch.device("cpu"))
    padded = collate(dataset.train, batch)
    for scale in (1.0, 2.0**-12, 2.0**-24):
        torch.manual_seed(seed)
        model.zero_grad(set_to_none=True)
        with precision.forward_context():
            logits_BSV = as_scores(model(padded.features_BTF, padded.lengths_B), config.training.normalization)
            lengths_B = model.output_lengths(padded.lengths_B)
            loss = ctc_losses(logits_BSV, lengths_B, padded.targets_BU, padded.target_lengths_B).mean()
        with _LargestHalf() as seen:
            (loss * scale / config.training.accumulate).backward()
        if math.isfinite(seen.largest):
            return float(seen.largest / scale)
    return math.nan


class _LargestHalf(TorchDispatchMode):
    """Notes the largest absolute value of all fp16 tensors that are made while it is on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.largest = 0.0
        """Infinite where one overflowed; NaN where one is NaN."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Called by torch for each of its operations, those of the backward pass included."""
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.dtype is torch.float16 and tensor.numel():
                value = float(tensor.abs().max())
                self.largest = value if math.isnan(value) else max(self.largest, value)
        return result


def leading_skips(config: TrialConfig, precision: Fp16, dataset: Dataset, seed: int, limit_s: float) -> int | None:
    """Steps without a finite gradient at the start of a real training on the CPU; None if no end came within limits."""
    started = time.process_time()
    # Nothing is learned before the first finite gradient, so the schedule does not matter (and may want more steps).
    training = config.training.model_copy(
        update={
            "precision": precision,
            "schedule": Constant(warmup_steps=0),
            "eval_every_steps": 2 * MAX_STEPS,
            "health_every_steps": None,
        }
    )
    start = Training(
        config.model_copy(update={"training": training}),
        dataset,
        seed=seed,
        max_steps=2 * MAX_STEPS,
        device=torch.device("cpu"),
    )
    for record in start.records():
        if not isinstance(record, StepRecord):
            continue
        if is_finite(record.grad_norm):
            return record.step - 1
        if record.step >= MAX_STEPS or time.process_time() - started > limit_s:
            return None
    return None
