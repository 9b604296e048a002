"""Shared by all tests: how many threads they take, and which of them stay together when several workers run them."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

# One thread, as a trial on one core has: workers that fight for cores take half as long again. Read by the libraries
# of numpy, scipy and torch when they are imported, also in the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
# Read by Ray when it is imported. Without the first, it does not show its token to a cluster that another process
# started; metrics are passed on every ten seconds, and tests would wait as long.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_metrics_report_interval_ms"] = "1000"
# Read by Keras when it is imported; else it asks for TensorFlow, and writes its settings into the home folder.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KERAS_HOME", os.path.join(tempfile.gettempdir(), "keras-of-tests"))
# Where runs of studies that name code keep the user's key: not among the settings of who runs the tests.
os.environ["XDG_CONFIG_HOME"] = os.path.join(tempfile.gettempdir(), f"settings-of-tests-{os.getuid()}")

import hypothesis
import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

torch.set_num_threads(1)
# A busy machine is no failure: how long an example takes is measured elsewhere.
hypothesis.settings.register_profile("any machine", deadline=None)
# pytest --hypothesis-profile=many: what is made by chance, fifty times as much of it and new each time.
hypothesis.settings.register_profile("many", deadline=None, max_examples=5000)
hypothesis.settings.load_profile("any machine")


ON_RAY = (
    "tests/sweep/running/test_runner.py",
    "tests/sweep/running/test_lanes.py",
    "tests/sweep/test_run_features.py",
    "tests/sweep/test_run.py",
    "tests/sweep/test_run_design.py",
    "tests/sweep/run/test_names.py",
    "tests/sweep/test_run_faults.py",
    "tests/sweep/test_run_ends.py",
    "tests/sweep/test_run_nodes.py",
    "tests/sweep/test_queue_run.py",
    "tests/sweep/test_run_own.py",
    "tests/sweep/test_run_remote.py",
    "tests/deploy/test_slurm_on_ray.py",
    "tests/deploy/test_slurm_array_on_ray.py",
    "tests/docs/test_tutorial.py",
)
"""One worker runs these: they share a Ray cluster, and several on one machine would fight for it."""


class _ByFile(LoadFileScheduling):
    """A file's tests stay on one worker, so that none makes again what they share; and so do all that need Ray."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "Ray" if file in ON_RAY else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFile | None:
    return _ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs Ray or a browser is slow too; what takes longest begins first, so that no worker ends long after."""
    for item in items:
        if "ray_address" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        if any(item.get_closest_marker(name) for name in ("ray", "browser", "long")):
            item.add_marker("slow")
        if item.get_closest_marker("ray") and _file(item) not in ON_RAY:
            raise pytest.UsageError(f"{item.nodeid} needs Ray: name its file in ON_RAY of tests/conftest.py")
    slow = {_file(item) for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (_file(item) not in ON_RAY, _file(item) not in slow))


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]


@pytest.fixture
def control_groups(tmp_path: Path) -> Callable[[str, dict[str, str]], Path]:
    """Makes a file system that holds the groups of this process, and what files of theirs say: its root."""

    def made(own: str, files: dict[str, str]) -> Path:
        for name, text in {"proc/self/cgroup": own, **{f"sys/fs/cgroup/{name}": files[name] for name in files}}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return made


@pytest.fixture(autouse=True)
def no_folders_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders in which one test looked for a user's code are not those of the next, nor of the commands it starts."""
    monkeypatch.setenv("SLR_SWEEP_LOOK_IN", "")
