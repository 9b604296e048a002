"""Scheduler settings: when they can act, what they may change, and what does not go together."""

import dataclasses
import importlib.util
import math

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from slr_models.errors import SettingError
from sweep import store, yaml_source
from sweep.judging.monitor import MonitorConfig
from sweep.records import EvalRecord, Outcome
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.running.preflight import preflight
from sweep.running.session import StudySession
from sweep.study import LoadedStudy, validate
from sweep.study.scheduler import Asha, HyperBand, Median, Pbt, mutable_dimensions

TEXT = """
name: s
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4}
space:
  training.optimizer.lr: {loguniform: [1e-4, 1]}
  training.clip.max_norm: {grid: [0.5, 1, 2]}
  training.precision.kind: {choice: [fp32, fp16]}
  training.precision.initial_scale: {grid: [256, 65536], when: {training.precision.kind: [fp16]}}
  model.width: {uniform: [0.0625, 0.125]}
search: {kind: random}
budget: {trials: 6, steps: 20}
audit: {rate: 0}
confirm: {settings: 0, recommended: false}
"""


def load(more: str = "", text: str = TEXT) -> LoadedStudy:
    return validate(yaml_source.parse(text + more, "s.yaml"))


def test_when_each_can_act_first() -> None:
    assert Asha(grace_rate=0.3).first_action_step(100, 10) == 30
    assert Asha(grace_rate=0.3).first_action_step(100, 40) == 40
    assert Median(grace_rate=0.5).first_action_step(100, 60) == 60
    assert Pbt(interval_rate=0.9).first_action_step(100, 60) == 120, "past the end"
    assert HyperBand(reduction_factor=3).first_action_step(100, 10) == 30
    assert HyperBand(reduction_factor=3).first_action_step(100, 50) == 100, "two evaluations hold no rung"


def test_numbers_that_take_effect_in_the_middle_may_change() -> None:
    assert list(mutable_dimensions(load().study.space)) == ["training.optimizer.lr", "training.clip.max_norm"]
    deciding = TEXT.replace("when: {training.precision.kind: [fp16]}", "when: {training.clip.max_norm: [1]}")
    space = yaml_source.parse(deciding.replace("[fp32, fp16]", "[fp16]"), "s.yaml")
    assert list(mutable_dimensions(validate(space).study.space)) == ["training.optimizer.lr"]


@pytest.mark.parametrize("kind", ["asha", "median", "hyperband", "pbt"])
def test_evaluations_that_come_too_rarely_are_an_error_before_any_trial(tmp_path, kind) -> None:
    options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none")
    rare = load(f"scheduler: {{kind: {kind}}}\n", TEXT.replace("batch_size: 4", "batch_size: 4, eval_every_steps: 20"))
    dataset = rare.study.data.build()
    with pytest.raises(SettingError, match=r"take 20 steps and are evaluated every 20: set .*such as 2"):
        preflight(rare, dataset, options)
    preflight(load(f"scheduler: {{kind: {kind}}}\n"), dataset, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("kind: random", "kind: tpe"), "a search cannot learn from their results: use search.kind: random or grid"),
        (("audit:", "repeats: 2\naudit:"), "use repeats: 1 with it, got 2"),
        (("audit:", "checkpoints: last\naudit:"), "use checkpoints: none with it, got last"),
        (
            ("training.optimizer.lr: {loguniform: [1e-4, 1]}\n  training.clip.max_norm: {grid: [0.5, 1, 2]}", "{}"),
            "has nothing to change",
        ),
    ],
)
def test_what_does_not_go_with_a_population_is_said(change, message) -> None:
    text = TEXT.replace(*change).replace("\n  {}\n", "\n")
    with pytest.raises(SettingError, match=r"scheduler\.kind: pbt") as error:
        load("scheduler: {kind: pbt}\n", text)
    assert message in str(error.value)


def test_an_unknown_scheduler_is_told_with_those_that_exist() -> None:
    with pytest.raises(SettingError, match="asha, median, hyperband, pbt"):
        load("scheduler: {kind: ashaa}\n")


def test_cma_es_needs_two_numbers_that_move_together(monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "cmaes" else found(name))
    with pytest.raises(SettingError, match="needs two of them; space has 1"):
        load(
            text=TEXT.replace("kind: random", "kind: cmaes").replace("  model.width: {uniform: [0.0625, 0.125]}\n", "")
        )
    assert load(text=TEXT.replace("kind: random", "kind: cmaes")).study.search.kind == "cmaes"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cmaes" else found(name))
    with pytest.raises(SettingError, match=r"pip install 'slr-stability-sweep\[cmaes\]'"):
        load(text=TEXT.replace("kind: random", "kind: cmaes"))


def test_what_a_search_draws_alone_or_never_gets_to_is_noted(tmp_path, monkeypatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "cmaes" else found(name))
    options = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none")
    dataset = load().study.data.build()
    (note,) = preflight(load(text=TEXT.replace("kind: random", "kind: cmaes")), dataset, options).warnings
    assert "training.clip.max_norm, training.precision.kind, training.precision.initial_scale at random" in note
    (note,) = preflight(load(text=TEXT.replace("kind: random", "kind: nsga2")), dataset, options).warnings
    assert "first generation of 12 settings at random, and the budget holds 6" in note
    assert not preflight(load(), dataset, options).warnings


# What a study hears of a pruned training.


def pruned(job: Job, folder) -> object:
    blank = crashed_result(job, RunOptions(folder, "wer", MonitorConfig(), True, "none"), "")
    for step in (5, 10):
        record = EvalRecord(step, 1.0, 4 if step == 5 else 3, 0, 0, 10, 0.0, 0.0, 0.1)
        store.write_evals(folder, job.trial_id, [EvalRecord(5, 1.0, 4, 0, 0, 10, 0.0, 0.0, 0.1), record][: step // 5])
    return dataclasses.replace(
        blank, verdict=Outcome.PRUNED, reason="made up", objective=0.3, margin=math.nan, num_steps=10, wer=0.3
    )


def judged(job: Job, folder, *, stable: bool, step_time_s: float = 0.1) -> object:
    return dataclasses.replace(
        pruned(job, folder),
        verdict=Outcome.STABLE if stable else Outcome.DIVERGED_LOSS,
        objective=0.2 if stable else 2.5,
        margin=-0.4 if stable else 0.6,
        step_time_s=step_time_s,
    )


def told(folder) -> list[FrozenTrial]:
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))
    return optuna.load_study(study_name="s", storage=storage).trials


def test_a_pruned_training_is_told_as_such_now_and_after_a_restart(tmp_path) -> None:
    session = StudySession(load(), tmp_path, 16)
    first, second = session.next_job(), session.next_job()
    session.tell(pruned(first, tmp_path))
    session.tell(judged(second, tmp_path, stable=True))
    for _ in range(2):
        one, two, *_ = told(tmp_path)
        assert one.state is TrialState.PRUNED and one.intermediate_values == {5: 0.4, 10: 0.3}
        assert "margin" not in one.user_attrs and one.user_attrs["verdict"] == "pruned"
        assert two.state is TrialState.COMPLETE and two.user_attrs["margin"] == -0.4
        session.write_trials()
        row = store.read_trials(tmp_path).iloc[0]
        assert row["verdict"] == "pruned" and not row["stable"] and math.isnan(row["margin"])
        session.close()
        session = StudySession(load(), tmp_path, 16)
        assert session.next_job().trial_id not in (first.trial_id, second.trial_id)
    session.close()


@pytest.mark.parametrize(("other", "state"), [("stable", TrialState.PRUNED), ("diverged", TrialState.COMPLETE)])
def test_of_two_seeds_a_divergence_says_more_than_a_pruned_one(tmp_path, other, state) -> None:
    session = StudySession(load("repeats: 2\n"), tmp_path, 16)
    first, second = session.next_job(), session.next_job()
    session.tell(pruned(first, tmp_path))
    session.tell(judged(second, tmp_path, stable=other == "stable"))
    trial = told(tmp_path)[0]
    assert trial.state is state
    if other == "diverged":
        assert trial.value == 2.5 and trial.user_attrs["margins"] == [0.6] and trial.user_attrs["stable"] is False
    session.close()


def test_nsga2_hears_the_cost_of_a_setting_over_its_seeds(tmp_path) -> None:
    text = TEXT.replace("kind: random", "kind: nsga2, cost: step_time_s")
    session = StudySession(load("repeats: 2\n", text), tmp_path, 16)
    for step_time_s in (0.1, 0.3):
        session.tell(judged(session.next_job(), tmp_path, stable=True, step_time_s=step_time_s))
    assert told(tmp_path)[0].values == pytest.approx([0.2, 0.2])
    session.close()
