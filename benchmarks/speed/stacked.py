"""What trainings side by side in one process cost (`resources.stacked`), against the same ones one after another.

Whole steps of the tool's own loop, with its optimizer, clip and records: only the gradients are computed together. The
trainings differ in their learning rates, and have one seed, as the settings of a search do, or one each, as
confirmations do: then each has batches of its own, and all are padded to the longest utterance of them. CPU time of one
thread, in turns; and how far the losses of the first ten steps are apart, relative.

    python -m benchmarks.speed.stacked [--model teacher|baseline] [--width 0.125] [--batch 8] [--trainings 2,4,8]
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import torch

from slr_models.data import SyntheticConfig
from slr_models.data.batch import Dataset
from sweep.records import StepRecord
from sweep.training.config import TrialConfig
from sweep.training.stacked import train_together
from sweep.training.train import Training

WARMUP_TURNS = 2
COMPARED_STEPS = 10
NEVER = 1_000_000
"""Steps."""


def trainings(options: argparse.Namespace, dataset: Dataset, num: int, *, one_seed: bool) -> list[Training]:
    """So many, before their first steps."""
    made = []
    for number in range(num):
        config = TrialConfig.model_validate(
            {
                "model": {"kind": options.model, "width": options.width},
                "data": {"kind": "synthetic"},
                "training": {
                    "batch_size": options.batch,
                    "eval_every_steps": NEVER,
                    "optimizer": {"kind": "adamw", "lr": 1e-4 * (1 + number)},
                },
            }
        )
        seed = 0 if one_seed else number
        made.append(Training(config, dataset, seed=seed, max_steps=NEVER, device=torch.device("cpu")))
    return made


def one_by_one(trainings: list[Training]) -> Iterator[list[float]]:
    """A step of each, one after another: their losses."""
    streams = [(r.loss for r in training.records() if isinstance(r, StepRecord)) for training in trainings]
    return map(list, zip(*streams, strict=True))


def side_by_side(trainings: list[Training]) -> Iterator[list[float]]:
    """A step of all: their losses."""
    losses = (record.loss for _, record in train_together(trainings) if isinstance(record, StepRecord))
    return iter(lambda: list(itertools.islice(losses, len(trainings))), [])


def main() -> None:
    """Prints a line for each number of trainings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="teacher")
    parser.add_argument("--width", type=float, default=0.125)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--trainings", default="2,4,8")
    parser.add_argument("--turns", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = SyntheticConfig().build()
    for num, one_seed in itertools.product(map(int, options.trainings.split(",")), (True, False)):
        loops = {
            "one by one": one_by_one(trainings(options, dataset, num, one_seed=one_seed)),
            "side by side": side_by_side(trainings(options, dataset, num, one_seed=one_seed)),
        }
        times: dict[str, list[float]] = {name: [] for name in loops}
        apart = 0.0
        for turn in range(WARMUP_TURNS + options.turns):
            losses = []
            for name, loop in loops.items():
                started = time.process_time()
                losses.append(next(loop))
                if turn >= WARMUP_TURNS:
                    times[name].append(time.process_time() - started)
            if turn < COMPARED_STEPS:
                apart = max(apart, *(abs(a - b) / abs(a) for a, b in zip(*losses, strict=True)))
        each = {name: 1e3 * statistics.median(found) / num for name, found in times.items()}
        ratio = statistics.median(a / b for a, b in zip(times["side by side"], times["one by one"], strict=True))
        print(
            f"{options.model} {options.width:g}, batch {options.batch}, {num} trainings, "
            f"{'one seed' if one_seed else 'a seed each'}: one by one {each['one by one']:.1f} ms a step of one, "
            f"side by side {each['side by side']:.1f} ms, {ratio:.2f} of it; losses differ by {apart:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
