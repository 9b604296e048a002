"""Shared by all tests: how many threads they take, and which of them stay together when several workers run them."""

import os

# One thread, as a trial on one core has: workers that fight for cores take half as long again. Read by the libraries
# of numpy, scipy and torch when they are imported, also in the commands that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
# Read by Ray when it is imported. Without the first, it does not show its token to a cluster that another process
# started; metrics are passed on every ten seconds, and tests would wait as long.
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_metrics_report_interval_ms"] = "1000"

import hypothesis
import pytest
import torch
from xdist.remote import Producer
from xdist.scheduler import LoadGroupScheduling

torch.set_num_threads(1)
# A busy machine is no failure: how long an example takes is measured elsewhere.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


class _ByFile(LoadGroupScheduling):
    """A group on one worker, and else a file, so that no worker makes again what a file's tests share."""

    def _split_scope(self, nodeid: str) -> str:
        scope: str = super()._split_scope(nodeid)
        return scope.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _ByFile | None:
    return _ByFile(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs Ray or a browser is slow too; what is slow begins first, so that no worker ends long after others."""
    for item in items:
        if "ray_address" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
        if item.get_closest_marker("ray"):
            item.add_marker("slow")
            item.add_marker(pytest.mark.xdist_group("ray"))
        if item.get_closest_marker("browser") or item.get_closest_marker("long"):
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is None, item.path not in slow))
