"""Files of a results folder: written beside their place, then renamed over it, or appended to by whole lines."""

import errno
import itertools
import math
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slr_models.errors import ResultsError
from sweep import yaml_source
from sweep.records import checked_trial_id

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
"""How `temporary_path` names files."""
MAX_DOCUMENT_MIB, MAX_YAML_MIB = 16, 2
"""No document of a results folder comes near these sizes; YAML is read at some 50 KiB a second."""


def temporary_path(path: Path) -> Path:
    """A name beside a file that no other file has."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; renames it to `path` if the block succeeds."""
    if path.is_dir():
        # A rename would fail too, and name the temporary file.
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    # As readable as anything else that the user makes (`tempfile` makes files private), and never over another's.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as YAML, keys in their given order, atomically."""
    write_text(path, yaml_source.dump(content))


def check_size(path: Path, size: int, max_mib: int, remedy: str) -> None:
    """Raises ResultsError for a file of more than so many MiB: reading it could take all memory."""
    if size > max_mib * 2**20:
        raise ResultsError(f"{path} has {size / 2**20:,.0f} MiB, and no such file has more than {max_mib:,}: {remedy}")


def read_bytes(path: Path, max_mib: int, remedy: str) -> bytes:
    """A file, if it is one of a sane size.

    Raises:
        ResultsError: it is none, with what to do.
    """
    check_is_file(path, remedy)
    check_size(path, path.stat().st_size, max_mib, remedy)
    return path.read_bytes()


def check_is_file(path: Path, remedy: str) -> None:
    """Raises ResultsError for a folder, a pipe or a device: the last two may give bytes without end, or none ever."""
    if not path.is_file():
        raise ResultsError(f"{path} is {'a folder, not a file' if path.is_dir() else 'no file'}: {remedy}")


def append(file: FileIO, content: bytes, *, synced: bool = False) -> None:
    """Writes whole lines behind those of a file that is open to be appended to, without a buffer.

    Args:
        file: as it was opened.
        content: the lines.
        synced: whether they are to be on the disk when this returns.

    Raises:
        OSError: they cannot be written; the file is as it was before.
    """
    end = file.seek(0, os.SEEK_END)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) :]
        if synced:
            os.fsync(file.fileno())
    except OSError:
        # Half a line before the next one would damage both.
        file.truncate(end)
        raise


def check_is_folder(path: Path, remedy: str) -> None:
    """Raises ResultsError for what lies in a folder's place: a file, or a link to nothing or to itself."""
    if os.path.lexists(path) and not path.is_dir():
        raise ResultsError(f"{path} is {'a link to no folder' if path.is_symlink() else 'no folder'}: {remedy}")


def spare(path: Path) -> Path:
    """A name beside a file that nothing has yet: `ledger.jsonl.1`, or the next number that is free."""
    return next(one for n in itertools.count(1) if not (one := path.with_name(f"{path.name}.{n}")).exists())


def trial_name(trial_id: str) -> str:
    """The id as a part of the name of a file.

    Raises:
        ResultsError: it cannot name a trial.
    """
    try:
        return checked_trial_id(trial_id)
    except ValueError as error:
        raise ResultsError(str(error)) from error


def said(error: Exception) -> str:
    """What is wrong with a file, in one line: of many mistakes of fields the first."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split())[:300] or type(error).__name__
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        return f"this version knows no field {place}"
    return f"{place}: {first['msg']}" if place else first["msg"]


def without_nonfinite(value: Any) -> Any:
    """The value as JSON can hold it: null for every number that is NaN or infinite, lists for tuples."""
    if isinstance(value, Mapping):
        return {key: without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
