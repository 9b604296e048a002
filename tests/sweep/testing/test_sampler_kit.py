"""The kit for samplers: a sound search passes, and for each check there is a search that fails it."""

import math
from typing import Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from sweep.search.samplers import SearchSpec
from sweep.testing import SamplerKit

MEMORY: list[int] = []


class PerturbSearch(SearchSpec):
    """Uniform draws; a number is drawn near the best result so far."""

    kind: Literal["perturb"] = "perturb"
    flaw: str = ""

    def sampler(self, number, space) -> optuna.samplers.BaseSampler:
        return PerturbSampler(self.seed, number, self.flaw)


class Misspelled(PerturbSearch):
    """Takes settings that it does not know."""

    model_config = {"extra": "ignore"}


class PerturbSampler(optuna.samplers.BaseSampler):
    def __init__(self, seed: int, number: int, flaw: str) -> None:
        seeds = {"no seed": [number], "one setting": [0], "remembers": [seed, len(MEMORY)]}
        self.rng = np.random.default_rng(seeds.get(flaw, [seed, number]))
        self.flaw = flaw
        if flaw == "remembers":
            MEMORY.append(number)

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, distribution):
        flaw = self.flaw
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if flaw == "all workers alike" and len(running) > 1:
            self.rng = np.random.default_rng(0)
        if flaw == "ignores conditions" and trials:
            _ = [t.params["scale"] for t in trials]
        if flaw == "sorts all values":
            _ = sorted((t.value for t in trials), key=lambda value: value + 0.0)
        if flaw == "needs a stable trial" and trials:
            _ = min(t.value for t in trials if t.user_attrs["margin"] < 0)
        if flaw == "never repeats" and isinstance(distribution, CategoricalDistribution):
            tried = [t.params for t in trials]
            if len([p for p in tried if "scale" not in p and "lr" not in p]) >= 4:
                raise ValueError("every setting was tried")
        if isinstance(distribution, CategoricalDistribution):
            choice = distribution.choices[self.rng.integers(len(distribution.choices))]
            return np.str_(choice) if flaw == "numpy's types" else choice
        if param_name == "scale" and flaw == "leaves a dimension alone":
            return distribution.low
        best = min((t for t in trials if t.value is not None), key=lambda t: t.value, default=None)
        place = self.rng.random()
        if best is not None and param_name in best.params and place < 0.5:
            value = best.params[param_name] * math.exp(self.rng.normal() / 3)
        elif distribution.log:
            value = distribution.low * (distribution.high / distribution.low) ** place
        else:
            value = distribution.low + (distribution.high - distribution.low) * place
        if isinstance(distribution, optuna.distributions.IntDistribution):
            value = round(value)
        return value if flaw == "leaves the space" else min(max(value, distribution.low), distribution.high)


class TestASoundSearch(SamplerKit):
    @pytest.fixture
    def search(self) -> PerturbSearch:
        return PerturbSearch(seed=3)


FLAWS = [
    ("test_the_configuration_is_one", Misspelled(), "takes a setting that it does not know"),
    ("test_settings_lie_in_the_space", "leaves the space", "lies outside of"),
    ("test_settings_differ", "one setting", "too few differ"),
    ("test_settings_differ", "leaves a dimension alone", "scale is always 256"),
    ("test_trials_without_a_conditional_dimension_are_understood", "ignores conditions", "scale"),
    ("test_a_resumed_search_goes_on_as_an_uninterrupted_one", "remembers", "built anew after 5 settings, it draws"),
    ("test_another_seed_draws_other_settings", "no seed", "seed 3 and 4 draw the same settings"),
    ("test_several_may_run_at_once", "all workers alike", "4 workers get 2 settings"),
    ("test_results_of_every_kind_are_survived", "sorts all values", "NoneType"),
    ("test_results_of_every_kind_are_survived", "needs a stable trial", "margin|empty"),
    ("test_a_finite_space_may_be_used_up", "never repeats", "every setting was tried"),
]


@pytest.mark.parametrize(("check", "flaw", "message"), FLAWS)
def test_each_check_can_fail(check: str, flaw: str | SearchSpec, message: str) -> None:
    search = PerturbSearch(seed=3, flaw=flaw) if isinstance(flaw, str) else flaw
    with pytest.raises((AssertionError, KeyError, TypeError, ValueError), match=message):
        getattr(SamplerKit(), check)(search)


def test_no_check_is_left_out(checks_of) -> None:
    assert {check for check, _, _ in FLAWS} == checks_of(SamplerKit)
