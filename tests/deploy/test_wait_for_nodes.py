"""What is said where nodes do not come; that it waits for them is tested with the job script on a real Ray."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "deploy/wait_for_nodes.py", "--address", "127.0.0.1:1", "--gpus", "4", "--seconds", "0"],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    said = "error: no Ray cluster answers at 127.0.0.1:1 after 0 s: look at the cluster's log\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
