"""Part 3: fp16 as the CPU emulates it against fp16 on the GPU: the same trainings from the same seeds.

The loss scale begins far too high and grows every few steps, so that updates are left out at the beginning and again
and again: both must leave out the same ones, and end with the same scale. The losses of every step must agree within
`LOSS_TOLERANCE`. Two trainings in fp32, one on either device, say what another order of summation alone does to them.
"""

import math

import torch

from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import EmulationRun
from benchmarks.gpu.settings import Scale
from slr_models.data.batch import Dataset
from sweep import StepRecord
from sweep.training.config import TrialConfig
from sweep.training.train import Training

CPU = torch.device("cpu")
MODELS = ("baseline", "teacher", "cnn_bilstm")
LEARNING_RATE = 1e-4
LOSS_TOLERANCE = 0.01
"""Of the loss of each step. Where no update is left out, emulated fp16 and fp32 differ by at most 0.004 in the same
trainings on a CPU; one update that only one of them leaves out makes 0.007 to 0.3."""
FP16 = {"kind": "fp16", "initial_scale": 2.0**24, "growth_interval": 8}


def measure(device: torch.device, scale: Scale, keep: Keep) -> None:
    """A row a model and seed."""
    dataset = scale.data.build()
    for seed in scale.emulated_seeds:
        for model in MODELS:
            fp16 = scale.config(model, scale.emulated_width, FP16, LEARNING_RATE)
            fp32 = scale.config(model, scale.emulated_width, {"kind": "fp32"}, LEARNING_RATE)
            emulated, real = (steps_of(fp16, dataset, seed, scale.emulated_steps, place) for place in (CPU, device))
            on_cpu, on_gpu = (steps_of(fp32, dataset, seed, scale.emulated_steps, place) for place in (CPU, device))
            keep(compared(model, seed, emulated, real, loss_difference(on_cpu, on_gpu)))


def steps_of(config: TrialConfig, dataset: Dataset, seed: int, steps: int, device: torch.device) -> list[StepRecord]:
    """Every step of a training."""
    training = Training(config, dataset, seed=seed, max_steps=steps, device=device)
    return [record for record in training.records() if isinstance(record, StepRecord)]


def compared(
    model: str, seed: int, emulated: list[StepRecord], real: list[StepRecord], fp32_difference: float | None
) -> EmulationRun:
    """How far the two agree."""
    skips_emulated, skips_gpu = (
        [record.step for record in records if not record.applied] for records in (emulated, real)
    )
    difference = loss_difference(emulated, real)
    scales = emulated[-1].loss_scale, real[-1].loss_scale
    assert scales[0] is not None and scales[1] is not None, "fp16 has a loss scale"
    return EmulationRun(
        model=model,
        seed=seed,
        num_steps=len(real),
        skips_emulated=len(skips_emulated),
        skips_gpu=len(skips_gpu),
        same_skips=skips_emulated == skips_gpu,
        end_scale_emulated=scales[0],
        end_scale_gpu=scales[1],
        same_end_scale=scales[0] == scales[1],
        loss_difference=difference,
        is_within_tolerance=difference is not None and difference <= LOSS_TOLERANCE,
        tolerance=LOSS_TOLERANCE,
        fp32_loss_difference=fp32_difference,
    )


def loss_difference(left: list[StepRecord], right: list[StepRecord]) -> float | None:
    """The largest over all steps, as a share of the loss on the left; None where one alone is finite."""
    largest = 0.0
    for ours, theirs in zip(left, right, strict=True):
        assert ours.loss is not None and theirs.loss is not None, "a training logs its losses"
        if math.isfinite(ours.loss) and math.isfinite(theirs.loss):
            largest = max(largest, abs(ours.loss - theirs.loss) / max(abs(ours.loss), 1e-6))
        elif math.isfinite(ours.loss) or math.isfinite(theirs.loss):
            return None
    return largest


if __name__ == "__main__":
    run(measure)
