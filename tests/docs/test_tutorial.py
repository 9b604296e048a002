"""The tutorial, as a newcomer goes through it, with a clock."""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, blocks, example

MAX_S = 600
"""Ten minutes, which is what it promises; reading not counted."""
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
    said = ""
    started = time.monotonic()
    for program, *arguments in commands():
        assert program == "slr-sweep"
        done = subprocess.run(
            [sys.executable, "-m", "sweep", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout
    assert time.monotonic() - started < MAX_S
    assert "nothing wrong found" in said and "confirming with fresh seeds" in said
    # What stands in it of the data holds.
    [l_const] = re.findall(r"L_const = ([\d.]+)", TUTORIAL.read_text(encoding="utf-8"))
    assert f"L_const = {l_const}," in said
    assert (tmp_path / "results" / "letters" / "report.html").is_file()
