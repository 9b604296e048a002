"""Optuna hears the truth about every setting, and a resumed search goes on as if nothing had happened."""

import itertools

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from pydantic import TypeAdapter

from sweep.search import SearchConfig
from sweep.search.bridge import JOURNAL_FILE, OptunaBridge, SettingResult
from sweep.space import Space, contains

SPACE = TypeAdapter(Space).validate_python(
    {
        "kind": {"choice": ["fp32", "fp16"]},
        "scale": {"grid": [256, 65536], "when": {"kind": ["fp16"]}},
        "lr": {"loguniform": [1e-4, 1.0]},
        "depth": {"int": [1, 4]},
    }
)
GRID_SPACE = TypeAdapter(Space).validate_python({"kind": {"choice": ["fp32", "fp16"]}, "depth": {"int": [1, 3]}})
KINDS = ["random", "tpe", "gp"]


def config(kind: str, **more):
    return TypeAdapter(SearchConfig).validate_python({"kind": kind, "seed": 5, **more})


def outcome(settings) -> SettingResult:
    stable = settings["lr"] < 0.05
    return SettingResult(
        objective=settings["lr"] if stable else 2.5,
        margin=-0.5 if stable else 0.5,
        attributes={"verdict": "stable" if stable else "diverged-loss", "wer": None},
    )


def stored(tmp_path) -> optuna.Study:
    storage = JournalStorage(JournalFileBackend(str(tmp_path / JOURNAL_FILE)))
    return optuna.load_study(study_name="s", storage=storage)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_every_setting_ends_complete_finite_and_with_its_constraint(tmp_path, kind) -> None:
    bridge = OptunaBridge(tmp_path, "s", SPACE, config(kind, num_startup=4) if kind != "random" else config(kind))
    for expected in range(8):
        group, settings = bridge.ask()
        assert group == expected
        assert all(contains(SPACE[path], value) for path, value in settings.items())
        assert ("scale" in settings) == (settings["kind"] == "fp16")
        bridge.tell(group, outcome(settings))
    trials = stored(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 8
    for trial in trials:
        stable = trial.params["lr"] < 0.05
        assert trial.user_attrs["stable"] is stable
        assert trial.user_attrs["verdict"] == ("stable" if stable else "diverged-loss")
        assert (trial.system_attrs["constraints:margin"] < 0) is stable
    assert not stored(tmp_path).get_trials(states=(TrialState.RUNNING,))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_resumed_search_draws_what_an_uninterrupted_one_draws(tmp_path, kind) -> None:
    more = {} if kind == "random" else {"num_startup": 3}
    (tmp_path / "a").mkdir()
    whole = OptunaBridge(tmp_path / "a", "s", SPACE, config(kind, **more))
    history = []
    for _ in range(6):
        group, settings = whole.ask()
        whole.tell(group, outcome(settings))
        history.append((settings, outcome(settings)))
    (tmp_path / "b").mkdir()
    resumed = OptunaBridge(tmp_path / "b", "s", SPACE, config(kind, **more), history[:4])
    for number in (4, 5):
        group, settings = resumed.ask()
        assert (group, settings) == (number, history[number][0])
        resumed.tell(group, outcome(settings))
    assert len({str(s) for s, _ in history}) == 6, "no setting is drawn twice"


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
