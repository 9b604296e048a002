"""The tutorial, as a newcomer goes through it, with a clock."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.docs.blocks import PAGES, blocks, example

MAX_S = 600
"""Ten minutes on two cores, which is what it promises. Counted is CPU time: a busy machine is no failure."""
CORES = 2
TUTORIAL = next(page for page in PAGES if page.name == "tutorial.md")


def commands() -> list[list[str]]:
    """Those that the reader types, in their order."""
    ours = [b for b in blocks("sh") if b.place.startswith("docs/tutorial.md") and not b.mark.startswith("not run")]
    return [shlex.split(line) for block in ours for line in block.text.splitlines()]


def test_it_is_a_study_then_a_check_a_plan_and_a_run() -> None:
    assert [" ".join(words) for words in commands()] == [
        "slr-sweep check letters.yaml",
        "slr-sweep run letters.yaml --dry-run",
        "slr-sweep run letters.yaml",
    ]


@pytest.mark.long
def test_it_takes_ten_minutes_at_most(tmp_path: Path) -> None:
    pytest.importorskip("pose_format", reason="the extra `fingerspelling` is not installed")
    (tmp_path / "letters.yaml").write_text(example("yaml", "name: letters"), encoding="utf-8")
    said, cpu_s = "", 0.0
    for program, *arguments in commands():
        assert program == "slr-sweep"
        with (tmp_path / "said.txt").open("w+") as file:
            child = subprocess.Popen(
                [sys.executable, "-m", "sweep", *arguments], cwd=tmp_path, stdout=file, stderr=file
            )
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            file.seek(0)
            told = file.read()
        assert child.returncode == 0, told
        said += told
        cpu_s += used.ru_utime + used.ru_stime
    trials = pd.read_parquet(tmp_path / "results" / "letters" / "trials.parquet")
    assert (cpu_s + trials["cpu_s"].sum()) / CORES < MAX_S
    # Lines are as wide as the terminal is taken to be.
    said = " ".join(said.split())
    assert "nothing wrong found" in said
    # A busy machine may leave no time for it.
    assert "confirming with fresh seeds" in said or "budget.wall_time_s" in said, said
    # What stands in it of the data holds.
    [l_const] = re.findall(r"L_const = ([\d.]+)", TUTORIAL.read_text(encoding="utf-8"))
    assert f"L_const = {l_const}," in said
    assert (tmp_path / "results" / "letters" / "report.html").is_file()
