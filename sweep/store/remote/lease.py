"""Which run writes to a study on an object store: an object that says who, and that is renewed while the run lives.

Each run makes an object of its own, numbered; the highest counts. One whose run said that it ended is free at once, and
so is one whose process is known to be dead, since it was of this machine. Another is watched: if it is not renewed for
longer than a run ever leaves it, its run is dead or cut off. No clocks of two machines are compared for that, but for
one that is older by far than clocks differ. Should a run come back that was taken over, its next segment of the ledger
finds its place taken (`segments`).
"""

import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from slr_models.errors import MachineError, ResultsError
from sweep.store.remote.objects import ExistsError, ObjectStore

LEASES = "lease"
RENEW_S, DEAD_AFTER_S = 10.0, 45.0
"""How often a run renews its lease, and how long one that is watched may go without."""
_OLD_S = 600.0
_LOOK_S = 2.0
_KEY = re.compile(rf"{LEASES}/(\d{{6}})\.json")


@dataclass(frozen=True)
class Holder:
    """A run that holds a study, or held it."""

    writer: str
    host: str
    machine: str
    """Tells apart machines, containers and starts of one."""
    pid: int
    process_began: float
    num_renewals: int = 0
    ended: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine, so that it is known whether it lives."""
        return self.machine == _machine()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be."""
        if not self.is_here:
            return False
        if self.pid == os.getpid():
            # An earlier run of this process, which could not say that it ended.
            return True
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.process_began) > 1.0)
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


class Lease:
    """The lease of one run, from its making to `end`."""

    def __init__(self, objects: ObjectStore, say: Callable[[str], None]) -> None:
        """Takes it, where no other run has it; may take `DEAD_AFTER_S` to know.

        Args:
            objects: of the study.
            say: hears why it has to wait.

        Raises:
            ResultsError: another run is at work.
            MachineError: the store cannot be reached, or does not keep two runs apart.
        """
        self._objects = objects
        number, held = _latest(objects)
        if held is not None:
            _check_free(objects, number, held, say)
        pid = os.getpid()
        self._holder = Holder(
            uuid.uuid4().hex, socket.gethostname(), _machine(), pid, psutil.Process(pid).create_time()
        )
        self._key = f"{LEASES}/{number + 1:06d}.json"
        self._create()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Checks that no other run has taken the study over.

        Raises:
            MachineError: one has, or the store cannot be reached.
        """
        if self._objects.listing(LEASES, after=self._key):
            raise taken_over(self._objects)

    def end(self) -> None:
        """Lets other runs in."""
        self._ended.set()
        # It may be waiting for a network that is not there.
        self._thread.join(_LOOK_S)
        self._objects.put(self._key, _json(self._holder, ended=True))

    def _create(self) -> None:
        content = _json(self._holder)
        try:
            self._objects.create(self._key, content)
        except ExistsError:
            if self._objects.get(self._key) != content:
                raise _in_use(self._objects, None) from None
        try:
            self._objects.create(self._key, content)
        except ExistsError:
            return
        raise MachineError(
            f"{self._objects.address}: this store overwrites where it is asked not to (If-None-Match), so that nothing "
            f"keeps two runs apart: use another store, or a newer version of its server"
        )

    def _renew(self) -> None:
        num = 0
        while not self._ended.wait(RENEW_S):
            num += 1
            try:
                self._objects.put(self._key, _json(self._holder, num_renewals=num))
            except (MachineError, ValueError):
                # Whether the run may still write, its next segment of the ledger tells.
                continue


def taken_over(objects: ObjectStore) -> MachineError:
    """What is told to a run that came back after another had taken its study over."""
    return MachineError(
        f"{objects.address}: another run has taken this study over, and writes there now: this one ends, and has "
        f"overwritten nothing of it"
    )


def holder_now(objects: ObjectStore) -> Holder | None:
    """The run that seems to be at work on a study, for a reader; None where none does."""
    found = objects.listing(LEASES)
    if not found:
        return None
    _, held = _latest(objects)
    silent_s = (datetime.now(UTC) - found[-1].changed_at).total_seconds()
    return None if held is None or held.ended or held.is_dead or silent_s > _OLD_S else held


def _check_free(objects: ObjectStore, number: int, held: Holder, say: Callable[[str], None]) -> None:
    """Returns once it is known that the run of a lease writes no more.

    Raises:
        ResultsError: it does.
    """
    if held.ended or held.is_dead:
        return
    if held.is_here:
        raise _in_use(objects, held)
    key = f"{LEASES}/{number:06d}.json"
    changed = next((one.changed_at for one in objects.listing(LEASES) if one.key == key), datetime.now(UTC))
    if (datetime.now(UTC) - changed).total_seconds() > _OLD_S:
        return
    say(
        f"process {held.pid} on {held.host} did not say that it ended: it takes up to {DEAD_AFTER_S:.0f} s to see "
        f"whether it lives"
    )
    until = time.monotonic() + DEAD_AFTER_S
    while time.monotonic() < until:
        time.sleep(_LOOK_S)
        latest, now = _latest(objects)
        if now is not None and now.ended:
            return
        if latest != number or now != held:
            raise _in_use(objects, now)


def _latest(objects: ObjectStore) -> tuple[int, Holder | None]:
    """The number of the latest lease and its run; 0 and None where there is none."""
    keys = [one.key for one in objects.listing(LEASES) if _KEY.fullmatch(one.key)]
    if not keys:
        return 0, None
    try:
        return int(Path(keys[-1]).stem), _HOLDER.validate_json(objects.get(keys[-1]) or b"")
    except ValidationError:
        raise ResultsError(
            f"{objects.address}/{keys[-1]} is no lease of a run: if none is at work there, delete the object"
        ) from None


_HOLDER = TypeAdapter(Holder)


def _json(holder: Holder, *, num_renewals: int = 0, ended: bool = False) -> bytes:
    return json.dumps({**asdict(holder), "num_renewals": num_renewals, "ended": ended}).encode()


def _in_use(objects: ObjectStore, held: Holder | None) -> ResultsError:
    by = "another run" if held is None else f"another run, process {held.pid} on {held.host}"
    return ResultsError(f"{objects.address} is in use by {by}: wait for it, stop it, or give --results another address")


def _machine() -> str:
    """What a process shares with those that it can see alone: a start of the system, and a container's processes."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)
