"""Importances name what matters, and say nothing where nothing can be said."""

import math
from collections.abc import Iterator

import optuna
import pytest
from optuna.trial import TrialState

from sweep.search import importance
from sweep.search.importance import MIN_SETTINGS, importances


@pytest.fixture(autouse=True, scope="module")
def _few_resamples() -> Iterator[None]:
    """Nothing here depends on how many resamples a range comes from, and each takes as long as the estimate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importance, "NUM_RESAMPLES", 4)
        yield


def study(num: int, *, directions: int = 1, seed: int = 0) -> optuna.Study:
    """The result depends on the learning rate alone, the margin on the precision alone; the clip does nothing."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    made = optuna.create_study(directions=["minimize"] * directions, sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(num):
        trial = made.ask()
        half = trial.suggest_categorical("precision", ["fp16", "fp32"]) == "fp16"
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        trial.suggest_float("clip", 0.1, 10.0, log=True)
        if half:
            trial.suggest_int("scale", 1, 16)
        trial.set_user_attr("margin", 0.5 if half else -0.5)
        made.tell(trial, [abs(math.log10(lr) + 2), 1.0][:directions])
    return made


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    return importances(study(40))


def test_each_method_finds_what_its_target_depends_on(found) -> None:
    methods = {"fanova", "ped_anova", "margin"}
    assert set(found) == methods | {f"{method}_{end}" for method in methods for end in ("low", "high")}
    for method in methods:
        shares = found[method]
        assert all(found[f"{method}_low"][p] <= v <= found[f"{method}_high"][p] for p, v in shares.items())
        assert sum(shares.values()) == pytest.approx(1.0) and all(type(v) is float for v in shares.values())
    assert found["fanova"]["lr"] > 0.8 and found["ped_anova"]["lr"] > 0.5 and found["margin"]["precision"] > 0.8


def test_a_conditional_dimension_is_left_out_of_fanova_alone(found) -> None:
    assert "scale" not in found["fanova"] and "scale" in found["ped_anova"]


def test_of_several_objectives_the_first_counts_and_the_same_comes_every_time(found) -> None:
    assert importances(study(40, directions=2)) == found


def test_pruned_and_running_settings_are_left_out(found) -> None:
    made = study(40)
    pruned = made.ask()
    pruned.suggest_float("lr", 1e-4, 1.0, log=True)
    made.tell(pruned, state=TrialState.PRUNED)
    made.ask()
    assert importances(made) == found


def test_where_nothing_can_be_said_nothing_is() -> None:
    assert importances(optuna.create_study()) == {}
    assert importances(study(MIN_SETTINGS - 1)) == {}
    assert importances(study(MIN_SETTINGS)) != {}
    single = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    single.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=20)
    assert importances(single) == {}, "a single dimension matters alone, and nobody knows a margin"
    empty = optuna.create_study()
    empty.optimize(lambda _: 1.0, n_trials=20)
    assert importances(empty) == {}
    same = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    same.optimize(lambda trial: 0 * (trial.suggest_float("a", 0, 1) + trial.suggest_float("b", 0, 1)), n_trials=20)
    assert importances(same) == {}, "every setting gave the same"


def test_settings_are_resampled_only_for_an_importance_that_was_found(monkeypatch) -> None:
    single = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    single.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=20)
    taken, estimates = [], importance._estimates

    def noted(trials, num_trees):
        taken.append(num_trees)
        return estimates(trials, num_trees)

    monkeypatch.setattr(importance, "_estimates", noted)
    assert importances(single) == {} and taken == [importance.NUM_TREES]
    assert importances(study(20)) and len(taken) == 2 + importance.NUM_RESAMPLES
    assert set(taken[2:]) == {importance.TREES_OF_RESAMPLE}
