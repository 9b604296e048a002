"""The searches that are compared: each asks for settings and is told what came of them, as its users have it.

- stability, map: `sweep.search.StabilitySampler`, every trial after the start-up about the boundary; balanced: every
  third about the best stable loss; exploit: all about that; two workers: balanced, two trainings at once;
- random, TPE, GP-EI: Optuna's samplers as `sweep.search` builds them;
- Sobol: Optuna's QMCSampler, which draws values without an order at random;
- Ray OptunaSearch: Ray's class with its default sampler (TPE). Nothing stops a training, and the metric is the
  validation loss, NaN where that is not finite. "bad=NaN": somebody stops bad trainings as early as we do, and reports
  NaN for each.

All but Ray's are told what our bridge tells: a finite bad value and the margin as a constraint.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from benchmarks.search.surface import Problem, Told
from sweep.search import GpSearch, RandomSearch, StabilitySampler, StabilitySearch, TpeSearch
from sweep.space import Choice, Dimension, LogUniform, Settings, Space

METRIC = "val_loss"


class Search(Protocol):
    """Something that says what to try next."""

    num_workers: int
    """Trainings at once."""

    def ask(self, number: int) -> Settings:
        """The setting of a trial."""

    def tell(self, number: int, told: Told) -> None:
        """Takes what came of a trial."""

    @property
    def spends_all(self) -> bool:
        """Whether trainings run to their end, however bad."""

    def mapped(self) -> bool:
        """Whether it would end here by itself."""

    def num_unheard(self) -> int:
        """Trials that ended, but that it never took as finished."""


class OptunaPeer:
    """An Optuna sampler, told the truth as `sweep.search.bridge` does."""

    spends_all = False

    def __init__(
        self, space: Space, sampler: Callable[[int], optuna.samplers.BaseSampler], num_workers: int = 1
    ) -> None:
        """With the sampler of each trial number."""
        self.num_workers = num_workers
        self._distributions = {path: distribution(dimension) for path, dimension in space.items()}
        self._sampler = sampler
        self._study = optuna.create_study()
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> Settings:
        """The setting of a trial."""
        self._study.sampler = self._sampler(number)
        trial = self._study.ask(self._distributions)
        self._trials[number] = trial
        return dict(trial.params)

    def tell(self, number: int, told: Told) -> None:
        """Takes what came of a trial."""
        trial = self._trials.pop(number)
        trial.set_constraint("margin", told.margin)
        trial.set_user_attr("margin", told.margin)
        trial.set_user_attr("stable", told.stable)
        self._study.tell(trial, told.objective)

    def mapped(self) -> bool:
        """Whether it would end here by itself."""
        sampler = self._study.sampler
        return isinstance(sampler, StabilitySampler) and sampler.is_mapped(self._study)

    def num_unheard(self) -> int:
        """None of those that were told."""
        states = [trial.state for trial in self._study.get_trials(deepcopy=False)]
        return states.count(TrialState.RUNNING) - len(self._trials)


class RayPeer:
    """Ray's own OptunaSearch, driven as Tune drives it: a result, then the same as the last one."""

    num_workers = 1

    def __init__(self, space: Space, seed: int, *, nan_if_bad: bool) -> None:
        """With a metric of NaN for every bad training, or only where the validation loss is not finite."""
        self._nan_if_bad = nan_if_bad
        self._search = OptunaSearch(seed=seed)
        self._search.set_search_properties(METRIC, "min", {p: ray_domain(d) for p, d in space.items()})

    @property
    def spends_all(self) -> bool:
        """Nothing stops a training unless somebody watches it."""
        return not self._nan_if_bad

    def ask(self, number: int) -> Settings:
        """The setting of a trial."""
        settings: Settings | None = self._search.suggest(str(number))
        assert settings is not None, "Optuna never runs out of settings"
        return settings

    def tell(self, number: int, told: Told) -> None:
        """Takes what came of a trial."""
        loss = told.raw_loss if told.stable or not self._nan_if_bad else np.nan
        result = {METRIC: loss, "training_iteration": 1}
        self._search.on_trial_result(str(number), result)
        self._search.on_trial_complete(str(number), result)

    def mapped(self) -> bool:
        """It knows no such thing."""
        return False

    def num_unheard(self) -> int:
        """Trials told as NaN: Optuna refuses the value, OptunaSearch logs that and leaves them running for ever."""
        return num_running(self._search)


def num_running(search: OptunaSearch) -> int:
    """Trials that Ray's OptunaSearch has left running; at the end of a search, those told as NaN."""
    study: Any = search._ot_study
    return sum(trial.state == TrialState.RUNNING for trial in study.get_trials(deepcopy=False))


def distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    """A dimension as Optuna has it."""
    match dimension:
        case LogUniform():
            return optuna.distributions.FloatDistribution(*dimension.loguniform, log=True)
        case Choice():
            return optuna.distributions.CategoricalDistribution(dimension.choice)
    raise TypeError(f"a ground truth has no such dimension: {dimension!r}")


def ray_domain(dimension: Dimension) -> Any:
    """A dimension as Ray has it."""
    match dimension:
        case LogUniform():
            return tune.loguniform(*dimension.loguniform)
        case Choice():
            return tune.choice(list(dimension.choice))
    raise TypeError(f"a ground truth has no such dimension: {dimension!r}")


Config = RandomSearch | TpeSearch | GpSearch | StabilitySearch


def _configured(config: Callable[[int], Config], num_workers: int = 1) -> Callable[[Problem, int], Search]:
    """A search of ours, configured for a seed."""

    def build(problem: Problem, seed: int) -> Search:
        chosen = config(seed)
        return OptunaPeer(problem.space, lambda number: chosen.sampler(number, problem.space), num_workers)

    return build


def _sobol(problem: Problem, seed: int) -> Search:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)
    return OptunaPeer(problem.space, lambda number: sampler)


SEARCHES: dict[str, Callable[[Problem, int], Search]] = {
    "stability, map": _configured(lambda seed: StabilitySearch(mode="map", seed=seed)),
    "stability, balanced": _configured(lambda seed: StabilitySearch(seed=seed)),
    "stability, exploit": _configured(lambda seed: StabilitySearch(mode="exploit", seed=seed)),
    "stability, two workers": _configured(lambda seed: StabilitySearch(seed=seed), num_workers=2),
    "random": _configured(lambda seed: RandomSearch(seed=seed)),
    "Sobol": _sobol,
    "TPE": _configured(lambda seed: TpeSearch(seed=seed)),
    "GP-EI": _configured(lambda seed: GpSearch(seed=seed)),
    "Ray OptunaSearch": lambda problem, seed: RayPeer(problem.space, seed, nan_if_bad=False),
    "Ray OptunaSearch, bad=NaN": lambda problem, seed: RayPeer(problem.space, seed, nan_if_bad=True),
}
OURS = "stability, balanced"
STARTUP = 16
"""So many first trials count as start-up, of every search."""


def be_quiet() -> None:
    """Silences what Optuna and Ray log about every trial; `num_unheard` counts what matters of it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray.tune.search.optuna.optuna_search").setLevel(logging.ERROR)


def searches(names: Sequence[str]) -> list[str]:
    """The searches whose names begin with one of these; all of them for none."""
    return [known for known in SEARCHES if not names or any(known.startswith(name) for name in names)]
