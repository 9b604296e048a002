"""Does the shipped study answer? Run with three search seeds, its map and its answer are held against fresh trainings.

    python -m benchmarks.search.shipped --work DIR    # about an hour on two quiet CPU cores; the same command goes on

| asked                                                | held against                                               |
|------------------------------------------------------|------------------------------------------------------------|
| how many trainings, in how long                      | the clock                                                  |
| how far the map foretells settings left out          | the report's own score                                     |
| does the recommended setting train alike every time  | six seeds that no search has used                          |
| is another leading setting better                    | the five best ranked, over the same seeds                  |
| where is the hot edge of each precision              | a dense grid of learning rates, three seeds, all else at   |
|                                                      | the study file's own values                                |

Every training is one of the tool itself. Prints the tables and writes benchmarks/search/shipped.md.
"""

import argparse
import copy
import itertools
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from sweep.analysis.answer.recommend import Recommendation, recommend
from sweep.analysis.answer.safe_setting import rule_of
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import Region, region
from sweep.boundary.edges import edges
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.store import read_trials
from sweep.study.reading import read_study
from sweep.wording import number

REPORT = Path(__file__).with_suffix(".md")
STUDY = Path(__file__).parents[2] / "studies" / "teacher_stability.yaml"
SEARCH_SEEDS = (18, 19, 20)
FRESH_SEED, NUM_FRESH, NUM_LEADERS = 20_000, 6, 5
GRID_SEED, NUM_GRID_SEEDS, GRID_POINTS_A_DECADE = 30_000, 3, 6
GRID_BELOW, GRID_ABOVE = 0.003, 0.3
"""Learning rates of the dense grid: around the hot edges, which lie between."""
LR, PRECISION = "training.optimizer.lr", "training.precision.kind"


@dataclass(frozen=True)
class Answered:
    """One finished study, read as its report reads it."""

    trials: pd.DataFrame
    evidence: Evidence
    region: Region
    answer: Recommendation
    seconds: float
    """How long it took."""


def read(folder: Path, seconds: float) -> Answered:
    """A results folder of a search."""
    study, trials = read_study(folder).study, read_trials(folder)
    evidence = Evidence(trials, study.searched)
    found = region(evidence)
    if isinstance(found, NotKnown):
        raise SystemExit(f"{folder}: {found.why}")
    answer = recommend(evidence, study.metric, rule_of(study), study)
    return Answered(trials, evidence, found, answer, seconds)


def train(content: dict[str, Any], name: str, work: Path) -> tuple[Path, float]:
    """Runs a study, or goes on with it; its folder, and the seconds that this took."""
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**content, "name": name}, sort_keys=False), encoding="utf-8")
    begun = time.monotonic()
    subprocess.run([sys.executable, "-m", "sweep.run", str(path), "--results", str(work)], check=True)
    return work / name, time.monotonic() - begun


def repeated(content: dict[str, Any], settings: Sequence[dict[str, Any]], seed: int, num_seeds: int) -> dict[str, Any]:
    """A study that trains just these settings, all to their end."""
    changed = copy.deepcopy(content)
    for key in ("forensics", "confirm", "audit", "safety"):
        changed.pop(key, None)
    changed["search"] = {"kind": "random", "seed": 0, "try_first": list(settings)}
    changed["budget"] = {"trials": len(settings) * num_seeds, "steps": content["budget"]["steps"]}
    changed |= {"seed": seed, "repeats": num_seeds, "confirm": {"settings": 0}, "forensics": {"trials": 0}}
    changed["early_stop"] = False
    return changed


def usual(content: dict[str, Any]) -> dict[str, Any]:
    """What the study file itself has for each searched setting."""
    found = {}
    for path in content["space"]:
        here: Any = content
        for key in path.split("."):
            here = here.get(key) if isinstance(here, dict) else None
        found[path] = 1.0 if here is None else here
    return found


def grid_edge(rows: pd.DataFrame) -> float:
    """Where the share of stable seeds last falls through one half, on a logarithmic axis; NaN if nowhere."""
    share = rows.groupby(LR)["stable"].mean().sort_index()
    rates, values = np.log10(share.index.to_numpy(dtype=float)), share.to_numpy(dtype=float)
    falls = [k for k in range(len(values) - 1) if values[k] >= 0.5 > values[k + 1]]
    if not falls:
        return math.nan
    k = falls[-1]
    return float(rates[k] + (values[k] - 0.5) / (values[k] - values[k + 1]) * (rates[k + 1] - rates[k]))


def map_edge(model: MarginModel, at: dict[str, Any]) -> float:
    """log10 of the hot edge of a model along the learning rate; NaN where it has none."""
    hot = [edge for edge in edges(model, LR, {key: v for key, v in at.items() if key != LR}) if edge.side == "hot"]
    return math.log10(hot[-1].value) if hot else math.nan


def skill(score: Any) -> float:
    """1 - Brier / Brier of the overall rate; NaN where there is no score."""
    return math.nan if score is None else 1 - score.brier / score.base_brier


def searches(content: dict[str, Any], work: Path) -> Iterator[Answered]:
    """The study under each search seed; beside its folder stands how long it took."""
    for seed in SEARCH_SEEDS:
        own = copy.deepcopy(content)
        own["search"]["seed"] = seed
        folder, seconds = train(own, f"search_{seed}", work)
        took = work / f"search_{seed}.seconds"
        if not took.exists():
            took.write_text(f"{seconds:.0f}", encoding="utf-8")
        yield read(folder, float(took.read_text(encoding="utf-8")))


def map_lines(every: Sequence[Answered]) -> Iterator[str]:
    """How well each map foretells what it has not seen."""
    yield "| search seed | trainings | minutes | skill | breaking | learning | ECE | true chances up to | answer |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for seed, one in zip(SEARCH_SEEDS, every, strict=True):
        found = one.region.calibration
        parts = " | ".join(
            f"{skill(part):.2f}" for part in (one.region.break_calibration, one.region.learn_calibration)
        )
        values = (number(v) if isinstance(v, float) else str(v) for v in one.answer.setting.values())
        yield (
            f"| {seed} | {len(one.trials)} | {one.seconds / 60:.1f} | {skill(found):.2f} | {parts} "
            f"| {100 * found.ece:.1f} | {100 * found.chance_ece:.1f} | {', '.join(values)} ({one.answer.status}) |"
        )
    skills = [skill(one.region.calibration) for one in every]
    yield f"\nMean skill {np.mean(skills):.2f} ({min(skills):.2f} to {max(skills):.2f})."


def leader_lines(content: dict[str, Any], work: Path, every: Sequence[Answered]) -> Iterator[str]:
    """The best ranked settings of each search over fresh seeds."""
    yield f"The {NUM_LEADERS} best ranked settings of each search, {NUM_FRESH} fresh seeds; first the recommended:\n"
    yield "| search seed | rank | stable | WER, mean | WER, worst | training loss | factor |"
    yield "|---|---|---|---|---|---|---|"
    for seed, one in zip(SEARCH_SEEDS, every, strict=True):
        ranked = [c for c in (one.answer.chosen, *one.answer.alternatives) if c is not None][:NUM_LEADERS]
        settings = [{path: v for path, v in c.group.setting.items() if v is not None} for c in ranked]
        folder, _ = train(repeated(content, settings, FRESH_SEED, NUM_FRESH), f"leaders_{seed}", work)
        for rank, (_, rows) in enumerate(read_trials(folder).groupby("group"), start=1):
            loss, wer = rows["final_train_loss"].astype(float), 100 * rows["wer"].astype(float)
            yield (
                f"| {seed} | {rank} | {int(rows['stable'].sum())} of {len(rows)} | {wer.mean():.1f} % "
                f"| {wer.max():.1f} % | {loss.min():.4f} to {loss.max():.4f} | {loss.max() / loss.min():.1f} |"
            )


def edge_lines(content: dict[str, Any], work: Path, every: Sequence[Answered]) -> Iterator[str]:
    """The hot edge of each precision: of a dense grid, and of each map."""
    at = usual(content)
    num = round(GRID_POINTS_A_DECADE * math.log10(GRID_ABOVE / GRID_BELOW)) + 1
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(GRID_BELOW, GRID_ABOVE, num)]
    precisions = content["space"][PRECISION]["choice"]
    settings = [{**at, PRECISION: p, LR: rate} for p, rate in itertools.product(precisions, rates)]
    folder, _ = train(repeated(content, settings, GRID_SEED, NUM_GRID_SEEDS), "grid", work)
    trials = read_trials(folder)
    yield (
        f"Hot edges of {num} learning rates from {rates[0]} to {rates[-1]}, {NUM_GRID_SEEDS} seeds each, and those of "
        "the maps (decades off), of what is stable and of what breaks:\n"
    )
    yield "| precision | grid | " + " | ".join(f"search seed {seed}" for seed in SEARCH_SEEDS) + " |"
    yield "|---|---|" + "---|" * len(SEARCH_SEEDS)
    for precision in precisions:
        truth = grid_edge(trials[trials[PRECISION] == precision])
        cells = []
        for one in every:
            models = (one.evidence.model, one.evidence.breaking)
            found = [map_edge(m, {**at, PRECISION: precision}) for m in models if isinstance(m, MarginModel)]
            cells.append(", ".join(f"{10**edge:.3g} ({edge - truth:+.2f})" for edge in found))
        yield f"| {precision} | {10**truth:.3g} | " + " | ".join(cells) + " |"


def lines(work: Path, study: Path) -> Iterator[str]:
    """Trains what is missing; the report."""
    content = yaml.safe_load(study.read_text(encoding="utf-8"))
    every = list(searches(content, work))
    yield from map_lines(every)
    yield ""
    yield from leader_lines(content, work, every)
    yield ""
    yield from edge_lines(content, work, every)


def main() -> None:
    """Prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="results of what is trained; what is there is not trained again"
    )
    parser.add_argument("--study", type=Path, default=STUDY)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    text = []
    for line in lines(arguments.work, arguments.study):
        print(line, flush=True)
        text.append(line)
    if arguments.study == STUDY:
        head = "<!-- Written by python -m benchmarks.search.shipped -->\n\n# Does the shipped study answer?\n\n"
        REPORT.write_text(head + "\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
