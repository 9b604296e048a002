"""The course of a study with a design: order, groups, resuming, looks, and what may change."""

import dataclasses
from pathlib import Path

import pytest

from slr_models.errors import ResultsError, SettingError
from sweep import store, yaml_source
from sweep.analysis.claims.stated import WITHDRAWN_KEY, note_of
from sweep.records import Outcome, TrialResult
from sweep.running.continuing import with_trials
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.running.session import StudySession
from sweep.store.ledger import Ledger
from sweep.study import LoadedStudy, read_study, stored, validate

TEXT = """
name: d
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}
budget: {steps: 10}
design:
  kind: paired
  blocks: 24
  looks: 4
  factors:
    model: {teacher: {model.kind: teacher}, baseline: {model.kind: baseline}}
    precision: {training.precision.kind: [fp32, fp16]}
claims:
  - {name: diverges, text: fp16 diverges, factor: precision, response: stable, expected: lower, smallest_effect: 0.1}
"""


def load(text: str = TEXT) -> LoadedStudy:
    return validate(yaml_source.parse(text, "d.yaml"))


def begin(folder: Path, text: str = TEXT, **more) -> StudySession:
    loaded = load(text)
    session = StudySession(loaded, folder, 64, **more)
    made = {WITHDRAWN_KEY: session.claims_withdrawn_after}
    store.write_yaml(folder / "study.yaml", {**stored(session.study), "provenance": made})
    return session


def outcome(job: Job, folder: Path, *, stable: bool) -> TrialResult:
    blank = crashed_result(job, RunOptions(folder, "wer", None, True, "none"), "")
    return dataclasses.replace(
        blank,
        verdict=Outcome.STABLE if stable else Outcome.DIVERGED_LOSS,
        reason="made up",
        objective=0.5 if stable else 2.5,
        margin=-0.3 if stable else 0.3,
        stop_step=None if stable else 5,
        num_steps=10 if stable else 5,
        wer=0.5,
        val_loss=1.0,
        l_const=2.0,
        l_unif=3.0,
        wall_s=1.0,
    )


def fp16_fails(job: Job) -> bool:
    return "fp16" not in str(job.cell)


def nothing_matters(job: Job) -> bool:
    return job.block % 2 == 0


def run(session: StudySession, folder: Path, stable=fp16_fails, limit: int = 1000) -> list[Job]:
    jobs: list[Job] = []
    while len(jobs) < limit and (job := session.next_job()) is not None:
        jobs.append(job)
        session.tell(outcome(job, folder, stable=stable(job)))
    return jobs


def asked(folder: Path) -> list[tuple]:
    ledger = Ledger(folder)
    ledger.close()
    return [(a.number, a.group, a.seed, a.block, a.cell, tuple(a.settings.items())) for a in ledger.asks]


def test_blocks_come_one_after_another_and_the_table_names_them(tmp_path) -> None:
    session = begin(tmp_path)
    assert session.num_planned == 96 and not session.done
    jobs = run(session, tmp_path, nothing_matters, limit=12)
    assert [job.block for job in jobs] == [0] * 4 + [1] * 4 + [2] * 4
    assert [job.seed for job in jobs] == [job.block for job in jobs]
    for block in range(3):
        own = [job for job in jobs if job.block == block]
        assert len({job.cell for job in own}) == 4
        assert len({job.settings["training.optimizer.lr"] for job in own}) == 1
    assert jobs[0].config.training.optimizer.lr == jobs[0].settings["training.optimizer.lr"]
    session.write_trials()
    trials = store.read_trials(tmp_path)
    assert trials["block"].tolist() == [job.block for job in jobs]
    assert trials["cell"].tolist() == [job.cell for job in jobs]
    assert {"model.kind", "training.precision.kind", "training.optimizer.lr"} <= set(trials)
    assert session.importances() == {} and not (tmp_path / "optuna.journal").exists()
    session.close()


def test_equal_settings_share_a_group_and_differ_by_their_seed(tmp_path) -> None:
    session = begin(tmp_path, TEXT.replace("space: {training.optimizer.lr: {loguniform: [1e-4, 1]}}\n", ""))
    jobs = run(session, tmp_path, nothing_matters, limit=12)
    assert len({job.group for job in jobs}) == 4, "one a cell, since blocks draw nothing"
    by_group = {job.group: [j.seed for j in jobs if j.group == job.group] for job in jobs}
    assert all(sorted(seeds) == [0, 1, 2] for seeds in by_group.values())
    session.close()


def test_a_killed_study_goes_on_as_if_nothing_had_happened(tmp_path) -> None:
    whole = begin(tmp_path / "whole")
    run(whole, tmp_path / "whole")
    whole.close()
    killed = tmp_path / "killed"
    for limit in (3, 6, 11):
        session = begin(killed)
        run(session, killed, limit=limit)
        session.next_job()  # it was under way when the run was killed
        session.close()
    session = begin(killed)
    jobs = run(session, killed)
    assert session.done and jobs[0].number == 20
    session.close()
    assert asked(killed) == asked(tmp_path / "whole")


def test_it_ends_at_the_first_look_at_which_every_claim_is_settled(tmp_path) -> None:
    session = begin(tmp_path)
    jobs = run(session, tmp_path)
    assert len(jobs) == 48, "12 of 24 blocks: six discordant pairs are too few for the first look, twelve are not"
    assert session.done and session.num_planned == 48
    assert "12 of 24" in session.stop_reason
    session.close()
    again = begin(tmp_path)
    assert again.done and again.stop_reason == session.stop_reason and again.next_job() is None
    again.close()


def test_what_other_rules_ended_is_judged_again(tmp_path, monkeypatch) -> None:
    session = begin(tmp_path)
    run(session, tmp_path)
    session.close()
    monkeypatch.setattr("sweep.analysis.claims.verdict.RULES", 0)
    again = begin(tmp_path)
    assert not again.search_has_ended
    assert run(again, tmp_path) == [] and again.done and again.stop_reason == session.stop_reason
    again.close()


def test_a_study_of_which_nothing_is_settled_trains_all_of_its_blocks(tmp_path) -> None:
    text = TEXT.replace("blocks: 24", "blocks: 4").replace("looks: 4", "looks: 2")
    session = begin(tmp_path, text)
    assert len(run(session, tmp_path, nothing_matters)) == 16
    assert session.done and session.stop_reason is None
    session.close()


def test_without_claims_all_blocks_are_trained(tmp_path) -> None:
    text = TEXT.split("claims:")[0].replace("blocks: 24", "blocks: 4")
    session = begin(tmp_path, text)
    assert len(run(session, tmp_path)) == 16 and session.done
    session.close()


def test_a_look_waits_for_its_last_training_while_the_next_block_may_begin(tmp_path) -> None:
    session = begin(tmp_path)
    run(session, tmp_path, limit=47)
    last, ahead = session.next_job(), session.next_job()
    assert (last.block, ahead.block) == (11, 12), "another lane is not kept waiting"
    session.tell(outcome(ahead, tmp_path, stable=True))
    more = session.next_job()
    assert more is not None and more.block == 12, "a training of block 11 is missing, so nothing is settled yet"
    session.tell(outcome(last, tmp_path, stable=fp16_fails(last)))
    assert session.next_job() is None and not session.done, "what has begun is trained to its end"
    session.tell(outcome(more, tmp_path, stable=True))
    assert session.done and "12 of 24" in session.stop_reason
    session.close()
    assert len(store.read_trials(tmp_path)) == 50


def test_a_crash_holds_up_no_look(tmp_path) -> None:
    session = begin(tmp_path)
    options = RunOptions(tmp_path, "wer", None, True, "none")
    num = 0
    while (job := session.next_job()) is not None:
        num += 1
        if job.number == 5:
            assert session.lost(job), "it is tried once more"
            job = session.next_job()
            assert job.number == 5 and not session.lost(job)
            session.tell(crashed_result(job, options, "killed"))
        else:
            session.tell(outcome(job, tmp_path, stable=fp16_fails(job)))
    assert num == 48 and "12 of 24" in session.stop_reason
    session.write_trials()
    trials = store.read_trials(tmp_path)
    assert trials["block"][5] == 1 and trials["verdict"][5] == "crashed"
    session.close()


def test_it_starts_nothing_once_its_time_is_up(tmp_path) -> None:
    now = [0.0]
    session = begin(tmp_path, TEXT.replace("{steps: 10}", "{steps: 10, wall_time_s: 100}"), clock=lambda: now[0])
    run(session, tmp_path, limit=5)
    now[0] = 101.0
    assert session.next_job() is None and session.done and session.stop_reason == "budget.wall_time_s is spent"
    session.close()


def test_what_was_planned_cannot_be_changed_once_results_are_there(tmp_path) -> None:
    session = begin(tmp_path)
    run(session, tmp_path, limit=4)
    session.close()
    for old, new, section in [
        ("blocks: 24", "blocks: 25", "design"),
        ("[fp32, fp16]", "[fp16, fp32]", "design"),
        ("[1e-4, 1]", "[1e-4, 2]", "space"),
    ]:
        with pytest.raises(ResultsError, match=rf"changed: ([a-z]+, )*{section}"):
            begin(tmp_path, TEXT.replace(old, new))
    begin(tmp_path, TEXT.replace("text: fp16 diverges", "text: other words, source: a note")).close()


def test_claims_may_change_and_it_is_told_which_did_when(tmp_path) -> None:
    session = begin(tmp_path)
    assert len(run(session, tmp_path)) == 48
    session.close()
    more = (
        "  - {name: slower, text: t, factor: precision, response: step_time_s, expected: higher, smallest_effect: 1}\n"
    )
    added = begin(tmp_path, TEXT + more)
    assert [claim.stated_after for claim in added.study.claims] == [0, 48]
    assert added.next_job().number == 48 and not added.search_has_ended, "the new claim is open"
    added.close()
    forged = more.replace("{name", "{stated_after: 0, name")
    changed = begin(tmp_path, TEXT.replace("smallest_effect: 0.1", "smallest_effect: 0.2") + forged)
    assert [claim.stated_after for claim in changed.study.claims] == [48, 48]
    assert changed.claims_withdrawn_after == {"diverges": 48}
    assert note_of(read_study(tmp_path).study.claims[0]).startswith("Stated after 48 trainings: exploratory")
    changed.close()
    back = begin(tmp_path)
    assert [claim.stated_after for claim in back.study.claims] == [48], "what had been seen is not unseen"
    assert back.claims_withdrawn_after == {"diverges": 48, "slower": 48}
    back.close()


def test_claims_that_change_before_any_training_are_as_good_as_the_first(tmp_path) -> None:
    begin(tmp_path).close()
    session = begin(tmp_path, TEXT.replace("smallest_effect: 0.1", "smallest_effect: 0.2"))
    assert session.study.claims[0].stated_after == 0 and session.claims_withdrawn_after == {}
    session.close()


def test_new_claims_that_are_settled_by_what_there_is_need_no_training(tmp_path) -> None:
    session = begin(tmp_path)
    run(session, tmp_path)
    session.close()
    changed = begin(tmp_path, TEXT.replace("smallest_effect: 0.1", "smallest_effect: 0.2"))
    assert changed.done and changed.next_job() is None and "12 of 24" in changed.stop_reason
    changed.close()


def test_a_study_file_that_is_lost_does_not_make_claims_older(tmp_path) -> None:
    session = begin(tmp_path)
    run(session, tmp_path, limit=4)
    session.close()
    (tmp_path / "study.yaml").unlink()
    again = begin(tmp_path)
    assert again.study.claims[0].stated_after == 4
    again.close()


def test_another_number_of_trials_is_refused(tmp_path) -> None:
    study = load().study
    assert with_trials(study, None, tmp_path) == study
    for option in ("8", "+8"):
        with pytest.raises(SettingError, match=r"--trials \+?8: the looks .* 24 blocks"):
            with_trials(study, option, tmp_path)


def test_a_confirmation_follows_where_it_was_asked_for(tmp_path) -> None:
    text = TEXT.replace("blocks: 24", "blocks: 4").replace("looks: 4", "looks: 1")
    session = begin(tmp_path, text + "confirm: {settings: 1, seeds: 2, recommended: false}\n")
    jobs = run(session, tmp_path)
    confirming = [job for job in jobs if job.phase == "confirm"]
    assert len(jobs) == 18 and len(confirming) == 2 and session.done
    assert all(job.block is None and job.cell is None for job in confirming)
    assert confirming[0].settings == jobs[confirming[0].group].settings
    session.close()
    assert store.read_trials(tmp_path)["block"].isna().sum() == 2


def test_findings_are_kept_as_json(tmp_path) -> None:
    assert store.read_claims(tmp_path) == []
    store.write_claims(tmp_path, [{"verdict": "undecided", "low": float("nan"), "levels": ("a", "b")}])
    assert store.read_claims(tmp_path) == [{"verdict": "undecided", "low": None, "levels": ["a", "b"]}]
    (tmp_path / "claims.json").write_text("{", encoding="utf-8")
    with pytest.raises(ResultsError, match="is damaged"):
        store.read_claims(tmp_path)
