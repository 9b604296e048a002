"""What a training step costs in each precision, as a ratio to fp32.

The formats take turns step by step, so that a busy machine slows all of them alike. Prints the median step time, the
median of the step-wise ratios with its quartiles, and on a GPU the peak memory of its allocator:

    python -m benchmarks.speed.precision_step [--model teacher|baseline] [--width 0.125] [--steps 30] [--device cpu]

On a CPU, half precision is emulated. On a GPU a step is timed from an idle device to an idle device.
"""

import argparse
import statistics
import time
from dataclasses import dataclass

import torch
from pydantic import TypeAdapter

from benchmarks.speed.device import wait_for
from slr_models.ctc import ctc_losses
from slr_models.data.batch import FeatureGroup
from slr_models.errors import SettingError
from slr_models.models import CtcModel, ModelConfig
from sweep.training.amp import Precision
from sweep.training.optim import AdamW
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.training.precision import Bf16, Fp16, Fp32, Tf32

BATCH, FRAMES, LABELS, VOCABULARY = 8, 80, 8, 40
GROUPS = (FeatureGroup("hands", 0, 126), FeatureGroup("pose", 126, 225))
WARMUP_STEPS = 4


@dataclass(frozen=True)
class PrecisionCost:
    """What the steps of one precision cost."""

    seconds: list[float]
    """Wall time of each step."""
    ratios: tuple[float, float, float]
    """To the fp32 step beside it: lower quartile, median, upper quartile."""
    peak_memory_mib: float | None
    """Of a GPU's allocator; None on a CPU."""

    @property
    def step_s(self) -> float:
        """Median over the steps."""
        return statistics.median(self.seconds)


def build_model(kind: str, width: float) -> CtcModel:
    """The named model for the benchmark's batch."""
    config = TypeAdapter[ModelConfig](ModelConfig).validate_python({"kind": kind, "width": width})
    return config.build(GROUPS[-1].stop, GROUPS, VOCABULARY, seed=0)


def precisions_on(device: torch.device) -> dict[str, Precision]:
    """Every precision with a loss scale of its own that the device can compute in, fp32 first."""
    precisions: dict[str, Precision] = {}
    for config in (Fp32(), Tf32(), Bf16(), Fp16()):
        try:
            precisions[config.kind] = config.build(device)
        except SettingError:
            # The device has no such unit.
            continue
    return precisions


def step_s(
    model: CtcModel, optimizer: torch.optim.Optimizer, precision: Precision, device: torch.device, batch: int
) -> float:
    """Wall seconds of one full training step on a random batch."""
    features_BTF = torch.randn(batch, FRAMES, GROUPS[-1].stop, device=device)
    lengths_B = torch.full((batch,), FRAMES)
    # The loss takes its lengths from the host, as in a training.
    targets_BU = torch.randint(1, VOCABULARY, (batch, LABELS), device=device)
    device_lengths_B = lengths_B.to(device)
    wait_for(device)
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with precision.forward_context():
        logits_BSV = model(features_BTF, device_lengths_B)
        losses_B = ctc_losses(logits_BSV, model.output_lengths(lengths_B), targets_BU, torch.full((batch,), LABELS))
        loss = losses_B.mean()
    precision.scale_loss(loss).backward()
    precision.unscale_(optimizer)
    precision.step(optimizer)
    wait_for(device)
    return time.perf_counter() - started


def compare(kind: str, width: float, device: torch.device, steps: int, batch: int = BATCH) -> dict[str, PrecisionCost]:
    """The cost of every precision by its name, over so many steps each of one model."""
    torch.manual_seed(0)
    model = build_model(kind, width).to(device)
    optimizer = AdamW(lr=1e-4).build(list(model.parameters()))
    precisions = precisions_on(device)
    times: dict[str, list[float]] = {name: [] for name in precisions}
    memory: dict[str, float | None] = dict.fromkeys(precisions)
    for step in range(steps + WARMUP_STEPS):
        for name, precision in precisions.items():
            if device.type == "cuda":
                reset_peak_memory(device)
            seconds = step_s(model, optimizer, precision, device, batch)
            if step < WARMUP_STEPS:
                continue
            times[name].append(seconds)
            if device.type == "cuda":
                memory[name] = max(memory[name] or 0.0, peak_memory_mib(device))
    costs = {}
    for name, seconds_each in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(seconds_each, times["fp32"], strict=True)], n=4)
        costs[name] = PrecisionCost(seconds_each, (low, middle, high), memory[name])
    return costs


def main() -> None:
    """Runs the comparison and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher", choices=["teacher", "baseline"])
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    costs = compare(arguments.model, arguments.width, torch.device(arguments.device), arguments.steps)
    print(
        f"{arguments.model} at width {arguments.width:g}, batch {BATCH} x {FRAMES} frames, {arguments.device}, 1 thread"
    )
    for name, cost in costs.items():
        low, middle, high = cost.ratios
        memory = "" if cost.peak_memory_mib is None else f"   {cost.peak_memory_mib:.0f} MiB"
        print(f"{name:5s} {1e3 * cost.step_s:7.1f} ms   x{middle:.2f} ({low:.2f} to {high:.2f}){memory}")


if __name__ == "__main__":
    main()
