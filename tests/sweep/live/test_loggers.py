"""TensorBoard and MLflow as Ray's loggers fill them for us. Weights & Biases needs a running Ray: test_runner.py."""

import dataclasses
import math
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from slr_models.errors import SettingError
from sweep.live import loggers
from sweep.live.loggers import TrialLogger, check_loggers, open_loggers
from sweep.logs.events import _records
from sweep.records import Outcome, TrialResult
from sweep.run import main
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.trial import crashed_result

SETTINGS = {"training.precision.kind": "fp16", "training.optimizer.lr": 0.25}
JOB = Job("0007", 7, 7, 3, "explore", SETTINGS, None, 100)


def result(**changes: Any) -> TrialResult:
    blank = crashed_result(JOB, RunOptions(None, "wer", None, True, "none"), "the loss rose to 9.8")
    return dataclasses.replace(blank, verdict=Outcome.DIVERGED_LOSS, stop_step=60, num_steps=60, **changes)


def train(logger: TrialLogger, *, end: bool = True) -> None:
    """A trial that is evaluated, dies, begins anew, and diverges."""
    logger.started(JOB)
    logger.progressed(JOB, Progress(25, 100, 3.5, math.inf, 1.0, lr=0.25, grad_norm=math.nan, samples_per_s=12.5))
    logger.retried(JOB)
    logger.started(JOB)
    logger.progressed(JOB, Progress(50, 100, 2.5, 2.0, 0.75, lr=0.125, grad_norm=4.0, samples_per_s=12.5))
    logger.explaining(JOB)
    if end:
        logger.finished(result(objective=2.4, margin=0.6, cause="learning rate too high"))
    logger.close()
    assert logger.problem is None


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.glob("events.*")):
        for record in _records(path, path.read_bytes(), []):
            event = Event.FromString(record)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_shows_a_trial_by_its_settings_with_its_verdict(tmp_path) -> None:
    (logger,) = open_loggers(["tensorboard"], "s", tmp_path)
    train(logger)
    (folder,) = (tmp_path / "tensorboard").iterdir()
    assert folder.name == "0007 precision=fp16 lr=0.25"
    found = scalars(folder)
    assert found["ray/tune/train_loss"] == [(25, 3.5), (50, 2.5)]
    assert found["ray/tune/val_loss"] == [(50, 2.0)], "what is not finite is left out"
    assert found["ray/tune/grad_norm"] == [(50, 4.0)] and found["ray/tune/samples_per_s"][0] == (25, 12.5)
    assert found["ray/tune/stable"] == [(60, 0.0)] and found["ray/tune/stop_step"] == [(60, 60.0)]
    assert any(b"verdict" in p.read_bytes() and b"diverged-loss" in p.read_bytes() for p in folder.iterdir())


def test_of_an_open_end_a_logger_hears_neither_stable_nor_not(tmp_path) -> None:
    (logger,) = open_loggers(["tensorboard"], "s", tmp_path)
    logger.started(JOB)
    logger.finished(dataclasses.replace(result(objective=0.9, margin=math.nan), verdict=Outcome.TOO_SHORT))
    logger.close()
    (folder,) = (tmp_path / "tensorboard").iterdir()
    found = scalars(folder)
    assert found["ray/tune/objective"] == [(60, pytest.approx(0.9))]
    assert "ray/tune/stable" not in found and "ray/tune/margin" not in found


@pytest.fixture
def mlflow():
    with warnings.catch_warnings():
        # Of its own dependencies.
        warnings.simplefilter("ignore")
        return pytest.importorskip("mlflow")


@pytest.mark.slow
@pytest.mark.parametrize("store", ["own", "files"])
@pytest.mark.filterwarnings("ignore")
def test_mlflow_holds_a_run_a_trial(tmp_path, monkeypatch, mlflow, store) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = {"own": f"sqlite:///{tmp_path}/mlflow.db", "files": f"file:{tmp_path}/m"}
    option = "mlflow" if store == "own" else f"mlflow={uri[store]}"
    (logger,) = open_loggers([option], "s", tmp_path)
    train(logger)
    (again,) = open_loggers([option], "s", tmp_path)
    train(again, end=False)
    client = mlflow.MlflowClient(tracking_uri=uri[store])
    experiment = client.get_experiment_by_name("s")
    interrupted, ended = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])
    assert ended.info.run_name == "0007 precision=fp16 lr=0.25" and ended.info.status == "FINISHED"
    assert ended.data.params == {"seed": "3", "phase": "explore", "precision": "fp16", "lr": "0.25"}
    tags = {
        "study": "s",
        "verdict": "diverged-loss",
        "numbers": "unknown",
        "learning": "unknown",
        "reason": "the loss rose to 9.8",
        "cause": "learning rate too high",
    }
    assert tags.items() <= ended.data.tags.items()
    assert ended.data.metrics["stable"] == 0 and ended.data.metrics["objective"] == 2.4
    assert "wall_s" not in ended.data.metrics, "what is unknown is left out"
    losses = client.get_metric_history(ended.info.run_id, "train_loss")
    assert [(m.step, m.value) for m in losses] == [(25, 3.5), (50, 2.5)]
    assert interrupted.info.status == "FAILED" and interrupted.data.tags["verdict"] == "interrupted"


def test_a_server_that_fails_on_the_way_is_told_of_and_holds_up_nothing(tmp_path, monkeypatch) -> None:
    stuck = threading.Event()

    class Failing:
        """A logger whose server answers late, and then with an error."""

        def log_trial_start(self, trial) -> None:
            stuck.wait(30)
            raise ConnectionError("no answer")

        def log_trial_result(self, step, trial, numbers) -> None:
            raise AssertionError("nothing is sent after the first error")

        log_trial_end = log_trial_result

        def on_experiment_end(self, trials) -> None:
            raise AssertionError("nothing is sent after the first error")

    logger = TrialLogger("a server", Failing(), "s", lambda title: tmp_path)
    logger.started(JOB)
    logger.progressed(JOB, Progress(25, 100, 3.5, 2.5, 1.0))
    logger.finished(result())
    monkeypatch.setattr(loggers, "CLOSE_S", 0.1)
    logger.close()
    assert logger.problem == "it took longer than 0 s to send the rest"
    logger.problem = None
    stuck.set()
    logger._thread.join(30)
    assert logger.problem == "ConnectionError: no answer"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tensorbord"], "give tensorboard, mlflow, mlflow=URI, wandb or wandb=PROJECT"),
        (["tensorboard=x"], "give tensorboard, mlflow"),
        (["mlflow="], "give tensorboard, mlflow"),
        (["tensorboard", "tensorboard"], "tensorboard stands twice"),
    ],
)
def test_a_mistake_in_what_to_log_to_is_told_before_anything_starts(tmp_path, capsys, options, message) -> None:
    arguments = [part for option in options for part in ("--log", option)]
    assert main(["studies/smoke.yaml", "--results", str(tmp_path / "r"), *arguments]) == 2
    told = capsys.readouterr()
    assert message in told.err and not told.out and not (tmp_path / "r").exists()


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch) -> None:
    for name, package in (("mlflow", "mlflow-skinny"), ("wandb", "wandb"), ("tensorboardX", "tensorboardX")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SettingError, match=f"pip install {package}"):
            check_loggers(["tensorboard" if name == "tensorboardX" else name])


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_cannot_be_reached_is_one_clear_line(tmp_path, monkeypatch, mlflow) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(SettingError, match=r"--log mlflow=http://127.0.0.1:9: .*127.0.0.1"):
        open_loggers(["mlflow=http://127.0.0.1:9"], "s", tmp_path)
