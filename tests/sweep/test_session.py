"""What runs next: exploration, seeds of a setting, confirmation, resuming, extending, and running out of time."""

import dataclasses

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from slr_models.errors import ResultsError, SettingError
from sweep import store, yaml_source
from sweep.records import Outcome, TrialResult
from sweep.session import CONFIRM_SEED_OFFSET, StudySession, with_trials
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
    session = StudySession(loaded, tmp_path, 64, **more)
    content = loaded.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(tmp_path / "study.yaml", {**content, "provenance": {}})
    return session


def outcome(job: Job, tmp_path, *, stable: bool | None = None, wall_s: float = 1.0) -> TrialResult:
    """What a training with this setting comes to: stable below a learning rate of 0.05."""
    lr = float(job.settings["training.optimizer.lr"])
    stable = lr < 0.05 if stable is None else stable
    blank = crashed_result(job, RunOptions(tmp_path, "wer", None, True, "none"), "")
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
    assert [j.seed for j in confirm] == [CONFIRM_SEED_OFFSET + k for k in range(3)]
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


def extend(tmp_path, option: str | None, text: str = TEXT) -> tuple[int, StudySession]:
    loaded = load(text)
    longer = LoadedStudy(with_trials(loaded.study, option, tmp_path), loaded.source)
    session = StudySession(longer, tmp_path, 64)
    content = longer.study.model_dump(mode="json", by_alias=True)
    store.write_yaml(tmp_path / "study.yaml", {**content, "provenance": {}})
    return longer.study.budget.trials, session


def test_a_finished_study_can_be_extended_and_the_same_command_goes_on(tmp_path) -> None:
    session = begin(tmp_path)
    run_all(session, tmp_path)
    session.close()
    target, again = extend(tmp_path, "+4")
    assert target == 10
    session_jobs = [again.next_job() for _ in range(2)]
    again.tell(outcome(session_jobs[0], tmp_path))
    again.close()  # killed on the way
    for option in ("+4", None, "10"):
        target, again = extend(tmp_path, option)
        assert target == 10, "an unfinished study goes on to its present number"
        again.close()
    _, again = extend(tmp_path, "+4")
    run_all(again, tmp_path)
    assert len({str(r.settings) for r in again.results if r.phase == "explore"}) == 10
    again.close()
    target, again = extend(tmp_path, "12")
    assert target == 12
    again.close()


def test_wrong_numbers_of_trials_are_told(tmp_path) -> None:
    study = load().study
    for wrong in ("", "+", "0", "-3", "many", "1.5", "\u00b2"):
        with pytest.raises(SettingError, match="give a number of trials"):
            with_trials(study, wrong, tmp_path)
    with pytest.raises(SettingError, match="too few for one setting with repeats: 3"):
        with_trials(load(TEXT + "repeats: 3\n").study, "2", tmp_path)


def test_an_extended_study_confirms_its_new_best(tmp_path) -> None:
    session = begin(tmp_path, TEXT.replace("settings: 1", "settings: 1"))
    jobs = run_all(session, tmp_path)
    first = jobs[-1].group
    session.close()
    _, again = extend(tmp_path, "+3")
    confirmed = set()
    while (job := again.next_job()) is not None:
        result = outcome(job, tmp_path, stable=True)
        if job.phase == "explore":
            result = dataclasses.replace(result, wer=0.01, objective=0.01)
        else:
            confirmed.add(job.group)
        again.tell(result)
    assert confirmed and first not in confirmed
    again.close()


def test_the_seeds_of_a_setting_that_a_kill_cut_short_are_asked_for(tmp_path) -> None:
    session = begin(tmp_path, TEXT + "repeats: 3\n")
    session.next_job()
    session.close()
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().splitlines(keepends=True)[0])
    again = begin(tmp_path, TEXT + "repeats: 3\n")
    jobs = run_all(again, tmp_path)
    assert sorted(j.seed for j in jobs if j.group == 0 and j.phase == "explore") == [0, 1, 2]
    assert again.done
    again.close()


def test_steps_of_a_budget_in_epochs_follow_each_trials_batch_size(tmp_path) -> None:
    text = TEXT.replace("steps: 10", "epochs: 2").replace(
        "space: {", "space: {training.batch_size: {choice: [4, 16]}, "
    )
    session = begin(tmp_path, text)
    steps = {job.config.training.batch_size: job.max_steps for job in (session.next_job() for _ in range(6))}
    assert steps == {4: 32, 16: 8}
    session.close()


def test_another_study_is_not_mixed_in(tmp_path) -> None:
    begin(tmp_path).close()
    with pytest.raises(ResultsError, match=r"another version of this study \(changed: space\)"):
        begin(tmp_path, TEXT.replace("[1e-4, 1]", "[1e-5, 1]"))
    with pytest.raises(ResultsError, match=r"\(changed: budget\)"):
        begin(tmp_path, TEXT.replace("steps: 10", "steps: 20"))
    with pytest.raises(ResultsError, match=r"\(changed: resources\)"):
        begin(tmp_path, TEXT + "resources: {gpus: 0.5}\n")
    begin(tmp_path, TEXT.replace("trials: 6", "trials: 8") + "resources: {cpus: 2}\n").close()
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
    again = begin(tmp_path, text, clock=lambda: now[0])
    assert again.done and again.next_job() is None, "the limit holds over all runs of a study"
    again.close()


def test_the_time_kept_free_counts_all_lanes_and_the_present_speed(tmp_path) -> None:
    now = [0.0]
    text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 200")
    session = begin(tmp_path, text, clock=lambda: now[0])
    phases = []
    # Two lanes in lockstep, on a machine that is busy at first.
    while pair := [job for job in (session.next_job(), session.next_job()) if job is not None]:
        wall_s = 10 if phases else 40
        now[0] += wall_s
        for job in pair:
            phases.append(job.phase)
            session.tell(outcome(job, tmp_path, stable=True, wall_s=wall_s))
    assert phases.count("confirm") == 3
    assert phases.count("explore") >= 20
    session.close()


def test_the_time_kept_free_counts_an_explanation_while_more_may_come(tmp_path) -> None:
    def explored(folder: str, forensics: str) -> int:
        now = [0.0]
        text = TEXT.replace("trials: 6", "trials: 100").replace("steps: 10", "steps: 10, wall_time_s: 100")
        session = begin(tmp_path / folder, text + f"forensics: {forensics}\n", clock=lambda: now[0])
        jobs = []
        while (job := session.next_job()) is not None:
            jobs.append(job)
            now[0] += 10
            told = outcome(job, tmp_path, stable=len(jobs) > 1, wall_s=10)
            session.tell(told)
            if len(jobs) == 1:
                now[0] += 10
                session.note_cause(dataclasses.replace(told, cause="too hot", forensics_s=10.0))
        assert [j.phase for j in jobs][-3:] == ["confirm"] * 3 and session.left_s == 100 - now[0] >= 0
        session.close()
        return len(jobs) - 3

    # 100 s hold an explanation, ten seconds a training, three confirmations and one round of reserve.
    assert explored("used-up", "{trials: 1}") == 5
    assert explored("more", "{trials: 2}") == 4


def test_no_trial_starts_after_the_time_is_up_even_if_it_was_asked_for(tmp_path) -> None:
    now = [0.0]
    text = TEXT.replace("steps: 10", "steps: 10, wall_time_s: 100")
    session = begin(tmp_path, text, clock=lambda: now[0])
    for _ in range(6):
        job = session.next_job()
        session.tell(outcome(job, tmp_path, wall_s=1))
    assert session.next_job().phase == "confirm"
    now[0] = 101.0
    assert session.next_job() is None
    session.close()


def test_a_fixed_setting_is_one_trial_with_its_confirmation(tmp_path) -> None:
    text = TEXT.replace("space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}\n", "")
    session = begin(tmp_path, text)
    job = session.next_job()
    assert job.settings == {} and session.next_job() is None
    assert session.num_planned == 4
    session.close()


def test_the_audit_of_a_trial_is_decided_when_it_is_asked_for(tmp_path) -> None:
    text = TEXT + "audit: {rate: 0.5}\n"
    session = begin(tmp_path, text)
    jobs = run_all(session, tmp_path)
    session.close()
    again = begin(tmp_path / "other", text)
    assert [j.audit for j in run_all(again, tmp_path)] == [j.audit for j in jobs]
    assert {j.audit for j in jobs} == {False, True}
    again.close()
    off = begin(tmp_path / "off", TEXT + "audit: {rate: 0}\n")
    assert not any(j.audit for j in run_all(off, tmp_path))
    off.close()


def test_a_cause_found_later_stands_in_the_table_and_the_search_hears_nothing_twice(tmp_path) -> None:
    session = begin(tmp_path)
    job = session.next_job()
    assert session.result(job) is None
    told = outcome(job, tmp_path, stable=False)
    session.tell(told)
    assert session.result(job) == told
    session.note_cause(dataclasses.replace(told, cause="learning rate too high", forensics_s=2.0))
    assert store.read_trials(tmp_path)["cause"].tolist() == ["learning rate too high"]
    session.close()
    again = begin(tmp_path)
    assert again.result(job).cause == "learning rate too high"
    again.close()


def test_a_study_may_change_how_much_it_audits_and_explains(tmp_path) -> None:
    begin(tmp_path).close()
    begin(tmp_path, TEXT + "audit: {rate: 0.5}\nforensics: {trials: 0}\n").close()


def test_results_of_a_version_without_a_setting_go_on_with_its_default(tmp_path) -> None:
    begin(tmp_path).close()
    content = store.read_study(tmp_path)
    del content["audit"], content["forensics"], content["training"]["telemetry_every_steps"]
    store.write_yaml(tmp_path / "study.yaml", content)
    begin(tmp_path).close()
    with pytest.raises(ResultsError, match=r"\(changed: training\)"):
        begin(tmp_path, TEXT + "training: {telemetry_every_steps: 2}\n")
