"""The job script with a real Ray and a real study: head and worker are two raylets of this machine, on loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweep import store
from tests.deploy import on_loopback

ROOT = Path(__file__).parents[2]
STUDY = on_loopback.study(trials=4)
STAND_INS = {
    "scontrol": '[[ $1 == show ]] && printf "localhost\\nlocalhost\\n" || echo "$*" >> "$REQUEUED"',
    # Every step runs here; its command is what follows the options of srun.
    "srun": 'while [[ $1 == --* ]]; do shift; done; exec "$@"',
    **on_loopback.STAND_INS,
}


def _free(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) != 0


@pytest.fixture
def job_id() -> Iterator[str]:
    """Of a job whose ports are free; its folder goes."""
    found = next(one for one in range(os.getpid(), os.getpid() + 100) if _free(20000 + one % 4000))
    yield str(found)
    shutil.rmtree(f"/tmp/ray-{found}", ignore_errors=True)


@pytest.fixture
def variables(tmp_path: Path, job_id: str) -> dict[str, str]:
    for name, what in STAND_INS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{what}\n")
        path.chmod(0o755)
    (tmp_path / "home").mkdir()
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path / "home"),
        "REQUEUED": str(tmp_path / "requeued"),
        "RAY_ON_LOOPBACK": on_loopback.RAY_ON_LOOPBACK,
        "SLURM_JOB_ID": job_id,
        "SLURM_JOB_NODELIST": "localhost,localhost",
        # A training has a core, so that two at a time need both nodes.
        "SLURM_CPUS_PER_TASK": "1",
    }


def job(tmp_path: Path, variables: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["bash", "deploy/slurm.sh", str(tmp_path / "tiny.yaml"), str(tmp_path / "results"), *more],
        cwd=ROOT, env={**variables, "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)},
        capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    ray = f"/tmp/ray-{variables['SLURM_JOB_ID']}"
    left = [one.name() for one in psutil.process_iter() if any(ray in part for part in _command(one))]
    assert left == [], "the cluster goes with the job"
    return done


def _command(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return found


@pytest.mark.ray
@pytest.mark.long
def test_a_study_runs_on_both_nodes_and_goes_on_when_the_job_is_queued_again(tmp_path, variables, job_id) -> None:
    # The last one counts: over before anything is trained, however fast the machine is.
    first = job(tmp_path, variables, "--time", "2s")
    assert first.returncode == 75, first.stderr
    assert (tmp_path / "requeued").read_text() == f"requeue {job_id}\n"
    second = job(tmp_path, {**variables, "SLURM_RESTART_COUNT": "1"})
    assert second.returncode == 0, second.stderr
    assert "Ray: 2 nodes, 2 cpus, 0 gpus" in second.stdout and "2 trials at a time: 2 cores" in second.stdout
    assert "warning" not in second.stdout, "the cluster wants the token"
    assert len(store.read_trials(tmp_path / "results" / "tiny")) == 4
    assert (tmp_path / "requeued").read_text().count("requeue") == 1
