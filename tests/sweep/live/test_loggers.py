"""TensorBoard and MLflow as Ray's loggers fill them for us. Weights & Biases needs a running Ray: test_runner.py."""

import base64
import dataclasses
import http.server
import io
import json
import math
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

from slr_models.errors import SettingError
from sweep.live import loggers, metrics
from sweep.live.loggers import TrialLogger, check_loggers, open_loggers
from sweep.live.views import Views
from sweep.logs.events import _records
from sweep.records import Outcome, TrialResult
from sweep.run import main, trainings
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.judged import crashed_result

SETTINGS = {"training.precision.kind": "fp16", "training.optimizer.lr": 0.25}
JOB = Job("0007", 7, 7, 3, "explore", SETTINGS, None, 100)


def result(**changes: Any) -> TrialResult:
    blank = crashed_result(JOB, RunOptions(None, "wer", None, True, "none"), "the loss rose to 9.8")
    return dataclasses.replace(blank, verdict=Outcome.DIVERGED_LOSS, stop_step=60, num_steps=60, **changes)


def train(logger: TrialLogger, *, end: bool = True) -> None:
    """A trial that is evaluated, dies, begins anew, and diverges."""
    logger.started(JOB)
    logger.progressed(JOB, Progress(25, 100, 3.5, math.inf, 1.0, lr=0.25, grad_norm=math.nan, samples_per_s=12.5))
    logger.retried(JOB, "its process was killed")
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


def test_tensorboard_itself_finds_what_was_logged(tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    (logger,) = open_loggers(["tensorboard"], "s", tmp_path)
    train(logger)
    command = [sys.executable, "-m", "tensorboard.main", "--inspect", "--logdir", str(tmp_path / "tensorboard")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "ray/tune/train_loss" in done.stdout, done.stdout + done.stderr


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


SECRET = "s3cret-w0rd"


@pytest.fixture
def no_answer_is_soon_known(monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # Set by what is tested; a test leaves the environment as it was.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "address",
    [
        f"http://me:{SECRET}@127.0.0.1:9",
        f"http://{SECRET}@127.0.0.1:9",
        f"http://me:{SECRET}/more@127.0.0.1:9",
        f"http://127.0.0.1:9?token={SECRET}",
        f"http://me:{SECRET}@[::1",
        f"postgresql://me:{SECRET}@127.0.0.1:9/db",
        f"mysql://me:{SECRET}@127.0.0.1:9/db?password={SECRET}",
        f"nonsense://me:{SECRET}@127.0.0.1:9",
    ],
)
@pytest.mark.parametrize("by_variable", [False, True])
def test_no_message_holds_a_password(
    tmp_path, monkeypatch, mlflow, no_answer_is_soon_known, capfd, caplog, address, by_variable
) -> None:
    if by_variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with warnings.catch_warnings(record=True) as warned, pytest.raises(SettingError) as caught:
        open_loggers(["mlflow" if by_variable else f"mlflow={address}"], "s", tmp_path)
    told = "".join(traceback.format_exception(caught.value)) + "".join(str(one.message) for one in warned)
    assert "--log mlflow" in told
    assert SECRET not in told + "".join(capfd.readouterr()) + caplog.text
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


class _Refusing(http.server.BaseHTTPRequestHandler):
    """An MLflow server that knows the experiment, and refuses to take a run."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self) -> None:
        self._answer(200, {"experiment": {"experiment_id": "1", "name": "s", "lifecycle_stage": "active"}})

    def do_POST(self) -> None:
        # Like a careless one, it repeats what it was told.
        self._answer(403, {"error_code": "PERMISSION_DENIED", "message": f"not with {SECRET}"})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.mark.filterwarnings("ignore")
def test_a_server_is_told_the_password_and_nobody_else(
    tmp_path, mlflow, no_answer_is_soon_known, capfd, caplog
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        (logger,) = open_loggers([f"mlflow=http://me:{SECRET}@127.0.0.1:{server.server_port}"], "s", tmp_path)
        logger.started(JOB)
        logger.finished(result())
        logger.close()
        server.shutdown()
        thread.join()
    expected = "Basic " + base64.b64encode(f"me:{SECRET}".encode()).decode()
    assert {given for _, given in _Refusing.asked} == {expected}
    assert logger.problem is not None and "PERMISSION_DENIED: not with ***" in logger.problem
    assert SECRET not in logger.problem + "".join(capfd.readouterr()) + caplog.text


@pytest.mark.filterwarnings("ignore")
def test_a_server_that_cannot_be_reached_is_one_clear_line(tmp_path, monkeypatch, mlflow) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(SettingError, match=r"--log mlflow=http://127.0.0.1:9: .*127.0.0.1"):
        open_loggers(["mlflow=http://127.0.0.1:9"], "s", tmp_path)


@pytest.mark.parametrize("raised", [RuntimeError("no\nmore"), SystemExit("no"), BaseException("no")])
def test_whatever_a_logger_raises_costs_a_note_and_never_the_run(tmp_path, raised) -> None:
    """Compiled parts of loggers raise what is no Exception."""

    class Failing:
        def log_trial_start(self, trial) -> None:
            raise raised

        def on_experiment_end(self, trials) -> None:
            raise raised

    logger = TrialLogger("a server", Failing(), "s", lambda title: tmp_path)
    logger.started(JOB)
    logger.finished(result())
    said = io.StringIO()
    trainings._close([logger], Console(file=said))
    assert said.getvalue() == f"  note: not all was logged to a server: {type(raised).__name__}: no\n"


def test_a_logger_that_cannot_even_be_closed_keeps_no_other_from_it(tmp_path) -> None:
    one, other = (TrialLogger(name, None, "s", lambda title: tmp_path) for name in ("one", "other"))
    one._events = None  # whatever may go wrong within
    said = io.StringIO()
    trainings._close([one, other], Console(file=said))
    assert said.getvalue().startswith("  note: not all was logged to one: 'NoneType'")
    assert not other._thread.is_alive()


def test_a_view_that_fails_is_told_nothing_more_and_the_others_are(tmp_path) -> None:
    def no_folder(title: str) -> Path:
        raise OSError("no folder")

    broken = TrialLogger("a server", None, "s", no_folder)
    heard, said = [], []
    terminal = SimpleNamespace(started=heard.append, retried=lambda job, reason: heard.append(reason))
    views = Views(terminal, [broken], said.append)
    views.started(JOB)
    views.retried(JOB, "once more")
    assert heard == [JOB, "once more"]
    assert said == ["note: a server: nothing more is told there (OSError: no folder)"]
    broken.close()


def test_metrics_that_ray_does_not_take_are_left_out(tmp_path, monkeypatch) -> None:
    def refuses(*_: object) -> None:
        raise UnicodeEncodeError("ascii", "\u00f6", 0, 1, "ordinal not in range(128)")

    monkeypatch.setattr(metrics.Gauge, "set", refuses)
    session = SimpleNamespace(study=SimpleNamespace(name="s"), results=[], num_planned=3, stop_reason=None)
    said = io.StringIO()
    assert trainings._metrics(session, Console(file=said, width=200)) == []
    assert said.getvalue().startswith("  note: no metrics are exported ('ascii' codec can't encode")
