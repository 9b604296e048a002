"""An address of an object store, as the user gives it, and where its folder is on this machine."""

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from slr_models.errors import SettingError
from sweep.command_line import REMOTE_SCHEMES

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", re.DOTALL)
_EXAMPLE = "s3://bucket/results"
_KEPT_NAME = re.compile(r"[^\w.-]")
_MAX_NAME = 40


@dataclass(frozen=True)
class StoreAddress:
    """A place on an object store; `str()` gives it as it was typed, without a slash at its end."""

    scheme: str
    """s3, gs or az."""
    bucket: str
    prefix: str
    """Of the names of all objects; no slash at either end, empty for the whole bucket."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def __truediv__(self, name: str) -> "StoreAddress":
        return replace(self, prefix=f"{self.prefix}/{name}".lstrip("/"))

    @property
    def name(self) -> str:
        """The last part of it."""
        return self.prefix.rpartition("/")[2] or self.bucket

    def folder(self, use: Literal["work", "read"]) -> Path:
        """The folder of this machine in which it is worked on, or that a reader's copy is in.

        Raises:
            SettingError: this user has no home folder.
        """
        digest = hashlib.sha256(str(self).encode()).hexdigest()[:12]
        # The study's own name comes last: it is shown.
        return _cache() / use / f"{_KEPT_NAME.sub('_', self.bucket)[:_MAX_NAME]}-{digest}" / self.name


def as_address(text: str | Path) -> StoreAddress | None:
    """The address that a text is; None where it is a path, or names one.

    Raises:
        SettingError: it is an address that results cannot be kept at.
    """
    if isinstance(text, Path):
        return None
    found = _ADDRESS.fullmatch(text)
    if found is None or found[1].lower() not in REMOTE_SCHEMES:
        return None
    scheme, bucket, prefix = found[1].lower(), found[2], found[3].strip("/")
    if "@" in bucket:
        raise SettingError(
            f"{scheme}://... has a user or a password in it, which all who see the command would see: leave them out, "
            f"and give them by the environment or a file of credentials"
        )
    if not bucket:
        raise SettingError(f"{text} names no bucket: write it as {_EXAMPLE}")
    if any(part in ("", ".", "..") for part in prefix.split("/")[: None if prefix else 0]):
        raise SettingError(f"{text} has a part that is empty or made of dots: write it as {_EXAMPLE}")
    if any(not letter.isprintable() for letter in text):
        raise SettingError(f"{text!a} has a letter that cannot be printed: write it as {_EXAMPLE}")
    return StoreAddress(scheme, bucket, prefix)


def _cache() -> Path:
    given = Path(os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "slr-sweep"
    except RuntimeError as error:
        raise SettingError(
            "there is no home folder to work on results in: set XDG_CACHE_HOME to a folder with room for them"
        ) from error
