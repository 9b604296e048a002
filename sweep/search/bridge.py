"""Tells Optuna the truth about every setting, diverged ones included.

Ray's own OptunaSearch leaves a NaN trial RUNNING for ever and tells a stopped one as if it had finished. Here
every judged setting ends COMPLETE with a finite value, its margin as a constraint (positive = unstable = infeasible)
and its verdict as user attributes. One that is open (a scheduler ended it, or it was too short to tell) ends PRUNED,
with the values of its evaluations: no sampler takes it for a stable or an unstable one. So does one that was ended
where it was as good as stable, with its margin.

The Optuna study lives in a journal file that `optuna-dashboard` can open at any time. It is derived data: each start
rebuilds it from the ledger, so a killed driver leaves no zombie behind. A `DatabaseMirror` shows it in a database, too.
Parameters have short names there (`lr`); the study's user attribute `settings` says which dotted path each stands for.
"""

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from sweep.boundary.prior import NONE, Prior
from sweep.search import CmaEsSearch, GridSearch, Nsga2Search, SearchConfig, StabilitySearch
from sweep.search.distributions import distribution
from sweep.search.journal import DerivedJournal
from sweep.search.parameters import CONSTRAINTS
from sweep.space import (
    Choice,
    Dimension,
    Grid,
    Integer,
    LogUniform,
    Scalar,
    Settings,
    Space,
    Uniform,
    grid_settings,
    is_active,
    ordered,
)
from sweep.store import JOURNAL_FILE
from sweep.wording import short_keys

if TYPE_CHECKING:
    from sweep.search.database import DatabaseMirror
    from sweep.search.stability import StabilitySampler

UNKNOWN_COST = 1e9
"""Stands for the cost of a setting that crashed before it could be measured. It is infeasible anyway."""


@dataclass(frozen=True)
class SettingResult:
    """What came of one setting, over all its seeds."""

    objective: float
    """Finite; lower is better."""
    margin: float
    """Negative = stable. NaN if open."""
    attributes: Mapping[str, bool | int | float | str]
    """For the dashboard: verdict, reason, cause, losses."""
    margins: Sequence[float] = ()
    """One a seed."""
    cost: float = math.nan
    """The second objective of a search that has one; NaN where unknown."""
    is_foregone: bool = False
    """Whether it was ended where it was as good as stable: it has a margin, and `objective` is what it was worth there.
    """
    is_open: bool = False
    """Whether nobody can tell how stable it is: a scheduler ended it or changed its settings, or its trainings were too
    short. `objective` is then what its last evaluation was worth."""
    evaluations: Mapping[int, float] = field(default_factory=dict)
    """Of an open or a foregone one: step -> value, as the scheduler saw them."""

    @property
    def is_pruned(self) -> bool:
        """Whether it did not come to its end, as Optuna has it."""
        return self.is_open or self.is_foregone


class OptunaBridge:
    """Asks Optuna for settings and tells it what came of them; a group is an Optuna trial number."""

    def __init__(
        self,
        results_dir: Path,
        name: str,
        space: Space,
        config: SearchConfig,
        history: Sequence[tuple[Settings, SettingResult | None]] = (),
        *,
        objective: str = "objective",
        prior: Prior = NONE,
        mirror: "DatabaseMirror | None" = None,
    ) -> None:
        """Builds the Optuna study.

        Args:
            results_dir: where the journal goes.
            name: of the study.
            space: what may vary, by dotted path.
            config: of the search.
            history: the settings asked so far, in order; None = still without a result.
            objective: what the first objective is called in the dashboard.
            prior: trainings of other studies, for a search that learns from them.
            mirror: hears of every trial, for those who look at a database.
        """
        self._keys = short_keys(space)
        self._paths = {key: path for path, key in self._keys.items()}
        self._space = _renamed(space, self._keys)
        self._order = ordered(self._space)
        self._config = config.model_copy(update={"try_first": tuple(map(self._by_key, config.try_first))})
        # One for all settings: it remembers what it has computed of the trials so far.
        self._mapping: StabilitySampler | None = None
        if isinstance(self._config, StabilitySearch):
            given = [{p: v for p, v in one.items() if v is not None} for one in prior.settings]
            known = Prior([*map(self._by_key, given)], prior.margins, prior.sources)
            self._mapping = self._config.sampler(0, self._space, known)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._has_cost = isinstance(config, Nsga2Search)
        metrics = [objective, config.cost] if isinstance(config, Nsga2Search) else [objective]
        self._study = optuna.create_study(
            storage=JournalStorage(DerivedJournal(results_dir / JOURNAL_FILE)),
            study_name=name,
            directions=[StudyDirection.MINIMIZE] * len(metrics),
        )
        self._study.set_user_attr("settings", self._paths)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names(metrics)
        self._mirror: DatabaseMirror | None = None
        self._num_asked = 0
        self._trials: dict[int, optuna.Trial] = {}
        self.stop_reason: str | None = None
        """Why the search asks for no more settings although it could; None where it does not say so."""
        for group, (settings, result) in enumerate(history):
            if result is None or self._draws:
                self._start(group, self._by_key(settings))
                if result is not None:
                    self.tell(group, result)
            else:
                # Many times faster than to ask and to tell.
                self._study.add_trial(self._finished(self._by_key(settings), result))
                self._num_asked += 1
        if mirror is not None:
            mirror.begin(self._study)
            self._mirror = mirror

    @property
    def study(self) -> optuna.Study:
        """The Optuna study as it is now; its trials are the groups, in order, its parameters have short names."""
        return self._study

    def importances(self) -> dict[str, dict[str, float]]:
        """Which searched settings matter, by method and dotted path; see `sweep.search.importance`."""
        # What it imports takes a second, and no training waits for it.
        from sweep.search.importance import importances

        return {
            method: {self._paths[key]: share for key, share in shares.items()}
            for method, shares in importances(self._study).items()
        }

    def maps(self, group: int) -> bool:
        """Whether a group is to tell where the boundary lies alone, not what result its setting comes to."""
        drawn = group >= len(self._config.try_first)
        return drawn and self._mapping is not None and self._mapping.maps(group)

    @property
    def takes_wishes(self) -> bool:
        """Whether settings that somebody queued may come next: not before those that the study tries first, and never
        amid a grid, which goes by its count."""
        return self._num_asked >= len(self._config.try_first) and not isinstance(self._config, GridSearch)

    def ask_for(self, settings: Settings) -> tuple[int, Settings]:
        """The next group, with these settings; those that are left out are drawn."""
        group = self._num_asked
        return group, self._start(group, self._by_key(settings))

    def ask(self) -> tuple[int, Settings] | None:
        """The next group and its settings; None when a grid is exhausted or the map is known (see `stop_reason`)."""
        group = self._num_asked
        if isinstance(self._config, StabilitySearch) and self._mapping is not None:
            self.stop_reason = self._config.stop_reason(self._study, self._mapping)
            if self.stop_reason is not None:
                return None
        fixed: Settings | None = {}
        if group < len(self._config.try_first):
            fixed = self._config.try_first[group]
        elif isinstance(self._config, GridSearch):
            index = group - len(self._config.try_first)
            fixed = next(itertools.islice(grid_settings(self._space), index, None), None)
        if fixed is None:
            return None
        return group, self._start(group, fixed)

    def note_cause(self, trial_id: str, cause: str) -> None:
        """Records why a training failed, found out after its setting was told: on the study, as told trials are closed.

        The next start writes it to the trial itself.
        """
        key = f"cause of trial {trial_id}"
        self._study.set_user_attr(key, cause)
        if self._mirror is not None:
            self._mirror.noted(key, cause)

    def tell(self, group: int, result: SettingResult) -> None:
        """Records what came of a group."""
        trial = self._trials.pop(group)
        for key, value in _attributes(result).items():
            trial.set_user_attr(key, value)
        if not result.is_open:
            # Not by `set_constraint`, whose form optuna-dashboard 0.21 does not read.
            trial.storage.set_trial_system_attr(trial._trial_id, CONSTRAINTS, [result.margin])
        if result.is_pruned:
            self._prune(trial, result)
        else:
            with warnings.catch_warnings():
                # CMA-ES ranks by the objective alone, which puts every unstable setting last. Others read the
                # constraint.
                warnings.filterwarnings("ignore", message="Constraints have been set, but CmaEsSampler")
                self._study.tell(trial, self._values(result))
        self._show(trial)

    def _values(self, result: SettingResult) -> list[float]:
        cost = result.cost if math.isfinite(result.cost) else UNKNOWN_COST
        return [result.objective, cost] if self._has_cost else [result.objective]

    def _finished(self, settings: Settings, result: SettingResult) -> FrozenTrial:
        """The trial that asking for these settings and telling this result would have made."""
        keys = [key for key in self._order if key in settings]
        state, values = TrialState.COMPLETE, self._values(result)
        constraints = {} if result.is_open else {CONSTRAINTS: [result.margin]}
        if result.is_pruned:
            # As Optuna does, which takes the last value on the way for its value.
            last = [value for _, value in sorted(result.evaluations.items())][-1:]
            state, values = TrialState.PRUNED, last
        return optuna.trial.create_trial(
            state=state,
            values=values or None,
            params={key: settings[key] for key in keys},
            distributions={key: distribution(self._space[key]) for key in keys},
            user_attrs=_attributes(result),
            intermediate_values=dict(result.evaluations) if result.is_pruned else {},
            system_attrs=constraints,
        )

    @property
    def _draws(self) -> bool:
        """Whether what the sampler knows lies in the trials that it drew, so that drawing has to be repeated."""
        return isinstance(self._config, CmaEsSearch | Nsga2Search)

    def _show(self, trial: optuna.Trial) -> None:
        """Tells the mirror what a trial has become."""
        if self._mirror is not None:
            self._mirror.changed(trial.storage.get_trial(trial._trial_id))

    def _prune(self, trial: optuna.Trial, result: SettingResult) -> None:
        # An open one has no margin: whoever reads it must not take the setting for a stable or an unstable one.
        if not self._has_cost:
            # Optuna knows values on the way for a single objective only.
            for step, value in sorted(result.evaluations.items()):
                trial.report(value, step)
        self._study.tell(trial, state=TrialState.PRUNED)

    def _start(self, group: int, fixed: Mapping[str, Scalar]) -> Settings:
        self._study.sampler = self._mapping or self._config.sampler(group, self._space)
        if fixed:
            self._study.enqueue_trial(dict(fixed))
        trial = self._study.ask()
        assert trial.number == group, "one Optuna trial a group, in order"
        self._num_asked += 1
        self._trials[group] = trial
        if self._draws:
            # Drawing now, although the settings may be fixed, leaves it there when a study is rebuilt.
            _ = trial.relative_params
        settings: Settings = {}
        for key in self._order:
            if is_active(self._space[key], settings):
                settings[key] = _suggest(trial, key, self._space[key])
        self._show(trial)
        return {self._paths[key]: value for key, value in settings.items()}

    def _by_key(self, settings: Mapping[str, Scalar]) -> Settings:
        return {self._keys[path]: value for path, value in settings.items()}


def _renamed(space: Space, keys: Mapping[str, str]) -> Space:
    return {
        keys[path]: dimension.model_copy(
            update={"when": {keys.get(other, other): values for other, values in dimension.when.items()}}
        )
        for path, dimension in space.items()
    }


def _suggest(trial: optuna.Trial, key: str, dimension: Dimension) -> Scalar:
    match dimension:
        case Choice() | Grid():
            value = trial.suggest_categorical(key, list(dimension.ends))
            assert value is not None, "a choice never holds None"
            return value
        case Uniform():
            return trial.suggest_float(key, *dimension.uniform)
        case LogUniform():
            return trial.suggest_float(key, *dimension.loguniform, log=True)
        case Integer():
            return trial.suggest_int(key, *dimension.int_, log=dimension.log)


def _attributes(result: SettingResult) -> dict[str, Any]:
    """What the dashboard, the samplers and the next start read of a result."""
    if result.is_open:
        return dict(result.attributes)
    margins = list(result.margins or [result.margin])
    return {**result.attributes, "margin": result.margin, "margins": margins, "stable": result.margin < 0}
