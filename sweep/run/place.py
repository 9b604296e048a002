"""Where a study's results go, and whether they can be written there: known before any data are read."""

import os
import re
import stat
import unicodedata
from pathlib import Path

from slr_models.errors import MachineError
from sweep.machine import try_to_write

NEEDED_MIB = 8
"""Less free space is a full disk: a report takes 2 to 5 MiB, and is written beside the one before."""
LONGEST_INSIDE = 300
"""Bytes of the longest path within a results folder, which is one that a logger makes."""
_NOT_IN_NAMES = re.compile(r'[<>:"/\\|?*]')
_RESERVED = re.compile(
    r"(con|conin\$|conout\$|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3])(?=\.|$)", re.IGNORECASE
)
_INSTEAD = "give --results another folder"


def results_dir(results: Path, name: str) -> Path:
    """The folder of a study: `results/<its name>`.

    What Windows allows in no name, or keeps for itself, is written otherwise, so that a folder can be copied anywhere:
    `lr: 1?` is in `lr_ 1_`. A folder that an earlier version made under the very name is gone on with, and so is one
    whose name has the same letters in another spelling of Unicode.
    """
    name = _one_spelling(name)
    there = results.iterdir() if os.path.isdir(results) else ()
    return next((one for one in there if _one_spelling(one.name) == name), results / portable(name))


def portable(name: str) -> str:
    """A name as every system takes it for a folder."""
    safe = _NOT_IN_NAMES.sub("_", _one_spelling(name))
    safe = re.sub(r"[ .]+$", "_", safe)
    return _RESERVED.sub(lambda found: f"{found[0]}_", safe, count=1) if _RESERVED.match(safe) else safe


def _one_spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def check_place(folder: Path, *, writes: bool) -> None:
    """Checks that a results folder is there, or can be made.

    Args:
        folder: its path.
        writes: whether it is tried to write there; what is written is gone again.

    Raises:
        MachineError: it cannot: the disk is read-only or full, a name is too long, a file is in the way.
    """
    path = Path(os.path.abspath(folder))
    try:
        existing = next(one for one in (path, *path.parents) if os.path.lexists(one))
        _check_is_folder(existing)
        _check_lengths(path, existing)
        if writes:
            try_to_write(existing, NEEDED_MIB)
    except OSError as error:
        raise MachineError(f"{folder}: results cannot be written there ({error.strerror}): {_INSTEAD}") from error
    except UnicodeEncodeError as error:
        raise MachineError(
            f"{os.fspath(folder)!a}: names of files are in {error.encoding} here, which lacks a letter of this one: "
            f"set PYTHONUTF8=1 or a locale such as LC_ALL=C.UTF-8"
        ) from error


def _check_is_folder(path: Path) -> None:
    if path.is_dir():
        return
    if not path.exists():
        raise MachineError(f"{path} is a link to {os.readlink(path)}, which does not exist: make it, or {_INSTEAD}")
    what = "a file" if stat.S_ISREG(path.stat().st_mode) else "a pipe or a device"
    raise MachineError(f"{path} is {what}, but results go to a folder: {_INSTEAD}")


def _check_lengths(path: Path, existing: Path) -> None:
    if not hasattr(os, "pathconf"):
        return
    name = max(path.parts, key=lambda part: len(os.fsencode(part)))
    if (length := len(os.fsencode(name))) > (most := os.pathconf(existing, "PC_NAME_MAX")):
        whose = "the study's `name`" if name == path.name else "--results"
        raise MachineError(f"{whose} makes a folder name of {length} bytes, but {most} are the most here: shorten it")
    most = os.pathconf(existing, "PC_PATH_MAX") - LONGEST_INSIDE
    if (length := len(os.fsencode(path))) > most:
        raise MachineError(
            f"the results folder's path takes {length} bytes, but {most} are the most: shorten --results"
        )
