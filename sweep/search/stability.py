"""A sampler that maps where training is stable, then looks for the best result inside.

It asks for what is expected to teach a Gaussian process on the margin of trials most about the boundary
(`sweep.boundary.lessons`).

It works in plain Optuna. Each trial says how far it was from instability:

    sampler = StabilitySampler(seed=0)
    study = optuna.create_study(sampler=sampler)

    def objective(trial):
        loss, margin = train(trial.suggest_float("lr", 1e-5, 1.0, log=True))
        trial.set_user_attr("margin", margin)  # in [-1, 1]; negative = stable
        return loss                            # finite, also for a training that diverged

    study.optimize(objective, n_trials=40, callbacks=[sampler.stop_when_mapped])
    print(sampler.p_stable([{"lr": 1e-3}, {"lr": 1e-1}], study=study))
"""

import contextlib
import math
from collections.abc import Container, Mapping, Sequence
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState
from scipy.spatial import KDTree

from sweep.boundary.edges import mean_width
from sweep.boundary.encoding import Floats, edge_path
from sweep.boundary.growing import GrowingModel
from sweep.boundary.known import expected_accuracy, stable_slices, what_is_open
from sweep.boundary.model import MIN_ROWS, MarginModel
from sweep.boundary.prior import NONE, Prior
from sweep.boundary.result import MIN_STABLE, ResultModel
from sweep.records import SearchMode
from sweep.search.parameters import CONSTRAINTS, Given, Parameters
from sweep.space import Settings, is_active

SAFE_ENOUGH = 0.85
"""An exploiting trial is expected to be stable with at least this probability, so that few diverge."""
_RESOLUTION = 0.025
"""Mapping trials keep this far from others: in parts of a dimension's range, as the crow flies."""
_OVERHANG = 0.05
"""Part of its range by which each number of a candidate may pass an end, to be put on it: a corner is a candidate."""
_NUM_CANDIDATES = 2048
_NUM_NEAR_BEST = 512
_NUM_DOUBTFUL, _STRADDLE = 384, 1.96
"""Candidates of which it is worked out what they would teach: those with the largest `1.96 sigma - |mean|` (Bryan et
al., Active learning for identifying function threshold boundaries, NIPS 2005)."""
_NUM_POINTS = 256
"""Settings, drawn anew for each trial, about which they would teach it."""
_ROUGHLY, _NUM_LEADING = 4, 48
"""It is worked out with every fourth of these first, and with all for the candidates that lead then."""
_ONLY_STABLE_KNOWN = 0.3
"""Stands for the margin of a trial that says only whether it was stable, or says so with the wrong sign."""


class StabilitySampler(BaseSampler):
    """Start-up on Sobol points, then the boundary, then (in part) the best result inside the stable region.

    A trial counts once it is finished and has the user attribute `margin` (a number in [-1, 1], negative = stable),
    `margins` (a list of them, one a seed), or only `stable` (a bool). Where `stable` and the sign of the (largest)
    margin disagree, `stable` holds. Trials that are still running are taken to come out as the model expects.

    Every proposal follows from the seed, the trial's number and the trials so far alone, so that a sampler that is
    built anew goes on where another one left off.
    """

    def __init__(
        self,
        space: Mapping[str, Given] | None = None,
        seed: int | None = None,
        *,
        mode: SearchMode = "balanced",
        num_startup: int = 14,
        stop_accuracy: float = 0.92,
        stop_width: float | None = None,
        along: str | None = None,
        failed_is_unstable: bool = False,
        prior: Prior = NONE,
    ) -> None:
        """Prepares a sampler; it keeps no state that a study does not hold.

        Args:
            space: what may vary: name -> Optuna distribution or dimension of a study file, such as
                `{"loguniform": [1e-5, 1]}` (with `when`, if it is conditional). None: the parameters that the trials of
                the study have suggested so far; its first trial is then random.
            seed: of everything random; None draws one.
            mode: `map` asks about the boundary alone; `exploit` about the best result where training is
                stable; `balanced` spends every third trial after the start-up on the best result.
            num_startup: evenly spread trials before the model takes over.
            stop_accuracy: the map is not known before it expects to tell so many settings right: balanced accuracy, in
                [0, 1].
            stop_width: nor before the mean width of an edge, from P(stable) = 0.9 to 0.1, falls below this: decades on
                a logarithmic axis, else in units of the dimension. None: however wide.
            along: the dimension along which edges are told; None: the learning rate (the name's last part is `lr` or
                `learning_rate`), else the first numeric one.
            failed_is_unstable: whether a trial that failed (its objective raised, or returned NaN) or was pruned, and
                says nothing of its stability, counts as an unstable one; else it says nothing.
            prior: trainings of other studies, in the space's own values, to learn from as far as they agree with this
                one's. A third of `num_startup` is then enough.

        Raises:
            ValueError: an argument is wrong; which one is named.
        """
        if mode not in get_args(SearchMode):
            raise ValueError(f"mode must be one of {', '.join(get_args(SearchMode))}, got {mode!r}")
        if not isinstance(failed_is_unstable, bool):
            raise ValueError(f"failed_is_unstable must be True or False, got {failed_is_unstable!r}")
        _check_whole("num_startup", num_startup, 1)
        if not _is_number(stop_accuracy) or not 0 <= stop_accuracy <= 1:
            raise ValueError(f"stop_accuracy must lie in [0, 1], got {stop_accuracy!r}")
        if stop_width is not None and not (_is_number(stop_width) and stop_width >= 0):
            raise ValueError(f"stop_width must be at least 0, got {stop_width!r}")
        if seed is not None:
            _check_whole("seed", seed, 0)
        self._parameters_given = None if space is None else Parameters(space)
        if self._parameters_given is not None and along is not None:
            _check_along(along, self._parameters_given)
        self._seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        self._mode: SearchMode = mode
        self._prior = prior
        self._num_startup = math.ceil(num_startup / 3) if len(prior.settings) >= num_startup else num_startup
        self._stop_accuracy = stop_accuracy
        self._stop_width = stop_width
        self._along = along
        self._failed_is_unstable = failed_is_unstable
        self._fitted: tuple[object, MarginModel | None] = (None, None)
        self._growing: tuple[object, GrowingModel] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the model, which is fitted anew where it is needed."""
        return {**self.__dict__, "_fitted": (None, None), "_growing": None}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter that is known, the conditional ones too."""
        # A wrapper takes out of it what it fixes.
        return dict(self._parameters(study).distributions)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next setting, as far as `search_space` goes; conditional parameters that it leaves inactive are left out.

        Raises:
            ValueError: the study has several objectives, or none of its finished trials says how stable it was.
        """
        _check_one_objective(study)
        if not search_space:
            return {}
        parameters = self._parameters(study)
        # A wrapper such as Optuna's PartialFixedSampler asks for a part of the parameters.
        proposed = parameters.params(self._propose(study, parameters, trial, search_space))
        return {name: value for name, value in proposed.items() if name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A random value, for a parameter that is not known yet.

        Raises:
            ValueError: the study has several objectives.
        """
        _check_one_objective(study)
        seed = int(np.random.SeedSequence([self._seed, trial.number, len(trial.params)]).generate_state(1)[0])
        return RandomSampler(seed=seed).sample_independent(study, trial, param_name, param_distribution)

    def p_stable(self, params: Sequence[Mapping[str, Any]], study: optuna.Study) -> Floats:
        """Calibrated probability that a training of each of N settings with a fresh seed is stable, [N].

        Raises:
            ValueError: too few trials of the study have finished, or a setting does not lie in the space.
        """
        parameters = self._parameters(study)
        trials = study.get_trials(deepcopy=False)
        # Without a given space, what some trials did without is a condition of the program's own.
        optional = {
            name
            for name in parameters.space
            if self._parameters_given is None and any(t.params and name not in t.params for t in trials)
        }
        for setting in params:
            _check_setting(setting, parameters, optional)
        if not params:
            return np.empty(0)
        model = self._model(study, parameters)
        if model is None:
            num = len(self._rows(parameters, trials))
            raise ValueError(f"P(stable) needs {MIN_ROWS} finished trials with the user attribute 'margin', got {num}")
        return model.p_stable([parameters.setting(setting) for setting in params])

    def open_width(self, study: optuna.Study) -> float:
        """Mean width of an edge where something stable was found, from P(stable) = 0.9 to 0.1 (see `stop_width`); NaN
        while there is no model, or no edge."""
        parameters = self._parameters(study)
        along, model = self._edge_path(parameters), self._model(study, parameters)
        if model is None or along is None:
            return math.nan
        stable = [setting for _, setting, margin in self._ended(study, parameters) if margin < 0]
        return mean_width(model, along, stable_slices(model.encoding, along, stable))

    def expected_accuracy(self, study: optuna.Study) -> float:
        """Balanced accuracy that the map expects to have (see `stop_accuracy`); NaN while there is no model."""
        model = self._model(study, self._parameters(study))
        return math.nan if model is None else expected_accuracy(model)

    def is_mapped(self, study: optuna.Study) -> bool:
        """Whether the boundary is known well enough (`sweep.boundary.known`); never during the start-up or where all
        trials ended alike."""
        parameters = self._parameters(study)
        ended = self._ended(study, parameters)
        if self._mode == "exploit" or len(ended) < self._num_startup or len({m < 0 for *_, m in ended}) < 2:
            return False
        along, model = self._edge_path(parameters), self._model(study, parameters)
        if model is None or along is None:
            return False
        stable = [setting for _, setting, margin in ended if margin < 0]
        later = [setting for number, setting, _ in ended if number >= self._num_startup]
        return what_is_open(model, along, stable, later, self._stop_accuracy, self._stop_width) is None

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Marks a trial that was not stable as one that violates a constraint, as optuna-dashboard shows it."""
        with contextlib.suppress(ValueError):
            # Where it tells of the wrong kind, the next suggestion says so.
            if CONSTRAINTS not in trial.system_attrs and (margins := _told_margins(trial)):
                study._storage.set_trial_system_attr(trial._trial_id, CONSTRAINTS, [max(margins)])

    def _edge_path(self, parameters: Parameters) -> str | None:
        if self._along is not None and parameters.space:
            _check_along(self._along, parameters)
        return self._along or edge_path(parameters.encoding)

    def _ended(self, study: optuna.Study, parameters: Parameters) -> list[tuple[int, Settings, float]]:
        """Number, setting and worst margin of each trial that tells how stable it was."""
        return [
            (trial.number, parameters.setting(trial.params), max(margins))
            for trial in study.get_trials(deepcopy=False)
            if trial.state.is_finished() and (margins := self._margins(trial))
        ]

    def is_used_up(self, study: optuna.Study) -> bool:
        """Whether the space is finite and each of its settings was asked for."""
        parameters = self._parameters(study)
        every = parameters.encoding.all_settings(_NUM_CANDIDATES)
        tried = [parameters.setting(t.params) for t in study.get_trials(deepcopy=False)]
        return every is not None and all(setting in tried for setting in every)

    def stop_when_mapped(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """A callback for `study.optimize` that ends it once the map is known."""
        if self.is_mapped(study):
            study.stop()

    def _propose(
        self, study: optuna.Study, parameters: Parameters, trial: FrozenTrial, asked: Container[str]
    ) -> Settings:
        encoding = parameters.encoding
        rng = np.random.default_rng([self._seed, trial.number])
        trials = study.get_trials(deepcopy=False)
        model = self._model(study, parameters)
        held = parameters.setting(_held(trials, trial, parameters, asked))
        if trial.number < self._num_startup or model is None:
            return _holding(encoding.sobol(trial.number + 1, self._seed)[-1], held, parameters)
        pending = [
            parameters.setting(t.params)
            for t in trials
            if t.state == TrialState.RUNNING and t.number != trial.number and t.params
        ]
        tried = [parameters.setting(t.params) for t in trials if t.params]
        if self._exploits(trial.number):
            chosen = self._most_improving(study, parameters, model, pending, tried, held, rng)
            if chosen is not None:
                return chosen
        candidates = _Candidates(parameters, tried, None, held, rng)
        # Trials crowded on an edge teach nothing new, and an edge between close neighbours looks like noise.
        apart = np.flatnonzero(~_are_near(candidates.features, encoding.encode(tried)))
        allowed = apart if len(apart) else np.arange(len(candidates.features))
        points = encoding.encode_places(encoding.sobol_places(_NUM_POINTS, int(rng.integers(2**31))))
        best = _most_telling(model.believing(pending), candidates.features[allowed], points)
        return candidates.setting(int(allowed[best]))

    def _parameters(self, study: optuna.Study) -> Parameters:
        if self._parameters_given is not None:
            return self._parameters_given
        found: dict[str, BaseDistribution] = {}
        for trial in study.get_trials(deepcopy=False):
            if trial.state != TrialState.WAITING:
                found |= trial.distributions
        return Parameters(found)

    def _model(self, study: optuna.Study, parameters: Parameters) -> MarginModel | None:
        """The model of the study's finished trials; None where there are too few."""
        encoding = parameters.encoding
        rows = self._rows(parameters, study.get_trials(deepcopy=False))
        key = (study.study_name, encoding.owners, rows)
        if key != self._fitted[0]:
            if self._growing is None or self._growing[0] != key[:2]:
                self._growing = key[:2], GrowingModel(encoding, self._prior)
            settings, margins = [s for s, _ in rows], [m for _, m in rows]
            is_enough = len(rows) + len(self._prior.settings) >= MIN_ROWS
            model = self._growing[1].of(settings, margins) if is_enough else None
            self._fitted = (key, model)
        return self._fitted[1]

    def _rows(self, parameters: Parameters, trials: Sequence[FrozenTrial]) -> list[tuple[Settings, float]]:
        """Settings and margin of each finished training.

        Raises:
            ValueError: trials have finished, and not one of them says how stable it was.
        """
        finished = [t for t in trials if t.state.is_finished()]
        rows = [(parameters.setting(t.params), margin) for t in finished for margin in self._margins(t)]
        if not rows and sum(t.state == TrialState.COMPLETE for t in trials) >= MIN_ROWS:
            raise ValueError(
                "none of the finished trials says how stable it was: in the objective, call "
                "trial.set_user_attr('margin', m) with m in [-1, 1], negative for a stable training"
            )
        return rows

    def _margins(self, trial: FrozenTrial) -> list[float]:
        """The margins that a finished trial tells, one a seed; none where it tells nothing."""
        told = _told_margins(trial)
        ended_badly = trial.state in (TrialState.FAIL, TrialState.PRUNED)
        return [_ONLY_STABLE_KNOWN] if not told and ended_badly and self._failed_is_unstable else told

    def maps(self, number: int) -> bool:
        """Whether this trial is to tell where the boundary lies, not what result a setting comes to."""
        return number < self._num_startup or not self._exploits(number)

    def _exploits(self, number: int) -> bool:
        if self._mode == "balanced":
            return (number - self._num_startup) % 3 == 2
        return self._mode == "exploit"

    def _most_improving(
        self,
        study: optuna.Study,
        parameters: Parameters,
        model: MarginModel,
        pending: Sequence[Settings],
        tried: Sequence[Settings],
        held: Settings,
        rng: np.random.Generator,
    ) -> Settings | None:
        """The setting, among those that are likely stable, that is expected to improve the best result most.

        None where too little is known: few stable trials yet, or nowhere is stability likely enough.
        """
        trials = study.get_trials(deepcopy=False)
        sign = 1.0 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1.0
        known = [
            t
            for t in trials
            if t.value is not None and math.isfinite(t.value) and max(_told_margins(t), default=0.0) < 0
        ]
        # One that was ended before its end has only shown what it was worth so far.
        finished = [t for t in known if t.state == TrialState.COMPLETE]
        chosen = finished if len(finished) >= MIN_STABLE else known
        stable = [(parameters.setting(t.params), sign * t.value) for t in chosen if t.value is not None]
        if len(stable) < MIN_STABLE:
            return None
        settings, results = zip(*stable, strict=True)
        best = settings[int(np.argmin(results))]
        encoding = parameters.encoding
        candidates = _Candidates(parameters, tried, best, held, rng)
        features = candidates.features
        p = model.p_stable_features(features)
        likely = p >= SAFE_ENOUGH
        if not likely.any():
            return None
        gain = ResultModel(encoding, settings, results, pending).expected_improvement(features)
        return candidates.setting(int(np.argmax(np.where(likely, p * gain, -1.0))))


def _most_telling(model: MarginModel, features: Floats, points: Floats) -> int:
    """Which of M candidates is expected to teach most about the boundary."""
    mean, std = model.predict_features(features)
    doubtful = np.argsort(np.abs(mean) - _STRADDLE * std, kind="stable")[:_NUM_DOUBTFUL]
    roughly = model.lessons(features[doubtful], points[::_ROUGHLY])
    leading = doubtful[np.argsort(-roughly, kind="stable")[:_NUM_LEADING]]
    return int(leading[np.argmax(model.lessons(features[leading], points))])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _check_whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number and at least {least}, got {value!r}")


def _check_along(along: str, parameters: Parameters) -> None:
    if along not in parameters.space:
        raise ValueError(f"along = {along!r} is no parameter of the space: it has {', '.join(parameters.space)}")
    if parameters.encoding.axis(along) is None:
        raise ValueError(f"along = {along!r} has no order: edges lie along a number")


def _check_one_objective(study: optuna.Study) -> None:
    if len(study.directions) > 1:
        raise ValueError("StabilitySampler needs a study with one objective, got several directions")


def _check_setting(given: Mapping[str, Any], parameters: Parameters, optional: Container[str]) -> None:
    space = parameters.space
    unknown = [name for name in given if name not in space]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no parameter of the study: it has {', '.join(space)}")
    for name, value in given.items():
        if not parameters.holds(name, value):
            raise ValueError(f"{name} = {value!r} lies outside of what the study searches")
    setting = parameters.setting(given)
    lacking = [name for name, dim in space.items() if name not in given and is_active(dim, setting)]
    if missing := [name for name in lacking if name not in optional]:
        raise ValueError(f"the setting {dict(given)} lacks the parameter {missing[0]!r}")


def _held(
    trials: Sequence[FrozenTrial], trial: FrozenTrial, parameters: Parameters, asked: Container[str]
) -> dict[str, Any]:
    """Values that this trial has already, or will have: of an enqueued one, and those that a wrapper fixes."""
    fixed: dict[str, Any] = {
        name: value for name, value in trial.system_attrs.get("fixed_params", {}).items() if name in parameters.space
    }
    for name in parameters.space:
        if name not in asked and name not in fixed:
            # What a wrapper fixes is not told; the newest trial that has it knows.
            newest = next((t for t in reversed(trials) if name in t.params and t.number != trial.number), None)
            if newest is not None:
                fixed[name] = newest.params[name]
    return {name: value for name, value in fixed.items() if parameters.holds(name, value)}


def _holding(setting: Settings, held: Settings, parameters: Parameters) -> Settings:
    """The setting with some values held; conditional ones that do not exist under these are left out."""
    full = {**setting, **held}
    return {name: value for name, value in full.items() if is_active(parameters.space[name], full)}


class _Candidates:
    """Settings to choose from: spread over the space, and some near the best; of a finite space, all that are left.

    They are features alone until one is chosen: making thousands of settings takes longer than all else.
    """

    def __init__(
        self,
        parameters: Parameters,
        tried: Sequence[Settings],
        best: Settings | None,
        held: Settings,
        rng: np.random.Generator,
    ) -> None:
        encoding = parameters.encoding
        self._parameters, self._held = parameters, held
        self._listed = encoding.all_settings(_NUM_CANDIDATES)
        if self._listed is not None:
            known = {tuple(sorted(one.items())) for one in tried}
            left = [one for one in self._listed if tuple(sorted(one.items())) not in known]
            # When all were tried, one of them has to be tried again.
            self._listed = [_holding(one, held, parameters) for one in left or self._listed]
            self.features = encoding.encode(self._listed)
            """[M, F]."""
            return
        places = encoding.sobol_places(_NUM_CANDIDATES, int(rng.integers(2**31)), overhang=_OVERHANG)
        if best is not None:
            places = np.concatenate([places, encoding.places_near(best, _NUM_NEAR_BEST, rng)])
        for name, value in held.items():
            places[:, encoding.paths.index(name)] = encoding.place(name, value)
        self._places = places
        self.features = encoding.encode_places(places)

    def setting(self, number: int) -> Settings:
        """One of them."""
        if self._listed is not None:
            return self._listed[number]
        (chosen,) = self._parameters.encoding.decode(self._places[number : number + 1])
        return _holding(chosen, self._held, self._parameters)


def _are_near(features: Floats, others: Floats) -> npt.NDArray[np.bool_]:
    """Which of M points lie within _RESOLUTION of any of N others, [M], both in F features."""
    if not len(others):
        return np.zeros(len(features), dtype=bool)
    return np.asarray(KDTree(others).query(features, distance_upper_bound=_RESOLUTION)[0] < _RESOLUTION)


def _told_margins(trial: FrozenTrial) -> list[float]:
    """The margins that a trial tells by itself, one a seed; one that is not finite is that of an unstable training.

    Raises:
        ValueError: an attribute is of the wrong kind.
    """
    attributes = trial.user_attrs
    stable = attributes.get("stable")
    if stable is not None and not isinstance(stable, bool | np.bool_):
        raise ValueError(f"trial {trial.number}: the user attribute 'stable' is {stable!r}; it must be True or False")
    if "margins" in attributes:
        given = _numbers(trial, "margins", attributes["margins"])
    elif "margin" in attributes:
        given = _numbers(trial, "margin", [attributes["margin"]])
    else:
        given = []
    if stable is not None and (not given or (max(given) < 0) != stable):
        given = [-_ONLY_STABLE_KNOWN if stable else _ONLY_STABLE_KNOWN]
    return [min(max(margin, -1.0), 1.0) for margin in given]


def _numbers(trial: FrozenTrial, name: str, values: Any) -> list[float]:
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not is_list or any(isinstance(v, bool) or not isinstance(v, int | float | np.number) for v in values):
        kind = "a list of numbers" if name == "margins" else "a number"
        shown = values[0] if name == "margin" else values
        raise ValueError(f"trial {trial.number}: the user attribute {name!r} is {shown!r}; it must be {kind}")
    # Whoever divides by what diverged gets infinities of either sign.
    return [float(value) if value > -math.inf else _ONLY_STABLE_KNOWN for value in values]
