"""What a run tells of its end, to its folder and to people elsewhere; without Ray, which none of these gets to: where
it would start, programs of its processes' names do."""

import dataclasses
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slr_models.errors import MachineError
from sweep.__main__ import main
from sweep.records import Outcome
from sweep.run import trainings
from sweep.running.job import RunOptions
from sweep.running.judged import crashed_result
from sweep.running.session import StudySession
from sweep.status.answer import State
from sweep.status.reading import Reader
from sweep.study import load

TEXT = """
name: told
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 32, num_valid: 8, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 20}
space: {training.optimizer.lr: {loguniform: [1e-4, 1e-1]}}
search: {kind: random, seed: 0}
budget: {trials: 2, steps: 40}
confirm: {settings: 0}
forensics: {trials: 0}
"""
SECRET = "T0PS3CR3T-p4th"
STARTING = """
import subprocess, sys, time
import ray
from sweep.__main__ import main

def init(**options):
    started = [subprocess.Popen([f"{sys.argv[1]}/{name}", "60"]) for name in ("gcs_server", "raylet")]
    time.sleep(1)
    print("starting", flush=True)
    if sys.argv[2] == "dies":
        started[1].kill()
    time.sleep(60)

ray.init = init
sys.exit(main(sys.argv[3:]))
"""
"""A Ray that starts for a minute, or dies as it does."""
pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "told.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a webhook, and what it has got."""
    taken: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{SECRET}", taken
        server.shutdown()


def run(study: Path, *more: str) -> int:
    return main(["run", str(study), "--results", str(study.parent / "results"), *more])


def files_with(folder: Path, text: str) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def test_a_run_out_of_time_says_so_in_its_folder_and_to_nobody_else(study: Path, hook, capfd) -> None:
    url, taken = hook
    assert run(study, "--time", "1s", "--notify", url) == 75
    status = Reader(study.parent / "results" / "told").read()
    assert (status.state, status.why, status.planned, taken) == (State.ENDED_EARLY, "out of time", 2, [])
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err and not files_with(study.parent, SECRET)


def test_a_finished_study_is_told_of(study: Path, hook) -> None:
    url, taken = hook
    folder = study.parent / "results" / "told"
    with StudySession(load(study), folder, 32) as session:
        while (job := session.next_job()) is not None:
            blank = crashed_result(job, RunOptions(folder, "wer", None, True, "none"), "made up")
            session.tell(dataclasses.replace(blank, verdict=Outcome.DIVERGED_LOSS, num_steps=20, margin=0.5))
    assert run(study, "--notify", url) == 0
    status = Reader(folder).read()
    assert (status.state, status.done, status.planned) == (State.FINISHED, 2, 2)
    assert status.report == str(folder / "report.html")
    (message,) = taken
    assert (message["event"], message["state"], message["outcomes"]) == ("end", "finished", {"diverged-loss": 2})
    assert str(study.parent) not in json.dumps(message)


def test_a_failure_is_told_of(study: Path, hook, monkeypatch, capfd) -> None:
    url, taken = hook

    def no_ray(*_: object) -> None:
        raise MachineError(f"Ray does not start in {study.parent}")

    monkeypatch.setattr(trainings, "cluster", no_ray)
    assert run(study, "--notify", url) == 3
    status = Reader(study.parent / "results" / "told").read()
    assert status.state is State.ENDED_EARLY and status.why == f"failed: Ray does not start in {study.parent}"
    (message,) = taken
    assert (message["event"], message["state"]) == ("failure", "failed")
    assert str(study.parent) not in json.dumps(message)
    told = capfd.readouterr()
    assert SECRET not in told.out + told.err


def starting(study: Path, what: str, *more: str) -> "subprocess.Popen[str]":
    """The run of a study whose Ray has begun to start."""
    for name in ("gcs_server", "raylet"):
        shutil.copy(str(shutil.which("sleep")), study.parent / name)
    results = str(study.parent / "results")
    process = subprocess.Popen(
        [sys.executable, "-c", STARTING, str(study.parent), what, "run", str(study), "--results", results, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_TMPDIR": str(study.parent)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) != "starting\n":
        assert line, process.communicate()
    return process


def test_the_death_of_a_ray_that_starts_is_told_before_the_run_ends(study: Path, hook) -> None:
    url, taken = hook
    _, err = (run := starting(study, "dies", "--notify", url)).communicate(timeout=30)
    why = (
        "Ray died while it started (raylet is gone: killed, out of memory, or `ray stop`): nothing of a finished trial "
        "is lost; the same command goes on"
    )
    assert (run.returncode, err) == (3, f"error: {why}\n")
    status = Reader(study.parent / "results" / "told").read()
    assert (status.state, status.why, status.has_ended) == (State.ENDED_EARLY, f"failed: {why}", True)
    (message,) = taken
    assert (message["event"], message["state"]) == ("failure", "failed")
    assert message["text"].startswith("Ray died while it started. ") and "the same command goes on" in message["text"]


def test_a_server_that_is_slow_holds_that_end_up_for_seconds_alone(study: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        run = starting(study, "dies", "--notify", f"http://127.0.0.1:{silent.getsockname()[1]}/{SECRET}")
        began = time.monotonic()
        out, err = run.communicate(timeout=30)
    assert run.returncode == 3 and time.monotonic() - began < 10 and SECRET not in out + err
    assert Reader(study.parent / "results" / "told").read().state is State.ENDED_EARLY


def test_ctrl_c_while_ray_starts_is_no_silence(study: Path) -> None:
    run = starting(study, "lives")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=30)
    status = Reader(study.parent / "results" / "told").read()
    assert (run.returncode, status.state, status.why) == (130, State.ENDED_EARLY, "interrupted")
