"""What the job script asks of Slurm, Ray and the run, all of which stand-ins on PATH take the place of."""

import os
import re
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_INS = {
    # Of this machine, whatever the nodes are called. A step runs until it is ended.
    "scontrol": 'if [[ $1 == show ]]; then printf "localhost\\n%.0s" $NODES; fi',
    "srun": "exec sleep 100",
    "python": "exit ${CODE_OF_WAIT:-0}",
    "slr-sweep": 'printenv RAY_AUTH_TOKEN RAY_AUTH_MODE > "$LOG.environment"; exit ${CODE:-0}',
}


@dataclass
class Done:
    """A job that has ended."""

    code: int
    err: str
    calls: list[str]
    """What it called, a line each."""

    @property
    def requeues(self) -> list[str]:
        return [call for call in self.named("scontrol") if "requeue" in call]

    def named(self, command: str) -> list[str]:
        return [call for call in self.calls if call.split()[0] == command]


class Job:
    """Runs the script as `sbatch` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = folder / "home" / ".ray" / "auth_token"
        self.log = folder / "calls"
        (folder / "bin").mkdir()
        (folder / "home").mkdir()
        for name, what in STAND_INS.items():
            path = folder / "bin" / name
            path.write_text(f'#!/bin/bash\necho "{name} $*" >> "$LOG"\n{what}\n')
            path.chmod(0o755)

    def run(self, *arguments: str, left_s: int = 3600, **environment: str) -> Done:
        variables = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "LOG": str(self.log),
            "NODES": "1 2 3",
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NODELIST": "node[1-3]",
            "SLURM_CPUS_PER_TASK": "8",
            "SLURM_GPUS_ON_NODE": "4",
            "SLURM_JOB_END_TIME": str(int(time.time()) + left_s),
            **environment,
        }
        done = subprocess.run(
            ["bash", "deploy/slurm.sh", *(arguments or ("my.yaml", "/shared"))],
            cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        calls = self.log.read_text().splitlines() if self.log.is_file() else []
        return Done(done.returncode, done.stderr, calls)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_head_and_workers_are_started_and_the_run_joins_them(job: Job) -> None:
    done = job.run("my.yaml", "/shared", "--trials", "80")
    assert (done.code, done.err) == (0, "")
    head, workers = done.named("srun")
    assert "--nodelist=localhost ray start --head --node-ip-address=127.0.0.1 --port=20711" in head
    assert "--nodes=2 --ntasks=2 --exclude=localhost ray start --address=127.0.0.1:20711" in workers
    assert all("--num-cpus=8 --num-gpus=4" in one and one.endswith("--block") for one in (head, workers))
    assert [re.findall(r"--nodes (\d)", one) for one in done.named("python")] == [["1"], ["3"]]
    (run,) = done.named("slr-sweep")
    limit = re.fullmatch(
        r"slr-sweep run my.yaml --results /shared --address 127.0.0.1:20711 --time (\d+)s --trials 80", run
    )
    assert limit and 2900 < int(limit[1]) <= 3000, "ten minutes before the allocation ends"
    assert not done.requeues


def test_one_node_is_head_and_worker(job: Job) -> None:
    done = job.run(NODES="1", SLURM_GPUS_ON_NODE="")
    (head,) = done.named("srun")
    assert done.code == 0 and "--head" in head and "--num-gpus=0" in head


def test_time_that_is_up_has_the_job_queued_again(job: Job) -> None:
    done = job.run(CODE="75", SLURM_RESTART_COUNT="3")
    assert done.code == 75 and done.requeues == ["scontrol requeue 4711"]


@pytest.mark.parametrize("code", [0, 2, 3, 130])
def test_nothing_else_is_queued_again(job: Job, code: int) -> None:
    done = job.run(CODE=str(code))
    assert done.code == code and done.named("slr-sweep") and not done.requeues


def test_a_study_that_never_ends_is_not_queued_for_ever(job: Job) -> None:
    done = job.run(CODE="75", SLURM_RESTART_COUNT="2", MOST_REQUEUES="2")
    assert done.code == 75 and done.named("slr-sweep") and not done.requeues
    assert "not done after 2 requeues" in done.err


def test_the_token_is_made_once_for_its_user_alone_and_is_on_no_command_line(job: Job) -> None:
    job.run()
    made = job.token.read_text()
    assert re.fullmatch("[0-9a-f]{64}", made)
    assert stat.S_IMODE(job.token.stat().st_mode) == 0o600 and stat.S_IMODE(job.token.parent.stat().st_mode) == 0o700
    job.token.chmod(0o644)
    done = job.run()
    assert job.token.read_text() == made and stat.S_IMODE(job.token.stat().st_mode) == 0o600
    assert Path(f"{job.log}.environment").read_text().split() == [made, "token"]
    assert not [call for call in done.calls if made in call]


def test_a_token_that_is_given_is_taken(job: Job) -> None:
    job.run(RAY_AUTH_TOKEN="a" * 32)
    assert Path(f"{job.log}.environment").read_text().split()[0] == "a" * 32 and not job.token.exists()


def test_a_cluster_that_does_not_come_up_or_a_time_that_is_too_short_ends_the_job_at_once(job: Job) -> None:
    assert job.run(CODE_OF_WAIT="1").code == 1
    done = job.run(left_s=500)
    assert done.code == 2 and "no time is left: ask for more than 600 s" in done.err
    assert done.named("slr-sweep") == [] and not [call for call in done.calls if "requeue" in call]


def test_without_study_and_results_it_says_how_it_is_called(job: Job) -> None:
    done = job.run("my.yaml")
    assert done.code != 0 and "usage: sbatch deploy/slurm.sh STUDY.yaml RESULTS" in done.err and done.calls == []
    assert os.access(ROOT / "deploy" / "slurm.sh", os.X_OK)
