"""Ray nodes on loopback, as `ray start` makes them, for tests of clusters that are joined."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.reliability.runs import wait_until

# `ray start`, which else replaces 127.0.0.1 by an address that other machines reach, and listens there.
_RAY = """
import sys
from ray._private import services
from ray.scripts.scripts import main
services.get_node_ip_address = lambda *_, **__: "127.0.0.1"
sys.argv[0] = "ray"
main()
"""


class Raylets:
    """The nodes of one cluster, the first of which is its head."""

    def __init__(self, folder: Path, *options: str, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(16),
            "PYTHONPATH": os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        """Of whatever works with it."""
        self._start("head", "--head", "--port=0", f"--temp-dir={folder}", "--include-dashboard=false", *options)
        found = folder / "ray_current_cluster"
        wait_until(lambda: found.is_file() and found.read_text().strip(), 120)
        self.address = found.read_text().strip()

    def join(self, name: str, *options: str) -> None:
        """Starts one more node, and waits until it has joined: of two that start at once one may give up."""
        self._start(name, f"--address={self.address}", *options)
        wait_until(lambda: "Ray runtime started" in self._log(name).read_text(), 120)

    def raylet(self, name: str) -> psutil.Process:
        """Of a node that runs."""
        children = psutil.Process(self._started[name].pid).children(recursive=True)
        return next(process for process in children if process.name() == "raylet")

    def end(self) -> None:
        """Kills all of it."""
        for process in reversed(self._started.values()):
            with suppress(psutil.Error):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.Error):
                        child.kill()
            process.kill()
            process.wait()

    def _start(self, name: str, *options: str) -> None:
        fixed = ["--node-ip-address=127.0.0.1", "--disable-usage-stats", "--block"]
        usual = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        with self._log(name).open("wb") as log:
            self._started[name] = subprocess.Popen(
                [sys.executable, "-c", _RAY, "start", f"--node-name={name}", *fixed, *options],
                stdout=log,
                stderr=log,
                env={**usual, **self.environment},
            )

    def _log(self, name: str) -> Path:
        return self._folder.parent / f"{name}.log"


@contextmanager
def raylets(*options: str, environment: Mapping[str, str] | None = None) -> Iterator[Raylets]:
    """A cluster whose head has these options of `ray start`; ended with the block."""
    # Short, for its sockets.
    folder = Path(f"/tmp/n{time.time_ns() % 10**9}")
    (folder / "r").mkdir(parents=True)
    nodes = None
    try:
        nodes = Raylets(folder / "r", *options, environment=environment or {})
        yield nodes
    finally:
        if nodes is not None:
            nodes.end()
        subprocess.run(["rm", "-rf", str(folder)], check=True)
