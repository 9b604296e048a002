"""Does the shipped study answer? Run it with three search seeds, and hold its map and its answer against fresh trainings.

    python -m benchmarks.search.shipped --work DIR    # about an hour on two quiet CPU cores; the same command goes on

| asked                                                                     | held against                              |
|---------------------------------------------------------------------------|-------------------------------------------|
| how many trainings, in how long                                           | the clock                                 |
| how far the map foretells settings left out                               | the report's own score, per search seed   |
| does the recommended setting train alike in every seed                    | six seeds that no search has used         |
| is another leading setting better                                         | the five best ranked, over the same seeds |
| where is the hot edge of each precision                                   | a dense grid of learning rates, all others |
|                                                                           | at the study's own values, three seeds     |

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
from sweep.analysis.answer.safe_setting import Rule
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.region.region import Region, region
from sweep.boundary.edges import edges
from sweep.boundary.model import MarginModel
from sweep.records import NotKnown
from sweep.store import read_trials
from sweep.study.reading import StoredStudy, read_study

REPORT = Path(__file__).with_suffix(".md")
STUDY = Path(__file__).parents[2] / "studies" / "teacher_stability.yaml"
SEARCH_SEEDS = (0, 1, 2)
FRESH_SEED, NUM_FRESH, NUM_LEADERS = 20_000, 6, 5
GRID_SEED, NUM_GRID_SEEDS, GRID_POINTS_A_DECADE = 30_000, 3, 6
GRID_BELOW, GRID_ABOVE = 0.003, 0.3
"""Learning rates of the dense grid: around the hot edges, which lie between."""
LR, PRECISION = "training.optimizer.lr", "training.precision.kind"


@dataclass(frozen=True)
class Answered:
    """One finished study, read as its report reads it."""

    folder: Path
    stored: StoredStudy
    trials: pd.DataFrame
    evidence: Evidence
    region: Region
    answer: Recommendation


def read(folder: Path) -> Answered:
    """A results folder of a search."""
    stored, trials = read_study(folder), read_trials(folder)
    study = stored.study
    evidence = Evidence(trials, study.searched)
    found = region(evidence)
    if isinstance(found, NotKnown):
        raise SystemExit(f"{folder}: {found.why}")
    answer = recommend(evidence, study.objective, Rule(study.safety.lr_factor, study.safety.p_stable), study)
    return Answered(folder, stored, trials, evidence, found, answer)


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


def lines(work: Path, study: Path) -> Iterator[str]:
    """Trains what is missing; the report."""
    content = yaml.safe_load(study.read_text(encoding="utf-8"))
    yield "| search seed | trainings | minutes | skill | of breaking | of learning | ECE | true chances up to | recommended |"
    yield "|---|---|---|---|---|---|---|---|---|"
    searches, skills = [], []
    for seed in SEARCH_SEEDS:
        own = copy.deepcopy(content)
        own["search"]["seed"] = seed
        folder, seconds = train(own, f"search_{seed}", work)
        took = work / f"search_{seed}.seconds"
        if not took.exists():
            took.write_text(f"{seconds:.0f}", encoding="utf-8")
        one = read(folder)
        searches.append(one)
        c = one.region.calibration
        skills.append(skill(c))
        parts = " | ".join(
            f"{skill(part):.2f}" for part in (one.region.break_calibration, one.region.learn_calibration)
        )
        setting = ", ".join(
            f"{value:.3g}" if isinstance(value, float) else str(value) for value in one.answer.setting.values()
        )
        yield (
            f"| {seed} | {len(one.trials)} | {float(took.read_text()) / 60:.1f} | {skills[-1]:.2f} | {parts} "
            f"| {100 * c.ece:.1f} | {100 * c.chance_ece:.1f} | {setting} ({one.answer.status}) |"
        )
    yield f"\nMean skill {np.mean(skills):.2f} ({min(skills):.2f} to {max(skills):.2f})."
    yield f"\nThe five best ranked settings of each search, {NUM_FRESH} fresh seeds each; the recommended one first:\n"
    yield "| search seed | rank | stable | WER, mean | WER, worst | training loss, lowest to highest | factor |"
    yield "|---|---|---|---|---|---|---|"
    for seed, one in zip(SEARCH_SEEDS, searches, strict=True):
        ranked = [one.answer.chosen, *one.answer.alternatives][:NUM_LEADERS]
        settings = [{k: v for k, v in c.group.setting.items() if v is not None} for c in ranked if c is not None]
        folder, _ = train(repeated(content, settings, FRESH_SEED, NUM_FRESH), f"leaders_{seed}", work)
        trials = read_trials(folder)
        for rank, (_, rows) in enumerate(trials.groupby("group"), start=1):
            loss, wer = rows["final_train_loss"].astype(float), rows["wer"].astype(float)
            yield (
                f"| {seed} | {rank} | {int(rows['stable'].sum())} of {len(rows)} | {100 * wer.mean():.1f} % | {100 * wer.max():.1f} % "
                f"| {loss.min():.3f} to {loss.max():.3f} | {loss.max() / loss.min():.1f} |"
            )
    at = usual(content)
    num = round(GRID_POINTS_A_DECADE * math.log10(GRID_ABOVE / GRID_BELOW)) + 1
    rates = [float(f"{rate:.3g}") for rate in np.geomspace(GRID_BELOW, GRID_ABOVE, num)]
    precisions = content["space"][PRECISION]["choice"]
    settings = [{**at, PRECISION: p, LR: rate} for p, rate in itertools.product(precisions, rates)]
    folder, _ = train(repeated(content, settings, GRID_SEED, NUM_GRID_SEEDS), "grid", work)
    trials = read_trials(folder)
    yield f"\nHot edges: {num} learning rates from {rates[0]} to {rates[-1]}, {NUM_GRID_SEEDS} seeds each, and the maps' own (decades off):\n"
    yield "| precision | grid | " + " | ".join(f"search {seed}: stable, breaking" for seed in SEARCH_SEEDS) + " |"
    yield "|---|---|" + "---|" * len(SEARCH_SEEDS)
    for precision in precisions:
        truth = grid_edge(trials[trials[PRECISION] == precision])
        cells = []
        for one in searches:
            models = (one.evidence.model, one.evidence.breaking)
            found = [map_edge(m, {**at, PRECISION: precision}) for m in models if isinstance(m, MarginModel)]
            cells.append(", ".join(f"{10**edge:.3g} ({edge - truth:+.2f})" for edge in found))
        yield f"| {precision} | {10**truth:.3g} | " + " | ".join(cells) + " |"


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
        head = f"<!-- Written by python -m benchmarks.search.shipped; CPU, {sys.platform}. -->\n\n# Does the shipped study answer?\n\n"
        REPORT.write_text(head + "\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
