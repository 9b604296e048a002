"""Landmarks of all videos of a folder, and the manifest of what is there.

Dimension legend: T frames, P points.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from slr_models.convert.conversion import Conversion
from slr_models.convert.folder import FEATURES
from slr_models.convert.labels import separate
from slr_models.convert.lists import LabelList, Row
from slr_models.convert.splits import split_up
from slr_models.convert.utterance import fault_of_name
from slr_models.data.columns import columns_of
from slr_models.data.features_file import FeatureReader
from slr_models.data.index import MANIFEST_COLUMNS, SPLITS, Entry
from slr_models.data.kinds import VIDEO_SUFFIXES
from slr_models.data.layout import HOLISTIC
from slr_models.data.reading import csv_lines
from slr_models.errors import DataError

_IMAGES = (".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True)
class Video:
    """A video, or a folder with an image a frame."""

    id: str
    """Its place below the folder of all, without the suffix."""
    path: Path

    @property
    def file(self) -> Path:
        """Where its landmarks lie within the manifest folder."""
        return Path(FEATURES) / f"{self.id}.npz"


@dataclass(frozen=True)
class Seen:
    """What the landmarks of a video show."""

    num_frames: int
    hands: dict[str, float]
    """Hand -> share of the frames that show it, in [0, 1]."""
    is_empty: bool
    """Whether nothing of a person was seen."""


def find_videos(path: Path) -> list[Video]:
    """The videos of a folder, or a single one, in order.

    Raises:
        DataError: there is none, or two go by one name.
    """
    if not path.exists():
        raise DataError(f"There is no {path}; correct the path.")
    if path.is_file():
        return [_video(PurePosixPath(path.stem), path)]
    found: dict[str, Video] = {}
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder)
        paths = [here / name for name in names if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith(".")]
        if not paths and any(name.lower().endswith(_IMAGES) for name in names):
            paths = [here]
        for one in paths:
            below = one.relative_to(path) if one != path else Path(path.absolute().name)
            plain = PurePosixPath(below.as_posix())
            video = _video(plain if one == here else plain.with_suffix(""), one)
            if (other := found.setdefault(video.id, video)) is not video:
                raise DataError(f"{other.path} and {video.path} would both be called {video.id!r}; rename one of them.")
    if not found:
        raise DataError(
            f"{path} holds no video ({', '.join(VIDEO_SUFFIXES)}) and no folder of images; correct the path."
        )
    return sorted(found.values(), key=lambda video: video.id)


def _video(name: PurePosixPath, path: Path) -> Video:
    if fault := fault_of_name(str(name)):
        raise DataError(f"{path}: {fault}.")
    return Video(str(name), path)


def seen_in(path: Path) -> Seen:
    """What a file of landmarks shows.

    Raises:
        DataError: it cannot be read.
    """
    block = FeatureReader().read(path, None)
    if block.columns != columns_of(HOLISTIC):
        raise DataError(f"{path} holds no landmarks of MediaPipe Holistic; remove it, so that it is made again.")
    hands, start = {}, 0
    for name, size in block.groups:
        if "hand" in name:
            hidden = np.isnan(block.values[:, start : start + size]).all(axis=1)
            hands[name] = 1 - float(np.mean(hidden))
        start += size
    return Seen(len(block.values), hands, bool(np.isnan(block.values).all()))


def labelled(videos: Sequence[Video], listed: LabelList, settings: Conversion) -> tuple[list[Entry], tuple[str, ...]]:
    """The lines of a manifest with what a list says of each video, and notes on them.

    Raises:
        DataError: a video has no labels, or its split is none.
    """
    rows: dict[str, Row] = {}
    for video in videos:
        try:
            row = listed.find(video.id)
        except DataError as error:
            raise DataError(f"{video.path}: {video.id!r} {error}.") from error
        if row is None or not row.labels:
            what = f"{row.where} gives it none" if row is not None else f"{listed.told} has no line for it"
            raise DataError(f"{video.path}: {video.id!r} has no labels ({what}); add them, or take the video away.")
        if row.split and row.split not in SPLITS:
            raise DataError(f"{row.where}: split is {row.split!r}; write one of {', '.join(SPLITS)}.")
        rows[video.id] = row
    raw = {name: (row.where, row.labels or "") for name, row in rows.items()}
    separated = separate(raw, settings.label_separator or listed.separator)
    entries = []
    for video in videos:
        row = rows[video.id]
        signer, split = " ".join(row.signer.split()), SPLITS[row.split or "train"]
        entries.append(Entry(video.id, (video.file,), separated.labels[video.id], signer, split, row.where))
    kept, notes = split_up(entries, [rows[one.id].split for one in entries], settings.valid_rate, settings.seed)
    return kept, (f"labels from {listed.told}", *separated.notes, *notes)


def unlabelled(video: Video) -> Entry:
    """The line of a manifest that waits for its labels."""
    return Entry(video.id, (video.file,), (), "", "train", str(video.path))


def ids_in(manifest: Path) -> set[str]:
    """The first column of a manifest.

    Raises:
        DataError: it is none.
    """
    lines = csv_lines(manifest)
    if tuple(next(lines, (0, []))[1]) != MANIFEST_COLUMNS:
        raise DataError(f"{manifest} line 1: the header is not {','.join(MANIFEST_COLUMNS)}; choose another --out.")
    return {fields[0] for _, fields in lines if fields}
