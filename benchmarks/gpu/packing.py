"""Part 5: several trainings that share the GPU, each in a process of its own, against one alone.

As a study with `resources.gpus` below 1 does it: the processes know nothing of each other, and the GPU's driver gives
each its turn (no MPS). Those that are measured are built and warm by then; the others have nothing on the GPU yet, or
wait.
"""

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import torch

from benchmarks.gpu.models import none_if_nan
from benchmarks.gpu.part import Keep, run
from benchmarks.gpu.results import PackedRun
from benchmarks.gpu.settings import Scale
from benchmarks.speed.device import wait_for
from slr_models.data.batch import Dataset
from sweep import StepRecord
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.training.train import Training
from sweep.wording import first_line

MODELS = ("teacher", "baseline")
LEARNING_RATE = 1e-4
WARMUP_STEPS = 5
ENDLESS_STEPS = 1_000_000


@dataclass(frozen=True)
class Speed:
    """What one training did in its time."""

    samples_per_s: float
    peak_memory_mib: float | None


def measure(device: torch.device, scale: Scale, keep: Keep) -> None:
    """A row a model and number of trainings."""
    workers = [_Worker(device, scale) for _ in range(max(scale.packed))]
    try:
        for model in MODELS:
            alone = None
            for num_trials in scale.packed:
                # A card that holds no more of them has told of fewer by then.
                _side_by_side(workers[:num_trials], model, 0.0)
                row = packed(model, _side_by_side(workers[:num_trials], model, scale.packed_s), alone)
                alone = alone or row.samples_per_s
                keep(row)
    finally:
        for worker in workers:
            worker.end()


def _side_by_side(workers: "list[_Worker]", model: str, seconds: float) -> list[Speed]:
    """What each did in these seconds; one that has no such training yet begins it first."""
    for worker in workers:
        worker.begin(model, seconds)
    return [worker.speed() for worker in workers]


def packed(model: str, speeds: list[Speed], alone: float | None) -> PackedRun:
    """What trainings did side by side; `alone` is the speed of one, None if this is it."""
    each = [speed.samples_per_s for speed in speeds]
    total = sum(each)
    known = [speed.peak_memory_mib for speed in speeds if speed.peak_memory_mib is not None]
    return PackedRun(
        model=model,
        num_trials=len(speeds),
        samples_per_s=total,
        slowest_samples_per_s=min(each),
        fastest_samples_per_s=max(each),
        gain=total / (alone or total),
        each=statistics.mean(each) / (alone or total),
        peak_memory_mib=max(known, default=None),
    )


class _Worker:
    """A process with one training at a time, which goes on for so many seconds whenever it is told to."""

    def __init__(self, device: torch.device, scale: Scale) -> None:
        # A process that was forked could not use the GPU.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, device, scale), daemon=True)
        self._process.start()
        theirs.close()

    def begin(self, model: str, seconds: float) -> None:
        """Tells it to go on with its training of a model."""
        self._pipe.send((model, seconds))

    def speed(self) -> Speed:
        """Waits for what it did.

        Raises:
            SystemExit: its training failed, or the process died.
        """
        try:
            answer: Speed | str = self._pipe.recv()
        except EOFError:
            self._process.join()
            answer = f"its process ended with exit code {self._process.exitcode}"
        if isinstance(answer, str):
            raise SystemExit(f"a training beside others failed: {answer}")
        return answer

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, device: torch.device, scale: Scale) -> None:
    torch.set_num_threads(1)
    dataset = scale.data.build()
    current = ""
    steps: Iterator[StepRecord] = iter(())
    while True:
        model, seconds = pipe.recv()
        try:
            if model != current:
                # The one before is gone before the next is built, so that its memory is not counted.
                del steps
                current, steps = model, _steps(model, dataset, device, scale)
                for _ in range(WARMUP_STEPS):
                    next(steps)
                wait_for(device)
            pipe.send(_go_on(steps, device, seconds, scale.batch_size))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {first_line(error)}")
            raise


def _steps(model: str, dataset: Dataset, device: torch.device, scale: Scale) -> Iterator[StepRecord]:
    config = scale.config(model, scale.width, {"kind": "fp32"}, LEARNING_RATE)
    training = Training(config, dataset, seed=0, max_steps=ENDLESS_STEPS, device=device)
    return (record for record in training.records() if isinstance(record, StepRecord))


def _go_on(steps: Iterator[StepRecord], device: torch.device, seconds: float, batch_size: int) -> Speed:
    reset_peak_memory(device)
    num_steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or num_steps == 0:
        next(steps)
        num_steps += 1
    wait_for(device)
    elapsed_s = time.perf_counter() - started
    return Speed(num_steps * batch_size / elapsed_s, none_if_nan(peak_memory_mib(device)))


if __name__ == "__main__":
    run(measure)
