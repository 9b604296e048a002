"""Searches at work: real trainings from end to end, to see whether what the replay says (`replay.py`) holds.

    python -m benchmarks.search.live --results /tmp/search_live    # prints it, writes benchmarks/search/live.md

The problem is made to be cheap: a tiny teacher on made-up sequences for 60 steps, over learning rate, initial scale and
precision. Its stable region has a hot and a cold edge along the learning rate and one along the initial scale. First
this tool trains a dense grid of it, each setting with each seed, to the end: the truth. Then each search trains 48
settings, once for each seed: those of this tool through its session, bridge, monitor and store; Ray's OptunaSearch in
Ray Tune as its users have it, with NaN where the loss is not finite and nothing that stops a training. Maps
and measures are those of the replay (`scores.py`). What is done is kept in the results folder; the same
command goes on.
"""

import argparse
import functools
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
import torch
import yaml
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search.peers import METRIC, OURS, be_quiet, num_running, ray_domain
from benchmarks.search.replay import COLUMNS, Row, mean, pair_table, read_json, table
from benchmarks.search.scores import Judge, Trial
from benchmarks.search.surface import Problem, Told
from sweep import store, yaml_source
from sweep.records import TrialResult
from sweep.running.cluster import cluster
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.session import StudySession
from sweep.running.trial import TrialRunner
from sweep.space import Settings
from sweep.study import LoadedStudy, Resources, validate

HERE = Path(__file__).resolve().parent
NUM_TRIALS = 48
SEARCH_KINDS: dict[str, dict[str, Any]] = {
    OURS: {"kind": "stability", "stop_width": 0},
    "random": {"kind": "random"},
    "TPE": {"kind": "tpe"},
    "GP-EI": {"kind": "gp"},
}
RAY = "Ray OptunaSearch"
BASE = """
model: {kind: teacher, width: 0.0625}
data:
  kind: synthetic
  vocabulary_size: 3
  num_features: 8
  num_train: 64
  num_valid: 16
  frames_per_label: 8
  min_labels: 1
  max_labels: 2
  noise: 0.1
training:
  batch_size: 4
  schedule: {kind: cosine, warmup_steps: 4}
  health_every_steps: null
objective: val_loss
confirm: {settings: 0, recommended: false}
forensics: {trials: 0}
audit: {rate: 0}
"""
PRECISIONS = {"choice": ["fp32", "fp16_unscaled"]}
GRID = {
    "training.optimizer.lr": {"grid": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1]},
    "model.init_scale": {"grid": [0.25, 1.0, 4.0, 16.0]},
    "training.precision.kind": PRECISIONS,
}
SPACE = {
    "training.optimizer.lr": {"loguniform": [1e-5, 0.1]},
    "model.init_scale": {"loguniform": [0.25, 16.0]},
    "training.precision.kind": PRECISIONS,
}
STEPS = 60


def truth_study(seed: int) -> LoadedStudy:
    """Every setting of the grid, with one seed, run to its end."""
    return _study(f"truth_{seed}", seed, GRID, {"kind": "grid"}, trials=72, early_stop=False)


def search_study(name: str, seed: int, num_trials: int) -> LoadedStudy:
    """A search that trains with one seed, which is its own, too."""
    search = {**SEARCH_KINDS[name], "seed": seed}
    return _study(f"{search['kind']}_{seed}", seed, SPACE, search, trials=num_trials, early_stop=True)


def _study(
    name: str, seed: int, space: Mapping[str, Any], search: Mapping[str, Any], *, trials: int, early_stop: bool
) -> LoadedStudy:
    content = yaml.safe_load(BASE) | {
        "name": name,
        "seed": seed,
        "space": space,
        "search": search,
        "budget": {"trials": trials, "steps": STEPS},
        "early_stop": early_stop,
    }
    return validate(yaml_source.parse(yaml.safe_dump(content), name))


def run_study(loaded: LoadedStudy, results: Path) -> pd.DataFrame:
    """Runs a study in this process, or goes on with it; returns its trials in the order in which they ended."""
    study = loaded.study
    folder = results / study.name
    dataset = study.data.build()
    options = RunOptions(
        results_dir=folder,
        metric=study.objective,
        monitor=study.monitor,
        early_stop=study.early_stop,
        checkpoints=study.checkpoints,
        forensics=study.forensics,
    )
    trial_runner = TrialRunner(dataset, options)
    session = StudySession(loaded, folder, len(dataset.train))
    try:
        while (job := session.next_job()) is not None:
            session.tell(train(trial_runner, job))
    finally:
        session.close()
    return store.read_trials(folder)


def train(trial_runner: TrialRunner, job: Job) -> TrialResult:
    """One training, to its end or to its alarm."""
    trial = trial_runner.start(job)
    while isinstance(report := trial.advance(), Progress):
        pass
    return report


def run_ray(seed: int, num_trials: int, results: Path) -> pd.DataFrame:
    """Ray's OptunaSearch in Ray Tune; needs a running Ray. Returns its trials in the order in which they ended."""
    loaded = search_study("random", seed, num_trials)
    folder = results / f"ray_{seed}"

    def trainable(config: Settings) -> None:
        torch.set_num_threads(1)
        study = loaded.study
        options = RunOptions(folder, study.objective, study.monitor, early_stop=False, checkpoints="none")
        number = abs(hash(tuple(config.items()))) % 10**9
        job = Job(f"{number}", number, 0, seed, "explore", dict(config), loaded.trial_config(config), STEPS)
        trial = TrialRunner(study.data.build(), options).start(job)
        while not isinstance(report := trial.advance(), TrialResult):
            pass
        tune.report(report.row())

    search = OptunaSearch(seed=seed)
    tuner = tune.Tuner(
        trainable,
        param_space={path: ray_domain(dimension) for path, dimension in loaded.study.space.items()},
        tune_config=tune.TuneConfig(
            metric=METRIC, mode="min", search_alg=search, num_samples=num_trials, max_concurrent_trials=2
        ),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder.resolve()), verbose=0),
    )
    # Not the grid's own table: it is read from files of loggers that `sweep.runner` turns off.
    grid = tuner.fit()
    if grid.num_errors:
        raise RuntimeError(f"{grid.num_errors} of Ray's trials failed: {grid.errors[0]}")
    rows = [grid[number].metrics or {} for number in range(len(grid))]
    frame = pd.DataFrame(rows).sort_values("timestamp", ignore_index=True)
    columns = [*loaded.study.space, *("stable", "margin", "objective", "num_steps", "val_loss", "l_const")]
    return frame[columns].assign(num_unheard=num_running(search))


def as_trials(frame: pd.DataFrame, paths: Sequence[str]) -> list[Trial]:
    """Rows of a trial table as the measures want them."""
    trials = []
    for row in frame.to_dict("records"):
        told = Told(
            stable=bool(row["stable"]),
            margin=float(row["margin"]),
            objective=float(row["objective"]),
            num_steps=int(row["num_steps"]),
            raw_loss=float(row["val_loss"]) / float(row["l_const"]),
            full_steps=STEPS,
        )
        trials.append(Trial({path: row[path] for path in paths}, told, told.num_steps))
    return trials


def _job(job: tuple[str, int, int], results: Path) -> tuple[str, int, pd.DataFrame]:
    name, seed, num_trials = job
    torch.set_num_threads(1)
    be_quiet()
    study = truth_study(seed) if name == "truth" else search_study(name, seed, num_trials)
    return name, seed, run_study(study, results)


def run_all(results: Path, num_seeds: int, num_trials: int, num_workers: int) -> dict[tuple[str, int], pd.DataFrame]:
    """The truth and every search, by name and seed."""
    jobs = [(name, seed, num_trials) for name in ("truth", *SEARCH_KINDS) for seed in range(num_seeds)]
    found: dict[tuple[str, int], pd.DataFrame] = {}
    with multiprocessing.get_context("spawn").Pool(num_workers) as pool:
        for name, seed, frame in pool.imap_unordered(functools.partial(_job, results=results), jobs):
            found[name, seed] = frame
            print(f"{name}, seed {seed}: {len(frame)} trials", file=sys.stderr, flush=True)
    missing = [seed for seed in range(num_seeds) if not (results / f"ray_{seed}.parquet").is_file()]
    if missing:
        with cluster(None, Resources()):
            be_quiet()
            for seed in missing:
                run_ray(seed, num_trials, results).to_parquet(results / f"ray_{seed}.parquet")
                print(f"{RAY}, seed {seed}", file=sys.stderr, flush=True)
    for seed in range(num_seeds):
        found[RAY, seed] = pd.read_parquet(results / f"ray_{seed}.parquet")
    return found


def score_all(found: Mapping[tuple[str, int], pd.DataFrame], checkpoints: Sequence[int]) -> list[Row]:
    """Rows as the replay has them; best losses at equal steps are left out."""
    problem = Problem("live", pd.concat([frame for (name, _), frame in found.items() if name == "truth"]))
    judge = Judge(problem)
    rows = []
    for (name, seed), frame in found.items():
        if name != "truth":
            trials = as_trials(frame, problem.encoding.paths)
            scores = tuple(judge.score(trials[:number]) for number in checkpoints)
            unheard = int(frame["num_unheard"].iloc[0]) if "num_unheard" in frame else 0
            rows.append(Row("live", name, seed, scores, (), None, unheard))
    return rows


def order(rows: Sequence[Row], column: str, num_trials: int, *, high_is_good: bool) -> list[str]:
    """Searches by their mean in a column, best first."""
    names = dict.fromkeys(row.search for row in rows)
    get = COLUMNS[column][1]
    means = {n: mean([get(row.score(num_trials)) for row in rows if row.search == n]).value for n in names}
    return sorted((n for n in names if not math.isnan(means[n])), key=lambda n: -means[n] if high_is_good else means[n])


def orders(live: Sequence[Row], replayed: Sequence[Row], num_trials: int) -> str:
    """Both orders, for what a map is judged by; searches that only one of them has are left out."""
    both = {row.search for row in live} & {row.search for row in replayed}
    lines = []
    for column, high_is_good in (("balanced accuracy", True), ("hot edge", False), ("Brier", False)):
        of = functools.partial(order, column=column, num_trials=num_trials, high_is_good=high_is_good)
        now = of([row for row in live if row.search in both])
        before = of([row for row in replayed if row.search in both])
        is_first = "ours is first in both" if now[0] == before[0] == OURS else "ours is not first in both"
        lines.append(f"- {column}: live {'; '.join(now)}, replay {'; '.join(before)}: {is_first}")
    return "\n".join(lines)


def main() -> None:
    """Prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=NUM_TRIALS)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    arguments.results.mkdir(parents=True, exist_ok=True)
    found = run_all(arguments.results, arguments.seeds, arguments.trials, arguments.workers)
    rows = score_all(found, (arguments.trials,))
    parts = [
        "# Searches, live",
        (__doc__ or "").partition("live.md\n\n")[2].strip(),
        f"{arguments.seeds} seeds, {arguments.trials} trials; means with 95 % bootstrap intervals over the seeds.",
        table(rows, arguments.trials),
        pair_table(rows, arguments.trials),
        f"{RAY} left {mean([row.num_unheard for row in rows if row.search == RAY]).value:.1f} trials running for ever "
        f"on average: those that reported NaN.",
    ]
    replayed = read_json(arguments.out / "replay.json", None)
    if replayed and arguments.trials == NUM_TRIALS:
        parts += ["Best first:", orders(rows, replayed, arguments.trials)]
    text = "\n\n".join(parts) + "\n"
    print(text)
    (arguments.out / "live.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
