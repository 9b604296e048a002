"""Are the maps of one's own trainings right? The examples' maps after 48 trials against dense grids of real trainings.

    python -m benchmarks.own.examples    # about ten minutes on two CPU cores

Each example is searched with three seeds that nothing was chosen by, and its map is held against a grid of its own
settings, three fresh seeds each: what is stable in most of them is stable. Balanced accuracy is the mean of the shares
of stable and of other settings that the map tells right. Nothing of the search was chosen on these trainings.

Prints the table and writes benchmarks/own/examples.md.
"""

import argparse
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models import user_code
from sweep.analysis.region.evidence import Evidence
from sweep.boundary.model import MarginModel
from sweep.records import Phase, TrialResult
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.own_study import own_program
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.space import LogUniform, Settings, Uniform
from sweep.store import read_trials
from sweep.study import LoadedStudy, load

REPORT = Path(__file__).with_suffix(".md")
STUDIES = Path(__file__).parents[2] / "studies" / "own"
EXAMPLES = ("digits", "boosting", "descent", "characters")
SEARCH_SEEDS, TRIALS = (101, 102, 103), 48
GRID_SEEDS, GRID_POINTS = (50_000, 50_001, 50_002), {1: 61, 2: 11}
"""Points of a grid along each number, by how many numbers there are."""


def trained(loaded: LoadedStudy, job: Job, folder: Path) -> TrialResult:
    """The result of a training, in this process."""
    study = loaded.study
    options = RunOptions(folder, "score", study.monitor, True, "none", own=own_program(loaded, None))
    trial = TrialRunner(None, options).start(job)
    while isinstance(reached := trial.advance(), Progress):
        pass
    assert isinstance(reached, TrialResult), "a trial ends with a result"
    return reached


def searched(name: str, seed: int) -> list[tuple[Settings, bool]]:
    """Each setting of the grid, and whether the map after TRIALS trials of a search calls it stable."""
    overrides = [f"search.seed={seed}", "search.stop_accuracy=1", f"budget.trials={TRIALS}", "confirm.settings=0"]
    loaded = load(STUDIES / f"{name}.yaml", overrides)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with StudySession(loaded, folder, 0) as session:
            while (job := session.next_job()) is not None:
                session.tell(trained(loaded, job, folder))
            session.write_trials()
        trials = read_trials(folder)
    model = Evidence(trials, loaded.study.searched, score=loaded.study.score).model
    assert isinstance(model, MarginModel), "48 trials make a map"
    grid = list(grid_settings(loaded))
    return list(zip(grid, (model.p_stable(grid) >= 0.5).tolist(), strict=True))


def grid_settings(loaded: LoadedStudy) -> Iterator[Settings]:
    """The dense grid over a study's space."""
    space = loaded.study.space
    num = GRID_POINTS[sum(isinstance(one, LogUniform | Uniform) for one in space.values())]
    axes: list[Sequence[Any]] = []
    for dimension in space.values():
        low, high = dimension.ends[0], dimension.ends[-1]
        if isinstance(dimension, LogUniform):
            axes.append([float(f"{v:.4g}") for v in np.geomspace(float(low), float(high), num)])
        elif isinstance(dimension, Uniform):
            axes.append([float(f"{v:.4g}") for v in np.linspace(float(low), float(high), num)])
        else:
            axes.append(dimension.ends)
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*axes))


def truth(name: str, part: tuple[int, int]) -> list[tuple[int, bool]]:
    """Of every so many-th setting of the grid: its place, and whether it is stable in most of its seeds."""
    loaded = load(STUDIES / f"{name}.yaml")
    first, step = part
    found = []
    with tempfile.TemporaryDirectory() as place:
        for index, settings in itertools.islice(enumerate(grid_settings(loaded)), first, None, step):
            stable = 0
            for seed in GRID_SEEDS:
                config = loaded.job_config(settings)
                job = Job("0000", 0, 0, seed, Phase.EXPLORE, settings, config, loaded.study.budget.steps)
                stable += trained(loaded, job, Path(place)).stable
            found.append((index, 2 * stable > len(GRID_SEEDS)))
    return found


def balanced_accuracy(said: npt.NDArray[np.bool_], stable: npt.NDArray[np.bool_]) -> float:
    """Mean of the shares of stable and of other settings, [N], of which that was said."""
    return float(0.5 * (said[stable].mean() + (~said[~stable]).mean()))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def lines(names: Sequence[str]) -> Iterator[str]:
    """Trains and compares; the table."""
    yield "| example | grid | of it stable | " + " | ".join(f"search seed {seed}" for seed in SEARCH_SEEDS) + " |"
    yield "|---|---|---|" + "---|" * len(SEARCH_SEEDS)
    with ProcessPoolExecutor(2, initializer=_one_thread) as pool:
        for name in names:
            parts = pool.map(truth, [name] * 2, [(0, 2), (1, 2)])
            stable = np.array([one for _, one in sorted(itertools.chain(*parts))])
            cells = []
            for told in pool.map(searched, [name] * len(SEARCH_SEEDS), SEARCH_SEEDS):
                said = np.array([one for _, one in told])
                cells.append(f"{balanced_accuracy(said, stable):.3f}")
            yield f"| {name} | {len(stable)} x {len(GRID_SEEDS)} | {stable.mean():.0%} | " + " | ".join(cells) + " |"


def main() -> None:
    """Prints the table and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=EXAMPLES)
    arguments = parser.parse_args()
    os.chdir(STUDIES.parents[1])
    user_code.look_in(STUDIES)
    text = []
    for line in lines((arguments.only,) if arguments.only else EXAMPLES):
        print(line, flush=True)
        text.append(line)
    if arguments.only is None:
        head = "<!-- Written by python -m benchmarks.own.examples -->\n\n# Maps of one's own trainings\n\n"
        about = f"Balanced accuracy of the map after {TRIALS} trials on a dense grid of real trainings.\n\n"
        REPORT.write_text(f"{head}{about}" + "\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
