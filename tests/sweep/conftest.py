"""What tests of whole runs share: a Ray cluster, and commands that run on it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep.run import main

CLUSTER = """
import sys
import ray
from sweep.running.cluster import cluster
from sweep.study import Resources

with cluster(None, Resources()):
    print(ray.get_runtime_context().gcs_address, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Of a Ray cluster on this machine that is started once, since that takes longer than most trainings."""
    with subprocess.Popen(
        [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, "Ray did not start"
        yield address
        process.stdin.close()


@pytest.fixture
def run_here(ray_address: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a study's command in this process and on the shared cluster: `run_here(study, results, "--dry-run")`.

    Returns its exit code and what it said on stdout and stderr.
    """

    def run(study: Path, results: Path, *more: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(study), "--results", str(results), "--address", ray_address, *more])
        return code, *capsys.readouterr()

    return run
