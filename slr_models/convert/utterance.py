"""What every reader of a format yields: an utterance, or what is wrong with one.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy.typing as npt

from slr_models.data.columns import GroupSizes
from slr_models.data.index import SPLITS
from slr_models.data.reading import parsing
from slr_models.errors import DataError

Labels = str | tuple[str, ...]
"""A text whose labels are still to be told apart, or the labels."""

_NO_LETTERS = ("Cc", "Cs", "Zl", "Zp")
"""Categories of Unicode: control characters, halves of letters, ends of lines and paragraphs."""
_MAX_NAME_BYTES = 200
"""Of a file's name without its suffix; file systems end at 255."""


@dataclass(frozen=True)
class Utterance:
    """One utterance as its source tells it."""

    id: str
    values: npt.NDArray[Any]
    """[T, F] or [T, P, C], numbers of any kind; what is missing is NaN, or as the format has it."""
    where: str
    """File and place in it, for messages."""
    labels: Labels | None = None
    """None: the source tells none."""
    signer: str = ""
    split: str = ""
    """Empty: the source tells none."""
    groups: GroupSizes = ()
    """Name and number of columns (of [T, F]) of each part; empty where the format does not tell."""
    is_holistic: bool = False
    """Whether the features are MediaPipe Holistic's 543 points, in the order of `layout.HOLISTIC`."""
    columns: tuple[str, ...] = ()
    """Names of the columns (of [T, F]), where `file` names them."""
    file: Path | None = None
    """A file that the source landmarks reads already: it is copied, whatever it holds besides."""


@dataclass(frozen=True)
class Bad:
    """An utterance, or a file of some, that cannot be used."""

    reason: str
    """Under which it is counted."""
    where: str
    message: str
    """What is wrong there; what to do."""


Found = Iterator[Utterance | Bad]


@dataclass(frozen=True)
class Source:
    """What is converted."""

    path: Path
    trust: bool
    """Whether pickles are loaded, which runs whatever code they hold."""

    def files(self, suffixes: Sequence[str]) -> list[Path]:
        """The source itself, or the files of the folder that end so, in order of their names; hidden ones left out."""
        return [self.path] if self.path.is_file() else visible_files(self.path, suffixes)

    def name_of(self, path: Path) -> str:
        """What an utterance is called by the place of its file: below the folder, without the suffix."""
        inside = PurePosixPath(path.relative_to(self.path).as_posix() if self.path.is_dir() else path.name)
        return str(inside.with_suffix(""))

    def split_of(self, path: Path) -> str:
        """The split that the topmost folder of a file is called by, if any."""
        parts = path.relative_to(self.path).parts if self.path.is_dir() else (path.name,)
        return parts[0].lower() if len(parts) > 1 and parts[0].lower() in SPLITS else ""


def visible_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files below a folder that end so (in any case), in order; none is hidden, nor lies in a hidden folder."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.lower().endswith(tuple(suffixes))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def each_file(source: Source, files: Sequence[Path], read: Callable[[Source, Path], Found]) -> Found:
    """What a reader finds in each of several files; one that it cannot read is bad as a whole."""
    for path in files:
        try:
            with parsing(path, "replace it"):
                yield from read(source, path)
        except UntrustedError:
            raise
        except DataError as error:
            yield Bad("unreadable file", str(path), str(error).removeprefix(f"{path} ").rstrip("."))


class UntrustedError(DataError):
    """A pickle that the user did not say to trust: nothing of the source can be read."""


def fault_of_name(name: str) -> str:
    """Why an id cannot name a file below the folder; empty if it can."""
    if not name or any(unicodedata.category(letter) in _NO_LETTERS for letter in name):
        return f"the name {name!a} is empty, or holds a character that no name of a file has; rename it"
    if any(part in ("", ".", "..") or part != part.strip() for part in name.split("/")) or "\\" in name:
        return f"the name {name!r} leads out of the folder, or is no plain path; rename it"
    if any(len(part.encode()) > _MAX_NAME_BYTES for part in name.split("/")):
        return f"the name {name[:40]!r}... has more than {_MAX_NAME_BYTES} bytes; rename it"
    return ""
