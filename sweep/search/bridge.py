"""Tells Optuna the truth about every setting, diverged ones included.

Ray's own OptunaSearch leaves a NaN trial RUNNING for ever and tells a stopped one as if it had finished. Here
every setting ends COMPLETE with a finite value, its margin as a constraint (positive = unstable = infeasible)
and its verdict as user attributes. The Optuna study lives in a journal file that `optuna-dashboard` can open at
any time. It is derived data: each start rebuilds it from the ledger, so a killed driver leaves no zombie behind.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweep.search import GridSearch, SearchConfig
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

JOURNAL_FILE = "optuna.journal"


@dataclass(frozen=True)
class SettingResult:
    """What came of one setting, over all its seeds."""

    objective: float
    """Finite; lower is better."""
    margin: float
    """Negative = stable."""
    attributes: Mapping[str, bool | int | float | str | None]
    """For the dashboard: verdict, losses, costs."""


class OptunaBridge:
    """Asks Optuna for settings and tells it what came of them; a group is an Optuna trial number."""

    def __init__(
        self,
        results_dir: Path,
        name: str,
        space: Space,
        config: SearchConfig,
        history: Sequence[tuple[Settings, SettingResult | None]] = (),
    ) -> None:
        """Builds the Optuna study from the settings asked so far, in order; None = still without a result."""
        self._space = space
        self._order = ordered(space)
        self._config = config
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path = results_dir / JOURNAL_FILE
        path.unlink(missing_ok=True)
        storage = JournalStorage(JournalFileBackend(str(path)))
        self._study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
        self._trials: dict[int, optuna.Trial] = {}
        for group, (settings, result) in enumerate(history):
            self._start(group, settings)
            if result is not None:
                self.tell(group, result)

    def ask(self) -> tuple[int, Settings] | None:
        """The next group and its settings; None when a grid is exhausted."""
        group = len(self._study.get_trials(deepcopy=False))
        fixed: Settings | None = {}
        if group < len(self._config.try_first):
            fixed = self._config.try_first[group]
        elif isinstance(self._config, GridSearch):
            index = group - len(self._config.try_first)
            fixed = next(itertools.islice(grid_settings(self._space), index, None), None)
        if fixed is None:
            return None
        return group, self._start(group, fixed)

    def tell(self, group: int, result: SettingResult) -> None:
        """Records what came of a group."""
        trial = self._trials.pop(group)
        trial.set_constraint("margin", result.margin)
        trial.set_user_attr("margin", result.margin)
        trial.set_user_attr("stable", result.margin < 0)
        for key, value in result.attributes.items():
            trial.set_user_attr(key, value)
        self._study.tell(trial, result.objective)

    def _start(self, group: int, fixed: Mapping[str, Scalar]) -> Settings:
        self._study.sampler = self._config.sampler(group)
        if fixed:
            self._study.enqueue_trial(dict(fixed))
        trial = self._study.ask()
        assert trial.number == group, "one Optuna trial a group, in order"
        self._trials[group] = trial
        settings: Settings = {}
        for path in self._order:
            if is_active(self._space[path], settings):
                settings[path] = _suggest(trial, path, self._space[path])
        return settings


def _suggest(trial: optuna.Trial, path: str, dimension: Dimension) -> Scalar:
    match dimension:
        case Choice() | Grid():
            value = trial.suggest_categorical(path, list(dimension.ends))
            assert value is not None, "a choice never holds None"
            return value
        case Uniform():
            return trial.suggest_float(path, *dimension.uniform)
        case LogUniform():
            return trial.suggest_float(path, *dimension.loguniform, log=True)
        case Integer():
            return trial.suggest_int(path, *dimension.int_, log=dimension.log)
