"""What a training step costs: the tool's, a hand-written loop's, and what its matrix products alone would take.

| name     | what it is                                                                                              |
|----------|---------------------------------------------------------------------------------------------------------|
| products | the matrix products of such steps, forward and backward, on operands of the same shapes and layouts      |
| bare     | `monitor_cost`'s hand-written torch loop over the same batches                                           |
| tool     | `sweep.training.train.Training` with its telemetry and health samples                                    |

They take turns, a step each, in one process of one thread, in an order drawn anew each time; time is the process's CPU
time. Prints medians, and ratios over paired turns with 95 % bootstrap intervals. With `--parts`, also where the bare
loop's time goes, after torch's profiler, which itself slows small operations by about a fifth.

    python -m benchmarks.speed.step [--study studies/teacher_stability.yaml] [--length-window 1] [--steps 60] [--parts]
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.speed.monitor_cost import (
    BARE,
    BUDGET_STEPS,
    TOOL,
    WARMUP_TURNS,
    bare_steps,
    ratio,
    take_turns,
    tool_steps,
)
from slr_models.data.batch import Dataset
from sweep.study import load
from sweep.training.config import TrialConfig

PRODUCTS = "products"
CPU = torch.device("cpu")
RECORDED_STEPS = 6
PROFILED_STEPS = 10
PARTS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm"),
    "attention": ("_scaled_dot_product", "_softmax", "_softmax_backward_data"),
    "copies": ("copy_", "cat", "clone"),
    "update": ("_fused_adamw_", "linalg_vector_norm", "Optimizer.step"),
    "pools": ("max_pool2d",),
    "CTC": ("_ctc_loss", "_log_softmax"),
}
_Product = tuple[Any, tuple[Any, ...], dict[str, Any]]


class Recording(TorchDispatchMode):
    """Keeps the matrix products that are called meanwhile: the operation and operands like the ones it got."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.products: list[_Product] = []
        self.operations = 0
        """Multiplications and additions."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Called by torch in place of each of its operations."""
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        if name in PARTS["matrix products"]:
            copies = tuple(_alike(arg) if isinstance(arg, torch.Tensor) else arg for arg in args)
            without_out = {key: value for key, value in (kwargs or {}).items() if key != "out"}
            operation = func.overloadpacket.default
            self.products.append((operation, copies, without_out))
            left, right = args[-2:]
            self.operations += 2 * left.numel() * right.shape[-1]
        return func(*args, **(kwargs or {}))


def _alike(tensor: torch.Tensor) -> torch.Tensor:
    """Random numbers in the same layout."""
    return torch.empty_strided(tensor.shape, tensor.stride()).normal_() if tensor.numel() else tensor.detach().clone()


def product_steps(recorded: list[list[_Product]]) -> Iterator[None]:
    """Runs the products of one step after the other, round and round."""
    while True:
        for products in recorded:
            for operation, args, kwargs in products:
                operation(*args, **kwargs)
            yield


def record(config: TrialConfig, dataset: Dataset) -> tuple[list[list[_Product]], float]:
    """The matrix products of the first steps, and the operations in them a step."""
    loop = bare_steps(config, dataset, CPU, BUDGET_STEPS, None)
    recorded: list[list[_Product]] = []
    operations = 0
    for _ in range(RECORDED_STEPS):
        with Recording() as recording:
            next(loop)
        recorded.append(recording.products)
        operations += recording.operations
    return recorded, operations / RECORDED_STEPS


def print_parts(config: TrialConfig, dataset: Dataset) -> None:
    """Milliseconds a step of the bare loop, by kind of operation."""
    loop = bare_steps(config, dataset, CPU, BUDGET_STEPS, None)
    for _ in range(WARMUP_TURNS):
        next(loop)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(PROFILED_STEPS):
            next(loop)
    parts: dict[str, float] = dict.fromkeys([*PARTS, "other"], 0.0)
    for event in profiled.key_averages():
        name = event.key.removeprefix("aten::")
        part = next(
            (part for part, names in PARTS.items() if name in names or name.startswith(names[0] + "_")), "other"
        )
        parts[part] += event.self_cpu_time_total / 1e3 / PROFILED_STEPS
    total = sum(parts.values())
    for part, milliseconds in sorted(parts.items(), key=lambda item: -item[1]):
        print(f"  {part:16s} {milliseconds:6.2f} ms   {milliseconds / total:4.0%}")


def main() -> None:
    """Runs the comparison and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path(__file__).parents[2] / "studies/teacher_stability.yaml")
    parser.add_argument("--length-window", type=int, default=1, help="as `training.length_window`")
    parser.add_argument("--steps", type=int, default=60, help="of each loop")
    parser.add_argument("--parts", action="store_true", help="also profile the bare loop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loaded = load(arguments.study)
    config = loaded.trial_config(
        {
            **loaded.first_settings(),
            "training.precision.kind": "fp32",
            "training.length_window": arguments.length_window,
        }
    )
    dataset = config.data.build()
    recorded, operations = record(config, dataset)
    loops = {
        PRODUCTS: product_steps(recorded),
        BARE: bare_steps(config, dataset, CPU, BUDGET_STEPS, None),
        TOOL: tool_steps(config, dataset, CPU, BUDGET_STEPS, None),
    }
    seconds = take_turns(loops, arguments.steps, 1, CPU)
    print(f"{arguments.study.stem}: {config.model.kind}, batch {config.training.batch_size}, fp32, 1 thread")
    for name, times in seconds.items():
        step_s = statistics.median(times)
        print(f"{name:10s} {1e3 * step_s:7.2f} ms a step   {operations / step_s / 1e9:5.1f} GFLOP/s")
    print(f"{TOOL} / {BARE}: {ratio(seconds[TOOL], seconds[BARE])}")
    print(f"{BARE} / {PRODUCTS}: x{statistics.median(seconds[BARE]) / statistics.median(seconds[PRODUCTS]):.2f}")
    if arguments.parts:
        print_parts(config, dataset)


if __name__ == "__main__":
    main()
