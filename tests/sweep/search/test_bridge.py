"""Optuna hears the truth about every setting, and a resumed search goes on as if nothing had happened."""

import dataclasses
import importlib.util
import itertools
import math
import random

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pydantic import TypeAdapter

from sweep.search import SearchConfig
from sweep.search.bridge import JOURNAL_FILE, OptunaBridge, SettingResult
from sweep.space import Space

SPACE = TypeAdapter(Space).validate_python(
    {
        "kind": {"choice": ["fp32", "fp16"]},
        "scale": {"grid": [256, 65536], "when": {"kind": ["fp16"]}},
        "lr": {"loguniform": [1e-4, 1.0]},
        "depth": {"int": [1, 4]},
    }
)
GRID_SPACE = TypeAdapter(Space).validate_python({"kind": {"choice": ["fp32", "fp16"]}, "depth": {"int": [1, 3]}})
KINDS = [
    "random",
    "tpe",
    "gp",
    "nsga2",
    pytest.param(
        "cmaes",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("cmaes") is None, reason="the extra `cmaes` is not installed"
        ),
    ),
]
QUICK = {
    "random": {},
    "tpe": {"num_startup": 3},
    "gp": {"num_startup": 3},
    "nsga2": {"population_size": 3},
    "cmaes": {"num_startup": 3, "population_size": 4},
}
"""Where each search leaves its random start early."""


def config(kind: str, **more):
    return TypeAdapter(SearchConfig).validate_python({"kind": kind, "seed": 5, **more})


def outcome(settings) -> SettingResult:
    stable = settings["lr"] < 0.05
    return SettingResult(
        objective=settings["lr"] if stable else 2.5,
        margin=-0.5 if stable else 0.5,
        attributes={"verdict": "stable" if stable else "diverged-loss", "wer": None},
        # Divergence is fast.
        cost=0.1 * settings["depth"] if stable else 0.001,
    )


def stored(tmp_path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL_FILE)))
    return optuna.load_study(study_name="s", storage=storage)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_setting_ends_complete_finite_and_with_its_constraint(tmp_path, kind) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config(kind, **QUICK[kind]))
    for expected in range(8):
        group, settings = bridge.ask()
        assert group == expected
        bridge.tell(group, outcome(settings))
    trials = stored(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 8
    for trial in trials:
        stable = trial.params["lr"] < 0.05
        assert trial.user_attrs["stable"] is stable
        assert trial.user_attrs["verdict"] == ("stable" if stable else "diverged-loss")
        (constraint,) = trial.system_attrs["constraints"]
        assert (constraint < 0) is stable
    assert not stored(tmp_path).get_trials(states=(TrialState.RUNNING,))


def test_a_setting_under_way_when_the_driver_died_is_running_again_and_no_zombie_stays(tmp_path) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("random"))
    asked = [bridge.ask()[1] for _ in range(3)]
    history = [(asked[0], outcome(asked[0])), (asked[1], None), (asked[2], outcome(asked[2]))]
    resumed = OptunaBridge(tmp_path, "s", SPACE, config("random"), history)
    states = [t.state for t in stored(tmp_path).trials]
    assert states == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.COMPLETE]
    assert [t.params for t in stored(tmp_path).trials] == asked
    resumed.tell(1, outcome(asked[1]))
    assert all(t.state is TrialState.COMPLETE for t in stored(tmp_path).trials)


@pytest.mark.parametrize("kind", ["random", "tpe", "gp"])
def test_a_rebuilt_study_holds_the_trials_that_asking_and_telling_made(tmp_path, kind) -> None:
    chosen, history = config(kind, **QUICK[kind]), []
    bridge = OptunaBridge(tmp_path, "s", SPACE, chosen)
    (tmp_path / "again").mkdir()
    for number in range(6):
        group, settings = bridge.ask()
        result = outcome(settings)
        if number in (2, 4):
            evaluations = {2: 0.7, 1: 0.9} if number == 2 else {}
            result = dataclasses.replace(result, margin=math.nan, is_open=True, evaluations=evaluations)
        bridge.tell(group, result)
        history.append((settings, result))
    rebuilt = OptunaBridge(tmp_path / "again", "s", SPACE, chosen, history)
    asked, added = (
        [
            (t.number, t.state, t.values, list(t.params.items()), t.distributions, t.user_attrs, t.constraints)
            + (t.intermediate_values, {k: v for k, v in t.system_attrs.items() if "constraint" in k})
            for t in one.study.get_trials()
        ]
        for one in (bridge, rebuilt)
    )
    assert added == asked
    assert rebuilt.ask() == bridge.ask()


def test_known_settings_come_first_and_what_they_leave_out_is_drawn(tmp_path) -> None:
    first = [{"lr": 0.01, "kind": "fp32"}, {"kind": "fp16", "scale": 256, "lr": 0.5, "depth": 2}]
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("random", try_first=first))
    _, one = bridge.ask()
    _, two = bridge.ask()
    assert one["lr"] == 0.01 and one["kind"] == "fp32" and one["depth"] in range(1, 5)
    assert two == first[1]


def test_a_grid_runs_through_once_and_ends(tmp_path) -> None:
    bridge = OptunaBridge(tmp_path, "s", GRID_SPACE, config("grid"))
    asked = [settings for _, settings in iter(bridge.ask, None)]
    assert asked == [{"kind": k, "depth": d} for k, d in itertools.product(["fp32", "fp16"], [1, 2, 3])]


def test_tpe_keeps_away_from_where_it_diverged(tmp_path) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("tpe", num_startup=12))
    stable = []
    for _ in range(36):
        group, settings = bridge.ask()
        result = outcome(settings)
        bridge.tell(group, result)
        stable.append(result.margin < 0)
    # A third of the space is unstable; told as failures, diverged trials would be drawn again and again.
    assert sum(stable[12:]) >= 0.75 * 24


def test_a_pruned_setting_ends_pruned_with_its_evaluations_and_is_neither_stable_nor_unstable(tmp_path) -> None:
    for kind in ("random", "tpe", "gp", "nsga2"):
        folder = tmp_path / kind
        folder.mkdir()
        bridge = OptunaBridge(folder, "s", SPACE, config(kind, **QUICK[kind]))
        for number in range(8):
            group, settings = bridge.ask()
            result = outcome(settings)
            if number % 3 == 1:
                result = SettingResult(
                    0.7, math.nan, {"verdict": "pruned"}, is_open=True, evaluations={20: 0.7, 10: 0.9}
                )
            bridge.tell(group, result)
        pruned = [t for t in stored(folder).trials if t.number % 3 == 1]
        assert [t.state for t in pruned] == [TrialState.PRUNED] * 3
        assert all("margin" not in t.user_attrs and "stable" not in t.user_attrs and not t.constraints for t in pruned)
        # Optuna keeps values on the way for a single objective only.
        assert all(t.intermediate_values == ({} if kind == "nsga2" else {10: 0.9, 20: 0.7}) for t in pruned)
        others = [t for t in stored(folder).trials if t.number % 3 != 1]
        assert [t.state for t in others] == [TrialState.COMPLETE] * 5 and all(len(t.constraints) == 1 for t in others)


def test_a_fast_divergence_is_never_optimal_and_never_a_parent(tmp_path) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("nsga2", population_size=6))
    stable = []
    for _ in range(36):
        group, settings = bridge.ask()
        result = outcome(settings)
        bridge.tell(group, result)
        stable.append(result.margin < 0)
    assert len(bridge.study.directions) == 2
    best = bridge.study.best_trials
    assert best and all(t.user_attrs["stable"] for t in best)
    assert min(t.values[1] for t in bridge.study.trials) == 0.001, "though something cheaper was there"
    generations = {t.system_attrs["NSGAIISampler:generation"] for t in bridge.study.trials}
    assert generations == set(range(6))
    assert sum(stable[18:]) > sum(stable[:18]), "constrained domination leads away from where it diverges"


def test_an_unknown_cost_is_finite_and_worse_than_any(tmp_path) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("nsga2"))
    bridge.ask()
    bridge.tell(0, SettingResult(3.0, 1.0, {"verdict": "crashed"}))
    (trial,) = stored(tmp_path).trials
    assert trial.state is TrialState.COMPLETE and math.isfinite(trial.values[1]) and trial.values[1] > 1e6


def test_cma_es_moves_on_from_generation_to_generation_with_trials_under_way_and_after_a_resume(tmp_path) -> None:
    pytest.importorskip("cmaes")
    space = TypeAdapter(Space).validate_python({"lr": {"loguniform": [1e-4, 1]}, "clip": {"loguniform": [0.1, 10]}})

    def worth(settings) -> SettingResult:
        far = abs(math.log10(settings["lr"] / 1e-3)) + abs(math.log10(settings["clip"]))
        return SettingResult(far / 4, -0.5, {})

    bridge, history, rng = OptunaBridge(tmp_path, "s", space, config("cmaes")), [], random.Random(0)
    under_way = [bridge.ask() for _ in range(3)]
    for number in range(60):
        group, settings = under_way.pop(rng.randrange(3))
        bridge.tell(group, worth(settings))
        history.append((group, settings))
        if number == 29:
            known = {g: (s, worth(s)) for g, s in history} | {g: (s, None) for g, s in under_way}
            bridge = OptunaBridge(tmp_path, "s", space, config("cmaes"), [known[g] for g in sorted(known)])
        under_way.append(bridge.ask())
    generations = [t.system_attrs.get("cma:generation", -1) for t in bridge.study.trials]
    assert generations == sorted(generations) and generations[-1] >= 6
    first, last = history[:15], history[-15:]
    mean = [sum(worth(s).objective for _, s in part) / len(part) for part in (first, last)]
    assert mean[1] < 0.4 * mean[0]


def test_each_seed_of_a_setting_is_known_to_the_search(tmp_path) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("random"))
    bridge.ask()
    bridge.tell(0, SettingResult(2.5, 0.5, {}, margins=[-0.2, 0.5]))
    (trial,) = stored(tmp_path).trials
    assert trial.user_attrs["margins"] == [-0.2, 0.5] and trial.user_attrs["stable"] is False
    assert bridge.stop_reason is None


def test_a_foregone_setting_ends_pruned_with_its_margin(tmp_path) -> None:
    told = SettingResult(0.7, -0.4, {"verdict": "foregone"}, is_foregone=True, evaluations={20: 0.7, 10: 0.9})
    for folder, again in ((tmp_path / "a", False), (tmp_path / "b", True)):
        folder.mkdir()
        bridge = OptunaBridge(folder, "s", SPACE, config("stability"))
        number, settings = bridge.ask()
        if again:
            bridge = OptunaBridge(folder, "s", SPACE, config("stability"), [(settings, told)])
        else:
            bridge.tell(number, told)
        (trial,) = stored(folder).trials
        assert trial.state == TrialState.PRUNED and trial.intermediate_values == {10: 0.9, 20: 0.7}
        assert trial.user_attrs["margin"] == -0.4 and trial.user_attrs["stable"] is True
        assert list(trial.constraints.values()) == [-0.4]


def test_settings_that_are_tried_first_and_those_that_look_for_the_best_result_map_nothing(tmp_path) -> None:
    known = [{"kind": "fp32", "lr": 0.01, "depth": 2}]
    bridge = OptunaBridge(tmp_path, "s", SPACE, config("stability", num_startup=6, try_first=known))
    assert [bridge.maps(group) for group in range(12)] == [
        False, *[True] * 5, True, True, False, True, True, False
    ]  # fmt: skip
    other = OptunaBridge(tmp_path / "o", "s", SPACE, config("random")) if (tmp_path / "o").mkdir() is None else None
    assert other is not None and not other.maps(3)
