"""The stability sampler in plain Optuna: it maps, it exploits, it stops, and it goes on where another left off."""

import copy
import math
import pickle
import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from pydantic import TypeAdapter, ValidationError

from sweep.search import SearchConfig
from sweep.search.stability import StabilitySampler

optuna.logging.set_verbosity(optuna.logging.WARNING)

HOT = {"fp32": -1.3, "fp16": -2.6}
SPACE = {
    "kind": {"choice": ["fp32", "fp16"]},
    "lr": {"loguniform": [1e-5, 1.0]},
    "depth": {"int": [1, 6]},
}


def distance(params) -> float:
    """Decades to instability over 3; hot above an edge that falls with depth, cold below 3e-5."""
    x = math.log10(params["lr"])
    return max(x - HOT[params["kind"]] + 0.1 * params["depth"], -4.5 - x) / 3


def objective(trial: optuna.Trial) -> float:
    params = {
        "kind": trial.suggest_categorical("kind", ["fp32", "fp16"]),
        "lr": trial.suggest_float("lr", 1e-5, 1.0, log=True),
        "depth": trial.suggest_int("depth", 1, 6),
    }
    margin = float(np.clip(distance(params), -1, 1)) or 0.01
    trial.set_user_attr("margin", margin)
    return (math.log10(params["lr"]) + 3.5) ** 2 + 0.1 * params["depth"] if margin < 0 else 100.0


def run(num: int, **options) -> tuple[optuna.Study, StabilitySampler]:
    sampler = StabilitySampler(SPACE, seed=3, **options)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=num)
    return study, sampler


def accuracy(sampler: StabilitySampler, study: optuna.Study) -> float:
    """Balanced, over random settings."""
    rng = np.random.default_rng(0)
    settings = [
        {
            "kind": str(rng.choice(["fp32", "fp16"])),
            "lr": float(10 ** rng.uniform(-5, 0)),
            "depth": int(rng.integers(1, 7)),
        }
        for _ in range(800)
    ]
    truth = np.array([distance(s) < 0 for s in settings])
    told = sampler.p_stable(settings, study=study) > 0.5
    return float(0.5 * (told[truth].mean() + (~told[~truth]).mean()))


def test_mapping_asks_near_the_boundary_and_finds_it() -> None:
    study, sampler = run(40, mode="map")
    assert accuracy(sampler, study) > 0.95
    late = [abs(distance(t.params)) for t in study.trials[20:]]
    early = [abs(distance(t.params)) for t in study.trials[:14]]
    assert np.median(late) < 0.5 * np.median(early)


def test_exploiting_seldom_diverges_and_gets_near_the_best() -> None:
    study, _ = run(40, mode="exploit")
    late = study.trials[14:]
    assert np.mean([t.user_attrs["margin"] > 0 for t in late]) <= 0.25
    assert study.best_value < 0.15


def test_balanced_spends_every_third_trial_on_the_best_result() -> None:
    study, sampler = run(44)
    exploiting = [t for t in study.trials[14:] if (t.number - 14) % 3 == 2]
    assert len(exploiting) == 10
    assert np.mean([t.user_attrs["margin"] > 0 for t in exploiting]) <= 0.25
    assert accuracy(sampler, study) > 0.93
    assert study.best_value < 0.3


def test_a_sampler_built_anew_goes_on_as_the_old_one_would() -> None:
    whole, _ = run(22)
    first, _ = run(18)
    first.sampler = StabilitySampler(SPACE, seed=3)
    first.optimize(objective, n_trials=4)
    assert [t.params for t in first.trials] == [t.params for t in whole.trials]
    other = optuna.create_study(sampler=StabilitySampler(SPACE, seed=4))
    other.optimize(objective, n_trials=2)
    assert other.trials[0].params != whole.trials[0].params


def test_without_a_space_it_learns_the_parameters_from_the_trials() -> None:
    sampler = StabilitySampler(seed=0, mode="map")
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=36)
    assert accuracy(sampler, study) > 0.9
    assert accuracy(StabilitySampler(seed=9), study) == accuracy(sampler, study)


def test_running_trials_are_believed_so_that_workers_spread_out() -> None:
    study, sampler = run(20, mode="map")
    asked = [study.ask() for _ in range(6)]
    for trial in asked:
        trial.suggest_categorical("kind", ["fp32", "fp16"])
        trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.suggest_int("depth", 1, 6)
    places = {(t.params["kind"], t.params["depth"], round(math.log10(t.params["lr"]), 1)) for t in asked}
    assert len(places) >= 5


def test_conditional_dimensions_appear_only_where_they_exist() -> None:
    space = {**SPACE, "scale": {"loguniform": [1.0, 65536.0], "when": {"kind": ["fp16"]}}}
    sampler = StabilitySampler(space, seed=0, num_startup=8)
    study = optuna.create_study(sampler=sampler)

    def conditional(trial: optuna.Trial) -> float:
        value = objective(trial)
        if trial.params["kind"] == "fp16":
            trial.suggest_float("scale", 1.0, 65536.0, log=True)
        return value

    study.optimize(conditional, n_trials=20)
    assert all(("scale" in t.params) == (t.params["kind"] == "fp16") for t in study.trials)
    relative = [t.params["scale"] for t in study.trials if "scale" in t.params]
    # The end of a range may be asked for twice.
    assert len(set(relative)) >= len(relative) - 4 > 3


def test_a_finite_space_is_not_asked_twice_until_it_is_used_up() -> None:
    sampler = StabilitySampler({"kind": SPACE["kind"], "lr": {"grid": [1e-4, 1e-3, 1e-2, 1e-1]}}, seed=0, num_startup=3)
    study = optuna.create_study(sampler=sampler)

    def small(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["fp32", "fp16"])
        lr = trial.suggest_categorical("lr", [1e-4, 1e-3, 1e-2, 1e-1])
        trial.set_user_attr("margin", float(np.clip((math.log10(lr) - HOT[kind]) / 3, -1, 1)))
        return lr

    study.optimize(small, n_trials=12)
    after_startup = [tuple(t.params.values()) for t in study.trials]
    assert len(set(after_startup[:8])) >= 7
    assert len(set(after_startup)) == 8


def test_it_says_when_the_map_is_known_and_stops() -> None:
    sampler = StabilitySampler({"lr": SPACE["lr"]}, seed=0, num_startup=8, mode="map")
    study = optuna.create_study(sampler=sampler)

    def simple(trial: optuna.Trial) -> float:
        margin = (math.log10(trial.suggest_float("lr", 1e-5, 1.0, log=True)) + 2) / 3
        trial.set_user_attr("margin", margin)
        return margin

    assert not sampler.is_mapped(study) and math.isnan(sampler.open_width(study))
    study.optimize(simple, n_trials=40, callbacks=[sampler.stop_when_mapped])
    assert 8 <= len(study.trials) < 40
    assert sampler.is_mapped(study) and sampler.expected_accuracy(study) >= 0.92


def test_seeds_do_not_shorten_the_startup() -> None:
    sampler = StabilitySampler({"lr": SPACE["lr"]}, seed=0, num_startup=8, stop_width=9.0, mode="map")
    study = optuna.create_study(sampler=sampler)

    def three_seeds(trial: optuna.Trial) -> float:
        margin = (math.log10(trial.suggest_float("lr", 1e-5, 1.0, log=True)) + 2) / 3
        trial.set_user_attr("margins", [margin] * 3)
        return margin

    study.optimize(three_seeds, n_trials=20, callbacks=[sampler.stop_when_mapped])
    assert len(study.trials) == 9, "one beyond the start-up lies at the edge"


class Rule:
    """A choice that is no plain value."""


@pytest.mark.filterwarnings("ignore:Choices for a categorical")
def test_choices_of_any_kind_are_searched() -> None:
    rule = Rule()
    sampler = StabilitySampler(seed=0, num_startup=6, mode="map")
    study = optuna.create_study(sampler=sampler)

    def clipped(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        clip = trial.suggest_categorical("clip", [None, 1.0, rule])
        edge = 1e-3 if clip is None else 1e-1
        trial.set_user_attr("margin", float(np.clip(math.log10(lr / edge) / 3, -1, 1)))
        return 0.0

    study.optimize(clipped, n_trials=30)
    assert {type(t.params["clip"]) for t in study.trials} == {type(None), float, Rule}
    without, clipping, by_rule = sampler.p_stable([{"lr": 1e-2, "clip": c} for c in (None, 1.0, rule)], study=study)
    assert without < 0.3 and clipping > 0.7 and by_rule > 0.7
    with pytest.raises(ValueError, match="clip = 2.0 lies outside"):
        sampler.p_stable([{"lr": 1e-2, "clip": 2.0}], study=study)


def test_fine_steps_and_wide_integers_are_no_lists() -> None:
    space = {"lr": FloatDistribution(0.0, 1.0, step=1e-6), "n": IntDistribution(0, 7 * 10**11, step=7)}
    study = optuna.create_study(sampler=StabilitySampler(space, seed=0, num_startup=4))

    def stepped(trial: optuna.Trial) -> float:
        lr, n = trial.suggest_float("lr", 0.0, 1.0, step=1e-6), trial.suggest_int("n", 0, 7 * 10**11, step=7)
        trial.set_user_attr("margin", lr - 0.5)
        assert n % 7 == 0
        return lr

    study.optimize(stepped, n_trials=10)
    assert len({t.params["n"] for t in study.trials}) == 10


@pytest.mark.parametrize("fixed", ["lr", "kind"])
def test_what_a_wrapper_fixes_is_held(fixed: str) -> None:
    """The boundary is looked for where the fixed value is."""
    value = {"lr": 1e-3, "kind": "fp16"}[fixed]
    sampler = StabilitySampler(SPACE, seed=0, mode="map", num_startup=8)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.sampler = optuna.samplers.PartialFixedSampler({fixed: value}, sampler)
    study.optimize(objective, n_trials=12)
    later = study.trials[13:]
    assert all(t.params[fixed] == value for t in later)
    assert len({repr(sorted(t.params.items())) for t in later}) > (8 if fixed == "kind" else 6)


def test_an_enqueued_trial_keeps_what_it_was_given() -> None:
    sampler = StabilitySampler(SPACE, seed=0, num_startup=8)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=10)
    study.enqueue_trial({"lr": 0.5})
    study.optimize(objective, n_trials=1)
    assert study.trials[-1].params["lr"] == 0.5


@pytest.mark.parametrize("again", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy])  # noqa: S301  # our own
def test_a_fitted_sampler_is_copied_and_pickled(again) -> None:
    sampler = StabilitySampler(SPACE, seed=3, num_startup=8)
    study = optuna.create_study(sampler=sampler)
    study.optimize(objective, n_trials=12)
    other = again(sampler)
    assert accuracy(other, study) == accuracy(sampler, study)
    study.sampler = other
    study.optimize(objective, n_trials=2)


def test_conditions_of_the_program_itself_are_known_from_the_trials() -> None:
    sampler = StabilitySampler(seed=0, num_startup=6, mode="map")
    study = optuna.create_study(sampler=sampler)

    def scaled(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if trial.suggest_categorical("kind", ["fp32", "fp16"]) == "fp16":
            trial.suggest_int("bits", 2, 16)
        trial.set_user_attr("margin", float(np.clip(math.log10(lr / 1e-2) / 2, -1, 1)))
        return lr

    study.optimize(scaled, n_trials=20)
    cold, hot = sampler.p_stable([{"lr": 1e-4, "kind": "fp32"}, {"lr": 0.5, "kind": "fp32"}], study=study)
    assert cold > 0.7 and hot < 0.3
    with pytest.raises(ValueError, match="lacks the parameter 'kind'"):
        sampler.p_stable([{"lr": 1e-4}], study=study)


def test_trials_that_failed_or_were_pruned_count_where_that_is_asked_for() -> None:
    def failing(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if lr > 1e-2:
            if trial.number % 2:
                raise optuna.TrialPruned
            return math.nan
        trial.set_user_attr("stable", True)
        return lr

    for counts in (False, True):
        sampler = StabilitySampler({"lr": SPACE["lr"]}, seed=0, num_startup=16, failed_is_unstable=counts)
        study = optuna.create_study(sampler=sampler)
        study.optimize(failing, n_trials=16)
        hot = sampler.p_stable([{"lr": 0.5}], study=study)[0]
        assert hot < 0.3 if counts else hot > 0.5


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"stable": "False"}, "'stable' is 'False'; it must be True or False"),
        ({"margin": "0.3"}, "'margin' is '0.3'; it must be a number"),
        ({"margin": True}, "'margin' is True; it must be a number"),
        ({"margins": 0.3}, "'margins' is 0.3; it must be a list of numbers"),
        ({"margins": ["a"]}, "it must be a list of numbers"),
    ],
)
def test_what_a_trial_tells_wrongly_is_an_error_that_names_it(attributes, message) -> None:
    sampler = StabilitySampler(SPACE, seed=0)
    study = optuna.create_study(sampler=sampler)
    study.add_trial(told({"kind": "fp32", "lr": 1e-3, "depth": 3}, **attributes))
    with pytest.raises(ValueError, match=message):
        sampler.p_stable([{"kind": "fp32", "lr": 1e-3, "depth": 3}], study=study)


@pytest.mark.parametrize("margin", [math.nan, math.inf, -math.inf])
def test_a_margin_that_is_not_finite_is_that_of_a_training_that_diverged(margin) -> None:
    sampler = StabilitySampler({"lr": SPACE["lr"]}, seed=0, num_startup=12)
    study = optuna.create_study(sampler=sampler)

    def diverging(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.set_user_attr("margin", margin if lr > 1e-2 else -0.5)
        return lr

    study.optimize(diverging, n_trials=14)
    cold, hot = sampler.p_stable([{"lr": 1e-4}, {"lr": 0.5}], study=study)
    assert cold > 0.7 and hot < 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mode": "boundary"}, "mode must be one of balanced, map, exploit, got 'boundary'"),
        ({"num_startup": 0}, "num_startup must be a whole number and at least 1"),
        ({"stop_width": math.nan}, "stop_width must be at least 0"),
        ({"seed": -1}, "seed must be a whole number and at least 0"),
        ({"along": "rate"}, "along = 'rate' is no parameter of the space"),
        ({"along": "kind"}, "along = 'kind' has no order"),
        ({"num_startup": "14"}, "num_startup must be a whole number and at least 1, got '14'"),
        ({"num_startup": 3.5}, "num_startup must be a whole number"),
        ({"seed": "0"}, "seed must be a whole number and at least 0"),
        ({"seed": True}, "seed must be a whole number"),
        ({"stop_accuracy": "a"}, r"stop_accuracy must lie in \[0, 1\], got 'a'"),
        ({"stop_width": "a"}, "stop_width must be at least 0"),
        ({"failed_is_unstable": "no"}, "failed_is_unstable must be True or False, got 'no'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        StabilitySampler(SPACE, **arguments)


def test_a_wrong_space_is_named() -> None:
    with pytest.raises(ValueError, match=r"space\['x'\] is 5, which is neither a distribution"):
        StabilitySampler({"x": 5})


def test_along_is_checked_as_soon_as_the_parameters_are_known() -> None:
    sampler = StabilitySampler(seed=0, along="rate")
    study = optuna.create_study(sampler=sampler)
    study.add_trial(told({"kind": "fp32", "lr": 1e-3, "depth": 3}, margin=-0.5))
    with pytest.raises(ValueError, match="along = 'rate' is no parameter of the space: it has"):
        sampler.open_width(study)


def test_trials_that_were_not_stable_violate_a_constraint() -> None:
    study = optuna.create_study(sampler=StabilitySampler({"lr": SPACE["lr"]}, seed=0))

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        if trial.number < 3:
            trial.set_user_attr("margin", (-0.5, 0.4, -0.2)[trial.number])
        return -lr

    study.optimize(objective, n_trials=4)
    assert [t.system_attrs.get("constraints") for t in study.trials] == [[-0.5], [0.4], [-0.2], None]


def test_of_several_seeds_what_is_said_to_be_stable_holds() -> None:
    sampler = StabilitySampler({"lr": SPACE["lr"]}, seed=0, num_startup=2)
    study = optuna.create_study(sampler=sampler)
    for _ in range(12):
        trial = study.ask()
        lr = trial.suggest_float("lr", 1e-5, 1.0, log=True)
        trial.set_user_attr("margins", [-0.5, -0.2])
        trial.set_user_attr("stable", lr < 5e-3)
        study.tell(trial, 1.0)
    cold, hot = sampler.p_stable([{"lr": 1e-4}, {"lr": 0.5}], study=study)
    assert cold > 0.6 > 0.4 > hot


def test_a_maximized_study_is_exploited_upwards() -> None:
    sampler = StabilitySampler(SPACE, seed=1, mode="exploit")
    study = optuna.create_study(sampler=sampler, direction="maximize")
    study.optimize(lambda trial: -objective(trial), n_trials=30)
    assert study.best_value > -0.4


def told(params, state=TrialState.COMPLETE, **attributes):
    distributions = {
        "kind": CategoricalDistribution(["fp32", "fp16"]),
        "lr": FloatDistribution(1e-5, 1.0, log=True),
        "depth": IntDistribution(1, 6),
    }
    value = 1.0 if state == TrialState.COMPLETE else None
    return create_trial(params=params, distributions=distributions, value=value, state=state, user_attrs=attributes)


def test_what_trials_tell_is_read_in_every_form() -> None:
    sampler = StabilitySampler(SPACE, seed=0)
    study = optuna.create_study(sampler=sampler)
    for depth in range(1, 7):
        study.add_trial(told({"kind": "fp32", "lr": 1e-3, "depth": depth}, stable=True))
        study.add_trial(told({"kind": "fp32", "lr": 0.5, "depth": depth}, margin=0.9))
        study.add_trial(told({"kind": "fp16", "lr": 1e-3, "depth": depth}, margins=[-0.4, -0.5, 0.8]))
        # Its sign is wrong: `stable` holds.
        study.add_trial(told({"kind": "fp16", "lr": 0.5, "depth": depth}, margin=-0.3, stable=False))
        # These teach nothing: not told, ended by a pruner.
        study.add_trial(told({"kind": "fp32", "lr": 0.02, "depth": depth}))
        study.add_trial(told({"kind": "fp32", "lr": 0.02, "depth": depth}, state=TrialState.PRUNED))
    settings = [{"kind": k, "lr": lr, "depth": 3} for k in ("fp32", "fp16") for lr in (1e-3, 0.5)]
    good, hot, mixed, wrong = sampler.p_stable(settings, study=study)
    assert good > 0.75 and hot < 0.1 and wrong < 0.21 and 0.2 < mixed < 0.9
    assert sampler.p_stable([], study=study).shape == (0,)
    inside = {"kind": "fp32", "lr": 1e-3, "depth": 3}
    for setting, message in (
        ({**inside, "LR": 1.0}, "'LR' is no parameter"),
        ({**inside, "kind": "fp8"}, "kind = 'fp8' lies outside"),
        ({**inside, "lr": 1e9}, "lr = 1000000000.0 lies outside"),
        ({"kind": "fp32", "lr": 1e-3}, "lacks the parameter 'depth'"),
    ):
        with pytest.raises(ValueError, match=message):
            sampler.p_stable([setting], study=study)


def test_a_study_whose_trials_tell_nothing_is_an_error_that_says_what_to_do() -> None:
    study = optuna.create_study(sampler=StabilitySampler(seed=0))
    with pytest.raises(ValueError, match=r"set_user_attr\('margin'"):
        study.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=20)


def test_several_objectives_are_an_error() -> None:
    study = optuna.create_study(sampler=StabilitySampler(seed=0), directions=["minimize", "minimize"])
    with pytest.raises(ValueError, match="one objective"):
        study.optimize(lambda trial: (trial.suggest_float("lr", 0, 1), 0.0), n_trials=3)


def test_probabilities_need_trials() -> None:
    sampler = StabilitySampler(SPACE, seed=0)
    with pytest.raises(ValueError, match="at least 4 finished trials|needs 4 finished trials"):
        sampler.p_stable([{"kind": "fp32", "lr": 0.1, "depth": 1}], study=optuna.create_study())


def test_optuna_distributions_of_every_kind_are_understood() -> None:
    space = {
        "kind": CategoricalDistribution(["a", "b"]),
        "x": FloatDistribution(0.0, 1.0, step=0.25),
        "y": FloatDistribution(1e-3, 1.0, log=True),
        "n": IntDistribution(2, 10, step=4),
        "m": IntDistribution(1, 1000, log=True),
        "fixed": FloatDistribution(0.5, 0.5),
    }
    study = optuna.create_study(sampler=StabilitySampler(space, seed=0, num_startup=4))

    def mixed(trial: optuna.Trial) -> float:
        trial.suggest_categorical("kind", ["a", "b"])
        x = trial.suggest_float("x", 0.0, 1.0, step=0.25)
        trial.suggest_float("y", 1e-3, 1.0, log=True)
        trial.suggest_int("n", 2, 10, step=4)
        trial.suggest_int("m", 1, 1000, log=True)
        trial.suggest_float("fixed", 0.5, 0.5)
        trial.set_user_attr("margin", x - 0.6)
        return x

    study.optimize(mixed, n_trials=10)
    assert {t.params["n"] for t in study.trials} <= {2, 6, 10}
    assert {t.params["x"] for t in study.trials} <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_results_that_name_the_former_rule_are_still_read_and_a_new_wish_for_it_is_refused() -> None:
    adapter = TypeAdapter(SearchConfig)
    assert adapter.validate_python({"kind": "stability", "randomised": True, "stop_width": 0.25}).stop_width == 0.25
    with pytest.raises(ValidationError, match="randomised"):
        adapter.validate_python({"kind": "stability", "randomised": False})


def test_what_was_ended_before_its_end_is_no_result_to_go_by() -> None:
    """The best results so far are those of pruned trials, at high learning rates; finished ones are better at low."""
    lr_range = FloatDistribution(1e-4, 1.0, log=True)
    sampler = StabilitySampler({"lr": lr_range}, seed=0, num_startup=4, mode="exploit")
    study = optuna.create_study(sampler=sampler)
    for k, lr in enumerate(np.geomspace(1e-4, 1e-1, 16)):
        pruned = k % 2 == 1
        value = 0.001 if pruned else 0.1 + abs(math.log10(lr / 1e-3))
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=value,
                intermediate_values={1: value} if pruned else {},
                params={"lr": float(lr)},
                distributions={"lr": lr_range},
                user_attrs={"margin": -0.5},
            )
        )
    assert abs(math.log10(study.ask({"lr": lr_range}).params["lr"] / 1e-3)) < 0.7
