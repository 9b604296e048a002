"""What does it cost to report a step? `run.step` against the judge alone, step by step on the same losses.

    python -m benchmarks.own.overhead    # ten seconds on one CPU core

Asked: 20 us a step beyond the judge, and 40 us for the judge. Prints the table and writes benchmarks/own/overhead.md.
"""

import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch

from sweep.judging.detectors import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.own.handle import Run
from sweep.own.program import FunctionProgram, OwnConfig, OwnProgram, References, Score
from sweep.records import Phase, StepRecord
from sweep.running.job import Job, RunOptions
from sweep.running.own_trial import OwnTrial

REPORT = Path(__file__).with_suffix(".md")
NUM_STEPS, REPEATS = 5000, 7


def losses() -> list[float]:
    """A training that falls from 2.3 to 0.3 with noise."""
    noise = random.Random(0)
    return [(0.3 + 2.0 * 0.999**step) * (1 + 0.1 * noise.random()) for step in range(NUM_STEPS)]


def judge_alone(values: list[float]) -> float:
    """Seconds of the judge, given a record a step."""
    monitor = StabilityMonitor(RunContext(l_const=2.3, l_unif=2.3, budget_steps=NUM_STEPS))
    records = [StepRecord(step=k, loss=v, grad_norm=v, lr=0.1) for k, v in enumerate(values, 1)]
    begun = time.perf_counter()
    for record in records:
        monitor.observe(record)
    return time.perf_counter() - begun


def reported(values: list[float], make: Callable[[float], object], folder: Path) -> float:
    """Seconds of `run.step` in a study's trial, judge included."""
    given = [(make(v), make(v)) for v in values]
    step = new_trial(folder)._run.step
    begun = time.perf_counter()
    for loss, norm in given:
        step(loss=loss, grad_norm=norm, lr=0.1)
    return time.perf_counter() - begun


def kept(values: list[float], folder: Path) -> float:
    """Seconds of steps that report by themselves and are kept by `run.snapshot`, judge included; none trains."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.zeros(1, 64)).sum().backward()
    optimizer.step()
    run = Run(new_trial(folder), num_snapshots=8)
    batch = torch.zeros(32, 64), torch.zeros(32, dtype=torch.int64)
    given = iter(values)

    def step(features: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
        value = next(given)
        return {"loss": value, "grad_norm": value, "lr": 0.1}

    train = run.snapshot(step, model, optimizer)
    begun = time.perf_counter()
    for _ in values:
        train(*batch)
    return time.perf_counter() - begun


def new_trial(folder: Path) -> OwnTrial:
    """A trial of a study that takes what a program reports."""
    references = References(l_const=2.3, l_unif=2.3)
    own = OwnProgram(FunctionProgram(references=references), Score(), lambda config, run: None)
    job = Job("0000", 0, 0, 0, Phase.EXPLORE, {}, OwnConfig(values={}), NUM_STEPS)
    return OwnTrial(job, RunOptions(folder, "score", MonitorConfig(), True, "none", own=own))


def main() -> None:
    """Prints the table and writes it."""
    torch.set_num_threads(1)
    values = losses()
    found: dict[str, list[float]] = defaultdict(list)
    # In turn, so that a slow moment of the machine meets all of them.
    with tempfile.TemporaryDirectory() as name:
        for _ in range(REPEATS):
            found["the judge alone"].append(judge_alone(values))
            found["`run.step`, floats"].append(reported(values, float, Path(name)))
            found["`run.step`, tensors"].append(reported(values, torch.tensor, Path(name)))
            found["`run.snapshot`, 4,810 weights under AdamW"].append(kept(values, Path(name)))
    lines = ["| | us a step | beyond the judge |", "|---|---|---|"]
    judge = statistics.median(found["the judge alone"])
    for name, seconds in found.items():
        each = statistics.median(seconds)
        beyond = f"{1e6 * (each - judge) / NUM_STEPS:.1f}" if name != "the judge alone" else ""
        lines.append(f"| {name} | {1e6 * each / NUM_STEPS:.1f} | {beyond} |")
    text = "\n".join(lines)
    print(text)
    head = "<!-- Written by python -m benchmarks.own.overhead -->\n\n# What reporting a step costs\n\n"
    about = f"Median of {REPEATS} turns of {NUM_STEPS} steps, loss and gradient norm given, on one CPU core.\n\n"
    REPORT.write_text(f"{head}{about}{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
