"""What does it cost to report a step? `run.step` against the judge alone, step by step on the same losses.

    python -m benchmarks.own.overhead    # ten seconds on one CPU core

Asked: 20 us a step beyond the judge, and 40 us for the judge. Prints the table and writes benchmarks/own/overhead.md.
"""

import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from sweep.judging.detectors import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
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


def reported(values: list[float], make: Callable[[float], object]) -> float:
    """Seconds of `run.step` in a study's trial, judge included."""
    references = References(l_const=2.3, l_unif=2.3)
    own = OwnProgram(FunctionProgram(references=references), Score(), lambda config, run: None)
    job = Job("0000", 0, 0, 0, Phase.EXPLORE, {}, OwnConfig(values={}), NUM_STEPS)
    trial = OwnTrial(job, RunOptions(Path(), "score", MonitorConfig(), True, "none", own=own))
    given = [(make(v), make(v)) for v in values]
    step = trial._run.step
    begun = time.perf_counter()
    for loss, norm in given:
        step(loss=loss, grad_norm=norm, lr=0.1)
    return time.perf_counter() - begun


def main() -> None:
    """Prints the table and writes it."""
    torch.set_num_threads(1)
    values = losses()
    found: dict[str, list[float]] = {"the judge alone": [], "`run.step`, floats": [], "`run.step`, tensors": []}
    # In turn, so that a slow moment of the machine meets all of them.
    for _ in range(REPEATS):
        found["the judge alone"].append(judge_alone(values))
        found["`run.step`, floats"].append(reported(values, float))
        found["`run.step`, tensors"].append(reported(values, torch.tensor))
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
