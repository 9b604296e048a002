"""What a training step costs in each CPU precision, as a ratio to fp32.

The formats take turns step by step, so that a busy machine slows all of them alike. Prints the median step time and
the median of the step-wise ratios with its quartiles:

    python -m benchmarks.speed.precision_step [--model teacher|baseline] [--width 0.125] [--steps 30]
"""

import argparse
import statistics
import time

import torch
from pydantic import TypeAdapter

from slr_models.ctc import ctc_losses
from slr_models.data.batch import FeatureGroup
from slr_models.models import CtcModel, ModelConfig
from sweep.training.amp import Precision
from sweep.training.optim import AdamW
from sweep.training.precision import Bf16, Fp16, Fp32

BATCH, FRAMES, LABELS, VOCABULARY = 8, 80, 8, 40
GROUPS = (FeatureGroup("hands", 0, 126), FeatureGroup("pose", 126, 225))
WARMUP_STEPS = 4


def build_model(kind: str, width: float) -> CtcModel:
    """The named model for the benchmark's batch."""
    config = TypeAdapter[ModelConfig](ModelConfig).validate_python({"kind": kind, "width": width})
    return config.build(GROUPS[-1].stop, GROUPS, VOCABULARY, seed=0)


def step_s(model: CtcModel, optimizer: torch.optim.Optimizer, precision: Precision) -> float:
    """Wall seconds of one full training step on a random batch."""
    features_BTF = torch.randn(BATCH, FRAMES, GROUPS[-1].stop)
    lengths_B = torch.full((BATCH,), FRAMES)
    targets_BU = torch.randint(1, VOCABULARY, (BATCH, LABELS))
    started = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    with precision.forward_context():
        logits_BSV = model(features_BTF, lengths_B)
        losses_B = ctc_losses(logits_BSV, model.output_lengths(lengths_B), targets_BU, torch.full((BATCH,), LABELS))
        loss = losses_B.mean()
    precision.scale_loss(loss).backward()
    precision.unscale_(optimizer)
    precision.step(optimizer)
    return time.perf_counter() - started


def main() -> None:
    """Runs the comparison and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher", choices=["teacher", "baseline"])
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    model = build_model(arguments.model, arguments.width)
    optimizer = AdamW(lr=1e-4).build(list(model.parameters()))
    precisions: dict[str, Precision] = {c.kind: c.build(cpu) for c in (Fp32(), Fp16(), Bf16())}
    times: dict[str, list[float]] = {kind: [] for kind in precisions}
    for step in range(arguments.steps + WARMUP_STEPS):
        for kind, precision in precisions.items():
            seconds = step_s(model, optimizer, precision)
            if step >= WARMUP_STEPS:
                times[kind].append(seconds)
    print(f"{arguments.model} at width {arguments.width:g}, batch {BATCH} x {FRAMES} frames, 1 thread")
    for kind, seconds_each in times.items():
        ratios = [a / b for a, b in zip(seconds_each, times["fp32"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{kind:5s} {1e3 * statistics.median(seconds_each):7.1f} ms   x{middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
