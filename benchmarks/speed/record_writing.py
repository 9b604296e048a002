"""What writing the records of one training costs, evaluated every so many steps.

Three ways take turns with the same drawn records:

| name       | what it is                                                                                        |
|------------|---------------------------------------------------------------------------------------------------|
| plain      | the bytes of the lines alone, opened and appended at each evaluation: nothing is made of records   |
| appended   | what a trial does: new records are appended at each evaluation, and the end writes the tables      |
| rewritten  | all records so far are written as tables at each evaluation, as earlier versions did               |

Prints the process's CPU time of each (median of the repeats), the ratios within the run, and what lies on the disk. A
long training is rewritten once, since that takes a minute.

    python -m benchmarks.speed.record_writing [--steps 10000 100000] [--every 100] [--repeats 3]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweep import store
from sweep.records import EvalRecord, StepRecord

TRIAL = "0000"
LONG = 50_000
"""Steps from which on rewriting is measured once."""


@dataclass(frozen=True)
class Course:
    """The records of a training."""

    steps: list[StepRecord]
    evals: list[EvalRecord]
    every: int

    def grown(self) -> Iterator[tuple[list[StepRecord], list[EvalRecord]]]:
        """The records so far, at each evaluation."""
        steps: list[StepRecord] = []
        evals: list[EvalRecord] = []
        for record in self.evals:
            steps.extend(self.steps[len(steps) : len(steps) + self.every])
            evals.append(record)
            yield steps, evals


def drawn(num_steps: int, every: int) -> Course:
    """Records of a training in fp16, with numbers of as many digits as measured ones have."""
    rng = np.random.default_rng(0)
    draw = rng.lognormal(0, 0.3, (num_steps, 4)).astype(np.float32).astype(float).tolist()
    steps = [
        StepRecord(n, loss, norm, 65536.0, lr=1e-3 * rate, num_samples=16, time_s=0.1 * time_s)
        for n, (loss, norm, rate, time_s) in enumerate(draw, start=1)
    ]
    evals = [
        EvalRecord(n, draw[n - 1][0], 5, 3, 2, 100, 0.7, 0.1, draw[n - 1][3])
        for n in range(every, num_steps + 1, every)
    ]
    return Course(steps, evals, every)


def appended(course: Course, folder: Path) -> None:
    """As a trial writes them."""
    steps, evals = store.record_stream(folder, "steps", TRIAL), store.record_stream(folder, "evals", TRIAL)
    for steps_so_far, evals_so_far in course.grown():
        steps.write(steps_so_far)
        evals.write(evals_so_far)
    store.write_steps(folder, TRIAL, course.steps)
    store.write_evals(folder, TRIAL, course.evals)


def rewritten(course: Course, folder: Path) -> None:
    """As earlier versions wrote them."""
    for steps_so_far, evals_so_far in course.grown():
        store.write_steps(folder, TRIAL, steps_so_far)
        store.write_evals(folder, TRIAL, evals_so_far)
    store.write_steps(folder, TRIAL, course.steps)
    store.write_evals(folder, TRIAL, course.evals)


def plain(contents: list[list[bytes]], folder: Path) -> None:
    """Appends what the files of trainings under way get at each evaluation."""
    for kind, content in enumerate(contents):
        for piece in content:
            with (folder / str(kind)).open("ab", buffering=0) as file:
                file.write(piece)


def pieces(course: Course, folder: Path) -> list[list[bytes]]:
    """What is appended at each evaluation, to the steps and to the evaluations."""
    store.record_stream(folder, "steps", TRIAL).write(course.steps)
    store.record_stream(folder, "evals", TRIAL).write(course.evals)
    steps = store.stream_path(folder, "steps", TRIAL).read_bytes().splitlines(keepends=True)
    evals = store.stream_path(folder, "evals", TRIAL).read_bytes().splitlines(keepends=True)
    return [[b"".join(steps[start : start + course.every]) for start in range(0, len(steps), course.every)], evals]


def cpu_s(write: Callable[[Path], None]) -> float:
    """CPU time of one way, of all threads."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        write(Path(folder))
        return time.process_time() - started


def compare(num_steps: int, every: int, repeats: int) -> None:
    """Prints the medians of a training of that length."""
    course = drawn(num_steps, every)
    with tempfile.TemporaryDirectory() as name:
        contents = pieces(course, Path(name))
        store.write_steps(Path(name) / "table", TRIAL, course.steps)
        table = store.records_path(Path(name) / "table", "steps", TRIAL).stat().st_size
    size = sum(len(piece) for content in contents for piece in content)
    ways: dict[str, Callable[[Path], None]] = {
        "plain": lambda folder: plain(contents, folder),
        "appended": lambda folder: appended(course, folder),
        "rewritten": lambda folder: rewritten(course, folder),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats):
        for name, way in ways.items():
            if name != "rewritten" or num_steps < LONG or not repeat:
                found[name].append(cpu_s(way))
    median = {name: statistics.median(values) for name, values in found.items()}
    sizes = f"{size / 2**20:.1f} MiB while it trains, {table / 2**20:.1f} MiB of steps at its end"
    print(f"{num_steps:,} steps, evaluated every {every}: {sizes}")
    for name, seconds in median.items():
        print(
            f"  {name:10} {seconds:8.3f} s   {1e6 * seconds / num_steps:7.2f} us a step   "
            f"{seconds / median['plain']:7.1f} x plain   {seconds / median['appended']:6.2f} x appended"
        )


def main() -> None:
    """Measures trainings of each length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--every", type=int, default=100, help="steps between two evaluations")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for num_steps in options.steps:
        compare(num_steps, options.every, options.repeats)


if __name__ == "__main__":
    main()
