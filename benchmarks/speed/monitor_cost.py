"""What watching a training costs, as a share of its step.

Four trainings of one setting over the same batches take turns, in an order drawn anew each time, so that a busy machine
slows all of them alike:

| name             | what it is                                                                                |
|------------------|-------------------------------------------------------------------------------------------|
| bare             | a hand-written torch loop: same model, optimizer, clipping and precision; records nothing  |
| bare, monitored  | the same, with a `LateMonitor` that sees loss and gradient norm of each step              |
| tool             | `sweep.train.Training`: records, bad-batch policy, telemetry, numeric health              |
| tool, monitored  | the same, with a `StabilityMonitor` that sees each record                                  |

Prints the step of each and what the calls of the monitor take of it, timed within the loop; and, as a check that
nothing is hidden beside these calls, the ratios of the loops over paired turns, with 95 % bootstrap intervals. On a
CPU, time is the process's CPU time, so that other programs matter little, and a turn is one step. On a GPU it is wall
time up to the end of a turn of 25 steps, and the operations that made the host wait are counted as well.

    python -m benchmarks.speed.monitor_cost [--study studies/teacher_stability.yaml] [--precision fp32] [--steps 120]
"""

import argparse
import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from benchmarks.speed.device import wait_for
from slr_models.ctc import ctc_losses
from slr_models.data.batch import Dataset
from slr_models.data.batches import collate, shuffled_updates
from sweep import RunContext, StabilityMonitor, StepRecord
from sweep.records import EvalRecord
from sweep.study import load
from sweep.training.config import TrialConfig
from sweep.training.late import LateMonitor
from sweep.training.learnable import floors, output_lengths
from sweep.training.train import Training

BARE, BARE_MONITORED, TOOL, TOOL_MONITORED = "bare", "bare, monitored", "tool", "tool, monitored"
WARMUP_TURNS = 3
GPU_TURN_STEPS = 25
BUDGET_STEPS = 100_000
"""Far away, so that the rules that wait for a part of the budget stay quiet; they cost the same."""


@dataclass
class Watched:
    """A run that a monitor watches, and the seconds of each of its calls."""

    context: RunContext
    clock: Callable[[], float]
    calls_s: list[float] = field(default_factory=list)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around one call."""
        started = self.clock()
        yield
        self.calls_s.append(self.clock() - started)


def bare_steps(
    config: TrialConfig, dataset: Dataset, device: torch.device, steps: int, watched: Watched | None
) -> Iterator[None]:
    """A loop as one writes it by hand; with a monitor if there is a run to watch."""
    training = config.training
    model = config.model.build(dataset.num_features, dataset.groups, len(dataset.vocabulary), 0).to(device)
    parameters = list(model.parameters())
    adamw = training.optimizer
    assert adamw.kind == "adamw", "the bare loop runs torch's AdamW"
    optimizer = torch.optim.AdamW(
        parameters, betas=(adamw.beta1, adamw.beta2), eps=adamw.eps, weight_decay=adamw.weight_decay, fused=True
    )
    schedule = training.schedule.build(training.optimizer.lr, steps)
    precision = training.precision.build(device)
    clip = training.clip
    assert clip.kind == "norm", "the bare loop clips by norm"
    monitor = None if watched is None else LateMonitor(StabilityMonitor(watched.context))
    torch.manual_seed(0)
    per_epoch = len(dataset.train) // training.batch_size
    updates: list[list[int]] = []
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        if position == 0:
            rng = np.random.default_rng([0, epoch])
            updates = shuffled_updates(rng, dataset.train.lengths, training.batch_size, training.length_window)
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr(step)
        optimizer.zero_grad(set_to_none=True)
        batch = collate(dataset.train, updates[position]).to(device)
        with precision.forward_context():
            logits_BSV = model(batch.features_BTF, batch.lengths_B)
            lengths_B = model.output_lengths(batch.host_lengths_B)
            loss = ctc_losses(logits_BSV, lengths_B, batch.targets_BU, batch.target_lengths_B).mean()
        precision.scale_loss(loss).backward()
        precision.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, clip.max_norm, foreach=True)
        applied = precision.step(optimizer)
        if watched is not None and monitor is not None:
            with watched.timed():
                verdict = monitor.observe(step + 1, loss.detach(), norm, applied=applied)
            assert verdict is None, f"a healthy training was stopped: {verdict}"
        yield


def tool_steps(
    config: TrialConfig, dataset: Dataset, device: torch.device, steps: int, watched: Watched | None
) -> Iterator[None]:
    """The tool's own loop; with a monitor if there is a run to watch."""
    # Evaluations are no part of a step.
    settings = config.training.model_copy(update={"eval_every_steps": steps})
    config = config.model_copy(update={"training": settings})
    training = Training(config, dataset, seed=0, max_steps=steps, device=device)
    monitor = None if watched is None else StabilityMonitor(watched.context)
    for record in training.records():
        if isinstance(record, EvalRecord):
            return
        if not isinstance(record, StepRecord):
            continue
        if watched is not None and monitor is not None:
            with watched.timed():
                verdict = monitor.observe(record)
            assert verdict is None, f"a healthy training was stopped: {verdict}"
        yield


def take_turns(
    loops: dict[str, Iterator[None]], turns: int, turn_steps: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds a step of each loop, by turn."""
    clock = clock_of(device)
    shuffled = random.Random(0)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(WARMUP_TURNS + turns):
        names = list(loops)
        shuffled.shuffle(names)
        for name in names:
            wait_for(device)
            started = clock()
            for _ in range(turn_steps):
                next(loops[name])
            wait_for(device)
            if turn >= WARMUP_TURNS:
                seconds[name].append((clock() - started) / turn_steps)
    return seconds


def clock_of(device: torch.device) -> Callable[[], float]:
    """CPU time of this process where it computes itself, else wall time."""
    return time.perf_counter if device.type == "cuda" else time.process_time


def count_waits(loop: Iterator[None], steps: int) -> float:
    """Operations a step that made the host wait for the GPU, as torch's debug mode sees them."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(steps):
                next(loop)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught) / steps


def ratio(numerator: list[float], denominator: list[float]) -> str:
    """Ratio of trimmed mean times over paired turns, with its 95 % bootstrap interval."""
    pairs = np.array([numerator, denominator]).T
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(pairs), (2000, len(pairs)))
    middle = _trimmed_ratio(pairs)
    low, high = np.quantile([_trimmed_ratio(pairs[draw]) for draw in draws], [0.025, 0.975])
    return f"{100 * (middle - 1):+6.2f} %   ({100 * (low - 1):+.2f} to {100 * (high - 1):+.2f})"


def _trimmed_ratio(pairs_N2: np.ndarray) -> float:
    """exp of the mean log ratio of the pairs, without the tenth at each end: interruptions hit single turns."""
    logs = np.sort(np.log(pairs_N2[:, 0] / pairs_N2[:, 1]))
    cut = len(logs) // 10
    return float(np.exp(logs[cut : len(logs) - cut].mean()))


def run_context(config: TrialConfig, dataset: Dataset, budget_steps: int) -> RunContext:
    """What a monitor is told of such a training beforehand."""
    l_const, l_unif = floors(output_lengths(config, dataset), dataset)
    return RunContext(
        l_const=l_const,
        l_unif=l_unif,
        budget_steps=budget_steps,
        has_scaler=config.training.precision.kind == "fp16",
    )


@dataclass(frozen=True)
class LoopCost:
    """What the steps of one of the four loops cost."""

    seconds: list[float]
    """Of a step, by turn."""
    call_s: float | None
    """Median of a call of the monitor; None where there is none."""
    waits_per_step: float | None
    """Operations that made the host wait for the GPU; None on a CPU."""

    @property
    def step_s(self) -> float:
        """Median over the turns."""
        return statistics.median(self.seconds)

    @property
    def call_share(self) -> float | None:
        """The monitor's call as a share of the rest of the step."""
        return None if self.call_s is None else self.call_s / (self.step_s - self.call_s)


def compare(config: TrialConfig, dataset: Dataset, device: torch.device, steps: int) -> dict[str, LoopCost]:
    """The four loops by name, measured over so many steps each."""
    context = run_context(config, dataset, BUDGET_STEPS)
    turn_steps = GPU_TURN_STEPS if device.type == "cuda" else 1
    turns = max(1, steps // turn_steps)
    total = (turns + WARMUP_TURNS + 2) * turn_steps
    watched = {name: Watched(context, clock_of(device)) for name in (BARE_MONITORED, TOOL_MONITORED)}
    loops = {
        name: steps_of(config, dataset, device, total, watched.get(name))
        for name, steps_of in (
            (BARE, bare_steps),
            (BARE_MONITORED, bare_steps),
            (TOOL, tool_steps),
            (TOOL_MONITORED, tool_steps),
        )
    }
    seconds = take_turns(loops, turns, turn_steps, device)
    return {
        name: LoopCost(
            seconds=seconds[name],
            call_s=statistics.median(watched[name].calls_s) if name in watched else None,
            waits_per_step=count_waits(loop, turn_steps) if device.type == "cuda" else None,
        )
        for name, loop in loops.items()
    }


def main() -> None:
    """Runs the comparison and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=Path(__file__).parents[2] / "studies/teacher_stability.yaml")
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--steps", type=int, default=120, help="of each loop")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    loaded = load(arguments.study)
    config = loaded.trial_config({**loaded.first_settings(), "training.precision.kind": arguments.precision})
    costs = compare(config, config.data.build(), device, arguments.steps)
    print(f"{arguments.study.stem}: {config.model.kind}, {arguments.precision}, {device.type}, {arguments.steps} steps")
    for name, cost in costs.items():
        waits = "" if cost.waits_per_step is None else f"   {cost.waits_per_step:.1f} waits a step"
        print(f"{name:16s} {1e3 * cost.step_s:8.2f} ms a step{waits}")
    for name, cost in costs.items():
        if cost.call_s is not None and cost.call_share is not None:
            print(
                f"the monitor's calls ({name}): {1e6 * cost.call_s:.0f} us, {100 * cost.call_share:.2f} % of the rest"
            )
    for name, plain in ((BARE_MONITORED, BARE), (TOOL_MONITORED, TOOL), (TOOL, BARE)):
        print(f"{name} / {plain}: {ratio(costs[name].seconds, costs[plain].seconds)}")


if __name__ == "__main__":
    main()
