"""Does our search map other people's kinds of trainings better than theirs? Examples of studies/own, for real.

    python -m benchmarks.own.peers --work DIR                # an hour on two CPU cores; the same command goes on
    python -m benchmarks.own.peers --work DIR --only digits  # some of the examples; nothing is written

Every search trains 48 settings of an example, one after another, the same training seeds for the same trial numbers;
what it is told is what a study tells it, and trainings that break end early for all alike. All get the same map, which
is held against a dense grid of real trainings (`benchmarks.own.examples`): balanced accuracy is the mean of the shares
of stable and of other settings that the map tells right. Nothing of our search was chosen on these trainings.

Prints the tables and writes benchmarks/own/peers.md.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.own.examples import EXAMPLES, STUDIES, balanced_accuracy, grid_settings, trained, truth
from benchmarks.search.peers import OURS, be_quiet
from benchmarks.search.replay import mean
from benchmarks.search.scores import replay
from benchmarks.search.surface import Told
from slr_models import user_code
from sweep.boundary.encoding import Encoding, edge_path
from sweep.boundary.model import MarginModel
from sweep.records import UNMEASURED_MARGIN, Outcome, Phase
from sweep.running.job import Job
from sweep.space import Settings
from sweep.study import load

REPORT = Path(__file__).with_suffix(".md")
SEARCHES = (OURS, "stability, map", "Sobol", "random", "TPE", "GP-EI", "GP classifier", "BoTorch straddle")
SEARCH_SEEDS = (201, 202, 203, 204, 205)
CHECKPOINTS = (24, 48)
KEPT = ("digits", "boosting", "descent")
"""Examples of the stored table; the characters' trainings take longer than those of these together."""


Said = Mapping[str, list[list[bool]]]
"""Of each search, example and seed (`key`): what its map calls stable of the grid, after each of CHECKPOINTS trials."""


class Live:
    """What `replay` asks of a problem, of an example that is trained when it is asked for."""

    seeds = range(60_000, 60_008)
    """Of trainings."""

    def __init__(self, name: str, folder: Path) -> None:
        """With a folder for what trainings write."""
        self._loaded = load(STUDIES / f"{name}.yaml")
        self._folder = folder
        self.space = self._loaded.study.space
        self.encoding = Encoding(self.space)
        self.along = edge_path(self.encoding)

    def train(self, settings: Settings, seed: int) -> Told:
        """What a search hears of a training with the seed of this place in `seeds`."""
        config, steps = self._loaded.job_config(settings), self._loaded.study.budget.steps
        job = Job("0000", 0, 0, self.seeds[seed], Phase.EXPLORE, settings, config, steps)
        ended = trained(self._loaded, job, self._folder)
        # One that was where it leads to after its first step cannot be judged: there was nothing left to learn.
        stable = ended.stable or ended.verdict is Outcome.UNJUDGED
        margin = ended.margin if math.isfinite(ended.margin) else -UNMEASURED_MARGIN
        return Told(stable, margin, ended.objective, ended.num_steps, ended.score, ended.max_steps)


def key(example: str, search: str, seed: int) -> str:
    """The name of one search."""
    return f"{example} / {search} / {seed}"


def _told(job: tuple[str, str, int]) -> tuple[str, list[list[bool]]]:
    example, search, seed = job
    grid = list(grid_settings(load(STUDIES / f"{example}.yaml")))
    with tempfile.TemporaryDirectory() as place:
        problem = Live(example, Path(place))
        trials = replay(problem, search, seed, max(CHECKPOINTS)).trials  # type: ignore[arg-type]  # it asks no more
    found = []
    for num in CHECKPOINTS:
        settings, margins = [t.settings for t in trials[:num]], [t.told.margin for t in trials[:num]]
        if len({margin < 0 for margin in margins}) < 2:
            # Of trainings that all ended alike there is no map: it would say that of everything.
            found.append([margins[0] < 0] * len(grid))
        else:
            found.append((MarginModel(problem.encoding, settings, margins).p_stable(grid) >= 0.5).tolist())
    return key(*job), found


def _truth(job: tuple[str, str, int]) -> tuple[str, list[list[bool]]]:
    return key(*job), [[stable for _, stable in truth(job[0], (0, 1))]]


TRUTH = "the grid"


def _done(job: tuple[str, str, int]) -> tuple[str, list[list[bool]]]:
    return _truth(job) if job[1] == TRUTH else _told(job)


def _begin() -> None:
    import torch

    torch.set_num_threads(1)
    be_quiet()
    user_code.look_in(STUDIES)


def run_all(examples: Sequence[str], work: Path, workers: int) -> Said:
    """Everything that is missing in a folder, in processes."""
    kept = work / "told.jsonl"
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    known: dict[str, list[list[bool]]] = dict(json.loads(line) for line in lines)
    jobs = [(example, TRUTH, 0) for example in examples]
    jobs += [(example, search, seed) for example in examples for seed in SEARCH_SEEDS for search in SEARCHES]
    missing = [job for job in jobs if key(*job) not in known]
    with multiprocessing.get_context("spawn").Pool(workers, _begin) as pool, kept.open("a", encoding="utf-8") as file:
        for name, found in pool.imap_unordered(_done, missing):
            known[name] = found
            file.write(json.dumps([name, found]) + "\n")
            file.flush()
            print(f"\r{len(known)} of {len(jobs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return known


def accuracies(told: Said, example: str, search: str, seed: int) -> list[float]:
    """Balanced accuracy after each of CHECKPOINTS trials."""
    stable = np.array(told[key(example, TRUTH, 0)][0])
    said = [np.array(one) for one in told[key(example, search, seed)]]
    return [balanced_accuracy(one, stable) for one in said]


def lines(examples: Sequence[str], told: Said) -> Iterator[str]:
    """The tables."""
    scores = {
        (example, search): np.array([accuracies(told, example, search, seed) for seed in SEARCH_SEEDS])
        for example in examples
        for search in SEARCHES
    }
    yield f"Balanced accuracy after {' / '.join(map(str, CHECKPOINTS))} trials, mean of {len(SEARCH_SEEDS)} seeds:\n"
    yield f"| example | grid | of it stable | {' | '.join(SEARCHES)} |"
    yield "|---|---|---|" + "---|" * len(SEARCHES)
    for example in examples:
        stable = np.array(told[key(example, TRUTH, 0)][0])
        cells = [" / ".join(f"{v:.3f}" for v in scores[example, search].mean(axis=0)) for search in SEARCHES]
        yield f"| {example} | {len(stable)} | {stable.mean():.0%} | {' | '.join(cells)} |"
    means = [np.mean([scores[e, search] for e in examples], axis=(0, 1)) for search in SEARCHES]
    yield "| all | | | " + " | ".join(" / ".join(f"{v:.3f}" for v in one) for one in means) + " |"
    yield f"\n{OURS} minus another, seed by seed, mean over all examples and seeds (95 % bootstrap interval):\n"
    yield "| after | " + " | ".join(SEARCHES[1:]) + " |"
    yield "|---|" + "---|" * len(SEARCHES[1:])
    for place, num in enumerate(CHECKPOINTS):
        cells = []
        for search in SEARCHES[1:]:
            gains = np.concatenate([(scores[e, OURS] - scores[e, search])[:, place] for e in examples])
            gain = mean(gains.tolist())
            cells.append(f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
        yield f"| {num} | {' | '.join(cells)} |"


def main() -> None:
    """Trains what is missing, prints the tables and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where what is done is kept")
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, default=KEPT)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(STUDIES.parents[1])
    user_code.look_in(STUDIES)
    examples = tuple(arguments.only)
    text = "\n".join(lines(examples, run_all(examples, work, arguments.workers)))
    print(text)
    if examples != KEPT:
        return
    head = "<!-- Written by python -m benchmarks.own.peers -->\n\n# Searches on trainings of one's own\n\n"
    REPORT.write_text(f"{head}{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
