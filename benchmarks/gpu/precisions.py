"""Part 6: what a bare training step costs in each precision, with small and large batches.

The step and its clock are those of `benchmarks.speed.precision_step`. With a small batch most of a step is spent on
starting kernels, which no precision makes cheaper.
"""

import torch

from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import PrecisionRun
from benchmarks.gpu.settings import Scale
from benchmarks.speed.precision_step import compare

MODELS = ("teacher", "baseline")


def measure(device: torch.device, scale: Scale, keep: Keep) -> None:
    """A row a model, batch and precision."""
    for batch in scale.precision_batches:
        for model in MODELS:
            costs = compare(model, scale.width, device, scale.precision_steps, batch)
            for precision, cost in costs.items():
                low, middle, high = cost.ratios
                keep(
                    PrecisionRun(
                        model=model,
                        batch=batch,
                        precision=precision,
                        step_ms=1e3 * cost.step_s,
                        ratio=middle,
                        ratio_low=low,
                        ratio_high=high,
                        peak_memory_mib=cost.peak_memory_mib,
                    )
                )


if __name__ == "__main__":
    run(measure)
