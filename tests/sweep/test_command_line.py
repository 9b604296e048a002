"""How commands end: each exit code, signals, standard output that is JSON alone, plain lines."""

import argparse
import io
import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from slr_models.errors import MachineError
from sweep import command_line, store
from sweep.__main__ import main
from sweep.command_line import Command

ROOT = Path(__file__).parents[2]
LR = "training.optimizer.lr"
STUDY = """
name: tiny
model: {kind: baseline, width: 0.0625}
data: {kind: custom, factory: "slow_data:build"}
space: {training.optimizer.lr: {loguniform: [1e-3, 1]}}
search: {kind: random}
budget: {trials: 2, steps: 60}
"""
SLOW = """
import time
def build():
    print("a line of the source's own", flush=True)
    open("begun", "w").close()
    time.sleep(300)
"""
NOISY = """
from slr_models.data import SyntheticConfig
def build():
    print("a line of the source's own")
    return SyntheticConfig(vocabulary_size=4, num_train=8, num_valid=4).build()
"""


def results(folder: Path, verdicts: list[str]) -> Path:
    """A results folder whose trainings ended so."""
    study = {
        "name": folder.name,
        "model": {"kind": "teacher"},
        "data": {"kind": "synthetic"},
        "budget": {"steps": 100},
        "space": {LR: {"loguniform": [1e-5, 1e-1]}},
        "search": {"kind": "random"},
        "objective": "wer",
        "training": {"batch_size": 8},
        "provenance": {"versions": {"torch": "2.13.0"}, "host": {"cores": 2}},
    }
    store.write_yaml(folder / "study.yaml", study)
    rows = []
    for number, verdict in enumerate(verdicts):
        stable = verdict == "stable"
        rows.append(
            {"trial_id": f"{number:04d}", "number": number, "group": number, "seed": number, "phase": "explore",
             "verdict": verdict, "stable": stable, "reason": "", "audited": False, "num_steps": 100,
             "max_steps": 100, "objective": 0.5, "margin": -0.5 if stable else 0.5, "wall_s": 10.0, "cpu_s": 9.0,
             "step_time_s": 0.1, "peak_memory_mib": 500.0, "wer": 0.5 if stable else None, LR: 1e-3 * 1.1**number}
        )  # fmt: skip
    store.write_trials(folder, rows)
    return folder


def ended(
    *arguments: object,
    stdout: int | IO[str] = subprocess.PIPE,
    prepare: Callable[[], None] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """A command that ran to its end."""
    return subprocess.run(
        [sys.executable, "-m", "sweep", *map(str, arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
        cwd=folder,
        env=environment(folder),
        timeout=120,
    )


def environment(folder: Path | None) -> dict[str, str]:
    """In which modules of a folder are found, and this program where it is not installed."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder or ROOT), str(ROOT)])}


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.slow
def test_0_a_verdict_is_an_answer_and_no_failure(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("step,loss\n" + "".join(f"{step},{3.0 if step < 40 else 30.0}\n" for step in range(1, 200)))
    done = ended("replay", log, "--l-const", "3.3")
    assert done.returncode == 0 and json.loads(done.stdout)["verdict"] == "diverged-loss"
    compact = ended("replay", log, "--l-const", "3.3", "--json")
    assert compact.returncode == 0 and json.loads(compact.stdout) == json.loads(done.stdout)
    assert compact.stdout.count("\n") == 1


@pytest.mark.slow
def test_1_is_an_answer(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", ["stable"] * 14), results(tmp_path / "b", ["stalled"] * 14)
    done = ended("compare", a, b)
    assert done.returncode == 1 and done.stderr == "" and " regressions, 0 improvements" in done.stdout


@pytest.mark.slow
def test_2_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    done = ended("report", tmp_path / "none")
    assert done.returncode == 2 and "is not a folder" in one_line(done)
    assert ended("report").returncode == 2


@pytest.mark.slow
def test_3_is_a_disk_that_is_full(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", ["stable"] * 6), results(tmp_path / "b", ["stable"] * 6)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    (tmp_path / "out").mkdir()
    done = ended("compare", a, b, "--output", tmp_path / "out" / "found.json", prepare=little_room)
    assert done.returncode == 3 and "no setting is wrong" in one_line(done)
    assert list((tmp_path / "out").iterdir()) == [], "nothing half-written"
    done = ended("compare", a, b, "--output", "/dev/full")
    assert done.returncode == 3 and "No space left on device" in one_line(done)
    with open("/dev/full", "w") as full:
        done = ended("compare", a, b, "--json", stdout=full)
    assert done.returncode == 3 and "No space left on device" in one_line(done)


def test_3_is_a_machine_that_cannot_do_it(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: object) -> int:
        raise MachineError("Ray could not be started")

    assert Command(name="x", summary="", description="", work=work).main([]) == 3
    assert capsys.readouterr().err == "error: Ray could not be started\n"


@pytest.mark.slow
@pytest.mark.parametrize("form", [["--json"], []])
def test_a_reader_that_has_gone_hears_nothing(tmp_path: Path, form: list[str]) -> None:
    a, b = results(tmp_path / "a", ["stable"] * 6), results(tmp_path / "b", ["stable"] * 6)
    reading, writing = os.pipe()
    os.close(reading)
    done = ended("compare", a, b, *form, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.slow
def test_4_is_nothing_to_compare(tmp_path: Path) -> None:
    done = ended("compare", results(tmp_path / "a", ["stable"] * 6), results(tmp_path / "unborn", []), "--json")
    assert (done.returncode, done.stdout) == (4, "") and "no finished trial" in one_line(done)


def test_every_code_stands_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, table = text.split("| exit code |", 1)
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", table.split("\n\n", 1)[0], re.MULTILINE)}
    assert told == {value for name, value in vars(command_line).items() if name.startswith("EXIT_")}


def ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def heed_sigint() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


WAYS = [(signal.SIGINT, heed_sigint), (signal.SIGTERM, heed_sigint), (signal.SIGTERM, ignore_sigint)]
"""Ctrl-C, a job scheduler, and the same for what a script started in the background."""


# A signal that comes in the moment before a sleep begins is heard when that ends: they sleep shortly.
WAITING = """
import sys, time
from pathlib import Path
from sweep.command_line import Command

def work(options):
    Path("begun").touch()
    while True:
        time.sleep(0.05)

sys.exit(Command(name="x", summary="", description="", work=work).main([]))
"""


@pytest.mark.parametrize(("number", "prepare"), WAYS)
def test_130_is_an_interrupted_command(tmp_path: Path, number: int, prepare: Callable[[], None]) -> None:
    assert interrupted([sys.executable, "-c", WAITING], tmp_path, number, prepare) == ("", "interrupted\n")


DROPPING = """
import sys, time
from pathlib import Path
from sweep.command_line import Command

class Slow:
    def __del__(self):
        # What is raised here, Python prints and drops.
        Path("begun").touch()
        time.sleep(3)

def work(options):
    Slow()
    while True:
        time.sleep(0.05)

sys.exit(Command(name="x", summary="", description="", work=work).main([]))
"""


def test_an_interrupt_that_python_drops_comes_again(tmp_path: Path) -> None:
    assert interrupted([sys.executable, "-c", DROPPING], tmp_path, signal.SIGINT, heed_sigint) == ("", "interrupted\n")


HANGING = """
import sys, time
from pathlib import Path
from sweep.command_line import Command, before_leaving

def work(options):
    with before_leaving(lambda: print("tidied", flush=True)):
        try:
            Path("begun").touch()
            while True:
                time.sleep(0.05)
        finally:
            print("hanging", flush=True)
            while True:
                time.sleep(0.05)

sys.exit(Command(name="x", summary="", description="", work=work).main([]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_one_ends_a_command_that_hangs_at_once_and_tidily(tmp_path: Path, number: int) -> None:
    process = begun([sys.executable, "-c", HANGING], tmp_path, heed_sigint)
    process.send_signal(number)
    assert process.stdout is not None and process.stdout.readline() == "hanging\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "tidied\n", "interrupted\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tiny.yaml"], "interrupted: nothing of a finished trial is lost; the same command goes on\n"),
        (["check", "tiny.yaml", "--json"], "{code}a line of the source's own\ninterrupted\n"),
        (["explain", "tiny", "0", "--trust"], "interrupted\n"),
    ],
)
def test_every_long_command_ends_on_sigterm(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "slow_data.py").write_text(SLOW)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    folder = results(tmp_path / "tiny", ["stalled"])
    (folder / "study.yaml").write_text(STUDY)
    before = sorted(folder.rglob("*"))
    command = [sys.executable, "-m", "sweep", *arguments]
    _, err = interrupted(command, tmp_path, signal.SIGTERM, ignore_sigint)
    assert (
        err == message.format(code=runs_code(tmp_path))
        and not (tmp_path / "results").exists()
        and sorted(folder.rglob("*")) == before
    )


def runs_code(folder: Path) -> str:
    """What a command says of the code that it runs."""
    return f"this study runs code of slow_data ({folder / 'slow_data.py'})\n"


def interrupted(command: list[str], folder: Path, number: int, prepare: Callable[[], None]) -> tuple[str, str]:
    """Starts a command in a folder, interrupts it once it has begun, and returns what it printed."""
    process = begun(command, folder, prepare)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    return out, err


def begun(command: list[str], folder: Path, prepare: Callable[[], None]) -> "subprocess.Popen[str]":
    """Starts a command in a folder, and waits until it has begun: then it makes a file there."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    deadline = time.monotonic() + 60
    while not (folder / "begun").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("number", "prepare"), WAYS)
def test_a_watcher_that_is_ended_is_done(tmp_path: Path, number: int, prepare: Callable[[], None]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep.watch", str(tmp_path / "none"), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=prepare,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    assert "waiting for a run" in lines[0] and "http://127.0.0.1:" in lines[1]
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")


@pytest.mark.slow
def test_json_is_alone_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "slow_data.py").write_text(NOISY)
    (tmp_path / "tiny.yaml").write_text(STUDY)
    done = ended("check", "tiny.yaml", "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["num_train"] == 8
    assert done.stderr == f"{runs_code(tmp_path)}a line of the source's own\n"


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "sweep", *map(str, arguments)]
    with subprocess.Popen(command, stdout=theirs, env={**known, "TERM": "xterm-256color", **environment}):
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                # Linux says so when the other end is closed.
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_a_terminal_shows_colours_unless_asked_not_to_and_a_pipe_none(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", ["stable"] * 6), results(tmp_path / "b", ["stable"] * 6)
    plain = ended("compare", a, b).stdout
    assert "\x1b" not in plain and "0 regressions" in plain
    assert on_a_terminal("compare", a, b, NO_COLOR="1") == plain
    coloured = on_a_terminal("compare", a, b)
    assert "\x1b[" in coloured and re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_letter_that_standard_output_lacks_is_printed_as_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a name in brackets, or between colons, is neither markup nor a picture."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    def work(_options: argparse.Namespace) -> int:
        command_line.console().print("gr\u00f6\u00dfe [/] [red]x :smile:", highlight=False)
        print("\u65e5 \udcff")
        return 0

    command = Command(name="print", summary="", description="", work=work)
    assert command.main([]) == 0
    assert written.getvalue() == b"gr\\xf6\\xdfe [/] [red]x :smile:\n\\u65e5 \\udcff\n"
    assert sys.stdout.errors == "strict", "as it was"


@pytest.mark.parametrize("name", ["run", "report", "watch", "explain", "compare", "replay", "check"])
def test_an_address_is_no_path(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"explain": ["0000"], "compare": ["results/b"]}.get(name, [])
    assert main([name, "hdfs://bucket/folder", *given]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "error: hdfs://bucket/folder is an address, but files are read and written by paths: give the path of a folder "
        "where it is mounted, or of a copy\n"
    )
