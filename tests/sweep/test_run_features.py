"""A study that says which nodes its trainings may use, on a cluster of Ray nodes of which one is such a node."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks.reliability.runs import start, told, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.long]

STUDY = """
name: features
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 5}
space: {training.optimizer.lr: {grid: [0.01, 0.02, 0.03, 0.04]}}
search: {kind: grid}
budget: {trials: 4, steps: 10}
resources: {node_with: [fast_disk, zone=a]}
confirm: {settings: 0, recommended: false}
forensics: {trials: 0}
"""
# Trainings that tell under which raylet they run.
PROGRAM = """
import os, sys
from pathlib import Path
from sweep.running import runner

FOLDER = Path(sys.argv.pop(1))


class Telling(runner.TrialActor):
    def step(self):
        (FOLDER / self._members.only.job.trial_id).write_text(str(os.getppid()))
        return super().step()


if __name__ == "__main__":
    runner.TrialActor = Telling
    from sweep.run import main
    sys.exit(main())
"""
# `ray start`, which else replaces 127.0.0.1 by an address that other machines reach, and listens there.
RAY = """
import sys
from ray._private import services
from ray.scripts.scripts import main
services.get_node_ip_address = lambda *_, **__: "127.0.0.1"
sys.argv[0] = "ray"
main()
"""
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]),
    "OMP_NUM_THREADS": "1",
}


def node(log: Path, *more: str) -> subprocess.Popen[bytes]:
    """A Ray node of two cores on loopback, as `ray start` makes it."""
    usual = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    fixed = ["--node-ip-address=127.0.0.1", "--num-cpus=2", "--disable-usage-stats", "--block"]
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-c", RAY, "start", *fixed, *more], stdout=file, stderr=file, env=usual | ENVIRONMENT
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[psutil.Process]]]:
    """Its address, and its raylets: those of two nodes that have half of what is wanted, and of one that has all."""
    # Short, for its sockets.
    folder = Path(f"/tmp/f{time.time_ns() % 10**9}")
    found = folder / "ray_current_cluster"
    folder.mkdir()
    zone, disk = "--labels=zone=a", '--resources={"fast_disk": 1}'
    head = ["--head", "--port=0", f"--temp-dir={folder}", "--include-dashboard=false"]
    started = [node(tmp_path / "0.log", *head, disk)]
    try:
        wait_until(lambda: found.is_file() and found.read_text().strip(), 120)
        address = found.read_text().strip()
        for number, has in enumerate(([zone], [zone, disk]), start=1):
            started.append(node(tmp_path / f"{number}.log", f"--address={address}", *has))
        logs = [tmp_path / f"{number}.log" for number in range(3)]
        wait_until(lambda: all("Ray runtime started" in log.read_text() for log in logs), 120)
        yield address, [raylet(process) for process in started]
    finally:
        for process in reversed(started):
            for child in psutil.Process(process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
            process.kill()
            process.wait()
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def raylet(process: subprocess.Popen[bytes]) -> psutil.Process | None:
    children = psutil.Process(process.pid).children(recursive=True)
    return next((child for child in children if child.name() == "raylet"), None)


def test_trainings_run_only_where_all_that_is_wanted_is(tmp_path: Path, cluster) -> None:
    address, (_, _, fitting) = cluster
    study, program, ran = tmp_path / "features.yaml", tmp_path / "telling.py", tmp_path / "ran"
    study.write_text(STUDY)
    program.write_text(PROGRAM)
    ran.mkdir()
    python = (sys.executable, str(program), str(ran))
    run = start(study, tmp_path / "results", "--address", address, program=python, **ENVIRONMENT)
    code, out, err = run.end(300)
    assert (code, err) == (0, ""), out
    assert "2 trials at a time: 2 cores; on the 1 of 3 nodes with fast_disk; zone=a\n" in out
    assert sorted(told(run.folder)) == sorted(path.name for path in ran.iterdir()) and len(told(run.folder)) == 4
    assert {path.read_text() for path in ran.iterdir()} == {str(fitting.pid)}

    wrong = ("--set", "resources.node_with=[slow_disk]")
    refused = start(study, tmp_path / "other", "--address", address, *wrong, program=python, **ENVIRONMENT)
    code, _, err = refused.end(300)
    assert code == 2 and err.count("\n") == 1
    assert "resources.node_with asks for slow_disk, which no node has together; there is fast_disk (2 of 3" in err
    assert "zone=a (2 of 3 nodes)" in err
