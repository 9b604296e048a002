"""Optuna's own conformance kit over the stability sampler: margins told, told and exploited, and not told at all."""

import functools
from collections.abc import Callable

import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)

from sweep.search import StabilitySampler

NUM_STARTUP = 4
"""Few, so that the model draws most of the kit's ten to twenty trials."""


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class Telling(BaseSampler):
    """Tells for the kit's objectives, which know nothing of stability, how stable each trial was."""

    def __init__(self, sampler: StabilitySampler, margins: tuple[float, ...]) -> None:
        self.sampler, self.margins = sampler, margins

    def infer_relative_search_space(self, study, trial):
        return self.sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        return self.sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study, trial, state, values) -> None:
        margin = self.margins[trial.number % len(self.margins)]
        study._storage.set_trial_user_attr(trial._trial_id, "margin", margin)
        study._storage.set_trial_user_attr(trial._trial_id, "stable", margin < 0)


class TestToldMargins(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Every third trial is unstable."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: Telling(StabilitySampler(seed=0, num_startup=NUM_STARTUP), (-0.5, -0.2, 0.5))


class TestExploiting(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Every trial is stable, so that each one after the start-up looks for the best result."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: Telling(StabilitySampler(seed=0, num_startup=NUM_STARTUP, mode="exploit"), (-0.5, -0.2, -0.9))


def refused(test: Callable[..., None]) -> Callable[..., None]:
    """The kit's test, which runs more trials than the sampler takes without a margin: it has to say so."""

    @functools.wraps(test)
    def says_so(*arguments: object, **more: object) -> None:
        with pytest.raises(ValueError, match=r"says how stable it was.*set_user_attr\('margin'"):
            test(*arguments, **more)

    return says_so


class TestUntoldMargins(BasicSamplerTestCase, RelativeSamplerTestCase, SingleOnlySamplerTestCase):
    """Without margins the sampler refuses the fifth trial, on purpose: a search that learns nothing would go unnoticed.

    The kit's tests that run so many trials are replaced by one of this refusal each.
    """

    test_nan_objective_value = refused(BasicSamplerTestCase.test_nan_objective_value)
    test_single_parameter_objective = refused(BasicSamplerTestCase.test_single_parameter_objective)
    test_conditional_parameter_objective = refused(BasicSamplerTestCase.test_conditional_parameter_objective)
    test_dynamic_range_objective = refused(BasicSamplerTestCase.test_dynamic_range_objective)
    test_trial_relative_params = refused(RelativeSamplerTestCase.test_trial_relative_params)

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: StabilitySampler(seed=0, num_startup=NUM_STARTUP)


@pytest.mark.parametrize(("mode", "is_exploiting"), [("exploit", True), ("map", False)])
def test_the_exploiting_variant_exploits(mode: str, is_exploiting: bool) -> None:
    """What the kit is run over above: after the start-up, trials gather at the best result only in exploit mode."""
    study = optuna.create_study(
        sampler=Telling(StabilitySampler(seed=0, num_startup=NUM_STARTUP, mode=mode), (-0.5, -0.2, -0.9))
    )
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 10) - 3) ** 2, n_trials=14)
    assert (sum(abs(t.params["x"] - 3) < 0.5 for t in study.trials[NUM_STARTUP:]) >= 5) is is_exploiting


def test_a_part_of_the_parameters_can_be_fixed() -> None:
    """Optuna's wrapper asks for the others alone."""
    sampler = Telling(StabilitySampler(seed=0, num_startup=NUM_STARTUP, mode="map"), (-0.5, 0.5))
    study = optuna.create_study(sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        return trial.suggest_float("x", -1, 1) + trial.suggest_int("y", -3, 3)

    study.optimize(objective, n_trials=6)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.sampler = optuna.samplers.PartialFixedSampler({"y": 2}, sampler)
    study.optimize(objective, n_trials=4)
    assert [t.params["y"] for t in study.trials[6:]] == [2] * 4
    assert len({t.params["x"] for t in study.trials[6:]}) == 4, "other values of y are no reason to ask again"
