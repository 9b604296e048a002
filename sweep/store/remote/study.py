"""A study on an object store: worked on in a folder here by one run, and brought here for readers."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic_core import from_json

from slr_models.errors import MachineError, ResultsError
from sweep.machine import storing
from sweep.store.files import spare, write_bytes, write_text
from sweep.store.ledger_lines import LEDGER_FILE
from sweep.store.lock import HELD_FILE
from sweep.store.remote.address import StoreAddress, as_address
from sweep.store.remote.lease import Lease, holder_now
from sweep.store.remote.lines import SHARED_FILES, SharedLines
from sweep.store.remote.mirror import Mirror, Sending
from sweep.store.remote.objects import PATIENCE_S, ObjectStore
from sweep.store.remote.segments import SEGMENTS, LedgerSegments, read_segments

SEND_EVERY_S = 15.0
_REFRESH_EVERY_S = 10.0
_AT_FAILURE_S = 10.0
"""How long the last files of a run that failed are tried to be sent."""
_REPORT = "report.html"


class RemoteStudy:
    """The study of a run: its folder here, and what keeps it there."""

    def __init__(self, objects: ObjectStore, say: Callable[[str], None], *, sent_by_trainings: bool = False) -> None:
        """Takes the study's lease, and brings what is stored.

        Args:
            objects: the store, at the study's address.
            say: hears notes for the user.
            sent_by_trainings: whether the processes that train send their files themselves; see `TrainingFiles`.

        Raises:
            UserError: another run is at work, there is no bucket, or a part of the ledger is missing.
            MachineError: the store cannot be reached, or refuses the credentials.
        """
        self.address, self.folder, objects.say = objects.address, objects.address.folder("work"), say
        self._objects, self._say, self._sent_by_trainings = objects, say, sent_by_trainings
        self._lease = Lease(objects, say)
        try:
            self._segments = LedgerSegments(objects)
            self._begin()
        except BaseException:
            self._lease.end()
            raise
        objects.patience_s = PATIENCE_S
        self._sending = Sending(self._send_settled, SEND_EVERY_S, say)

    def add_line(self, line: bytes) -> None:
        """Keeps a line that was written to the ledger here, once the files are there, or gone, that it speaks of.

        Raises:
            MachineError: it cannot be kept.
        """
        event = from_json(line)
        if event["event"] == "retry":
            # Nobody is to go on from what is left of it.
            self._lease.check()
            self._mirror.remove_trial(event["trial_id"])
        elif event["event"] == "tell" and self._sent_by_trainings:
            # A search may look at its evaluations.
            self._mirror.bring_trials([event["trial_id"]], records_alone=True)
        elif event["event"] == "tell":
            self._lease.check()
            self._mirror.send_records(event["trial_id"])
        self._segments.add(line, self._path.read_bytes)

    def gather(self) -> None:
        """Brings what the processes that train have sent since.

        Raises:
            MachineError: the store cannot be reached.
        """
        if self._sent_by_trainings:
            self._mirror.bring()
            self._write_shared()

    def send(self) -> None:
        """Sends all that is not there yet.

        Raises:
            MachineError: the store cannot be reached, and the same command sends it; or another run writes there now.
        """
        self._lease.check()
        self._mirror.send(everything=True)
        for key in sorted(self._mirror.unnamed):
            self._say(f"{self.folder / key} has a name that no object can have: it is kept here alone")

    def end(self, *, failed: bool) -> None:
        """Ends the sending, sends what is left, and lets other runs in.

        Args:
            failed: whether the run ended by an error, which says more than that a file could not be sent.

        Raises:
            MachineError: the store cannot be reached; never of a run that failed.
        """
        if failed:
            self._objects.patience_s = _AT_FAILURE_S
        self._sending.end(_AT_FAILURE_S if failed else None)
        try:
            self.send()
            self._lease.end()
        except (MachineError, ValueError):
            if not failed:
                raise

    def _send_settled(self) -> None:
        self._lease.check()
        self._mirror.send()

    @property
    def _path(self) -> Path:
        return self.folder / LEDGER_FILE

    def _begin(self) -> None:
        if self._segments.is_new and self._path.exists():
            # It was removed there, to begin anew: what is left of it here is not to come back.
            self._say(
                f"the study is no longer at {self.address}: it begins anew, and {self._set_aside()} keeps the old one"
            )
        here = self._path.read_bytes() if self._path.exists() else b""
        ledger, note = self._segments.begin(here)
        if note is not None:
            self._say(f"{note}, in {self._set_aside()}")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._path.exists() or self._path.read_bytes() != ledger:
            write_bytes(self._path, ledger)
        self._mirror = Mirror(self._objects, self.folder)
        events = [from_json(line) for line in ledger.splitlines()]
        told = {event["trial_id"] for event in events if event["event"] == "tell"}
        asked = {event["trial_id"] for event in events if event["event"] == "ask"}
        self._mirror.bring(checkpoints_of=() if self._sent_by_trainings else asked - told)
        if self._sent_by_trainings:
            for name in SHARED_FILES:
                known = (self.folder / name).read_text().splitlines() if (self.folder / name).is_file() else []
                for line in known:
                    SharedLines(self._objects, name).add(line)
            self._write_shared()

    def _write_shared(self) -> None:
        for name in SHARED_FILES:
            lines = SharedLines(self._objects, name).read()
            if lines:
                write_text(self.folder / name, "".join(f"{line}\n" for line in lines))

    def _set_aside(self) -> Path:
        """Gives the folder another name; returns it."""
        return self.folder.rename(spare(self.folder))


@contextmanager
def remote_study(
    address: StoreAddress, say: Callable[[str], None], *, sent_by_trainings: bool = False
) -> Iterator[RemoteStudy]:
    """A study of a run, within; see `RemoteStudy`."""
    with storing(address.folder("work")):
        study = RemoteStudy(ObjectStore(address), say, sent_by_trainings=sent_by_trainings)
    try:
        yield study
    except BaseException:
        study.end(failed=True)
        raise
    study.end(failed=False)


class StudyCopy:
    """A study of an object store as a reader has it: a copy here, which no run works on."""

    def __init__(self, objects: ObjectStore) -> None:
        """Brings the study.

        Raises:
            ResultsError: there is none at the address, or a part of its ledger is missing.
            MachineError: the store cannot be reached.
        """
        self.address, self.folder = objects.address, objects.address.folder("read")
        self._objects, self._mirror = objects, Mirror(objects, self.folder)
        self._ended = threading.Event()
        self.refresh()

    def refresh(self) -> None:
        """Brings what is new.

        Raises:
            ResultsError: there is no study at the address, or a part of its ledger is missing.
            MachineError: the store cannot be reached.
        """
        ledger = read_segments(self._objects)
        if ledger is None:
            begun = (re.match(rf"([^/]+)/{SEGMENTS}/", one.key) for one in self._objects.listing())
            beside = sorted({one[1] for one in begun if one is not None})
            hint = f": give one of its studies, such as {self.address / beside[0]}" if beside else ""
            raise ResultsError(f"there is no study at {self.address}{hint}")
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            held, path = holder_now(self._objects), self.folder / LEDGER_FILE
            if held is None:
                (self.folder / HELD_FILE).unlink(missing_ok=True)
            else:
                write_bytes(self.folder / HELD_FILE, f"{held.pid}\n{held.host}\n".encode())
            if not path.exists() or path.read_bytes() != ledger:
                write_bytes(path, ledger)
            at = self._mirror.bring(times=True)
            # By these, readers tell whether the study's run still writes.
            for one in (path, self.folder, *(one for one in self.folder.iterdir() if one.is_dir())):
                os.utime(one, (at, at))

    @contextmanager
    def kept_current(self) -> Iterator[None]:
        """Within, what is new is brought every few seconds; a failure leaves the copy as it is until the next."""
        thread = threading.Thread(target=self._refresh_on, name="refreshing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def send_report(self) -> None:
        """Puts the report of the copy where the study is stored.

        Raises:
            MachineError: it cannot be put there.
        """
        self._objects.put(_REPORT, (self.folder / _REPORT).read_bytes())

    def _refresh_on(self) -> None:
        while not self._ended.wait(_REFRESH_EVERY_S):
            try:
                self.refresh()
            except (MachineError, ValueError):
                continue


def study_copy(results: Path | str) -> StudyCopy | None:
    """A copy of the study at an address; None where what is given is a path.

    Raises:
        UserError: the address is none, or there is no study there.
        MachineError: the store cannot be reached, or refuses the credentials.
    """
    address = as_address(results)
    return None if address is None else StudyCopy(ObjectStore(address))
