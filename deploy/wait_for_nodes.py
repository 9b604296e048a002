"""Waits until a Ray cluster has what a run is to use: a run counts the lanes of the nodes that are there at its start.

    python deploy/wait_for_nodes.py --gpus 16 --seconds 1800 && slr-sweep run STUDY.yaml --address auto

A cluster that scales is asked for it, and no longer once it is there: nodes that have nothing to do may then go. Ends
with exit code 0 when all is there, 1 when the time is up.
"""

import argparse
import socket
import sys
import time
from contextlib import suppress

import ray
from ray._private import services
from ray.autoscaler.sdk import request_resources

LOOK_S = 2.0


def found() -> dict[str, float]:
    """What there is, by the names of the options."""
    total = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    return {"nodes": nodes, "cpus": total.get("CPU", 0.0), "gpus": total.get("GPU", 0.0)}


def missing(wanted: dict[str, int], there: dict[str, float]) -> list[str]:
    """What there is too little of, for a person."""
    return [f"{there[name]:g} of {num} {name}" for name, num in wanted.items() if there[name] < num]


def joined(address: str, end_at: float) -> bool:
    """Joins the cluster as soon as it answers; False where it does not in time."""
    while True:
        if listens(address):
            # On a busy machine its first node is there some time later.
            with suppress(ConnectionError):
                ray.init(address=address, log_to_driver=False, logging_level="ERROR")
                return True
        if time.monotonic() >= end_at:
            return False
        time.sleep(LOOK_S)


def listens(address: str) -> bool:
    """Whether something answers there: Ray itself would wait for half a minute, and print of it."""
    if address == "auto":
        return bool(services.find_gcs_addresses())
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=LOOK_S):
            return True
    except OSError:
        return False


def wait(address: str, wanted: dict[str, int], seconds: float) -> str | None:
    """Waits; returns what is missing at the end, or None."""
    end_at = time.monotonic() + seconds
    if not joined(address, end_at):
        return f"no Ray cluster answers at {address}"
    bundles = [{"GPU": 1}] * wanted.get("gpus", 0)
    if bundles or "cpus" in wanted:
        request_resources(num_cpus=wanted.get("cpus"), bundles=bundles or None)
    while (lacking := missing(wanted, found())) and time.monotonic() < end_at:
        time.sleep(LOOK_S)
    request_resources(num_cpus=0)
    return f"only {', '.join(lacking)} are there" if lacking else None


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="auto", help="host:port of the cluster; auto: the one of this machine")
    parser.add_argument("--nodes", type=int, help="machines, the head among them")
    parser.add_argument("--cpus", type=int, help="CPUs of all of them")
    parser.add_argument("--gpus", type=int, help="GPUs of all of them")
    parser.add_argument("--seconds", type=float, default=600.0, help="the longest to wait (default 600)")
    options = parser.parse_args()
    wanted = {name: num for name in ("nodes", "cpus", "gpus") if (num := getattr(options, name)) is not None}
    problem = wait(options.address, wanted, options.seconds)
    if problem is not None:
        print(f"error: {problem} after {options.seconds:g} s: look at the cluster's log", file=sys.stderr)
        return 1
    print("Ray: " + ", ".join(f"{num:g} {name}" for name, num in found().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
