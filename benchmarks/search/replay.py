"""How well searches map the stable region, replayed on a ground truth of real trainings.

    python -m benchmarks.search.replay                       # everything; prints it, writes replay.md and .json here
    python -m benchmarks.search.replay --samplers stability  # runs these anew; the rest come from replay.json

The truth is a dense grid of trainings made by this tool (`truth/`, `make_truth.py`), read between its
points as `surface.py` says. The searches stand in `peers.py`, the measures in `scores.py`.
Every search has the same seeds: trial n of one draws the same training seed as trial n of another.
"""

import argparse
import hashlib
import importlib.metadata
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Before numpy is loaded: two processes share the machine, and tiny matrices gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.search import scores as search_scores
from benchmarks.search.peers import OURS, SEARCHES, be_quiet, searches
from benchmarks.search.scores import Judge, Score, best_loss, replay, within_steps
from benchmarks.search.surface import TRUTH_DIR, Problem, load_problems

HERE = Path(__file__).resolve().parent
CHECKPOINTS = (24, 48, 72)
"""Numbers of trials at which a search is scored."""
BUDGETS = (16, 32)
"""Full trainings' worth of steps at which best losses are compared."""
PEERS = ("random", "TPE")
_NUM_RESAMPLES = 10_000


@dataclass(frozen=True)
class Row:
    """One search with one seed on one problem."""

    problem: str
    search: str
    seed: int
    scores: tuple[Score, ...]
    """One a checkpoint."""
    losses: tuple[float, ...]
    """Best loss for each of BUDGETS."""
    mapped_after: int | None
    num_unheard: int

    def score(self, num_trials: int) -> Score:
        """The score after this many trials."""
        return next(score for score in self.scores if score.num_trials == num_trials)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds with its bootstrap interval; NaN where some value is."""

    value: float
    low: float
    high: float


def mean(values: Sequence[float]) -> Mean:
    """The mean and its 95 % percentile-bootstrap interval."""
    array = np.array(values, dtype=float)
    picks = np.random.default_rng(0).integers(len(array), size=(_NUM_RESAMPLES, len(array)))
    low, high = np.quantile(array[picks].mean(axis=1), [0.025, 0.975]) if np.isfinite(array).all() else (np.nan, np.nan)
    return Mean(float(array.mean()), float(low), float(high))


_worker: dict[str, tuple[Problem, Judge]] = {}


def _begin(folder: Path) -> None:
    be_quiet()
    _worker.update({problem.name: (problem, Judge(problem)) for problem in load_problems(folder)})


def _run(job: tuple[str, str, int, tuple[int, ...]]) -> Row:
    name, search, seed, checkpoints = job
    problem, judge = _worker[name]
    course = replay(problem, search, seed, max(checkpoints))
    return Row(
        problem=name,
        search=search,
        seed=seed,
        scores=tuple(judge.score(course.trials[:number]) for number in checkpoints),
        losses=tuple(best_loss(problem, within_steps(course.trials, n * problem.max_steps)) for n in BUDGETS),
        mapped_after=course.mapped_after,
        num_unheard=course.num_unheard,
    )


def run_all(
    folder: Path, names: Sequence[str], num_seeds: int, checkpoints: tuple[int, ...], num_workers: int
) -> list[Row]:
    """Every named search on every problem, in processes; tells on stderr how far it is."""
    problems = [problem.name for problem in load_problems(folder)]
    jobs = [(p, name, seed, checkpoints) for p in problems for name in names for seed in range(num_seeds)]
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(num_workers, _begin, (folder,)) as pool:
        for row in pool.imap_unordered(_run, jobs):
            rows.append(row)
            print(f"\r{len(rows)} of {len(jobs)} searches", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def write_json(path: Path, rows: Sequence[Row], fingerprint: str) -> None:
    """Every row, on a line of its own; null for numbers that are not finite."""
    lines = [json.dumps(_plain(asdict(row)), allow_nan=False) for row in rows]
    versions = {name: importlib.metadata.version(name) for name in ("optuna", "ray", "scikit-learn", "scipy")}
    head = {"python": sys.version.split()[0], "versions": versions, "truth": fingerprint}
    text = json.dumps(head)[:-1] + ', "rows": [\n' + ",\n".join(lines) + "\n]}\n"
    path.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def read_json(path: Path, fingerprint: str | None) -> list[Row]:
    """The rows of an earlier run; none if there is no such file, or if it has another fingerprint than one given."""
    if not path.is_file():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    if fingerprint not in (None, content["truth"]):
        return []
    rows = []
    for row in content["rows"]:
        scores = tuple(Score(**{key: _number(value) for key, value in score.items()}) for score in row["scores"])
        losses = tuple(map(_number, row["losses"]))
        rows.append(Row(**{**row, "scores": scores, "losses": losses}))
    return rows


def _number(value: Any) -> Any:
    return math.nan if value is None else value


COLUMNS: dict[str, tuple[str, Callable[[Score], float]]] = {
    "balanced accuracy": ("{:.3f}", lambda s: s.accuracy),
    "between": ("{:.3f}", lambda s: s.between_accuracy),
    "IoU": ("{:.3f}", lambda s: s.iou),
    "Brier": ("{:.3f}", lambda s: s.brier),
    "ECE": ("{:.3f}", lambda s: s.calibration_error),
    "hot edge": ("{:.2f}", lambda s: s.hot_error),
    "cold edge": ("{:.2f}", lambda s: s.cold_error),
    "nearest: accuracy": ("{:.3f}", lambda s: s.nearest_accuracy),
    "nearest: hot edge": ("{:.2f}", lambda s: s.nearest_hot_error),
    "best loss": ("{:.3f}", lambda s: s.best_loss),
    "steps": ("{:.0f}", lambda s: s.steps),
    "late bad": ("{:.0%}", lambda s: s.late_bad_share),
}


def table(rows: Sequence[Row], num_trials: int) -> str:
    """One row a search: means over seeds with intervals."""
    lines = [f"| search | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name in _names(rows):
        scores = [row.score(num_trials) for row in rows if row.search == name]
        cells = [_cell(mean([get(score) for score in scores]), form) for form, get in COLUMNS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def loss_table(rows: Sequence[Row]) -> str:
    """Best loss at equal steps; where a search would end by itself; trials that it never took as finished."""
    budgets = " | ".join(f"best loss, {n} full trainings" for n in BUDGETS)
    lines = [f"| search | {budgets} | ends by itself | never finished |", "|---" * (len(BUDGETS) + 3) + "|"]
    for name in _names(rows):
        own = [row for row in rows if row.search == name]
        cells = [_cell(mean([row.losses[k] for row in own]), "{:.3f}") for k in range(len(BUDGETS))]
        ends = sorted(math.inf if row.mapped_after is None else row.mapped_after for row in own)
        middle = ends[len(ends) // 2]
        after = "more than all" if math.isinf(middle) else f"{middle:g}"
        ended = "-" if math.isinf(ends[0]) else f"{sum(map(math.isfinite, ends))} of {len(own)}, median {after}"
        lines.append(f"| {name} | {' | '.join(cells)} | {ended} | {np.mean([r.num_unheard for r in own]):g} |")
    return "\n".join(lines)


def pair_table(rows: Sequence[Row], num_trials: int) -> str:
    """Ours minus each of PEERS, seed by seed, with the interval of the mean difference."""
    lines = [f"| {OURS} minus | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    ours = {row.seed: row.score(num_trials) for row in rows if row.search == OURS}
    for peer in PEERS:
        theirs = {row.seed: row.score(num_trials) for row in rows if row.search == peer}
        seeds = sorted(ours.keys() & theirs.keys())
        if not seeds:
            continue
        cells = [_cell(mean([get(ours[s]) - get(theirs[s]) for s in seeds]), form) for form, get in COLUMNS.values()]
        lines.append(f"| {peer} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _names(rows: Sequence[Row]) -> list[str]:
    return [name for name in SEARCHES if any(row.search == name for row in rows)]


def _cell(value: Mean, form: str) -> str:
    if math.isnan(value.value):
        return "-"
    return f"{form.format(value.value)} ({form.format(value.low)}, {form.format(value.high)})"


def targets(rows: Sequence[Row]) -> str:
    """What the search is meant to reach after 48 trials, and whether it does."""

    def after(name: str, num_trials: int, column: str) -> float:
        return mean([COLUMNS[column][1](row.score(num_trials)) for row in rows if row.search == name]).value

    def loss(name: str) -> float:
        return mean([row.losses[-1] for row in rows if row.search == name]).value

    accuracy = after(OURS, 48, "balanced accuracy")
    late = after("random", 72, "balanced accuracy")
    hot, error = after(OURS, 48, "hot edge"), after(OURS, 48, "ECE")
    found = [
        ("balanced accuracy at least 0.92", accuracy, accuracy >= 0.92),
        (f"balanced accuracy at least {late:.3f}, which random has after 72", accuracy, accuracy >= late),
        ("hot edge within 0.2 decades", hot, hot <= 0.2),
        ("ECE at most 0.06", error, error <= 0.06),
        (f"best loss at equal steps at most {loss('TPE'):.3f}, that of TPE", loss(OURS), loss(OURS) <= loss("TPE")),
    ]
    return "\n".join(f"- {what}: {value:.3f}, {'met' if is_met else 'not met'}" for what, value, is_met in found)


def facts(problem: Problem) -> str:
    """What the truth of a problem is made of."""
    stable = problem.stable
    differ = float((stable.any(axis=1) & ~stable.all(axis=1)).mean())
    return (
        f"{stable.size} trainings of {problem.max_steps} steps, {len(problem.settings)} settings; "
        f"{stable.mean():.0%} of the trainings are stable; the seeds differ about {differ:.0%} of the settings. "
        f"{problem.num_false_alarms} of the stable trainings had an alarm: searches hear that they are unstable."
    )


def report(rows: Sequence[Row], problems: Sequence[Problem], checkpoints: Sequence[int], num_seeds: int) -> str:
    """The whole report as Markdown."""
    parts = [
        "# Searches, measured",
        f"{num_seeds} seeds each; means with 95 % bootstrap intervals over the seeds.",
        (search_scores.__doc__ or "").partition("\n\n")[2].strip(),
    ]
    for problem in problems:
        own = [row for row in rows if row.problem == problem.name]
        parts += [f"## {problem.name}", facts(problem)]
        names = _names(own)
        if {OURS, *PEERS} <= set(names) and {48, 72} <= set(checkpoints):
            parts.append(f"Aims of {OURS}, after 48 trials:\n\n{targets(own)}")
        for number in checkpoints:
            parts += [f"### After {number} trials", table(own, number)]
            if OURS in names and set(PEERS) & set(names):
                parts.append(pair_table(own, number))
        parts += ["### Best loss at equal steps", loss_table(own)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="*", default=[], help="names, or how they begin; all of them if left out")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=max(CHECKPOINTS), help="no score after more trials than this")
    parser.add_argument("--truth", type=Path, default=TRUTH_DIR)
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    names = searches(arguments.samplers)
    checkpoints = tuple(n for n in CHECKPOINTS if n <= arguments.trials)
    if not names or not checkpoints:
        parser.error(f"--samplers needs some of {', '.join(SEARCHES)}; --trials at least {CHECKPOINTS[0]}")
    fingerprint = hashlib.sha256((arguments.truth / "trials.parquet").read_bytes()).hexdigest()[:16]
    asked = f"{fingerprint}, {arguments.seeds} seeds, scored after {', '.join(map(str, checkpoints))} trials"
    kept = [row for row in read_json(arguments.out / "replay.json", asked) if row.search not in names]
    started = time.perf_counter()
    rows = kept + run_all(arguments.truth, names, arguments.seeds, checkpoints, arguments.workers)
    rows.sort(key=lambda row: (row.problem, list(SEARCHES).index(row.search), row.seed))
    text = report(rows, load_problems(arguments.truth), checkpoints, arguments.seeds)
    print(text)
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "replay.md").write_text(text, encoding="utf-8")
    write_json(arguments.out / "replay.json", rows, asked)


if __name__ == "__main__":
    main()
