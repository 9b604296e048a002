"""One trial from its start to its row: verdicts as results, early stop, checkpoints, crashes."""

import dataclasses
import math

import pytest

from slr_models.data import SyntheticConfig
from sweep import store
from sweep.monitor import MonitorConfig
from sweep.records import Outcome, TrialResult
from sweep.train import TrialConfig
from sweep.trial import Job, Progress, RunOptions, TrialRunner

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
    return SyntheticConfig.model_validate(DATA).build()


def job(trial_id: str = "0000", seed: int = 0, **training) -> Job:
    config = TrialConfig.model_validate(
        {
            "model": {"kind": "baseline", "width": 0.0625},
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
    defaults = RunOptions(tmp_path, "wer", MonitorConfig(), True, "none")
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


def test_trials_after_one_another_do_not_touch_each_other(dataset, tmp_path) -> None:
    runner = TrialRunner(dataset, options(tmp_path))
    run(runner, job("0000", **HOT))
    after = run(runner, job("0001", precision={"kind": "fp16"}))
    fresh = run(TrialRunner(dataset, options(tmp_path)), job("0002", precision={"kind": "fp16"}))
    one, two = (store.read_steps(tmp_path, r.trial_id).drop(columns="time_s") for r in (after, fresh))
    assert one.equals(two), "bit-identical, whatever ran before in the process"
    assert after.precision_implementation == fresh.precision_implementation != ""


def test_an_interrupted_trial_goes_on_from_its_checkpoint_to_the_same_end(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="best_and_last", early_stop=False)
    whole = run(TrialRunner(dataset, kept), job("0000"))
    trial = TrialRunner(dataset, kept).start(job("0001"))
    assert isinstance(trial.advance(), Progress)
    assert isinstance(trial.advance(), Progress)
    resumed = run(TrialRunner(dataset, kept), job("0001"))
    for read in (store.read_steps, store.read_evals):
        one, two = (read(tmp_path, t).drop(columns="time_s") for t in ("0000", "0001"))
        assert one.equals(two)
    assert resumed.verdict is whole.verdict and resumed.wer == whole.wer and resumed.num_steps == 30
    assert (tmp_path / "checkpoints" / "0001" / "best.pt").is_file()


def test_a_damaged_checkpoint_means_a_new_beginning(dataset, tmp_path) -> None:
    kept = options(tmp_path, checkpoints="best_and_last", early_stop=False)
    whole = run(TrialRunner(dataset, kept), job("0000"))
    trial = TrialRunner(dataset, kept).start(job("0001"))
    assert isinstance(trial.advance(), Progress)
    path = tmp_path / "checkpoints" / "0001" / "last.pt"
    path.write_bytes(path.read_bytes()[:1000])
    assert run(TrialRunner(dataset, kept), job("0001")).wer == whole.wer


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
