"""The lock of a results folder: one run at a time writes there. Whoever reads takes no lock.

The lock is `filelock`'s on a file of its own, beside the ledger: where locks are mandatory, as on Windows, a locked
ledger could not be read. It ends with its process, however that dies; the empty file may stay.

Where there is `flock`, a run holds the ledger itself with it too. That keeps out runs of earlier versions, which lock
nothing else, and tells anybody in an instant, on a read-only folder as well, whether a run is at work.
"""

import time
from pathlib import Path

from filelock import FileLock, Timeout

from slr_models.errors import ResultsError
from sweep.store.ledger_lines import LEDGER_FILE

try:
    import fcntl
except ImportError:
    # Windows has none.
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "ledger.lock"
_WAIT_S, _POLL_S = 0.1, 0.02
"""How long a lock that is taken is asked for again: `in_use` may hold it for an instant."""


class FolderLock:
    """The lock of a results folder, held from its making to `release`."""

    def __init__(self, results_dir: Path) -> None:
        """Takes the lock.

        Raises:
            ResultsError: another run holds it.
        """
        # Whichever thread releases it.
        self._lock = FileLock(results_dir / LOCK_FILE, thread_local=False)
        try:
            self._lock.acquire(timeout=_WAIT_S, poll_interval=_POLL_S)
        except Timeout:
            raise _in_use(results_dir) from None
        self._ledger = (results_dir / LEDGER_FILE).open("ab")
        if not _flocked(self._ledger.fileno()):
            self.release()
            raise _in_use(results_dir)

    def release(self) -> None:
        """Lets other runs in."""
        self._ledger.close()
        self._lock.release()


def _in_use(results_dir: Path) -> ResultsError:
    return ResultsError(
        f"{results_dir} is in use by another run: wait for it, stop it, or give --results another folder"
    )


def in_use(results_dir: Path) -> bool:
    """Whether a run is at work in the folder now. It keeps no run out and writes nothing."""
    ledger, lock = results_dir / LEDGER_FILE, results_dir / LOCK_FILE
    try:
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


def _flocked(file: int) -> bool:
    """Locks an open file with `flock`, where there is one; False where another process holds it."""
    if fcntl is None:
        return True
    for _ in range(round(_WAIT_S / _POLL_S)):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            time.sleep(_POLL_S)
        except OSError:
            # The file system has no such locks: `filelock` has found another way.
            return True
        else:
            return True
    return False
