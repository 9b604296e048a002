"""What runs next: exploration, seeds of a setting, confirmation, resuming, extending, and running out of time."""

import dataclasses

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from slr_models.errors import ResultsError, SettingError
from sweep import store, yaml_source
from sweep.records import Outcome, TrialResult
from sweep.session import CONFIRM_FIRST_SEED, StudySession, with_trials
from sweep.study import LoadedStudy, validate
from sweep.trial import Job, RunOptions, crashed_result

TEXT = """
name: s
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}
search: {kind: random, seed: 3}
budget: {trials: 6, steps: 10}
confirm: {settings: 1, seeds: 3}
"""


def load(text: str = TEXT) -> LoadedStudy:
    return validate(yaml_source.parse(text, "s.yaml"))


def begin(tmp_path, text: str = TEXT, **more) -> StudySession:
    loaded = load(text)
    session = StudySession(loaded, tmp_path, **more)
    content = loaded.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(tmp_path / "study.yaml", {**content, "provenance": {}})
    return session


def outcome(job: Job, tmp_path, *, stable: bool | None = None, wall_s: float = 1.0) -> TrialResult:
    """What a training with this setting comes to: stable below a learning rate of 0.05."""
    lr = float(job.settings["training.optimizer.lr"])
    stable = lr < 0.05 if stable is None else stable
    blank = crashed_result(job, RunOptions(tmp_path, 10, "wer", None, True, "none"), "")
    return dataclasses.replace(
        blank,
        verdict=Outcome.STABLE if stable else Outcome.DIVERGED_LOSS,
        reason="made up",
        objective=0.5 if stable else 2.5,
        margin=-0.5 if stable else 0.5,
        stop_step=None if stable else 5,
        num_steps=10 if stable else 5,
        wer=0.5,
        val_loss=1.0,
        l_const=2.0,
        wall_s=wall_s,
    )


def run_all(session: StudySession, tmp_path, limit: int = 100) -> list[Job]:
    jobs = []
    while (job := session.next_job()) is not None and len(jobs) < limit:
        jobs.append(job)
        session.tell(outcome(job, tmp_path))
    return jobs


def test_it_explores_then_confirms_the_best_with_fresh_seeds_then_is_done(tmp_path) -> None:
    session = begin(tmp_path)
    assert session.num_planned == 9 and not session.done
    jobs = run_all(session, tmp_path)
    assert [j.phase for j in jobs] == ["explore"] * 6 + ["confirm"] * 3
    assert [j.trial_id for j in jobs] == [f"{n:04d}" for n in range(9)]
    confirm = jobs[6:]
    assert [j.seed for j in confirm] == [CONFIRM_FIRST_SEED + k for k in range(3)]
    assert len({j.group for j in confirm}) == 1
    assert confirm[0].settings == jobs[confirm[0].group].settings
    assert confirm[0].config.training.optimizer.lr == confirm[0].settings["training.optimizer.lr"] < 0.05
    assert session.done and session.next_job() is None
    assert len(store.read_trials(tmp_path)) == 9
    session.close()


def test_all_seeds_of_a_setting_make_one_result_and_one_bad_seed_makes_it_unstable(tmp_path) -> None:
    session = begin(tmp_path, TEXT + "repeats: 2\n")
    first, second = session.next_job(), session.next_job()
    assert first.settings == second.settings and (first.seed, second.seed) == (0, 1) and first.group == second.group
    session.tell(outcome(first, tmp_path, stable=True))
    session.tell(outcome(second, tmp_path, stable=False))
    storage = JournalStorage(JournalFileBackend(str(tmp_path / "optuna.journal")))
    trial = optuna.load_study(study_name="s", storage=storage).trials[0]
    assert trial.user_attrs["stable"] is False and trial.value == 2.5
    assert trial.user_attrs["trials"] == "0000, 0001"
    jobs = run_all(session, tmp_path)
    assert sum(j.phase == "explore" for j in jobs) == 4
    assert all(j.group != 0 for j in jobs if j.phase == "confirm"), "it is never confirmed as the best"
    session.close()


def test_a_setting_that_fails_its_confirmation_gives_way_to_the_next_best(tmp_path) -> None:
    session = begin(tmp_path)
    for _ in range(6):
        job = session.next_job()
        session.tell(outcome(job, tmp_path))
    first = [session.next_job() for _ in range(3)]
    for job in first:
        session.tell(outcome(job, tmp_path, stable=False))
    second = session.next_job()
    assert second.phase == "confirm" and second.group != first[0].group
    session.tell(outcome(second, tmp_path))
    run_all(session, tmp_path)
    assert session.done
    assert sum(r.phase == "confirm" for r in session.results) == 6
    session.close()


def test_confirmation_waits_for_the_trials_that_still_run(tmp_path) -> None:
    session = begin(tmp_path)
    jobs = [session.next_job() for _ in range(6)]
    assert session.next_job() is None and not session.done
    for job in jobs[:5]:
        session.tell(outcome(job, tmp_path))
        assert session.next_job() is None
    session.tell(outcome(jobs[5], tmp_path))
    assert session.next_job().phase == "confirm"
    session.close()


def test_a_killed_run_loses_nothing_and_repeats_nothing(tmp_path) -> None:
    session = begin(tmp_path)
    done, under_way = session.next_job(), session.next_job()
    session.tell(outcome(done, tmp_path))
    session.close()  # what the kernel does to the lock of a killed process
    again = begin(tmp_path)
    jobs = run_all(again, tmp_path)
    assert jobs[0].trial_id == under_way.trial_id and jobs[0].settings == under_way.settings
    assert done.trial_id not in [j.trial_id for j in jobs]
    assert len(jobs) == 8 and len(store.read_trials(tmp_path)) == 9
    uninterrupted = begin(tmp_path / "other")
    same = run_all(uninterrupted, tmp_path)
    assert [j.settings for j in same][:6] == [r.settings for r in sorted(again.results, key=lambda r: r.number)][:6]
    again.close()
    uninterrupted.close()


def test_a_finished_study_can_be_extended(tmp_path) -> None:
    session = begin(tmp_path)
    run_all(session, tmp_path)
    session.close()
    loaded = load()
    longer = LoadedStudy(with_trials(loaded.study, "+4", 6), loaded.source)
    assert longer.study.budget.trials == 10
    again = StudySession(longer, tmp_path)
    jobs = run_all(again, tmp_path)
    assert sum(j.phase == "explore" for j in jobs) == 4
    assert len({str(r.settings) for r in again.results if r.phase == "explore"}) == 10
    again.close()
    assert with_trials(loaded.study, "12", 6).budget.trials == 12
    for wrong in ("", "+", "0", "-3", "many", "1.5"):
        with pytest.raises(SettingError, match="give a number of trials"):
            with_trials(loaded.study, wrong, 6)


def test_another_study_is_not_mixed_in(tmp_path) -> None:
    begin(tmp_path).close()
    with pytest.raises(ResultsError, match=r"another version of this study \(changed: space\)"):
        begin(tmp_path, TEXT.replace("[1e-4, 1]", "[1e-5, 1]"))
    begin(tmp_path, TEXT.replace("trials: 6", "trials: 8")).close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("do not touch")
    with pytest.raises(ResultsError, match="holds no study"):
        begin(tmp_path / "notes")
    assert [p.name for p in (tmp_path / "notes").iterdir()] == ["mine.txt"]


def test_a_training_whose_process_dies_is_tried_once_more(tmp_path) -> None:
    session = begin(tmp_path)
    job = session.next_job()
    assert session.lost(job) is True
    again = session.next_job()
    assert again == job
    assert session.lost(again) is False
    session.close()


def test_time_runs_out_with_the_confirmation_kept_free(tmp_path) -> None:
    now = [0.0]
    text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 100")
    session = begin(tmp_path, text, clock=lambda: now[0])
    jobs = []
    while (job := session.next_job()) is not None:
        jobs.append(job)
        now[0] += 10
        session.tell(outcome(job, tmp_path, stable=True, wall_s=10))
    assert [j.phase for j in jobs] == ["explore"] * 6 + ["confirm"] * 3
    assert now[0] <= 100 and session.done
    session.close()


def test_a_fixed_setting_is_one_trial_with_its_confirmation(tmp_path) -> None:
    text = TEXT.replace("space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}\n", "")
    session = begin(tmp_path, text)
    job = session.next_job()
    assert job.settings == {} and session.next_job() is None
    assert session.num_planned == 4
    session.close()
