"""The command of a GPU day: its order, its time, and what becomes of a part that fails, hangs or leaves processes."""

import dataclasses
import json
import math
import subprocess
import sys
import textwrap
import time

import psutil
import pytest
import torch

from benchmarks.gpu.card import NO_GPU
from benchmarks.gpu.day import END_S, MINUTES, PARTS, ROOT, WRITING_S, Part, run_day, run_part
from benchmarks.gpu.results import SCHEMA, Card, PrecisionRun, Status

ROW = PrecisionRun("teacher", 8, "fp16", 12.5, 0.5, 0.4, math.nan, None)
WHERE = Card("a card", 81_000.0, "9.0", torch.__version__, "13.0", "580.1", "3.12.3", 16)
HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
rows = Path(sys.argv[sys.argv.index("--rows") + 1])
def keep(line):
    with rows.open("a") as file:
        file.write(line)
"""
KEEP = f"keep({json.dumps(dataclasses.asdict(ROW))!r} + '\\n')"
"""Without torch, so that it takes no time to begin."""


@pytest.fixture
def part(tmp_path, monkeypatch):
    """Makes a part of what its process does."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(name: str, body: str, share_s: float = 40, row=PrecisionRun) -> Part:
        (tmp_path / f"{name}.py").write_text(HEAD + textwrap.dedent(body))
        return Part(name, name.title(), row, share_s)

    return make


@pytest.fixture
def card(part) -> Part:
    return part("a_card", f"keep({json.dumps(dataclasses.asdict(WHERE))!r} + '\\n')", 20, Card)


def same(left: PrecisionRun, right: PrecisionRun) -> bool:
    return repr(left) == repr(right)  # NaN is not equal to itself


def test_the_shares_fit_into_nine_minutes_with_room_for_the_start_and_the_end() -> None:
    assert MINUTES == 9.0 and 5 <= WRITING_S <= 30
    assert [part.module.rpartition(".")[2] for part in PARTS] == [
        "marked_tests",
        "models",
        "emulation",
        "monitoring",
        "packing",
        "precisions",
    ]


def test_a_part_that_fails_says_why_and_keeps_its_rows(part) -> None:
    result = run_part(part("fails", f"{KEEP}\nraise ValueError('a card\\non fire')"), ["--device", "cpu"], 60)
    assert result.status is Status.FAILED and result.message == "on fire"
    assert "Traceback" in result.output and "ValueError: a card\non fire" in result.output
    assert len(result.rows) == 1 and same(result.rows[0], ROW)


def test_a_part_that_dies_without_a_word_is_told_by_its_exit_code(part) -> None:
    result = run_part(part("dies", "os.kill(os.getpid(), signal.SIGKILL)"), ["--device", "cpu"], 60)
    assert result.status is Status.FAILED and result.message == "its process ended with exit code -9"


def test_a_part_that_hangs_is_ended_with_all_that_it_started(part, tmp_path) -> None:
    pid_file = tmp_path / "pid"
    body = f"""
        {KEEP}
        keep('{{"model": "half a li')
        child = subprocess.Popen(["sleep", "300"])
        Path({str(pid_file)!r}).write_text(str(child.pid))
        time.sleep(300)
    """
    hangs = part("hangs", body)
    started = time.monotonic()
    result = run_part(hangs, ["--device", "cpu"], 4)
    assert time.monotonic() - started < 4 + END_S
    assert result.status is Status.OUT_OF_TIME and result.message == "1 rows were ready by then"
    assert len(result.rows) == 1 and same(result.rows[0], ROW)
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "what it had started lives on"
        time.sleep(0.05)


def test_without_time_a_part_is_not_begun(part, tmp_path) -> None:
    begun = tmp_path / "begun"
    result = run_part(part("late", f"Path({str(begun)!r}).touch()"), ["--device", "cpu"], -1.0)
    assert result.status is Status.OUT_OF_TIME and not begun.exists() and result.rows == []


def test_the_parts_go_on_after_one_that_fails_and_the_json_says_all(part, card, tmp_path) -> None:
    parts = (part("bad", "raise SystemExit('2 of 9 tests failed')"), part("good", KEEP))
    day = run_day(tmp_path / "out", device="cpu", quick=True, minutes=MINUTES, parts=parts, card=card)
    assert [result.status for result in day.parts] == [Status.FAILED, Status.DONE] and not day.is_whole
    # What the first one left of its time is for the second.
    assert 40 < day.parts[0].limit_s <= 60 < day.parts[1].limit_s <= 100
    told = json.loads((tmp_path / "out/gpu.json").read_text())
    assert told["schema"] == SCHEMA and told["device"] == "cpu" and told["quick"] is True
    assert told["card"] == dataclasses.asdict(WHERE)
    assert [(p["name"], p["status"], p["message"]) for p in told["parts"]] == [
        ("bad", "failed", "2 of 9 tests failed"),
        ("good", "done", ""),
    ]
    assert told["parts"][1]["rows"] == [{**dataclasses.asdict(ROW), "ratio_high": None}]
    page = (tmp_path / "out/gpu.md").read_text()
    assert "failed, " in page and "2 of 9 tests failed" in page and "| teacher | 8 | fp16 | 12.5 |" in page


def test_all_of_it_ends_in_its_time_though_every_part_hangs(part, card, tmp_path) -> None:
    parts = tuple(part(name, "time.sleep(300)") for name in ("one", "two"))
    started = time.monotonic()
    day = run_day(tmp_path, device="cpu", quick=True, minutes=0.3, parts=parts, card=card)
    assert time.monotonic() - started < 0.3 / 9 * 100 + 3
    assert [result.status for result in day.parts] == [Status.OUT_OF_TIME] * 2
    assert [result.name for result in day.parts] == ["one", "two"]


def test_an_interrupted_day_leaves_no_part_behind(tmp_path) -> None:
    command = "-m benchmarks.gpu.day --device cpu --quick --output".split()
    process = subprocess.Popen([sys.executable, *command, str(tmp_path)], cwd=ROOT)
    parent, deadline = psutil.Process(process.pid), time.monotonic() + 60
    while not (children := parent.children()):
        assert time.monotonic() < deadline, "no part began"
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 143
    assert psutil.wait_procs(children, 10)[1] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(tmp_path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.day", "--output", str(tmp_path / "out")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", NO_GPU + "\n")
    assert not (tmp_path / "out").exists()


def test_the_makefile_runs_it() -> None:
    rule = (ROOT / "Makefile").read_text().partition("\ngpu:")[2].partition("\n\n")[0]
    assert "-m benchmarks.gpu.day" in rule


@pytest.mark.long
def test_every_part_runs_on_a_cpu(tmp_path) -> None:
    command = "-m benchmarks.gpu.day --device cpu --quick --output".split()
    ran = subprocess.run([sys.executable, *command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    told = json.loads((tmp_path / "gpu.json").read_text())
    assert [part["status"] for part in told["parts"]] == ["done"] * len(PARTS)
    assert all(part["rows"] for part in told["parts"])
    assert ran.stdout.strip() == (tmp_path / "gpu.md").read_text().strip()
