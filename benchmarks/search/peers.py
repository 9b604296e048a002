"""The searches that are compared: each asks for settings and is told what came of them, as its users have it.

- stability, map: `sweep.search.StabilitySampler`, every trial after the start-up about the boundary; balanced: every
  third about the best stable loss; exploit: all about that; two workers: balanced, two trainings at once;
- random, TPE, GP-EI: Optuna's samplers as `sweep.search` builds them;
- Sobol: Optuna's QMCSampler, which draws values without an order at random;
- GP classifier: scikit-learn's on the outcomes (Matern, a length scale each), asked where P(stable) is nearest 0.5;
- BoTorch straddle: its SingleTaskGP on the margins, as it comes, and the straddle rule with z = 1.96; where BoTorch is
  installed (it is not among the packages of `dev`);
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

from benchmarks.search.surface import Floats, Problem, Told
from sweep.boundary.encoding import Encoding
from sweep.search import GpSearch, RandomSearch, StabilitySampler, StabilitySearch, TpeSearch
from sweep.space import Choice, Dimension, LogUniform, Settings, Space, Uniform

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


class ModelPeer:
    """Sobol points, then the candidate that a model of another library is most in doubt about."""

    num_workers = 1
    spends_all = False

    def __init__(self, space: Space, seed: int, doubt: Callable[[Floats, Floats, Floats], Floats]) -> None:
        """With the doubt that a model has of candidates [M, F], given features [N, F] and margins [N] of trials."""
        self._encoding = Encoding(space)
        self._seed = seed
        self._doubt = doubt
        self._asked: dict[int, Settings] = {}
        self._told: list[tuple[Settings, float]] = []

    def ask(self, number: int) -> Settings:
        """The setting of a trial."""
        self._asked[number] = self._setting(number)
        return self._asked[number]

    def tell(self, number: int, told: Told) -> None:
        """Takes what came of a trial."""
        self._told.append((self._asked.pop(number), told.margin))

    def mapped(self) -> bool:
        """It knows no such thing."""
        return False

    def num_unheard(self) -> int:
        """None."""
        return 0

    def _setting(self, number: int) -> Settings:
        margins = np.array([margin for _, margin in self._told])
        if number < STARTUP or len(set(margins < 0)) < 2:
            return self._encoding.sobol(number + 1, self._seed)[-1]
        candidates = self._encoding.sobol(NUM_CANDIDATES, self._seed + 1 + number)
        tried = self._encoding.encode([setting for setting, _ in self._told])
        return candidates[int(np.argmax(self._doubt(tried, margins, self._encoding.encode(candidates))))]


def classifier_doubt(tried: Floats, margins: Floats, candidates: Floats) -> Floats:
    """Of scikit-learn's Gaussian process classifier: how near P(stable) is to 0.5."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    kernel = ConstantKernel(1.0) * Matern(np.full(tried.shape[1], 0.5), (0.02, 50.0), nu=2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = GaussianProcessClassifier(kernel, random_state=0).fit(tried, margins < 0)
    doubt: Floats = -np.abs(model.predict_proba(candidates)[:, 1] - 0.5)
    return doubt


def botorch_doubt(tried: Floats, margins: Floats, candidates: Floats) -> Floats:
    """Of BoTorch's Gaussian process: the straddle rule."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        targets = torch.tensor(margins)[:, None]
        model = SingleTaskGP(torch.tensor(tried), targets, outcome_transform=Standardize(1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        with torch.no_grad():
            posterior = model.posterior(torch.tensor(candidates))
            mean, std = posterior.mean[:, 0].numpy(), posterior.variance[:, 0].sqrt().numpy()
    doubt: Floats = 1.96 * std - np.abs(mean)
    return doubt


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
        case Uniform():
            return optuna.distributions.FloatDistribution(*dimension.uniform)
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
    "GP classifier": lambda problem, seed: ModelPeer(problem.space, seed, classifier_doubt),
    "BoTorch straddle": lambda problem, seed: ModelPeer(problem.space, seed, botorch_doubt),
    "TPE": _configured(lambda seed: TpeSearch(seed=seed)),
    "GP-EI": _configured(lambda seed: GpSearch(seed=seed)),
    "Ray OptunaSearch": lambda problem, seed: RayPeer(problem.space, seed, nan_if_bad=False),
    "Ray OptunaSearch, bad=NaN": lambda problem, seed: RayPeer(problem.space, seed, nan_if_bad=True),
}
OURS = "stability, balanced"
STARTUP = 16
"""So many first trials count as start-up, of every search."""
NUM_CANDIDATES = 2048
"""That models of other libraries choose from."""


def be_quiet() -> None:
    """Silences what Optuna and Ray log about every trial; `num_unheard` counts what matters of it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray.tune.search.optuna.optuna_search").setLevel(logging.ERROR)


def searches(names: Sequence[str]) -> list[str]:
    """The searches whose names begin with one of these; all of them for none."""
    return [known for known in SEARCHES if not names or any(known.startswith(name) for name in names)]
