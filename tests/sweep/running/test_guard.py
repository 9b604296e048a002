"""What ends Ray's processes with a run ends nothing else."""

import subprocess
import sys

RUN = """
import sys
from pathlib import Path
from ray._raylet import setproctitle
from sweep.running.guard import guarded

folder = Path(sys.argv[1])
# As a training in the run's own process does: the name is written over the environment, and nothing of that is left.
setproctitle("ray::a training" + len(Path("/proc/self/environ").read_bytes()) * "-")
assert b"PATH" not in Path("/proc/self/environ").read_bytes()
kept = open(folder / "events.log", "w")
with guarded(folder):
    pass
print("still here")
"""


def test_a_run_that_looks_like_a_process_of_ray_outlives_its_guard(tmp_path) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "still here\n", "")
    assert not folder.exists()
