"""What is learned from the same real hands, read in four ways.

    python -m benchmarks.data.landmarks --clips FOLDER [--seeds 3] [--jobs 2]

FOLDER holds isolated signs as the source `clips` reads them. Sequences of two to four signs of one signer are put
together without any change and saved as people save them: [T, 42, 3], coordinates of the image, zeros where a hand was
not found; 400 of the training sessions and 60 of the validation sessions. The same model (`cnn_bilstm`) is trained on
them 400 steps, nothing but the reading differs. Prints the table and writes benchmarks/data/landmarks.md.
"""

import argparse
import itertools
import multiprocessing
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slr_models.data import LandmarksConfig
from slr_models.data.clip_files import FILLER, ClipReader, read_labels
from slr_models.data.columns import parts_of
from sweep.records import EvalRecord
from sweep.training.config import TrialConfig
from sweep.training.train import Training

REPORT = Path(__file__).with_suffix(".md")
SIZES = {"train": 400, "valid": 60}
STEPS = 400
READINGS: dict[str, dict[str, Any]] = {
    "zeros are positions (`equal_points: keep`)": {"equal_points": "keep"},
    "as it comes": {},
    "`points: hands`": {"points": "hands"},
    "`points: hands`, velocities": {"points": "hands", "velocity": True},
}


def write(clips: Path, out: Path, seed: int = 0) -> None:
    """The sequences and their list."""
    rows = read_labels(clips / "labels.csv")
    signs: dict[tuple[str, str], dict[str, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for row, block in zip(rows, ClipReader(clips, 10.0, ()).read(rows), strict=True):
        if row.all_missing or row.label == FILLER:
            continue
        parts = {part.name: part for part in parts_of(block.columns)}
        hands = [
            block.values[1:][:, [parts[name].axes[axis][point] for point in range(21) for axis in "xyz"]]
            for name in ("left_hand", "right_hand")
        ]
        signs[row.split, row.signer][row.label].append(np.nan_to_num(np.concatenate(hands, axis=1)))
    rng = np.random.default_rng(seed)
    lines = ["id,path,labels,signer,split"]
    for split, size in SIZES.items():
        signers = sorted(signer for part, signer in signs if part == split and len(signs[part, signer]) > 1)
        for index in range(size):
            signer = signers[int(rng.integers(len(signers)))]
            known = signs[split, signer]
            labels = [sorted(known)[int(rng.integers(len(known)))] for _ in range(int(rng.integers(2, 5)))]
            parts_of_it = [known[label][int(rng.integers(len(known[label])))] for label in labels]
            name = f"{split}-{index}"
            np.save(out / f"{name}.npy", np.concatenate(parts_of_it).reshape(-1, 42, 3).astype(np.float32))
            lines.append(f"{name},{name}.npy,{' '.join(labels)},{signer},{split}")
    (out / "manifest.csv").write_text("\n".join(lines))


def train(folder: str, reading: str, seed: int) -> tuple[float, float]:
    """WER and validation loss at the end."""
    torch.set_num_threads(1)
    settings = {"kind": "landmarks", "path": folder, "unseen_glosses": "count_as_errors", **READINGS[reading]}
    config = TrialConfig.model_validate(
        {
            "model": {"kind": "cnn_bilstm", "width": 0.25},
            "data": settings,
            "training": {
                "optimizer": {"kind": "adamw", "lr": 1e-3},
                "schedule": {"kind": "cosine", "warmup_steps": 20},
                "clip": {"kind": "norm", "max_norm": 1.0},
                "batch_size": 8,
                "eval_every_steps": STEPS,
                "health_every_steps": None,
            },
        }
    )
    dataset = LandmarksConfig.model_validate(settings).build()
    training = Training(config, dataset, seed=seed, max_steps=STEPS, device=torch.device("cpu"))
    last = [record for record in training.records() if isinstance(record, EvalRecord)][-1]
    return last.wer, last.val_loss


def lines(folder: Path, num_seeds: int, jobs: int) -> Iterator[str]:
    """The table."""
    dataset = LandmarksConfig(path=str(folder), unseen_glosses="count_as_errors").build()
    yield "; ".join(part.text for part in dataset.facts.parts) + ".\n"
    yield "| read | WER, % (median, range) | validation loss (median, range) |"
    yield "|---|---|---|"
    pairs = list(itertools.product(READINGS, range(num_seeds)))
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(train, *zip(*((str(folder), reading, seed) for reading, seed in pairs), strict=True)))
    for reading in READINGS:
        own = [result for (name, _), result in zip(pairs, results, strict=True) if name == reading]
        wers, losses = sorted(100 * wer for wer, _ in own), sorted(loss for _, loss in own)
        yield (
            f"| {reading} | {statistics.median(wers):.1f} ({wers[0]:.1f} to {wers[-1]:.1f}) "
            f"| {statistics.median(losses):.2f} ({losses[0]:.2f} to {losses[-1]:.2f}) |"
        )


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        write(arguments.clips, Path(name))
        text = []
        for line in lines(Path(name), arguments.seeds, arguments.jobs):
            print(line, flush=True)
            text.append(line)
    head = "<!-- Written by python -m benchmarks.data.landmarks -->\n\n# The same hands, read in four ways\n\n"
    REPORT.write_text(head + "\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
