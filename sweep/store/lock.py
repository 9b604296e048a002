"""The lock of a results folder: one run at a time writes there. Whoever reads takes no lock.

The lock is `filelock`'s on a file of its own, beside the ledger: where locks are mandatory, as on Windows, a locked
ledger could not be read. It ends with its process, however that dies; the empty file may stay.

Where there is `flock`, a run holds the ledger itself with it too. That keeps out runs of earlier versions, which lock
nothing else, and tells anybody in an instant, on a read-only folder as well, whether a run is at work.

Some file systems know no `flock` (Lustre, some NFS). There a run holds the folder by a file that says who made it, and
that is removed at the end; one whose process is dead is taken over on the same machine, and named on another.
"""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from slr_models.errors import ResultsError
from sweep.machine import try_to_write
from sweep.store.ledger_lines import LEDGER_FILE

try:
    import fcntl
except ImportError:
    # Windows has none.
    fcntl = None  # type: ignore[assignment]

LOCK_FILE, HELD_FILE = "ledger.lock", "ledger.held"
_MAX_HELD_BYTES = 4096
_WAIT_S, _POLL_S = 0.1, 0.02
"""How long a lock that is taken is asked for again: `in_use` may hold it for an instant."""


class FolderLock:
    """The lock of a results folder, held from its making to `release`."""

    def __init__(self, results_dir: Path) -> None:
        """Takes the lock.

        Raises:
            ResultsError: another run holds it.
        """
        if os.path.lexists(results_dir / HELD_FILE) and not (results_dir / HELD_FILE).is_file():
            raise ResultsError(f"{results_dir / HELD_FILE} is no file, but locks the folder: delete it")
        has_flock = without_flock(results_dir) is None
        # Whichever thread releases it.
        held = SoftFileLock(results_dir / HELD_FILE, thread_local=False)
        self._lock: BaseFileLock = FileLock(results_dir / LOCK_FILE, thread_local=False) if has_flock else held
        try:
            if has_flock and (results_dir / HELD_FILE).exists():
                # Another machine may have the same folder without `flock`.
                held.acquire(timeout=_WAIT_S, poll_interval=_POLL_S)
                held.release()
            self._lock.acquire(timeout=_WAIT_S, poll_interval=_POLL_S)
        except Timeout:
            raise _in_use(results_dir) from None
        self._ledger = (results_dir / LEDGER_FILE).open("ab")
        if has_flock and not _flocked(self._ledger.fileno()):
            self.release()
            raise _in_use(results_dir)

    def release(self) -> None:
        """Lets other runs in."""
        self._ledger.close()
        self._lock.release()


def without_flock(folder: Path) -> str | None:
    """Why files of a folder cannot be locked with `flock`, as the system says it; None where they can.

    It is tried on a file that nobody else has, so that no lock of another run is taken for it.

    Raises:
        OSError: no file can be made there.
    """
    if fcntl is None:
        return None
    try_to_write(folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.strerror or type(error).__name__
    return None


@contextmanager
def locked(path: Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Holds a lock of several processes of one run, with `flock` or, where there is none, by the file itself.

    Raises:
        OSError: another process holds it for longer than that, or the file cannot be made.
    """
    kind = FileLock if without_flock(path.parent) is None else SoftFileLock
    with kind(path, timeout=timeout_s):
        yield


def check_free(results_dir: Path) -> None:
    """Checks that no run is at work in the folder now, and writes nothing.

    Raises:
        ResultsError: one is.
    """
    if in_use(results_dir):
        raise _in_use(results_dir)


def in_use(results_dir: Path) -> bool:
    """Whether a run is at work in the folder now. It keeps no run out and writes nothing."""
    ledger, lock = results_dir / LEDGER_FILE, results_dir / LOCK_FILE
    try:
        if (holder := _holder(results_dir)) is not None and not holder.is_dead:
            return True
        if fcntl is not None:
            with ledger.open("rb") as file:
                # Shared, so that several may ask at once; closing the file gives it back.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        elif lock.is_file():
            with FileLock(lock).acquire(timeout=_WAIT_S, poll_interval=_POLL_S):
                pass
    except (BlockingIOError, Timeout):
        return True
    except OSError:
        # There is none yet, or the file system has no locks.
        return False
    return False


@dataclass(frozen=True)
class _Holder:
    """Who holds a folder by a file, as the file says."""

    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be: of another machine's processes nothing is."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False


def _holder(results_dir: Path) -> _Holder | None:
    try:
        path = results_dir / HELD_FILE
        if not path.is_file() or path.stat().st_size > _MAX_HELD_BYTES:
            return None
        pid, host, *_ = path.read_text(encoding="utf-8").splitlines()
        if not 0 < int(pid) < 2**31:
            return None
        # Behind a question mark `filelock` may name the container.
        return _Holder(int(pid), "".join(c for c in host.partition("?")[0] if c.isprintable()))
    except (OSError, ValueError):
        return None


def _in_use(results_dir: Path) -> ResultsError:
    holder, what_to_do = _holder(results_dir), "wait for it, stop it, or give --results another folder"
    if holder is None and (results_dir / HELD_FILE).exists():
        return ResultsError(
            f"{results_dir} is in use, says {results_dir / HELD_FILE}, but not by whom: if no run is at work there, "
            f"delete the file and repeat the command"
        )
    if holder is None:
        return ResultsError(f"{results_dir} is in use by another run: {what_to_do}")
    if holder.is_here:
        return ResultsError(f"{results_dir} is in use by another run, process {holder.pid}: {what_to_do}")
    return ResultsError(
        f"{results_dir} is in use by process {holder.pid} on {holder.host}, says {results_dir / HELD_FILE}: wait for "
        f"it or stop it; if that run was killed, delete the file and repeat the command"
    )


def _flocked(file: int) -> bool:
    """Locks an open file with `flock`, where there is one; False where another process holds it."""
    if fcntl is None:
        return True
    for _ in range(round(_WAIT_S / _POLL_S)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            time.sleep(_POLL_S)
        else:
            return True
    return False
