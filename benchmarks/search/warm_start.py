"""What trainings of other studies save, and what they cost where they mislead, on surfaces whose every chance is known.

    python -m benchmarks.search.warm_start                # on the draws that are to work with; prints it
    python -m benchmarks.search.warm_start --held-out     # on those to report on; writes warm_start.md here too

Each search (stability, map mode) is run without others' trainings, with NUM_PRIOR of the same surface under other
seeds, with as many of the same surface moved by half a decade along every setting, with as many of another surface of
its kind, and with as many of the same surface that say the contrary, stable where it is not: these mislead. Counted
are the trials until the map's balanced accuracy over 4,000 uniform settings is TARGET, and stays there for three
trials; a search that does not come so far counts with MOST + 1.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import optuna

from benchmarks.search.made import NUM_POINTS, in_processes
from benchmarks.search.made_surfaces import HELD_OUT, KINDS, Surface, surface
from benchmarks.search.peers import be_quiet, distribution
from sweep.boundary.model import MarginModel
from sweep.boundary.prior import NONE, Prior
from sweep.search import StabilitySampler
from sweep.space import Settings, contains

REPORT = Path(__file__).with_suffix(".md")
NUM_PRIOR, MOST, TARGET = 60, 72, 0.9
MOVED = 0.5
"""Decades."""
PRIORS = ("none", "same", "moved", "another", "contrary")


@dataclass(frozen=True)
class Row:
    """One search on one surface."""

    kind: str
    draw: int
    prior: str
    needed: int
    accuracy: float
    """At the end."""
    shared: float
    """How far the others' were believed at the end."""


def prior_of(name: str, kind: str, draw: int) -> Prior:
    """Trainings that a study of another time made, half of them evenly spread, half by a search."""
    if name == "none":
        return NONE
    of = surface(kind, draw + 50 if name == "another" else draw)
    settings, margins = searched(of, 10_000 + draw, NUM_PRIOR, NONE)[:2]
    if name == "moved":
        moved = [
            {path: value * 10**MOVED if isinstance(value, float) else value for path, value in s.items()}
            for s in settings
        ]
        kept = [k for k, s in enumerate(moved) if all(contains(of.space[p], v) for p, v in s.items())]
        settings, margins = [moved[k] for k in kept], [margins[k] for k in kept]
    if name == "contrary":
        margins = [-margin for margin in margins]
    return Prior(settings, margins, [1] * len(settings))


def searched(problem: Surface, seed: int, num: int, prior: Prior) -> tuple[list[Settings], list[float]]:
    """Settings and margins of a search's trials."""
    sampler = StabilitySampler(problem.space, seed, mode="map", prior=prior)
    study = optuna.create_study(sampler=sampler)
    distributions = {path: distribution(dimension) for path, dimension in problem.space.items()}
    settings, margins = [], []
    for number in range(num):
        trial = study.ask(distributions)
        told = problem.train(trial.params, 1000 * seed + number)
        trial.set_user_attr("margin", told.margin)
        study.tell(trial, told.objective)
        settings.append(dict(trial.params))
        margins.append(told.margin)
    return settings, margins


def run(job: tuple[str, int, str]) -> Row:
    """Runs one search."""
    kind, draw, name = job
    be_quiet()
    problem, prior = surface(kind, draw), prior_of(name, kind, draw)
    points = problem.encoding.sobol(NUM_POINTS, seed=draw)
    features, good = problem.encoding.encode(points), problem.p_stable(points) >= 0.5
    settings, margins = searched(problem, draw, MOST, prior)
    accuracies = []
    model = None
    for num in range(4, MOST + 1):
        if len({m < 0 for m in margins[:num]} | {m < 0 for m in prior.margins}) < 2:
            accuracies.append(0.5)
            continue
        model = MarginModel(problem.encoding, settings[:num], margins[:num], prior=prior)
        told = model.predict_features(features)[0] < 0
        accuracies.append(float((told[good].mean() + (~told)[~good].mean()) / 2))
    reached = [k for k in range(len(accuracies) - 2) if min(accuracies[k : k + 3]) >= TARGET]
    shared = float("nan") if model is None or not prior.settings else model.shared(1)
    return Row(kind, draw, name, 4 + reached[0] if reached else MOST + 1, accuracies[-1], shared)


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table."""
    kinds = [kind for kind in KINDS if any(row.kind == kind for row in rows)]
    yield f"| trials to {TARGET}, mean (accuracy after {MOST}; believed) | " + " | ".join(PRIORS) + " |"
    yield "|---|" + "---|" * len(PRIORS)
    for kind in (*kinds, "all"):
        cells = []
        for name in PRIORS:
            mine = [row for row in rows if row.prior == name and kind in (row.kind, "all")]
            needed = np.mean([row.needed for row in mine])
            believed = "" if name == "none" else f"; {np.mean([row.shared for row in mine]):.2f}"
            cells.append(f"{needed:.1f} ({np.mean([row.accuracy for row in mine]):.2f}{believed})")
        yield f"| {kind} | " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kinds", default=";".join(KINDS))
    options = parser.parse_args()
    first = HELD_OUT if options.held_out else 0
    jobs = [
        (kind, draw, name)
        for kind in options.kinds.split(";")
        for draw in range(first, first + options.draws)
        for name in PRIORS
    ]
    text = "\n".join(lines(in_processes(run, jobs, options.jobs)))
    print(text)
    if options.held_out:
        head = "<!-- Written by python -m benchmarks.search.warm_start --held-out -->\n\n"
        REPORT.write_text(head + text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
