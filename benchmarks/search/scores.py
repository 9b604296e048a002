"""Replays one search on one problem, and scores the map that its trials give.

The map is the same for every search: `sweep.boundary.MarginModel`, fitted to all of its trials, the bad ones with the
margin that our monitor gives them, though most of these searches do not tell a user as much. Beside it stands one that
knows no model: the outcome of the nearest trial, in the unit cube of the logarithmic axes, where two values
without an order are one range apart.

- balanced accuracy, IoU of the stable region: over the settings of the grid whose seeds agree; told as stable where
  P(stable) >= 0.5. "Between" is the same accuracy over the dense slices of the edge error;
- Brier score, expected calibration error (ten bins): over all trainings of the grid, each seed by itself;
- edge error: in slices at the ends and the middle of every other numeric setting and at all values of the others, the
  longest stretch along the learning rate with P(stable) >= 0.5; distance in decades of its hot and of its cold end from
  the true one. Where the seeds differ about an edge, every place between theirs is true: P(stable) is 0.5 there. A
  stretch that reaches the end of the range ends there; where nothing is stable, both ends count as at the low end. The
  grid itself knows an edge to half of its step only;
- best loss: the stable trial with the best loss that the search heard of, told by what it is worth over all seeds;
- late bad share: of the trials after the start-up, those that were not stable.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.search.peers import SEARCHES, STARTUP, Search
from benchmarks.search.surface import Flags, Floats, Problem, Told
from sweep.boundary.model import MarginModel
from sweep.space import Scalar, Settings

_PLACES = np.linspace(0, 1, 161)
"""Of a slice, along the learning rate."""


@dataclass(frozen=True)
class Trial:
    """One finished trial of a search."""

    settings: Settings
    told: Told
    num_steps: int
    """What it cost."""


@dataclass(frozen=True)
class Course:
    """All trials of one search, in the order in which they ended."""

    search: str
    seed: int
    trials: tuple[Trial, ...]
    mapped_after: int | None
    """Trials after which it would have ended by itself; None if it would not."""
    num_unheard: int
    """Trials that it never took as finished."""


@dataclass(frozen=True)
class Score:
    """How good the map of a search's first trials is, and what they cost."""

    num_trials: int
    accuracy: float
    """Balanced."""
    iou: float
    between_accuracy: float
    """Balanced accuracy over dense slices."""
    brier: float
    calibration_error: float
    hot_error: float
    """Decades, mean over the slices."""
    cold_error: float
    nearest_accuracy: float
    """Balanced accuracy of the map that knows no model."""
    nearest_hot_error: float
    best_loss: float
    """Relative to the zero-information loss, mean over the seeds; NaN where no trial was stable."""
    steps: int
    late_bad_share: float
    """NaN during the start-up."""


def replay(problem: Problem, name: str, seed: int, num_trials: int) -> Course:
    """Runs a search. Trials of equal number draw equal training seeds, whatever the search."""
    search: Search = SEARCHES[name](problem, seed)
    training_seeds = np.random.default_rng([seed, 7]).integers(len(problem.seeds), size=num_trials)
    running: list[tuple[int, int, Settings, Told, int]] = []
    done: list[Trial] = []
    mapped_after = None
    now = 0
    for number in range(num_trials + search.num_workers):
        if number >= search.num_workers:
            now, ended, settings, told, cost = heapq.heappop(running)
            search.tell(ended, told)
            done.append(Trial(settings, told, cost))
            if mapped_after is None and search.mapped():
                mapped_after = len(done)
        if number < num_trials:
            settings = search.ask(number)
            told = problem.train(settings, int(training_seeds[number]))
            cost = told.full_steps if search.spends_all else told.num_steps
            heapq.heappush(running, (now + cost, number, settings, told, cost))
    return Course(name, seed, tuple(done), mapped_after, search.num_unheard())


def best_loss(problem: Problem, trials: Sequence[Trial]) -> float:
    """What the stable trial with the best loss heard of is worth over all seeds."""
    stable = [trial for trial in trials if trial.told.stable]
    if not stable:
        return math.nan
    return problem.true_objective(min(stable, key=lambda trial: trial.told.objective).settings)


def within_steps(trials: Sequence[Trial], steps: int) -> list[Trial]:
    """The first trials that cost no more than this together."""
    spent = list(itertools.accumulate(trial.num_steps for trial in trials))
    return [trial for trial, total in zip(trials, spent, strict=True) if total <= steps]


class Judge:
    """Scores maps of one problem."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        axes = {path: problem.encoding.axis(path) for path in problem.encoding.paths}
        others = [path for path in axes if path != problem.along]
        values: list[list[Scalar]] = []
        for path in others:
            scale = axes[path]
            ends = problem.space[path].ends
            values.append(list(ends) if scale is None else [scale.from_unit(place) for place in (0.0, 0.5, 1.0)])
        self.slices: list[Settings] = [dict(zip(others, row, strict=True)) for row in itertools.product(*values)]
        """Values of all settings but the learning rate."""
        scale = axes[problem.along]
        assert scale is not None, "edges lie along a numeric dimension"
        self._decades = scale.decades
        rates = [scale.from_unit(place) for place in _PLACES.tolist()]
        self._points = problem.encoding.encode([{**at, problem.along: rate} for at in self.slices for rate in rates])
        truth = problem.is_stable([{**at, problem.along: rate} for at in self.slices for rate in rates])
        truth = truth.reshape(len(self.slices), len(rates), -1)
        self.edges = np.array([[stretch(one) for one in seeds.T] for seeds in truth])
        """True cold and hot end of the stable stretch in each slice and seed, places in [0, 1], [slices, seeds, 2]."""
        self._dense = truth.reshape(len(self._points), -1)
        self._grid = problem.encoding.encode(problem.settings)

    def score(self, trials: Sequence[Trial]) -> Score:
        """The score of a search's first trials."""
        problem = self._problem
        settings = [trial.settings for trial in trials]
        model = MarginModel(problem.encoding, settings, [trial.told.margin for trial in trials])
        grid = model.p_stable_features(self._grid)
        dense = model.p_stable_features(self._points)
        stable = np.array([trial.told.stable for trial in trials], dtype=float)
        tried = problem.encoding.encode(settings)
        accuracy, iou = agreement(grid, problem.stable)
        cold, hot = self.edge_errors(dense).mean(axis=0)
        _, nearest_hot = self.edge_errors(_nearest(tried, stable, self._points)).mean(axis=0)
        late = [trial.told.stable for trial in trials[STARTUP:]]
        p = np.repeat(grid, problem.stable.shape[1])
        outcome = problem.stable.ravel()
        return Score(
            num_trials=len(trials),
            accuracy=accuracy,
            iou=iou,
            between_accuracy=agreement(dense, self._dense)[0],
            brier=float(((p - outcome) ** 2).mean()),
            calibration_error=calibration_error(p, outcome),
            hot_error=float(hot),
            cold_error=float(cold),
            nearest_accuracy=agreement(_nearest(tried, stable, self._grid), problem.stable)[0],
            nearest_hot_error=float(nearest_hot),
            best_loss=best_loss(problem, trials),
            steps=sum(trial.num_steps for trial in trials),
            late_bad_share=1 - float(np.mean(late)) if late else math.nan,
        )

    def edge_errors(self, p: Floats) -> Floats:
        """Error of the cold and hot edge in each slice in decades, [slices, 2], of P(stable) at all its places."""
        found = np.array([stretch(one >= 0.5) for one in p.reshape(len(self.slices), -1)])
        below, above = self.edges.min(axis=1) - found, found - self.edges.max(axis=1)
        errors: Floats = np.maximum(np.maximum(below, above), 0.0) * self._decades
        return errors


def stretch(stable: Flags) -> tuple[float, float]:
    """Ends of the longest stable stretch of evenly spread places in [0, 1]; both 0 where nothing is stable."""
    runs = [(key, len(list(run))) for key, run in itertools.groupby(stable.tolist())]
    longest = max((length for key, length in runs if key), default=0)
    if longest == 0:
        return 0.0, 0.0
    begin = next(sum(n for _, n in runs[:k]) for k, (key, length) in enumerate(runs) if key and length == longest)
    last, half = len(stable) - 1, 0.5
    end = begin + longest - 1
    # An edge lies halfway between the last place that is stable and the first that is not.
    return (begin - half) / last if begin else 0.0, (end + half) / last if end < last else 1.0


def calibration_error(p: Floats, outcome: Flags | Floats) -> float:
    """Expected calibration error: distance of mean P from the share that came true (or from the mean true chance), over
    ten bins by their weight."""
    bins = np.minimum((p * 10).astype(int), 9)
    errors = [abs(float(p[bins == k].sum() - outcome[bins == k].sum())) for k in np.unique(bins)]
    return sum(errors) / len(p)


def agreement(p: Floats, outcomes: Flags) -> tuple[float, float]:
    """Balanced accuracy and intersection over union of P(stable) >= 0.5, where the seeds agree.

    Args:
        p: of N settings, [N].
        outcomes: whether each training of them is stable, [N, seeds].
    """
    agreed = outcomes.all(axis=1) | ~outcomes.any(axis=1)
    told, truth = p[agreed] >= 0.5, outcomes[agreed, 0]
    accuracy = (told[truth].mean() + (~told[~truth]).mean()) / 2
    return float(accuracy), float((told & truth).sum() / (told | truth).sum())


def _nearest(tried: Floats, stable: Floats, points: Floats) -> Floats:
    """The outcome of the trial nearest to each point; trials of equal distance count as their mean."""
    distance = ((points[:, None, :] - tried[None, :, :]) ** 2).sum(axis=2)
    nearest = distance <= distance.min(axis=1, keepdims=True) + 1e-12
    mean: Floats = (nearest @ stable) / nearest.sum(axis=1)
    return mean
