"""Part 2: every shipped model in every precision, trained shortly at three learning rates and judged.

The tool's own loop and monitor, as a study has them: a training is stopped at its alarm. One that crashes, or runs out
of memory, is a row as well. The learning rates are taken in turn, so that what the time does not allow is the last of
them for all models, and not the last model. Speed is that of the whole loop on wall time, a batch after the other.
"""

import gc
import math
import time

import torch

from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import ModelRun
from benchmarks.gpu.settings import MODELS, Scale
from benchmarks.speed.monitor_cost import run_context
from slr_models.data.batch import Dataset
from sweep import StabilityMonitor, StepRecord
from sweep.judging import ending
from sweep.training.config import TrialConfig
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.training.train import Training

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
UNTIMED_STEPS = 20
"""At most: the first ones choose kernels and fill caches."""


def measure(device: torch.device, scale: Scale, keep: Keep) -> None:
    """A row a training."""
    dataset = scale.data.build()
    for lr in scale.learning_rates:
        for model in MODELS:
            for precision in PRECISIONS:
                if precision == "tf32" and device.type == "cpu":
                    continue
                keep(judged(scale.config(model, scale.width, {"kind": precision}, lr), dataset, device, scale))


def judged(config: TrialConfig, dataset: Dataset, device: torch.device, scale: Scale) -> ModelRun:
    """One training from its beginning to its verdict."""
    # What the training before it held is not its own.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    reset_peak_memory(device)
    max_steps = scale.training_steps
    monitor = StabilityMonitor(run_context(config, dataset, max_steps))
    records: list[StepRecord] = []
    times: list[float] = []
    implementation = ""
    try:
        training = Training(config, dataset, seed=0, max_steps=max_steps, device=device)
        implementation = training.precision.implementation
        for record in training.records():
            if not isinstance(record, StepRecord):
                continue
            records.append(record)
            times.append(time.perf_counter())
            if monitor.observe(record) is not None:
                break
        verdict = monitor.finish()
    except torch.AcceleratorError:
        # Nothing that this process asks of the device from here on would be answered.
        raise
    except Exception as error:
        verdict = ending.at_crash(monitor, error, len(records))
    untimed = min(UNTIMED_STEPS, len(times) // 2)
    timed = times[untimed:]
    return ModelRun(
        model=config.model.kind,
        precision=config.training.precision.kind,
        lr=config.training.optimizer.lr,
        outcome=verdict.outcome.value,
        stop_step=verdict.stop_step,
        num_steps=len(records),
        num_skipped=sum(not record.applied for record in records),
        end_loss=records[-1].loss if records else None,
        samples_per_s=(len(timed) - 1) * scale.batch_size / (timed[-1] - timed[0]) if len(timed) > 1 else None,
        peak_memory_mib=none_if_nan(peak_memory_mib(device)),
        implementation=implementation,
        reason=verdict.reason,
    )


def none_if_nan(value: float) -> float | None:
    """The value, if it is a number."""
    return None if math.isnan(value) else value


if __name__ == "__main__":
    run(measure)
