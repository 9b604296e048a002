"""The files of a results folder and their copies on an object store, both ways; the ledger alone goes another.

What is known of a file's copy stands in an index beside the folder: its tag there, and size and time here. A file that
changed there is fetched, whatever became of it here; else one that changed here is sent, and one that is gone here is
removed there, and the other way round. A file is sent when it has stopped changing, or all is to be sent; the records
of trainings under way, which grow by whole lines, as they are.
"""

import json
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from slr_models.errors import MachineError
from sweep.machine import storing
from sweep.store.completeness import JOURNAL_FILE
from sweep.store.files import TEMPORARY, atomic_path, temporary_path, write_text
from sweep.store.ledger_lines import LEDGER_FILE
from sweep.store.leftovers import CHECKPOINTS, EVIDENCE, RAY
from sweep.store.lock import HELD_FILE, LOCK_FILE
from sweep.store.remote.lease import LEASES
from sweep.store.remote.lines import SHARED, STORED_AT_FILE
from sweep.store.remote.objects import Found, ObjectStore
from sweep.store.remote.segments import SEGMENTS, WHOLE
from sweep.store.tables import RECORDS, STREAM_SUFFIX, STREAMED
from sweep.store.wishes import QUEUE_FOLDER, STOP_FOLDER

_OWN_FILES = {LEDGER_FILE, LOCK_FILE, HELD_FILE, JOURNAL_FILE, STORED_AT_FILE, "prometheus.json"}
"""What is of this machine alone, or written anew by each run."""
_OWN_FOLDERS = {SEGMENTS, WHOLE, LEASES, SHARED, RAY, QUEUE_FOLDER, STOP_FOLDER}
FILES = "files"
_AT_ONCE = 8
_IN_ONE_PIECE = 32 * 2**20
State = tuple[int, int]
"""Size and time of change (ns) of a file here."""


class Mirror:
    """A folder of this machine and the objects of a study."""

    def __init__(self, objects: ObjectStore, folder: Path) -> None:
        """Reads what is known of the copies; asks nothing yet."""
        self._objects, self._folder = objects, folder
        self._index_path = folder.with_name(f".{folder.name}.index.json")
        self._known = _read_index(self._index_path)
        self._seen: dict[str, State] = {}
        """Files as they were at the latest look: one that is still the same has stopped changing."""
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self.unnamed: set[str] = set()
        """Files whose names no object can have, so that they stay here alone."""

    def bring(self, *, checkpoints_of: Collection[str] = (), times: bool = False) -> float:
        """Fetches what changed there.

        Args:
            checkpoints_of: trainings whose checkpoints are fetched too; nobody needs those of others.
            times: files get the times at which they were stored, so that a reader sees how old they are.

        Returns:
            When anything of the study was stored last, in seconds as `time.time` counts them; 0 of nothing.

        Raises:
            MachineError: the store cannot be reached, or the disk is full.
        """
        stored = self._objects.listing()
        there = {one.key: one for one in stored if _is_mirrored(one.key)}
        wanted = {key: one for key, one in there.items() if _owner(key, CHECKPOINTS) in (None, *checkpoints_of)}
        self._fetch_all(wanted.values(), times=times)
        for key in self._known.keys() - there.keys():
            (self._folder / key).unlink(missing_ok=True)
            self._forget(key)
        self._keep_index()
        return max((one.changed_at.timestamp() for one in stored if not one.key.startswith(f"{LEASES}/")), default=0.0)

    def bring_trials(self, trial_ids: Collection[str], *, records_alone: bool = False) -> None:
        """Fetches what is stored of some trainings, and nothing else.

        Args:
            trial_ids: of the trainings.
            records_alone: neither checkpoints nor other files.

        Raises:
            MachineError: the store cannot be reached, or the disk is full.
        """
        found = [one for trial_id in trial_ids for one in self._stored_of(trial_id, records_alone=records_alone)]
        self._fetch_all(found, times=False)

    def remove_trial(self, trial_id: str) -> None:
        """Removes there all that is stored of a training.

        Raises:
            MachineError: the store cannot be reached.
        """
        for one in self._stored_of(trial_id):
            self._objects.delete(one.key)
            self._forget(one.key)

    def _stored_of(self, trial_id: str, *, records_alone: bool = False) -> list[Found]:
        found = [one for key in _records_of(trial_id) if (one := self._objects.head(key)) is not None]
        for folder in () if records_alone else (CHECKPOINTS, EVIDENCE, FILES):
            found += self._objects.listing(f"{folder}/{trial_id}")
        return found

    def _fetch_all(self, found: Iterable[Found], *, times: bool) -> None:
        changed = [one for one in found if not self._is_here(one)]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda one: self._fetch(one, times=times), changed))

    def send(self, *, everything: bool = False) -> None:
        """Sends what changed here.

        Args:
            everything: also what may be changing yet.

        Raises:
            MachineError: the store cannot be reached.
        """
        with self._turn:
            self._send_changed(everything=everything)

    def let_go(self) -> None:
        """Removes the files that have copies, here alone."""
        with self._turn:
            for key in list(self._known):
                self._forget(key)
                (self._folder / key).unlink(missing_ok=True)

    def _send_changed(self, *, everything: bool) -> None:
        here = self._files()
        with self._lock:
            changed = self._changed(here)
            gone = [key for key in self._known.keys() - here.keys() if not os.path.lexists(self._folder / key)]
        settled = [key for key in changed if everything or _is_stream(key) or self._seen.get(key) == here[key]]
        self._seen = here
        self._send_all(settled)
        for key in gone:
            self._objects.delete(key)
            self._forget(key)
        if settled or gone:
            self._keep_index()

    def send_records(self, trial_id: str) -> None:
        """Sends the records of a training that has ended, and why it ended badly, before its result is relied on.

        Raises:
            MachineError: the store cannot be reached.
        """
        records = (self._folder / key for key in _records_of(trial_id))
        evidence = (self._folder / EVIDENCE / trial_id).glob("*")
        self._send_all(
            self._changed({key: state for path in (*records, *evidence) for key, state in self._state(path)})
        )

    def _changed(self, here: Mapping[str, State]) -> list[str]:
        """Of files here, those that are not as their copies are."""
        return [key for key, state in here.items() if self._known.get(key, ("", ()))[1] != state]

    def _send_all(self, keys: Collection[str]) -> None:
        """Sends files; checkpoints last, as they were at first: the records then reach as far as these, or further."""
        checkpoints = {key: self._held(key) for key in keys if key.startswith(f"{CHECKPOINTS}/")}
        others = [key for key in keys if key not in checkpoints]
        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(lambda key: self._send(key, self._folder / key), others))
            for key, held in checkpoints.items():
                self._send(key, held)
        finally:
            for key, held in checkpoints.items():
                if held != self._folder / key:
                    held.unlink(missing_ok=True)

    def _held(self, key: str) -> Path:
        """A second name of a file as it is now, which stays when another takes its place; its own where that fails."""
        path = self._folder / key
        held = temporary_path(path)
        try:
            os.link(path, held)
        except OSError:
            return path
        return held

    def _send(self, key: str, path: Path) -> None:
        try:
            state = _state_of(path)
            content = path.read_bytes() if state[0] <= _IN_ONE_PIECE else path
            tag = self._objects.put(key, content)
        except FileNotFoundError:
            # It went, or another took its place, at this moment.
            return
        except ValueError:
            self.unnamed.add(key)
            return
        with self._lock:
            self._known[key] = tag, state

    def _fetch(self, one: Found, *, times: bool) -> None:
        path = self._folder / one.key
        with storing(path), atomic_path(path) as temporary:
            if not self._objects.download(one.key, temporary):
                return
            if times:
                at = one.changed_at.timestamp()
                os.utime(temporary, (at, at))
        with self._lock:
            self._known[one.key] = one.e_tag, _state_of(path)

    def _is_here(self, one: Found) -> bool:
        tag, _ = self._known.get(one.key, ("", ()))
        return tag == one.e_tag and (self._folder / one.key).is_file()

    def _files(self) -> dict[str, State]:
        """The files that have copies, or are to have one."""
        found: dict[str, State] = {}
        for root, folders, files in os.walk(self._folder):
            if Path(root) == self._folder:
                folders[:] = [name for name in folders if name not in _OWN_FOLDERS]
            found.update(pair for name in files for pair in self._state(Path(root, name)))
        return found

    def _state(self, path: Path) -> Iterable[tuple[str, State]]:
        key = path.relative_to(self._folder).as_posix()
        with suppress(OSError):
            if _is_mirrored(key) and key not in self.unnamed:
                yield key, _state_of(path)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._known.pop(key, None)

    def _keep_index(self) -> None:
        with self._lock:
            content = json.dumps(self._known)
        with storing(self._index_path):
            write_text(self._index_path, content)


class Sending:
    """Sends what changes, in a thread, from its making to `end`."""

    def __init__(self, send: Callable[[], None], every_s: float, say: Callable[[str], None]) -> None:
        """Begins.

        Args:
            send: sends.
            every_s: so many seconds pass between two looks.
            say: hears of the first time that it fails.
        """
        self._send, self._every_s, self._say = send, every_s, say
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sending", daemon=True)
        self._thread.start()

    def end(self, timeout_s: float | None = None) -> None:
        """Ends it; what it has not sent is left. What is on its way is waited for, no longer than that."""
        self._ended.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        has_failed = False
        while not self._ended.wait(self._every_s):
            try:
                self._send()
            except (MachineError, ValueError, OSError) as error:
                # The run's own last sending tells what is not there; until then it is tried again and again.
                if not has_failed:
                    self._say(f"{error}; it is tried again")
                has_failed = True
            else:
                has_failed = False


def _is_mirrored(key: str) -> bool:
    first, *rest = key.split("/")
    name = rest[-1] if rest else first
    if TEMPORARY.fullmatch(name) or name.endswith(".lock"):
        return False
    return first not in _OWN_FOLDERS if rest else first not in _OWN_FILES


def _records_of(trial_id: str) -> list[str]:
    """What the records of a training are called, as far as there are any."""
    tables = [f"{kind}/{trial_id}.parquet" for kind in RECORDS]
    return tables + [f"{kind}/{trial_id}{STREAM_SUFFIX}" for kind in STREAMED]


def _owner(key: str, folder: str) -> str | None:
    """The training that a file in its own part of a folder is of; None of any other file."""
    parts = key.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == folder else None


def _is_stream(key: str) -> bool:
    return key.endswith(STREAM_SUFFIX) and key.partition("/")[0] in STREAMED


def _state_of(path: Path) -> State:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        # Links, pipes and devices are of this machine.
        raise FileNotFoundError(path)
    return found.st_size, found.st_mtime_ns


_INDEX = TypeAdapter(dict[str, tuple[str, State]])


def _read_index(path: Path) -> dict[str, tuple[str, State]]:
    try:
        return _INDEX.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        # Then all is fetched once more.
        return {}
