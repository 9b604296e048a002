"""What a machine fails at, told apart from what a training does: no result comes of it, and the training runs again."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeGuard

from slr_models.errors import MachineError

_NAMES = "ENOSPC EDQUOT EFBIG EROFS EIO EREMOTEIO EMFILE ENFILE ESTALE ENODEV ENXIO ENOTCONN".split()
_OF_MACHINE = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))
"""A disk (or one's share of it) that is full, read-only or broken; no more open files; a file system that has gone."""


def is_of_machine(error: BaseException) -> TypeGuard[OSError]:
    """Whether an exception, wherever it comes from, says that the machine failed."""
    return isinstance(error, OSError) and error.errno in _OF_MACHINE


def try_to_write(folder: Path, num_mib: int = 0) -> None:
    """Writes so much into a folder that is there; it is gone again at once.

    Raises:
        OSError: the folder does not take it: it is read-only, its disk is full, a permission is missing.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            # Quotas are told by writing alone, and by some servers only when all of it has arrived.
            for _ in range(num_mib):
                file.write(os.urandom(2**20))
            os.fsync(file.fileno())
    except OSError as error:
        # The file has a name that nobody knows.
        error.filename = str(folder)
        raise


def refusal(error: OSError, place: Path | None = None) -> str:
    """What the machine refused, in a line for the user; `place` stands where the error names no file."""
    name = error.filename or place
    said = os.strerror(error.errno) if error.errno else str(error)
    what = f"{name}: {said}" if name else said
    return f"{what}: the machine refused this, no setting is wrong; mend it, and repeat the command"


def failure_in(text: str) -> str | None:
    """What the machine refused, in a line for the user, where another process's traceback says so."""
    numbers = re.findall(r"^\w*Error: \[Errno (\d+)\]", text, flags=re.MULTILINE)
    if not numbers or int(numbers[-1]) not in _OF_MACHINE:
        return None
    return refusal(OSError(int(numbers[-1]), ""))


@contextmanager
def storing(place: Path) -> Iterator[None]:
    """Within, results are written or read: whatever that fails at, is the machine's failure.

    Args:
        place: where; named if the failure itself names no file.

    Raises:
        MachineError: it failed.
    """
    try:
        yield
    except OSError as error:
        raise MachineError(refusal(error, place)) from error
