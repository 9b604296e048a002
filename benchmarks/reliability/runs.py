"""A run of the command line as a process that is watched from outside, and what its results folder tells."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

MARK = "SLR_SWEEP_TEST_RUN"
"""Variable of the environment by which all processes of a run are known, those too whose parents have died."""

STUDY = """
name: short
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic, vocabulary_size: 4, num_train: 24, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 5}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
search: {kind: random, seed: 1}
budget: {trials: 20, steps: 10}
confirm: {settings: 0}
forensics: {trials: 0}
"""
"""Trainings of a fraction of a second, so that most of a run is what lies between them."""


@dataclass
class Run:
    """A command that was started on a study."""

    process: "subprocess.Popen[bytes]"
    out: IO[str]
    err: IO[str]
    """What it prints; files, since a pipe that nobody reads is full after some hundred trials."""
    folder: Path
    """Of the study's results."""
    mark: str
    seen: set[psutil.Process] = field(default_factory=set)

    @property
    def processes(self) -> list[psutil.Process]:
        """Its processes that are alive, the command itself among them."""
        for process in marked(self.mark):
            self.seen.add(process)
            with contextlib.suppress(psutil.Error):
                # Some write their names over their environment.
                self.seen.update(process.children(recursive=True))
        return [process for process in self.seen if _is_alive(process)]

    def wait_for_results(self, number: int, timeout_s: float = 180) -> None:
        """Waits until so many trials are finished, or the command has ended."""
        wait_until(lambda: len(told(self.folder)) >= number or self.process.poll() is not None, timeout_s)

    def end(self, timeout_s: float = 180) -> tuple[int, str, str]:
        """Waits for the command; returns its exit code, and what it printed on stdout and stderr."""
        code = self.process.wait(timeout_s)
        printed = []
        for file in (self.out, self.err):
            with file:
                file.seek(0)
                printed.append(file.read())
        return code, printed[0], printed[1]

    def left_behind(self, within_s: float = 10) -> list[str]:
        """What is still alive so long after the command's end."""
        deadline = time.monotonic() + within_s
        while (left := self.processes) and time.monotonic() < deadline:
            time.sleep(0.1)
        return [f"{process.pid} {process.name()}" for process in left]


def start(study: Path, results: Path, *more: str, program: tuple[str, ...] = (), **environment: str) -> Run:
    """Starts `sweep.run` in a session of its own, where Ctrl-C is heeded as in a terminal."""
    mark = uuid.uuid4().hex
    out, err = (tempfile.TemporaryFile("w+", encoding="utf-8") for _ in range(2))
    usual = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    process = subprocess.Popen(
        [*(program or (sys.executable, "-m", "sweep.run")), str(study), "--results", str(results), *more],
        stdout=out,
        stderr=err,
        start_new_session=True,
        preexec_fn=_heed_sigint,
        env={**usual, "OMP_NUM_THREADS": "1", **environment, MARK: mark},
    )
    return Run(process, out, err, results / study.stem, mark)


def _heed_sigint() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def marked(mark: str) -> list[psutil.Process]:
    """The processes that a run has started and that are alive."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until(reached: Any, timeout_s: float) -> None:
    """Waits until a condition holds.

    Raises:
        TimeoutError: it does not in time.
    """
    deadline = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not reached within {timeout_s:g} s")
        time.sleep(0.02)


def lines(folder: Path, event: str) -> list[dict[str, Any]]:
    """The complete lines of a kind in a results folder's ledger."""
    try:
        content = (folder / "ledger.jsonl").read_bytes()
    except FileNotFoundError:
        return []
    complete = content[: content.rfind(b"\n") + 1].splitlines()
    return [line for line in map(json.loads, complete) if line["event"] == event]


def told(folder: Path) -> list[str]:
    """The numbers of the finished trials, as often as they were told."""
    return [line["trial_id"] for line in lines(folder, "tell")]


def violations(before: list[dict[str, Any]], folder: Path) -> list[str]:
    """What of a ledger does not hold after something has happened, given the results that it had before."""
    after = lines(folder, "tell")
    found = []
    if after[: len(before)] != before:
        found.append("a finished trial is lost or has changed")
    found += [f"trial {one} was told {n} times" for one, n in Counter(told(folder)).items() if n > 1]
    asked = Counter(line["trial_id"] for line in lines(folder, "ask"))
    found += [f"trial {one} was asked for {n} times" for one, n in asked.items() if n > 1]
    found += [f"trial {one} was never asked for" for one in told(folder) if one not in asked]
    return found
