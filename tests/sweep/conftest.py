"""What tests of whole runs share: a Ray cluster, commands that run on it, and commands that run without Ray."""

import contextlib
import itertools
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sweep.run import main
from sweep.running.placement import Limits, Node
from sweep.running.placements import Placements

if TYPE_CHECKING:
    from slr_models.data.batch import Dataset
    from sweep.running.cluster import Cluster
    from sweep.running.job import RunOptions
    from sweep.running.session import StudySession
    from sweep.running.view import ProgressView

MOTO_SERVER = shutil.which("moto_server") or shutil.which("moto_server", path=os.path.dirname(sys.executable))
CLUSTER = """
import sys
import ray
from sweep.running.cluster import cluster
from sweep.study import Resources

# One lane, so that its processes do not import what a training needs: most of them are loggers' and wait for none.
with cluster(None, Resources(max_parallel=1)):
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


@pytest.fixture
def run_without_ray(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """As `run_here`, for what Ray has no part in: the trainings run in this process too, one after another.

    A process of Ray's takes five seconds to import what a training needs, and a run there starts one a lane.
    """
    # They take seconds that most tests have no use for.
    from sweep.run import trainings
    from sweep.running import runner
    from sweep.running.cluster import Cluster

    one_core = Cluster(None, (Node(cpus=1),), Limits(), (), (), False, lambda: None)

    def run(study: Path, results: Path, *more: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainings, "cluster", lambda address, resources, last_words: contextlib.nullcontext(one_core))
            patch.setattr(runner, "run_trials", _one_after_another)
            code = main([str(study), "--results", str(results), *more])
        return code, *capsys.readouterr()

    return run


def _one_after_another(
    session: "StudySession",
    dataset: "Dataset",
    options: "RunOptions",
    ray: "Cluster",
    placements: Placements,
    view: "ProgressView",
    end_at: float = math.inf,
    told: Callable[[str], None] = lambda line: None,
) -> bool:
    """As `run_trials`: its searcher and its actor, with plain calls in place of Ray."""
    from sweep.running import runner

    searcher = runner._LedgerSearcher(session, options, placements, view, None, runner.RayTrials(), told=told)
    for trial_id in map(str, itertools.count()):
        config = searcher.suggest(trial_id)
        if not isinstance(config, dict):
            break
        actor = runner.TrialActor.__new__(runner.TrialActor)
        actor.setup(config, dataset, options, deadline=math.inf)
        while not (report := actor.step())["done"]:
            searcher.on_trial_result(trial_id, report)
        searcher.on_trial_complete(trial_id, report)
        actor.cleanup()
    assert searcher.problem is None
    return session.done


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of a server of S3's interface on this machine."""
    pytest.importorskip("obstore", reason="obstore is not installed: pip install -e '.[remote]'")
    if MOTO_SERVER is None:
        pytest.skip("moto_server is not installed: pip install 'moto[server]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [MOTO_SERVER, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(600):
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/moto-api/data.json"):
                    break
                assert process.poll() is None, "the server did not start"
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a bucket of that server that holds nothing; the environment has what it takes to use it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTESTS")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-tests")
    # Neither a profile of who runs the tests, nor the clouds' own places of credentials.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = f"bucket-{next(_NUMBERS)}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{name}", method="PUT")).close()
    return name


_NUMBERS = itertools.count(1)
