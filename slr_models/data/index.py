"""Lists of utterances in a user's folder: own manifest, PHOENIX corpus files, Kaggle fingerspelling.

All are read strictly: a line that does not fit its header is a problem, never a guess.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slr_models.data.kinds import CONVERT
from slr_models.data.problems import Problems
from slr_models.data.reading import csv_lines, opening
from slr_models.errors import DataError

Format = Literal["manifest", "phoenix", "kaggle"]
SplitName = Literal["train", "valid", "unused"]

SUFFIXES = (".npz", ".npy", ".parquet", ".pose")
"""Kinds of feature files, in the order in which they are looked for."""
SPACE = "<space>"
"""How a blank between words is called in a vocabulary of characters."""

MANIFEST = "manifest.csv"
MANIFEST_COLUMNS = ("id", "path", "labels", "signer", "split")
_KAGGLE = "train.csv"
_KAGGLE_COLUMNS = ("path", "sequence_id", "phrase")
_PHOENIX_2014 = ("id", "folder", "signer", "annotation")
_PHOENIX_2014T = ("name", "video", "start", "end", "speaker", "orth", "translation")
_PHOENIX_FOLDERS = (".", "annotations", "annotations/manual")
_PHOENIX_LIST = r"(.*\.)?{token}(\.SI5)?\.corpus\.csv"
"""How the corpus itself calls a list."""
_PHOENIX_FRAMES = "fullFrame-210x260px"
"""The corpus's folder of images, beside or in which features are kept."""
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
SPLITS: dict[str, SplitName] = {
    "train": "train",
    "valid": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "unused",
    "training": "train",
    "validation": "valid",
}
"""In small letters, however a list writes them."""


@dataclass(frozen=True)
class Entry:
    """One utterance as a list names it."""

    id: str
    candidates: tuple[Path, ...]
    """Where the features may lie; the first file that exists counts."""
    labels: tuple[str, ...]
    signer: str
    split: SplitName
    where: str
    """File and line of the list, for messages."""
    sequence: int | None = None
    """Which sequence of a parquet file; None where the file holds one utterance."""


def find_format(folder: Path) -> Format:
    """The format of the list that lies in a folder.

    Raises:
        DataError: There is none, or no such folder, or it cannot be looked into.
    """
    with opening(folder):
        return _find_format(folder)


def _find_format(folder: Path) -> Format:
    place = folder.absolute()
    if place.is_file():
        raise DataError(f"{place} is a file; set `path` to the folder that holds it: {place.parent}")
    if not folder.is_dir():
        nearest = next((parent for parent in place.parents if parent.is_dir()), place)
        raise DataError(f"There is no folder {place} ({nearest} exists); correct `path`.")
    if (folder / MANIFEST).is_file():
        return "manifest"
    if _phoenix_files(folder, "train"):
        return "phoenix"
    if (folder / _KAGGLE).is_file():
        return "kaggle"
    below = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and _holds_list(inner)]
    if below:
        raise DataError(
            f"{folder.absolute()} holds no list of utterances, but {below[0].name} in it does; set path: {below[0]}"
        )
    raise DataError(
        f"{folder.absolute()} holds no list of utterances; put {MANIFEST} ({','.join(MANIFEST_COLUMNS)}), PHOENIX "
        f"files (*train*.csv and *dev*.csv with '|' between fields) or Kaggle's {_KAGGLE} there; of data in other "
        f"formats, {CONVERT} makes such a folder."
    )


def _holds_list(folder: Path) -> bool:
    return (folder / MANIFEST).is_file() or (folder / _KAGGLE).is_file() or bool(_phoenix_files(folder, "train"))


def read_index(folder: Path, kind: Format, features_dir: Path, problems: Problems) -> list[Entry]:
    """All utterances of a folder's list, without duplicates and malformed lines.

    Raises:
        DataError: A list is missing or has other columns; any problem, where the policy says so.
    """
    entries: list[Entry] = []
    seen: dict[tuple[SplitName, str], str] = {}
    reader = {"manifest": _manifest, "phoenix": _phoenix, "kaggle": _kaggle}[kind]
    for entry in reader(folder, features_dir, problems):
        first = seen.setdefault((entry.split, entry.id), entry.where)
        if first != entry.where:
            problems.report(
                "duplicate id", entry.where, f"id {entry.id!r} was used before, at {first}; give it its own id"
            )
        elif not entry.labels:
            problems.report("empty target", entry.where, f"utterance {entry.id!r} has no labels; add its labels")
        else:
            entries.append(entry)
    return entries


def _manifest(folder: Path, features_dir: Path, problems: Problems) -> Iterator[Entry]:
    for where, row in _rows(folder / MANIFEST, ",", (MANIFEST_COLUMNS,), problems):
        split = SPLITS.get(row["split"].lower())
        if split is None:
            names = ", ".join(SPLITS)
            problems.report("unknown split", where, f"split is {row['split']!r}; write one of {names}")
            continue
        yield Entry(
            id=row["id"],
            candidates=_places(folder, row["path"]),
            labels=tuple(row["labels"].split()),
            signer=row["signer"],
            split=split,
            where=where,
        )


def _places(folder: Path, path: str) -> tuple[Path, ...]:
    """Where a path of a list leads, which may have been written on Windows."""
    return tuple(folder / text for text in dict.fromkeys((path, path.replace("\\", "/"))))


def _phoenix(folder: Path, features_dir: Path, problems: Problems) -> Iterator[Entry]:
    for token in ("train", "dev"):
        files = _phoenix_files(folder, token)
        if len(files) != 1:
            found = ", ".join(str(file) for file in files) or "none"
            raise DataError(f"{folder} must hold exactly one {token} list (*{token}*.csv), but found: {found}.")
        for where, row in _rows(files[0], "|", (_PHOENIX_2014, _PHOENIX_2014T), problems):
            name = row["id"] if "id" in row else row["name"]
            yield Entry(
                id=name,
                candidates=tuple(
                    base / (name + suffix)
                    for base in _phoenix_places(features_dir, token)
                    for suffix in (*SUFFIXES, *map(str.upper, SUFFIXES))
                ),
                labels=tuple((row["annotation"] if "id" in row else row["orth"]).split()),
                signer=row["signer"] if "id" in row else row["speaker"],
                split=SPLITS[token],
                where=where,
            )


def _phoenix_places(features_dir: Path, token: str) -> tuple[Path, ...]:
    frames = features_dir / _PHOENIX_FRAMES
    return features_dir / token, features_dir, frames / token, frames


def _kaggle(folder: Path, features_dir: Path, problems: Problems) -> Iterator[Entry]:
    for where, row in _rows(folder / _KAGGLE, ",", (_KAGGLE_COLUMNS,), problems):
        if not _WHOLE_NUMBER.fullmatch(row["sequence_id"]):
            number = repr(row["sequence_id"])
            problems.report("malformed line", where, f"sequence_id is {number}; write a whole number")
            continue
        yield Entry(
            id=row["sequence_id"],
            candidates=_places(folder, row["path"]),
            labels=tuple(SPACE if character == " " else character for character in row["phrase"]),
            signer=row.get("participant_id", ""),
            split="train",
            where=where,
            sequence=int(row["sequence_id"]),
        )


def _phoenix_files(folder: Path, token: str) -> list[Path]:
    """Files of PHOENIX's naming whose first line has its separator; not the partly overlapping "complex" lists.

    Of several in a folder those that are called as in the corpus, so that copies of them beside it do no harm.
    """
    found = []
    for place in _PHOENIX_FOLDERS:
        files = [
            file
            for file in sorted((folder / place).glob(f"*{token}*.csv"))
            # macOS leaves files that begin with "._" on foreign disks.
            if not file.name.startswith(".")
            and "complex" not in file.name
            and file.is_file()
            and "|" in _first_line(file)
        ]
        official = [file for file in files if re.fullmatch(_PHOENIX_LIST.format(token=token), file.name)]
        found += official or files
    return found


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        return lines.readline(2**20)


def _rows(
    path: Path, separator: str, headers: tuple[tuple[str, ...], ...], problems: Problems
) -> Iterator[tuple[str, dict[str, str]]]:
    """Where and what: the lines of a list whose header has all columns of one of `headers`."""
    # PHOENIX quotes nothing, and a lone quotation mark must not swallow lines.
    lines = csv_lines(path, separator, quoting=separator != "|")
    _, raw = next(lines, (0, []))
    header = [name.strip().lower() for name in raw]
    if not any(set(columns).issubset(header) for columns in headers):
        wanted = " or ".join(separator.join(columns) for columns in headers)
        raise DataError(
            f"{path} line 1: the header is {separator.join(raw)!r}; write {wanted} (fields are separated by "
            f"{separator!r}), or see {CONVERT}."
        )
    for number, fields in lines:
        where = f"{path} line {number}"
        # Spreadsheets leave lines of separators alone.
        if not any(field.strip() for field in fields):
            continue
        if len(fields) != len(header):
            problems.report(
                "malformed line",
                where,
                f"has {len(fields)} fields where the header has {len(header)}; "
                f"correct the line (fields are separated by {separator!r})",
            )
            continue
        yield where, dict(zip(header, (field.strip() for field in fields), strict=True))
