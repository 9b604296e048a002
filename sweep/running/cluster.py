"""Ray, started on this machine or joined elsewhere: the only file that starts it.

A Ray that is started here has all to itself: a private folder, a token, listeners on loopback alone; nothing of it is
left when the run ends, however it ends. `ray_watch` notices when it dies first.
"""

import atexit
import json
import logging
import math
import os
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import (  # type: ignore[attr-defined]  # parts of the compiled module
    AuthenticationMode,
    get_authentication_mode,
)

from slr_models.errors import MachineError, SettingError
from sweep.command_line import EXIT_MACHINE, before_leaving, left_at_once, signals_interrupt
from sweep.running.features import features_of, lacking
from sweep.running.guard import MARK, remove
from sweep.running.placement import Limits, Node, Placement
from sweep.running.placements import Placements
from sweep.running.private_ray import RAY_IN_IT, on_loopback, session_folder, silent, token_settings
from sweep.running.ray_watch import LastWords, RayWatch
from sweep.running.this_machine import limits, this_machine
from sweep.study import Resources
from sweep.wording import first_line, listed

LOOPBACK = "127.0.0.1"
_ANSWER_S = 3.0

_RAY_ENVIRONMENT = {
    # Our own store and table replace Ray's per-trial loggers and console output.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ray Tune's own state, which is never read, grows with each trial: it is written at the beginning and the end.
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    # Nothing is sent to the network.
    "RAY_USAGE_STATS_ENABLED": "0",
    # As Ray Tune sets it for trainings.
    "PL_DISABLE_FORK": "1",
    # A training without a GPU of its own leaves CUDA_VISIBLE_DEVICES alone.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Read by Ray when it starts and when it runs, here and in its processes, which inherit them."""
_RAY_LOG_LEVELS = {
    # What goes wrong is told in a line of ours, with what to do.
    "ray": logging.CRITICAL,
    # Ray Tune logs a traceback for every trial whose process dies; ours says so in a line, and tries again.
    "ray.tune": logging.CRITICAL,
}


@dataclass(frozen=True)
class Cluster:
    """Where trials run."""

    dashboard_url: str | None
    nodes: tuple[Node, ...]
    """All machines of it."""
    limits: Limits
    """Why there is no more; unknown of machines that somebody else has started Ray on."""
    warnings: tuple[str, ...]
    """What is less safe about it than it could be, a line each."""
    metrics: tuple[str, ...]
    """Where Prometheus finds the metrics of each node."""
    is_own: bool
    """Whether it was started here, for this run alone."""
    check: Callable[[], None]
    """Raises RayDiedError where Ray has died: what ends because of that is no failure of its own."""


class NotStartedError(MachineError):
    """This machine cannot run Ray now."""


@contextmanager
def cluster(address: str | None, resources: Resources, last_words: LastWords = lambda error: None) -> Iterator[Cluster]:
    """Starts Ray on this machine, for this user alone, or joins the cluster at `address`; then leaves it.

    Args:
        address: of the cluster; None starts one.
        resources: what trials take.
        last_words: makes the end known where Ray's death ends this process at once; see `RayWatch`.

    Raises:
        SettingError: there is no cluster at the address, or no machine can hold even one trial.
        NotStartedError: Ray does not start on this machine.
        RayDiedError: it died while it ran.
    """
    with signals_interrupt(), environment(_RAY_ENVIRONMENT), _log_levels(_RAY_LOG_LEVELS), silent():
        with _started(resources, last_words) if address is None else _joined(address, last_words) as (context, watch):
            alive = [node for node in ray.nodes() if node["Alive"]]
            nodes = tuple(map(_node, alive))
            for words, one in resources.by_settings.items():
                if Placement(one, nodes).num_fitting == 0:
                    raise SettingError(f"{f'where {words}, ' if words else ''}{_none_fits(one, nodes)}")
            url = context.dashboard_url
            yield Cluster(
                f"http://{url}" if url else None,
                nodes,
                limits() if address is None else Limits(),
                tuple(_warnings(address, context)),
                tuple(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in alive),
                address is None,
                watch.check,
            )


def _none_fits(resources: Resources, nodes: Sequence[Node]) -> str:
    """Why no machine can hold a trial, and what to do."""
    usable = [node for node in nodes if node.features.have(resources.node_with)]
    if not usable:
        return lacking(resources.node_with, [node.features for node in nodes])
    return (
        f"resources asks for {resources.cpus} CPUs and {resources.gpus} GPUs a trial, but there are "
        f"{sum(node.cpus for node in usable):g} CPUs and {sum(node.gpus for node in usable):g} GPUs"
        f"{f' on {len(usable)} machines' if len(usable) > 1 else ''}"
        f"{f' with {listed(resources.node_with)}' if resources.node_with else ''}: ask for less"
    )


@contextmanager
def _started(resources: Resources, last_words: LastWords) -> Iterator[tuple[Any, RayWatch]]:
    """The context of a Ray of our own on this machine."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(session_folder())
            token = token_settings(folder)
        except OSError as error:
            raise _not_started(error) from error
        stack.enter_context(on_loopback())
        stack.enter_context(environment(token))
        watch = RayWatch(lambda: remove(folder), last_words)
        with _left(watch), watch, before_leaving(watch.stop):
            with watch.starting():
                context = _start(folder, resources)
            yield context, watch


def _start(folder: Path, resources: Resources) -> Any:
    here = this_machine(resources)
    try:
        with environment({MARK: str(folder), **_preloaded(resources, here)}):
            return _initialized(
                # Not a cluster that happens to run here, or that RAY_ADDRESS names.
                address="local",
                include_dashboard=True,
                dashboard_host=LOOPBACK,
                _node_ip_address=LOOPBACK,
                _temp_dir=str(folder / RAY_IN_IT),
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                num_cpus=int(here.cpus),
                num_gpus=int(here.gpus),
                _memory=None if math.isinf(here.memory_mib) else int(here.memory_mib * 2**20),
            )
    except Exception as error:
        # Ray raises bare exceptions where its processes do not come up in time.
        raise _not_started(error) from error


def _initialized(**options: Any) -> Any:
    """What `ray.init` gives, called in a thread of its own; Ctrl-C and SIGTERM end this program at once meanwhile.

    In the main thread an exception of theirs may hit what Python does around a fork, which drops it and leaves a lock
    held for ever; and Ray puts a handler of SIGTERM there that would end this process amid a trial. The guard takes
    away what has been started.
    """
    context: Future[Any] = Future()

    def initialize() -> None:
        try:
            context.set_result(ray.init(**options))
        except BaseException as error:
            context.set_exception(error)
        # On Linux, what a thread has started with PR_SET_PDEATHSIG, as Ray does, dies with that thread.
        threading.main_thread().join()

    with left_at_once():
        # One that nobody waits for at the end.
        threading.Thread(target=initialize, name="ray-init", daemon=True).start()
        return context.result()


def _preloaded(resources: Resources, here: Node) -> dict[str, str]:
    """Has Ray's workers import what a training needs as they start, while Ray itself does.

    Ray starts a worker a CPU, so only where each is to become a lane.
    """
    is_lane = Placements(resources, (here,)).num_lanes == int(here.cpus)
    return {"RAY_preload_python_modules": "sweep.running.preloaded"} if is_lane else {}


def _not_started(error: Exception) -> NotStartedError:
    return NotStartedError(
        f"Ray could not be started on this machine ({first_line(error)}): is it very busy, or out of memory or "
        f"disk space? The same command tries again"
    )


@contextmanager
def _joined(address: str, last_words: LastWords) -> Iterator[tuple[Any, RayWatch]]:
    """The context of a Ray that somebody else has started."""
    if "://" in address:
        raise SettingError(
            f"--address {address}: Ray Client addresses cannot be used, since the study's ledger is a local file: "
            f"start the command on a machine of the cluster with --address auto, or give host:port"
        )
    watch = RayWatch(last_words=last_words)
    # One on loopback alone is found there and nowhere else.
    here = address.rpartition(":")[0] in (LOOPBACK, "localhost", "[::1]")
    with on_loopback() if here else nullcontext(), _left(watch):
        try:
            _check_listens(address)
            context = _initialized(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except (OSError, ValueError) as error:
            raise SettingError(
                f"--address {address}: no Ray cluster answers there, or it wants another RAY_AUTH_TOKEN, with "
                f"RAY_AUTH_MODE=token ({error})"
            ) from error
        joined = ray.get_runtime_context()
        watch.watch_cluster(joined.gcs_address, joined.get_node_id())
        with watch:
            yield context, watch


def _check_listens(address: str) -> None:
    """Ray itself would try for minutes, and print warnings of its own on the way.

    Raises:
        OSError: nobody listens at the address, a Ray cluster's or where `auto` finds one.
    """
    found = canonicalize_bootstrap_address(address)
    if found is None:
        return
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


@contextmanager
def _left(watch: RayWatch) -> Iterator[None]:
    """Leaves Ray at the end; what fails because it has died is told as that."""
    try:
        yield
    except BaseException:
        if watch.died is not None:
            raise watch.died from None
        raise
    finally:
        # To shut down what has lost its processes takes a minute, also when the interpreter takes it apart.
        if watch.died is not None:
            atexit.register(_end_now, EXIT_MACHINE)
        else:
            _end_autoscaler()
            ray.shutdown()


def _end_autoscaler() -> None:
    """Kills the process of a Ray of ours that scales clusters: Ray waits for a second to see whether it ends itself."""
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if any(argument.endswith("autoscaler/_private/monitor.py") for argument in child.cmdline()):
                child.kill()


def _end_now(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _warnings(address: str | None, context: Any) -> Iterator[str]:
    """What others could do with this Ray."""
    who = "whoever reaches its ports" if address else "every user of this machine"
    if not _wants_token(address, context):
        yield (
            f"Ray runs without token authentication, so {who} can run programs as you: "
            + ("start the cluster with RAY_AUTH_MODE=token" if address else "unset RAY_AUTH_MODE")
        )
    if address is None and any(node["NodeManagerAddress"] != LOOPBACK for node in ray.nodes()):
        yield "Ray does not keep to the loopback address: its services listen on all interfaces of this machine"


def _wants_token(address: str | None, context: Any) -> bool:
    """Whether Ray does nothing for those who have no token; where it cannot be asked, what holds here."""
    if address is not None and context.dashboard_url:
        with suppress(OSError, ValueError, KeyError):
            asked = f"http://{context.dashboard_url}/api/authentication_mode"
            with urllib.request.urlopen(asked, timeout=_ANSWER_S) as answer:
                return bool(json.load(answer)["authentication_mode"] == "token")
    return bool(get_authentication_mode() == AuthenticationMode.TOKEN)


@contextmanager
def environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Sets the variables of the environment that the user has not set; takes them away at the end."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def _log_levels(levels: Mapping[str, int]) -> Iterator[None]:
    """Sets the levels of loggers, and puts them back at the end."""
    before = {name: logging.getLogger(name).level for name in levels}
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def living_nodes() -> dict[str, Node]:
    """The nodes of the cluster that Ray takes for alive, by their ids."""
    return {node["NodeID"]: _node(node) for node in ray.nodes() if node["Alive"]}


def _node(known: Mapping[str, Any]) -> Node:
    """A machine as Ray counts it."""
    found = known["Resources"]
    memory = found.get("memory")
    return Node(
        found.get("CPU", 0.0),
        found.get("GPU", 0.0),
        memory_mib=math.inf if memory is None else memory / 2**20,
        name=known["NodeName"],
        node_id=known["NodeID"],
        features=features_of(known),
    )
