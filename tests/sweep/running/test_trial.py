"""One trial from its start to its row: verdicts as results, early stop, audit, causes, checkpoints, crashes."""

import dataclasses
import math
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from slr_models.data import SyntheticConfig
from slr_models.data.labels import LabelsConfig
from slr_models.errors import MachineError
from sweep import store
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.detectors import SkipStarvedConfig
from sweep.judging.foregone import ForegoneConfig
from sweep.judging.monitor import MonitorConfig
from sweep.records import Cause, HealthMetric, HealthRecord, HealthSample, Learning, Numbers, Outcome, TrialResult
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.trial import TrialRunner
from sweep.running.trial_records import MAX_HEALTH_SAMPLES, TrialRecords
from sweep.store import wishes
from sweep.training.config import TrialConfig, with_micro_batch
from sweep.training.train import Training

DATA = {
    "kind": "synthetic",
    "vocabulary_size": 4,
    "num_train": 48,
    "num_valid": 8,
    "frames_per_label": 6,
    "max_labels": 3,
}


@pytest.fixture(scope="module")
def dataset():
    torch.set_num_threads(1)
    return SyntheticConfig.model_validate(DATA).build()


def job(trial_id: str = "0000", seed: int = 0, **training) -> Job:
    config = TrialConfig.model_validate(
        {
            "model": {"kind": "baseline", "width": 0.0625, "norm": "group"},
            "data": DATA,
            "training": {
                "batch_size": 4,
                "eval_every_steps": 10,
                "optimizer": {"kind": "adamw", "lr": 2e-3},
                **training,
            },
        }
    )
    return Job(
        trial_id, int(trial_id), 0, seed, "explore", {"training.optimizer.lr": config.training.optimizer.lr}, config, 30
    )


def options(tmp_path, **more) -> RunOptions:
    defaults = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none", forensics=ForensicsConfig(trials=0))
    return dataclasses.replace(defaults, **more)


def run(runner: TrialRunner, job: Job) -> TrialResult:
    trial = runner.start(job)
    while isinstance(report := trial.advance(), Progress):
        assert report.step <= report.max_steps
    return report


HOT = {
    "optimizer": {"kind": "sgd", "lr": 1e4, "momentum": 0.9},
    "clip": {"kind": "off"},
    "bad_batch": {"kind": "never_skip"},
}


def test_the_wer_before_a_clean_up_of_labels_stands_beside_that_after_it(dataset, tmp_path) -> None:
    """A worker gets the dataset pickled."""
    clean_up = LabelsConfig(drop=(dataset.vocabulary[1],), when="evaluation")
    cleaned = pickle.loads(pickle.dumps(dataclasses.replace(dataset, clean_up=clean_up)))
    result = run(TrialRunner(cleaned, options(tmp_path)), job())
    plain = run(TrialRunner(dataset, options(tmp_path)), job("0001"))
    assert result.wer_raw == plain.wer != result.wer and math.isnan(plain.wer_raw)
    evals = store.read_evals(tmp_path, "0000")
    assert evals["wer_raw"].tolist()[-1] == result.wer_raw and evals["wer"].tolist()[-1] == result.wer


def test_a_diverged_trial_is_a_result_with_step_and_reason(dataset, tmp_path) -> None:
    result = run(TrialRunner(dataset, options(tmp_path)), job(**HOT))
    assert result.verdict.is_diverged and not result.stable
    assert result.stop_step == result.num_steps < 30
    assert result.reason and math.isfinite(result.objective) and result.objective > 2 and result.margin > 0
    steps = store.read_steps(tmp_path, "0000")
    assert len(steps) == result.num_steps
    assert result.row()["training.optimizer.lr"] == 1e4


def test_without_early_stop_it_runs_on_and_still_says_where_it_would_have_ended(dataset, tmp_path) -> None:
    early = run(TrialRunner(dataset, options(tmp_path)), job(**HOT))
    full = run(TrialRunner(dataset, options(tmp_path, early_stop=False)), job("0001", **HOT))
    assert full.num_steps == 30 and full.stop_step == early.stop_step
    assert full.verdict is early.verdict and full.objective == early.objective and full.margin == early.margin


@pytest.mark.slow
def test_trials_after_one_another_do_not_touch_each_other(dataset, tmp_path) -> None:
    runner = TrialRunner(dataset, options(tmp_path))
    run(runner, job("0000", **HOT))
    after = run(runner, job("0001", precision={"kind": "fp16"}))
    fresh = run(TrialRunner(dataset, options(tmp_path)), job("0002", precision={"kind": "fp16"}))
    one, two = (store.read_steps(tmp_path, r.trial_id).drop(columns="time_s") for r in (after, fresh))
    assert one.equals(two), "bit-identical, whatever ran before in the process"
    assert after.precision_implementation == fresh.precision_implementation != ""


@pytest.mark.parametrize("left", ["under way", "at its end", "by an earlier version", "at a step past its checkpoint"])
def test_an_interrupted_trial_goes_on_from_its_checkpoint_to_the_same_end(dataset, tmp_path, left) -> None:
    kept = options(tmp_path, checkpoints="best_and_last", early_stop=False)
    sampled = {"health_every_steps": 8}
    whole = run(TrialRunner(dataset, kept), job("0000", **sampled))
    trial = TrialRunner(dataset, kept).start(job("0001", **sampled))
    assert isinstance(trial.advance(), Progress)
    assert isinstance(trial.advance(), Progress)
    checkpoint = tmp_path / "checkpoints" / "0001" / "last.pt"
    at_20 = checkpoint.read_bytes()
    if left in ("at its end", "at a step past its checkpoint"):
        assert isinstance(trial.advance(), Progress)
        checkpoint.write_bytes(at_20)
    if left == "at its end":
        assert isinstance(trial.advance(), TrialResult)
    if left == "by an earlier version":
        store.settle_records(tmp_path, "0001")
    form = "jsonl" if left in ("under way", "at a step past its checkpoint") else "parquet"
    assert (tmp_path / "steps" / f"0001.{form}").is_file()
    resumed = run(TrialRunner(dataset, kept), job("0001", **sampled))
    assert sorted(os.listdir(tmp_path / "steps")) == ["0000.parquet", "0001.parquet"]
    for read in (store.read_steps, store.read_evals):
        one, two = (read(tmp_path, t).drop(columns="time_s") for t in ("0000", "0001"))
        assert one.equals(two)
    assert (resumed.verdict, resumed.reason, resumed.judged_with) == (whole.verdict, whole.reason, whole.judged_with)
    assert "validation losses" in resumed.judged_with and resumed.wer == whole.wer and resumed.num_steps == 30
    health = store.read_health(tmp_path, "0000")
    assert len(health["step"].unique()) >= 3 and health.equals(store.read_health(tmp_path, "0001"))
    assert (tmp_path / "checkpoints" / "0001" / "best.pt").is_file()


@pytest.mark.slow
def test_a_damaged_checkpoint_means_a_new_beginning(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="best_and_last", early_stop=False)
    whole = run(TrialRunner(dataset, kept), job("0000"))
    trial = TrialRunner(dataset, kept).start(job("0001"))
    assert isinstance(trial.advance(), Progress)
    path = tmp_path / "checkpoints" / "0001" / "last.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert run(TrialRunner(dataset, kept), job("0001")).wer == whole.wer


def test_a_trial_that_somebody_stops_ends_at_once_and_is_not_judged(dataset, tmp_path) -> None:
    trial = TrialRunner(dataset, options(tmp_path)).start(job())
    first = trial.advance()
    assert isinstance(first, Progress) and first.step == 10
    wishes.call_off(tmp_path, "0000")
    trial._look_again_at = 0.0
    result = trial.advance()
    assert isinstance(result, TrialResult) and result.verdict is Outcome.PRUNED and result.verdict.is_open
    assert result.num_steps == 11 and "stopped by hand after step 11 of" in result.reason
    assert math.isnan(result.margin) and result.wer == first.wer, "what it is worth is its latest evaluation"
    assert len(store.read_steps(tmp_path, "0000")) == 11


def test_no_checkpoint_is_kept_unless_asked_for(dataset, tmp_path) -> None:
    run(TrialRunner(dataset, options(tmp_path)), job())
    assert not (tmp_path / "checkpoints").exists()


def test_a_crash_is_a_result_with_its_traceback_kept(dataset, tmp_path) -> None:
    broken = job(optimizer={"kind": "adamw", "lr": 1e-3})
    teacher = TrialConfig.model_validate(
        {
            "model": {"kind": "custom", "factory": "tests_no_such_module:build", "output_stride": 4},
            "data": DATA,
        }
    )
    result = run(TrialRunner(dataset, options(tmp_path)), dataclasses.replace(broken, config=teacher))
    assert result.verdict is Outcome.CRASHED and result.num_steps == 0
    assert "tests_no_such_module" in result.reason
    assert "tests_no_such_module" in (tmp_path / "evidence" / "0000" / "traceback.txt").read_text()
    assert len(store.read_steps(tmp_path, "0000")) == 0


def test_floors_are_those_of_the_training_targets(dataset, tmp_path) -> None:
    result = run(TrialRunner(dataset, options(tmp_path)), job())
    assert 0.5 < result.l_const < math.log(5) * 3
    assert result.l_unif > result.l_const
    assert result.applied_update_rate == 1.0
    assert result.wall_s > 0 and result.peak_memory_mib > 50


EAGER = MonitorConfig(detectors=(SkipStarvedConfig(window_steps=6, largest_skip_rate=0.5),))
STARVED = {"bad_batch": {"kind": "skip_above", "threshold": 1e-3}}


def test_an_audited_trial_that_fails_is_told_as_if_it_had_been_stopped(dataset, tmp_path) -> None:
    runner = TrialRunner(dataset, options(tmp_path, monitor=EAGER))
    stopped = run(runner, job("0000", **STARVED))
    audited = run(runner, dataclasses.replace(job("0001", **STARVED), audit=True))
    assert stopped.verdict is Outcome.SKIP_STARVED and stopped.stop_step == stopped.num_steps < 30
    assert not stopped.audited and stopped.alarm is None
    assert audited.audited and audited.alarm is audited.verdict is Outcome.SKIP_STARVED
    assert audited.num_steps == 30 and audited.stop_step == stopped.stop_step
    assert audited.objective == stopped.objective and audited.margin == stopped.margin
    assert len(store.read_steps(tmp_path, "0001")) == 30 and len(store.read_evals(tmp_path, "0001")) == 3
    # Nothing is stopped: the end is known of every trial.
    off = run(TrialRunner(dataset, options(tmp_path, monitor=EAGER, early_stop=False)), job("0002", **STARVED))
    assert dataclasses.replace(off, trial_id="0001", number=1).reason == audited.reason
    assert off.audited and off.stop_step == stopped.stop_step and off.objective == stopped.objective


def test_an_audited_trial_that_learns_is_stable_and_its_alarm_was_wrong(dataset, tmp_path) -> None:
    eager = MonitorConfig(detectors=(SkipStarvedConfig(window_steps=2, largest_skip_rate=0.4),))
    learning = job(optimizer={"kind": "adamw", "lr": 1e-2}, bad_batch={"kind": "skip_above", "threshold": 8.0})
    audited = dataclasses.replace(learning, max_steps=36, audit=True)
    result = run(TrialRunner(dataset, options(tmp_path, monitor=eager)), audited)
    assert result.stable and result.audited and result.alarm is Outcome.SKIP_STARVED
    assert result.stop_step < result.num_steps == 36
    assert "would have been wrong" in result.reason
    assert result.objective == min(result.wer, 2.0) and result.margin < 0
    assert result.cause is None and not (tmp_path / "evidence").exists()


def test_an_alarm_that_nothing_can_undo_ends_an_audited_trial_too(dataset, tmp_path) -> None:
    result = run(TrialRunner(dataset, options(tmp_path)), dataclasses.replace(job(**HOT), audit=True))
    assert result.stop_step == result.num_steps < 30 and not result.audited and result.alarm is None


def test_a_cause_that_the_records_tell_costs_no_replay(dataset, tmp_path) -> None:
    kept = options(tmp_path, monitor=EAGER, forensics=ForensicsConfig())
    trial = TrialRunner(dataset, kept).start(job(**STARVED))
    while isinstance(result := trial.advance(), Progress):
        pass
    assert not trial.can_explain
    explanation = store.read_explanation(tmp_path, "0000")
    assert explanation is not None and explanation.cause is Cause.SKIP_THRESHOLD
    assert result.cause == explanation.text
    assert not (tmp_path / "evidence" / "replayed.txt").exists()


def test_a_cause_that_takes_replays_is_found_after_the_result_and_within_the_allowance(dataset, tmp_path) -> None:
    settings = ForensicsConfig(trials=1, snapshot_every_steps=2, replay_steps=8, repeats=1)
    runner = TrialRunner(dataset, options(tmp_path, forensics=settings))
    trial = runner.start(job("0000", **HOT))
    while isinstance(result := trial.advance(), Progress):
        pass
    assert trial.can_explain and result.verdict.is_diverged and result.cause is None
    explained = trial.explain()
    explanation = store.read_explanation(tmp_path, "0000")
    assert explanation is not None and explanation.num_replayed_steps > 0
    assert explained.cause == explanation.text and explained.forensics_s > 0
    unchanged = dataclasses.replace(explained, cause=None, forensics_s=result.forensics_s)
    assert repr(unchanged) == repr(result), "replays change neither the verdict nor the times of the training"
    second = runner.start(job("0001", **HOT))
    while isinstance(second.advance(), Progress):
        pass
    assert not second.can_explain, "the study allows one"


def test_forensics_that_fail_cost_the_cause_and_not_the_trial(dataset, tmp_path) -> None:
    settings = ForensicsConfig(snapshot_every_steps=2, replay_steps=5, repeats=1)
    runner = TrialRunner(dataset, options(tmp_path, forensics=settings))
    trial = runner.start(job(**HOT))
    while isinstance(result := trial.advance(), Progress):
        pass
    assert trial.can_explain
    # The evidence cannot be written.
    (tmp_path / "evidence" / "0000" / "explanation.json").mkdir(parents=True)
    explained = trial.explain()
    assert explained.cause is None and explained.verdict is result.verdict
    assert "Error" in (tmp_path / "evidence" / "0000" / "forensics_error.txt").read_text()


def test_an_allowance_that_cannot_be_kept_costs_the_cause_and_not_the_trial(dataset, tmp_path) -> None:
    settings = ForensicsConfig(trials=1, snapshot_every_steps=2)
    # No file can be written where the allowance should be.
    (tmp_path / "evidence" / "replayed.txt").mkdir(parents=True)
    trial = TrialRunner(dataset, options(tmp_path, forensics=settings)).start(job(**HOT))
    while isinstance(result := trial.advance(), Progress):
        pass
    assert result.verdict.is_diverged and result.cause is None and not trial.can_explain
    assert "IsADirectoryError" in (tmp_path / "evidence" / "0000" / "forensics_error.txt").read_text()


def test_evidence_that_cannot_be_written_costs_no_trial(dataset, tmp_path, capsys) -> None:
    (tmp_path / "evidence").write_text("not a folder")
    runner = TrialRunner(dataset, options(tmp_path, monitor=EAGER, forensics=ForensicsConfig(trials=1)))
    starved, diverged = run(runner, job("0000", **STARVED)), run(runner, job("0001", **HOT))
    assert starved.verdict is Outcome.SKIP_STARVED and starved.cause is None
    assert diverged.verdict.is_diverged and diverged.cause is None
    assert "NotADirectoryError" in capsys.readouterr().err


def test_an_audited_trial_ends_as_soon_as_a_weight_is_lost(dataset, tmp_path) -> None:
    trial = TrialRunner(dataset, options(tmp_path, monitor=EAGER)).start(
        dataclasses.replace(job(**STARVED, telemetry_every_steps=1), audit=True)
    )
    assert isinstance(trial.advance(), Progress), "it runs on after its alarm"
    assert trial._training is not None
    with torch.no_grad():
        next(trial._training.model.parameters()).view(-1)[0] = math.nan
    while isinstance(result := trial.advance(), Progress):
        pass
    assert result.num_steps == 11 and result.audited and not result.stable
    assert result.alarm is result.verdict is Outcome.SKIP_STARVED and result.stop_step < 10
    assert "run on, it ended as diverged-nonfinite: a weight is NaN or infinite" in result.reason


def test_a_trial_that_is_resumed_after_its_alarm_keeps_no_state_to_replay_from(dataset, tmp_path) -> None:
    kept = options(tmp_path, monitor=EAGER, checkpoints="last", forensics=ForensicsConfig(snapshot_every_steps=1))
    audited = dataclasses.replace(job(**STARVED), audit=True)
    assert isinstance(TrialRunner(dataset, kept).start(audited).advance(), Progress)
    resumed = TrialRunner(dataset, kept).start(audited)
    assert isinstance(resumed.advance(), Progress)
    assert resumed._snapshots is not None and resumed._snapshots.steps == []


def test_a_long_training_keeps_its_latest_health_and_ever_less_of_what_was_before() -> None:
    kept = TrialRecords()
    for step in range(1, 5001):
        kept.keep_health(HealthSample(step, (HealthRecord(step, HealthMetric.UPDATE_RATIO, "a", 0.1),)))
    steps = [record.step for record in kept.health_records]
    assert 100 <= len(steps) <= MAX_HEALTH_SAMPLES and steps == sorted(steps) and steps[0] == 1
    assert steps[-100:] == list(range(4901, 5001))
    few = TrialRecords()
    for sample in kept.health[:MAX_HEALTH_SAMPLES]:
        few.keep_health(sample)
    assert few.health == kept.health, "what fits is left alone"


@pytest.mark.slow
def test_health_is_written_at_the_end_and_with_checkpoints(dataset, tmp_path) -> None:
    for trial_id, checkpoints in (("0000", "none"), ("0001", "last")):
        trial = TrialRunner(dataset, options(tmp_path, checkpoints=checkpoints)).start(
            job(trial_id, health_every_steps=2)
        )
        assert isinstance(trial.advance(), Progress)
        assert (tmp_path / "health" / f"{trial_id}.parquet").is_file() is (checkpoints == "last")
        assert len(store.read_steps(tmp_path, trial_id)) == 10
        while isinstance(trial.advance(), Progress):
            pass
        assert store.read_health(tmp_path, trial_id)["step"].nunique() == 15


def test_peak_memory_counts_what_came_before_a_comparison_with_full_precision(dataset, tmp_path, monkeypatch) -> None:
    trial = TrialRunner(dataset, options(tmp_path)).start(
        job(precision={"kind": "fp16_unscaled"}, health_every_steps=2)
    )
    monkeypatch.setattr("sweep.training.health.peak_memory_mib", lambda device: 1e6)
    while isinstance(result := trial.advance(), Progress):
        pass
    assert result.peak_memory_mib == 1e6


@pytest.mark.slow
def test_a_trial_saved_in_the_middle_goes_on_elsewhere_to_the_same_end(dataset, tmp_path) -> None:
    sampled = {"health_every_steps": 8, "precision": {"kind": "fp16"}}
    whole = run(TrialRunner(dataset, options(tmp_path / "whole")), job(**sampled))
    trial = TrialRunner(dataset, options(tmp_path / "a")).start(job(**sampled))
    assert isinstance(trial.advance(), Progress)
    (tmp_path / "saved").mkdir()
    trial.save(tmp_path / "saved")
    other = TrialRunner(dataset, options(tmp_path / "b"))
    run(other, job("0001", **HOT))
    resumed = other.start(job(**sampled))
    resumed.restore(tmp_path / "saved")
    while isinstance(result := resumed.advance(), Progress):
        pass
    for read in (store.read_steps, store.read_evals):
        one, two = (read(tmp_path / folder, "0000").drop(columns="time_s") for folder in ("whole", "b"))
        assert one.equals(two)
    assert store.read_health(tmp_path / "whole", "0000").equals(store.read_health(tmp_path / "b", "0000"))
    same = ("verdict", "reason", "num_steps", "objective", "margin", "wer", "settings", "settings_changed_at_step")
    assert [getattr(result, name) for name in same] == [getattr(whole, name) for name in same]
    assert result.settings_changed_at_step is None and result.wall_s > 0


def test_a_trial_that_takes_another_s_place_goes_on_with_its_own_settings(dataset, tmp_path) -> None:
    runner = TrialRunner(dataset, options(tmp_path))
    strong = runner.start(job("0000"))
    assert isinstance(strong.advance(), Progress)
    (tmp_path / "saved").mkdir()
    strong.save(tmp_path / "saved")
    weak = runner.start(job("0001", optimizer={"kind": "adamw", "lr": 1e-3, "weight_decay": 0.5}))
    weak.restore(tmp_path / "saved")
    groups = weak._training.optimizer.param_groups  # type: ignore[union-attr]
    assert {group["weight_decay"] for group in groups} == {0.5}, "loading the state has not put the other's in"
    while isinstance(result := weak.advance(), Progress):
        pass
    assert result.trial_id == "0001" and result.settings == {"training.optimizer.lr": 1e-3}
    assert result.settings_changed_at_step == 10 and result.row()["settings_changed_at_step"] == 10
    mine = store.read_steps(tmp_path, "0001")
    while isinstance(strong.advance(), Progress):
        pass
    others = store.read_steps(tmp_path, "0000")
    assert len(mine) == len(others) == 30
    drop = "time_s"
    assert mine[:10].drop(columns=drop).equals(others[:10].drop(columns=drop)), "the course of its weights"
    assert (mine["lr"][10:] < others["lr"][10:])[:-1].all()


def test_a_training_that_is_too_short_to_tell_is_neither_stable_nor_failed(dataset, tmp_path) -> None:
    short = dataclasses.replace(job(eval_every_steps=5), max_steps=10)
    row = run(TrialRunner(dataset, options(tmp_path, forensics=ForensicsConfig(trials=1))), short)
    assert row.verdict is Outcome.TOO_SHORT and not row.stable
    assert (row.numbers, row.learning) == (Numbers.SOUND, Learning.UNKNOWN)
    assert math.isnan(row.margin) and row.objective == min(row.wer, 2.0) and row.cause is None
    assert row.judged_with.startswith("10 losses, the zero-information loss, a uniform output's loss, the budget")


def test_a_trial_that_learns_its_training_data_alone_is_memorised(tmp_path) -> None:
    few = SyntheticConfig.model_validate({**DATA, "num_train": 4, "noise": 3.0}).build()
    long = dataclasses.replace(job(eval_every_steps=20), max_steps=160)
    row = run(TrialRunner(few, options(tmp_path)), long)
    assert row.verdict is Outcome.MEMORISED, row.reason
    assert (row.numbers, row.learning) == (Numbers.SOUND, Learning.MEMORISED) and row.cause is None
    assert row.final_train_loss < 0.9 * row.l_const < row.val_loss, "the training loss fell"
    assert 0 < row.margin <= 1 and row.objective > 2, "to the search it is a failure"
    assert "validation losses" in row.judged_with and row.stop_step is None


def test_a_checkpoint_of_an_earlier_version_goes_on_with_what_its_records_tell(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="best_and_last", early_stop=False)
    whole = run(TrialRunner(dataset, kept), job("0000"))
    trial = TrialRunner(dataset, kept).start(job("0001"))
    assert isinstance(trial.advance(), Progress) and isinstance(trial.advance(), Progress)
    path = tmp_path / "checkpoints" / "0001" / "last.pt"
    torch.save({**torch.load(path, weights_only=True), "monitor": {"monitor": {"num_steps": 20}}}, path)
    resumed = run(TrialRunner(dataset, kept), job("0001"))
    assert (resumed.verdict, resumed.reason, resumed.judged_with) == (whole.verdict, whole.reason, whole.judged_with)


def test_a_trial_that_is_pruned_has_a_row_and_its_records_but_no_verdict(dataset, tmp_path) -> None:
    trial = TrialRunner(dataset, options(tmp_path)).start(job(health_every_steps=8))
    assert isinstance(trial.advance(), Progress)
    row = trial.pruned()
    assert row.verdict is Outcome.PRUNED and row.pruned and not row.stable and not row.verdict.is_diverged
    assert row.num_steps == 10 and row.stop_step is None and row.cause is None and math.isnan(row.margin)
    assert row.objective == trial.worth == min(row.wer, 2.0)
    assert "step 10 of 30" in row.reason and row.step_time_s > 0
    assert len(store.read_steps(tmp_path, "0000")) == 10 and len(store.read_health(tmp_path, "0000"))
    end = run(TrialRunner(dataset, options(tmp_path)), job())
    assert not end.pruned, "asking does not end it"


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _shorten(path: Path) -> None:
    if path.suffix == ".jsonl":
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
        return
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - 1), path)


def _other_table(path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2]}), path)


def _other_state(path: Path) -> None:
    torch.save({"model": {"weight": torch.zeros(3)}}, path)


def _no_state(path: Path) -> None:
    torch.save([1, 2, 3], path)


def _of_another_seed(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["of"]["seed"] += 1
    torch.save(state, path)


def _of_another_model(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["training"]["model"] = {name: value[..., :1] for name, value in state["training"]["model"].items()}
    torch.save(state, path)


def test_a_training_writes_each_record_once_until_its_end(dataset, tmp_path) -> None:
    trial = TrialRunner(dataset, options(tmp_path)).start(job())
    seen = b""
    for num_evals in (1, 2, 3):
        assert isinstance(trial.advance(), Progress)
        for kind, num in (("steps", 10 * num_evals), ("evals", num_evals)):
            assert os.listdir(tmp_path / kind) == ["0000.jsonl"]
            assert len((tmp_path / kind / "0000.jsonl").read_bytes().splitlines()) == num
        content = (tmp_path / "steps" / "0000.jsonl").read_bytes()
        assert content.startswith(seen)
        seen = content
    before = store.read_steps(tmp_path, "0000")
    assert isinstance(trial.advance(), TrialResult)
    assert os.listdir(tmp_path / "steps") == os.listdir(tmp_path / "evals") == ["0000.parquet"]
    assert store.read_steps(tmp_path, "0000").equals(before)


SHORT = dataclasses.replace(job("0001", health_every_steps=4), max_steps=20)


@pytest.fixture(scope="module")
def half_done(dataset, tmp_path_factory) -> Path:
    """The folder of a training that is under way, with its checkpoint."""
    folder = tmp_path_factory.mktemp("half")
    trial = TrialRunner(dataset, options(folder, checkpoints="last", early_stop=False)).start(SHORT)
    assert isinstance(trial.advance(), Progress) and trial.note is None
    return folder


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> TrialResult:
    """Of that training, had nothing come between."""
    return run(TrialRunner(dataset, options(tmp_path_factory.mktemp("whole"), early_stop=False)), SHORT)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(
            (f"{kind}/0001.{form}", damage)
            for kind in ("steps", "evals")
            for form in ("jsonl", "parquet")
            for damage in (Path.unlink, _zero, _shorten)
        ),
        ("steps/0001.jsonl", _cut),
        ("steps/0001.parquet", _cut),
        ("evals/0001.parquet", _other_table),
        ("health/0001.parquet", _zero),
        *(
            ("checkpoints/0001/last.pt", damage)
            for damage in (_cut, _zero, _other_state, _no_state, _of_another_seed, _of_another_model)
        ),
    ],
)
def test_a_trial_whose_state_is_of_no_use_begins_anew_and_says_so(
    dataset, half_done, whole, tmp_path, name, damage
) -> None:
    shutil.copytree(half_done, tmp_path, dirs_exist_ok=True)
    if name.endswith(".parquet"):
        # As earlier versions left them.
        store.settle_records(tmp_path, "0001")
    damage(tmp_path / name)
    resumed = TrialRunner(dataset, options(tmp_path, checkpoints="last", early_stop=False)).start(SHORT)
    assert isinstance(first := resumed.advance(), Progress) and first.step == 10, "from its first step"
    assert resumed.note is not None and resumed.note.endswith("; it begins anew")
    assert isinstance(resumed.advance(), Progress) and resumed.note is None
    result = resumed.advance()
    assert (result.wer, result.val_loss, result.num_steps) == (whole.wer, whole.val_loss, 20)


@contextmanager
def no_more_files() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_machine_that_fails_is_no_result_and_the_trial_runs_again(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="last", early_stop=False)
    trial = TrialRunner(dataset, kept).start(job("0001"))
    assert isinstance(trial.advance(), Progress)
    with no_more_files(), pytest.raises(MachineError, match=r"Too many open files: the machine refused this"):
        trial.advance()
    assert not (tmp_path / "evidence").exists(), "it is no crash"
    assert len(store.read_steps(tmp_path, "0001")) == 10 and len(store.read_evals(tmp_path, "0001")) == 1
    again = TrialRunner(dataset, kept).start(job("0001"))
    assert isinstance(progress := again.advance(), Progress) and progress.step == 20 and again.note is None


def test_a_machine_that_fails_while_a_checkpoint_is_read_costs_no_checkpoint(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="last", early_stop=False)
    assert isinstance(TrialRunner(dataset, kept).start(job("0001")).advance(), Progress)
    with no_more_files(), pytest.raises(MachineError, match=r"Too many open files"):
        TrialRunner(dataset, kept).start(job("0001")).advance()
    assert (tmp_path / "checkpoints" / "0001" / "last.pt").is_file()


_WITH_LITTLE_MEMORY = """
import re, resource, sys
from pathlib import Path
import torch
from slr_models.data import SyntheticConfig
from slr_models.data.labels import LabelsConfig
from sweep.forensics.settings import ForensicsConfig
from sweep.judging.monitor import MonitorConfig
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.trial import TrialRunner
from sweep.training.config import TrialConfig, with_micro_batch
from sweep.training.train import Training

torch.set_num_threads(1)
sizes = {"vocabulary_size": 4, "num_train": 64, "num_valid": 4, "frames_per_label": 6, "max_labels": 20}
data = {"kind": "synthetic", **sizes}
training = {"batch_size": 64, "eval_every_steps": 1}
config = TrialConfig.model_validate({"model": {"kind": "baseline"}, "data": data, "training": training})
options = RunOptions(
    Path(sys.argv[1]), "wer", MonitorConfig(), True, "last",
    accumulates=sys.argv[2] == "accumulate", forensics=ForensicsConfig(trials=0),
)
runner = TrialRunner(SyntheticConfig.model_validate(data).build(), options)
size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024 + 800 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (size, size))
trial = runner.start(Job("0000", 0, 0, 0, "explore", {}, config, 2))
while isinstance(result := trial.advance(), Progress):
    print(trial.note)
print(result.verdict.value, result.micro_batch, result.num_steps)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory differ elsewhere")
@pytest.mark.parametrize("way", ["fail", "accumulate"])
def test_a_training_that_runs_out_of_memory_is_told_apart_and_where_allowed_tried_smaller(tmp_path, way) -> None:
    command = [sys.executable, "-c", _WITH_LITTLE_MEMORY, str(tmp_path), way]
    # What is freed is given back at once, so that the limit is on what is used.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    if way == "fail":
        assert lines == ["out-of-memory None 0"]
        return
    *notes, end = (line for line in lines if line != "None")
    parts = [
        re.fullmatch(r"memory ran out; it begins anew with (\d+) micro-batches of (\d+) an update", n) for n in notes
    ]
    assert parts and all(part and int(part[1]) * int(part[2]) == 64 for part in parts), lines
    outcome, size, num_steps = end.split()
    assert outcome != "out-of-memory" and size == parts[-1][2] and num_steps == "2", lines


def test_smaller_micro_batches_train_on_the_same_utterances(dataset, tmp_path) -> None:
    config = job(batch_size=6, accumulate=2).config
    smaller = with_micro_batch(config, 3)
    trainings = [Training(c, dataset, seed=0, max_steps=4, device=torch.device("cpu")) for c in (config, smaller)]
    one, two = ([index for part in training.next_batches() for index in part] for training in trainings)
    assert one == two and [len(part) for part in trainings[1].next_batches()] == [3, 3, 3, 3]


def test_a_trial_that_was_tried_smaller_goes_on_smaller(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="last", early_stop=False, accumulates=True)
    trial = TrialRunner(dataset, kept).start(job("0001"))
    trial._begin_anew("as after running out of memory", with_micro_batch(trial.job.config, 2))
    assert isinstance(trial.advance(), Progress)
    result = run(TrialRunner(dataset, kept), job("0001"))
    assert result.micro_batch == 2 and result.num_steps == 30


LEARNS = {"optimizer": {"kind": "adamw", "lr": 2e-3}, "eval_every_steps": 20}
SOON = ForegoneConfig(after_rate=0.1, below=1.0)


def mapping(trial_id: str, **more) -> Job:
    return dataclasses.replace(job(trial_id, **LEARNS), max_steps=160, maps=True, **more)


def test_a_training_that_only_maps_ends_where_it_is_as_good_as_stable(dataset, tmp_path) -> None:
    result = run(TrialRunner(dataset, options(tmp_path, foregone=SOON)), mapping("0000"))
    assert result.verdict is Outcome.FOREGONE and result.stable and result.learning is Learning.LEARNED
    assert result.foregone_step == result.num_steps < 160 and result.stop_step is None
    assert "as good as stable" in result.reason and result.margin < 0 and math.isfinite(result.objective)
    assert math.isnan(result.wer) and math.isnan(result.val_loss) and math.isnan(result.final_train_loss)
    assert result.cause is None and len(store.read_steps(tmp_path, "0000")) == result.num_steps


@pytest.mark.parametrize("why", ["it is audited", "nothing is ended early", "its result is asked for", "it is off"])
def test_or_it_runs_on_to_its_end(dataset, tmp_path, why) -> None:
    more = {"foregone": None if why == "it is off" else SOON, "early_stop": why != "nothing is ended early"}
    asked = mapping("0000", audit=why == "it is audited")
    if why == "its result is asked for":
        asked = dataclasses.replace(asked, maps=False)
    result = run(TrialRunner(dataset, options(tmp_path, **more)), asked)
    assert result.num_steps == 160 and result.verdict is not Outcome.FOREGONE and math.isfinite(result.wer)
    assert (result.foregone_step is not None) == (why in ("it is audited", "nothing is ended early"))


def test_where_it_was_as_good_as_stable_survives_an_interrupt(dataset, tmp_path) -> None:
    kept = options(tmp_path, foregone=SOON, checkpoints="best_and_last")
    whole = run(TrialRunner(dataset, kept), mapping("0000", audit=True))
    trial = TrialRunner(dataset, kept).start(mapping("0001", audit=True))
    while isinstance(report := trial.advance(), Progress) and report.step < 140:
        pass
    resumed = run(TrialRunner(dataset, kept), mapping("0001", audit=True))
    assert resumed.foregone_step == whole.foregone_step is not None and resumed.num_steps == 160
