"""Which normalization trains reliably: both models as the shipped studies have them, over batch sizes and precisions.

Every cell is trained over several seeds at the study's usual learning rate and at a third and three times of it, all
350 steps; a training is judged by its WER and losses at the end. Prints a line a cell and writes
benchmarks/models/norms.md; what was trained is kept in norms.json, and not trained again.

    python -m benchmarks.models.norms [--seeds 3] [--jobs 2] [--models teacher,baseline] [--batches 2,4,8,16]
        [--norms group,batch,layer] [--precisions fp32,bf16,fp16] [--factors 1]
"""

import argparse
import dataclasses
import itertools
import json
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from slr_models.data.batch import Dataset
from sweep.records import EvalRecord, StepRecord, is_finite
from sweep.study import LoadedStudy
from sweep.study.loading import load
from sweep.training.config import TrialConfig
from sweep.training.train import Training

STEPS = 350
STUDIES = Path(__file__).parents[2] / "studies"
KEPT, REPORT = Path(__file__).with_suffix(".json"), Path(__file__).with_suffix(".md")
LAST_LOSSES = 20


@dataclass(frozen=True)
class Cell:
    """What one training is of."""

    model: str
    norm: str
    precision: str
    batch_size: int
    factor: float
    """On the study's usual learning rate."""
    seed: int


@cache
def study(model: str) -> tuple[LoadedStudy, Dataset]:
    """The shipped study of a model, and its data."""
    loaded = load(STUDIES / f"{model}_stability.yaml")
    return loaded, loaded.study.data.build()


def config(cell: Cell) -> TrialConfig:
    """The study's usual setting with the cell's own values."""
    loaded, _ = study(cell.model)
    model = loaded.study.model.model_dump(mode="json") | {"norm": cell.norm}
    training = loaded.study.training.model_dump(mode="json")
    training["optimizer"]["lr"] *= cell.factor
    training |= {
        "precision": {"kind": cell.precision},
        "batch_size": cell.batch_size,
        "eval_every_steps": STEPS,
        "health_every_steps": None,
    }
    data = loaded.study.data.model_dump(mode="json")
    return TrialConfig.model_validate({"model": model, "data": data, "training": training})


def train(cell: Cell) -> dict[str, Any]:
    """Final losses and WER; a WER of 1 where the weights were lost."""
    torch.set_num_threads(1)
    _, dataset = study(cell.model)
    training = Training(config(cell), dataset, seed=cell.seed, max_steps=STEPS, device=torch.device("cpu"))
    losses, last = [], None
    for record in training.records():
        if isinstance(record, StepRecord):
            losses.append(record.loss)
        elif isinstance(record, EvalRecord):
            last = record
    assert last is not None, "the last step is always evaluated"
    finite = [loss for loss in losses[-LAST_LOSSES:] if is_finite(loss)]
    return dataclasses.asdict(cell) | {
        "train_loss": statistics.median(finite) if finite else float("nan"),
        "val_loss": last.val_loss,
        "wer": min(last.wer, 1.0),
    }


def table(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """A line a cell: WER and training loss over its seeds, lowest to highest."""
    yield "| model | batch | precision | LR x | norm | seeds | WER, % | median | training loss | high / low |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    names = ("model", "batch_size", "precision", "factor", "norm")
    order = sorted(rows, key=lambda row: tuple(str(row[n]).rjust(9) for n in names))
    for key, members in itertools.groupby(order, key=lambda row: tuple(row[n] for n in names)):
        part = list(members)
        wers, losses = sorted(100 * row["wer"] for row in part), sorted(row["train_loss"] for row in part)
        model, batch, precision, factor, norm = key
        span = f"{wers[0]:.0f} to {wers[-1]:.0f} | {statistics.median(wers):.0f}"
        yield (
            f"| {model} | {batch} | {precision} | {factor:g} | {norm} | {len(part)} | {span} | "
            f"{losses[0]:.2g} to {losses[-1]:.2g} | {losses[-1] / losses[0]:.1f} |"
        )


def main() -> None:
    """Trains what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--models", default="teacher,baseline")
    parser.add_argument("--norms", default="group,batch,layer")
    parser.add_argument("--precisions", default="fp32,bf16,fp16")
    parser.add_argument("--batches", default="2,4,8,16")
    parser.add_argument("--factors", default="1")
    options = parser.parse_args()
    cells = [
        Cell(model, norm, precision, int(batch), float(factor), seed)
        for seed, factor, batch, precision, norm, model in itertools.product(
            range(options.seeds),
            options.factors.split(","),
            options.batches.split(","),
            options.precisions.split(","),
            options.norms.split(","),
            options.models.split(","),
        )
    ]
    rows: list[dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else []
    fields = [field.name for field in dataclasses.fields(Cell)]
    known = {Cell(**{name: row[name] for name in fields}) for row in rows}
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(train, cell) for cell in cells if cell not in known]):
            rows.append(done.result())
            print(rows[-1], flush=True)
            KEPT.write_text(json.dumps(rows, indent=0) + "\n", encoding="utf-8")
    REPORT.write_text("\n".join(table(rows)) + "\n", encoding="utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
