"""Trials that go on side by side in one process: what each tells, and what one's trouble is to the others."""

import dataclasses
import math
import time

import pytest
import torch

from slr_models.data import SyntheticConfig
from sweep import store
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.monitor import MonitorConfig
from sweep.running import members
from sweep.running.job import Job, RunOptions, TrialReport
from sweep.running.members import Members
from sweep.running.trial import TrialRunner
from sweep.training.config import TrialConfig

DATA = {"kind": "synthetic", "vocabulary_size": 4, "num_train": 24, "num_valid": 4, "max_labels": 3}
HOT = {"optimizer": {"kind": "sgd", "lr": 1e4}, "clip": {"kind": "off"}, "bad_batch": {"kind": "never_skip"}}
EXPLAINED = ForensicsConfig(snapshot_every_steps=2, replay_steps=5, repeats=1)


@pytest.fixture(scope="module")
def dataset():
    torch.set_num_threads(1)
    return SyntheticConfig.model_validate(DATA).build()


def job(number: int, **training) -> Job:
    config = TrialConfig.model_validate(
        {
            "model": {"kind": "baseline", "width": 0.0625},
            "data": DATA,
            "training": {"batch_size": 4, "eval_every_steps": 5, **training},
        }
    )
    return Job(f"{number:04d}", number, number, number, "explore", {}, config, 10)


def runner(dataset, tmp_path, forensics: ForensicsConfig | None = None) -> TrialRunner:
    given = forensics or ForensicsConfig(trials=0)
    return TrialRunner(dataset, RunOptions(tmp_path, "wer", MonitorConfig(), True, "none", forensics=given))


def all_reports(members: Members) -> list[TrialReport]:
    reports = []
    while not members.are_over:
        reports += members.advance()
    return reports


def last(reports: list[TrialReport]) -> dict[str, TrialReport]:
    return {report.trial_id: report for report in reports if report.is_last}


def test_each_has_its_own_records_and_result(dataset, tmp_path) -> None:
    jobs = [job(0), job(1, optimizer={"kind": "adamw", "lr": 3e-3}), job(2, **HOT)]
    reports = all_reports(Members(jobs, runner(dataset, tmp_path / "together"), math.inf))
    assert [r.trial_id for r in reports if r.progress is not None and r.progress.step == 5][:2] == ["0000", "0001"]
    assert last(reports).keys() == {"0000", "0001", "0002"}
    assert last(reports)["0002"].result.verdict.is_diverged, "it ends by itself, and the others go on"
    for one in jobs:
        (alone,) = last(all_reports(Members([one], runner(dataset, tmp_path / "alone"), math.inf))).values()
        result = last(reports)[one.trial_id].result
        assert (result.verdict, result.num_steps, result.seed) == (
            alone.result.verdict,
            alone.result.num_steps,
            alone.result.seed,
        )
        here, there = (store.read_steps(tmp_path / f, one.trial_id) for f in ("together", "alone"))
        assert len(here) == len(there) == result.num_steps
        # One that is blown up makes much of how its processor rounds.
        rel = 1e-2 if result.verdict.is_diverged else 1e-4
        assert here["loss"][:3].tolist() == pytest.approx(there["loss"][:3].tolist(), rel=rel)


def test_the_cpu_time_of_all_is_that_of_the_process(dataset, tmp_path) -> None:
    started = time.process_time()
    reports = all_reports(Members([job(n) for n in range(3)], runner(dataset, tmp_path), math.inf))
    spent = time.process_time() - started
    each = [report.result.cpu_s for report in last(reports).values()]
    assert 0.7 * spent < sum(each) < 1.05 * spent
    assert max(each) < 0.6 * sum(each), "nobody is charged for the others"


@pytest.mark.slow
def test_causes_are_looked_for_when_nobody_waits_for_that(dataset, tmp_path) -> None:
    jobs = [job(0, **HOT), job(1), job(2)]
    reports = all_reports(Members(jobs, runner(dataset, tmp_path, EXPLAINED), math.inf))
    order = [(r.trial_id, r.is_last) for r in reports if r.result is not None]
    assert order[0] == ("0000", False), "the result is told at once"
    assert order[-1] == ("0000", True) and reports[-1].result.cause is not None


@pytest.mark.slow
def test_a_cause_that_nobody_has_time_for_is_left(dataset, tmp_path, monkeypatch) -> None:
    side_by_side = Members([job(0, **HOT), job(1)], runner(dataset, tmp_path, EXPLAINED), time.time() + 3600)
    reports = side_by_side.advance()
    assert [(r.trial_id, r.is_last) for r in reports] == [("0000", False)]
    monkeypatch.setattr(members.time, "time", lambda: math.inf)
    reports += all_reports(side_by_side)
    assert reports[-1].trial_id == "0000" and reports[-1].is_last and reports[-1].result.cause is None


def test_what_cannot_be_computed_together_each_computes_by_itself(dataset, tmp_path, monkeypatch) -> None:
    def fails(trainings) -> None:
        raise RuntimeError("no memory for all of them")

    monkeypatch.setattr(members, "compute_together", fails)
    jobs = [job(0), job(1)]
    together = last(all_reports(Members(jobs, runner(dataset, tmp_path / "together"), math.inf)))
    for one in jobs:
        alone = last(all_reports(Members([one], runner(dataset, tmp_path / "alone"), math.inf)))
        assert together[one.trial_id].result.val_loss == alone[one.trial_id].result.val_loss


def test_unlike_ones_go_on_side_by_side_all_the_same(dataset, tmp_path, monkeypatch) -> None:
    sizes = []
    plain = members.compute_together
    monkeypatch.setattr(members, "compute_together", lambda due: (sizes.append(len(due)), plain(due)))
    half = {"precision": {"kind": "bf16"}}
    jobs = [job(0), job(1), job(2, **half), job(3, **half)]
    assert len(last(all_reports(Members(jobs, runner(dataset, tmp_path), math.inf)))) == 4
    assert set(sizes) == {2}, "those in half precision do not wait to be computed together"


def test_a_trial_that_goes_on_from_its_checkpoint_joins_the_others(dataset, tmp_path) -> None:
    kept = dataclasses.replace(runner(dataset, tmp_path).options, checkpoints="last")
    first = Members([job(0), job(1)], TrialRunner(dataset, kept), math.inf)
    first.advance()
    resumed = all_reports(Members([job(0), job(1)], TrialRunner(dataset, kept), math.inf))
    assert [r.progress.step for r in resumed if r.progress is not None] == [10, 10]
    assert (tmp_path / "checkpoints" / "0000" / "last.pt").stat().st_size < 2 * sum(
        4 * p.numel() * 3 for p in first._members[0].trial.training.model.parameters()
    ), "the weights of one training alone"
    assert len(store.read_steps(tmp_path, "0001")) == 10


def test_a_trial_that_begins_anew_says_so_with_its_next_report(dataset, tmp_path) -> None:
    kept = dataclasses.replace(runner(dataset, tmp_path).options, checkpoints="last")
    Members([job(0), job(1)], TrialRunner(dataset, kept), math.inf).advance()
    (tmp_path / "checkpoints" / "0001" / "last.pt").write_bytes(b"damaged")
    reports = all_reports(Members([job(0), job(1)], TrialRunner(dataset, kept), math.inf))
    notes = [report.note for report in reports if report.trial_id == "0001"]
    assert notes[0] is not None and "begins anew" in notes[0] and not any(notes[1:])
    assert all(report.note is None for report in reports if report.trial_id == "0000")
