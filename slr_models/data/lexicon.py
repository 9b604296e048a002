"""The fingerspelling clips inside the installed package spoken-to-signed, read without importing it.

Reading all clips of an alphabet takes about 0.05 s (measured, 26 letters), so nothing is cached on disk.
"""

from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import numpy as np

from slr_models.data.layout import HOLISTIC, Bools, Clip, Floats
from slr_models.data.normalize import to_body_frame
from slr_models.data.pose_file import INSTALL, read_pose_file
from slr_models.data.reading import csv_lines
from slr_models.errors import DataError

_REST_DROP = 0.25
"""A wrist this far (shoulder widths) below its median height is on its way from or to rest."""


@dataclass(frozen=True)
class Lexicon:
    """Where the clip of each letter lies."""

    clips: dict[str, dict[str, Path]]
    """Sign language -> letter -> .pose file."""
    version: str
    """Version of the package."""

    def letters(self, signed_language: str) -> dict[str, Path]:
        """The letters of a language, in the order of the index.

        Raises:
            DataError: The language has no clips.
        """
        if signed_language not in self.clips:
            raise DataError(
                f"No fingerspelling clips of sign language {signed_language!r}; "
                f"choose one of {', '.join(sorted(self.clips))}."
            )
        return self.clips[signed_language]


def find_lexicon() -> Lexicon:
    """The index of the installed clips.

    Raises:
        DataError: The package is not installed, or not the one expected.
    """
    found = util.find_spec("spoken_to_signed")
    folders = list(found.submodule_search_locations or []) if found else []
    if not folders:
        raise DataError(f"The fingerspelling clips (package spoken-to-signed) are not installed; {INSTALL}")
    return read_index(
        Path(folders[0]) / "assets" / "fingerspelling_lexicon" / "index.csv", metadata.version("spoken-to-signed")
    )


def read_index(index: Path, version: str) -> Lexicon:
    """The clips that an index.csv names, paths relative to it.

    Raises:
        DataError: There is no such index, or it lacks a column.
    """
    if not index.is_file():
        raise DataError(f"spoken-to-signed {version} holds no {index.name} at {index.parent}; {INSTALL}")
    clips: dict[str, dict[str, Path]] = {}
    lines = csv_lines(index)
    _, header = next(lines, (0, []))
    needed = {"path", "signed_language", "words"}
    if not needed.issubset(header):
        raise DataError(f"{index} lacks a column of {', '.join(sorted(needed))}; {INSTALL}")
    for number, fields in lines:
        if len(fields) != len(header):
            raise DataError(f"{index} line {number}: has {len(fields)} fields, not {len(header)}; {INSTALL}")
        row = dict(zip(header, fields, strict=True))
        clips.setdefault(row["signed_language"], {})[row["words"]] = index.parent / row["path"]
    return Lexicon(clips, version)


def read_letter(lexicon: Lexicon, signed_language: str, letter: str) -> Clip:
    """One letter in the body frame, without the hand's way from and to rest.

    Raises:
        DataError: The file is missing or broken, the reader is not installed, or no shoulders are seen.
    """
    path = lexicon.letters(signed_language)[letter]
    points, present = read_pose(path)
    body = to_body_frame(Clip(points, present), HOLISTIC)
    if body is None:
        raise DataError(f"{path} never shows both shoulders, so that its hands cannot be placed; {INSTALL}")
    return trim_rest(body)


def read_pose(path: Path) -> tuple[Floats, Bools]:
    """Points [T, 543, 3] and presence [T, 543] of the first person in a MediaPipe Holistic .pose file.

    A point is present where its confidence is above 0 and its coordinates are numbers.

    Raises:
        DataError: The file is missing, broken, of another layout or without a person, or pose-format is not installed.
    """
    found = read_pose_file(path).arranged(HOLISTIC.sizes)
    if found is None:
        raise DataError(f"{path} lacks points of MediaPipe Holistic; extract it with that model")
    points, present = found
    if points.shape[2] != 3:
        raise DataError(f"{path} holds x and y alone, and no z; extract it again")
    return points, present & ~np.isnan(points[..., 2])


def trim_rest(clip: Clip) -> Clip:
    """Cuts the frames at both ends in which the hand rises from, or sinks to, its rest.

    In a spelled word the hand stays up between letters. At least half of the clip is kept.
    """
    heights = []
    for name in ("left_hand", "right_hand"):
        wrist = HOLISTIC.part(name).start
        seen = clip.present[:, wrist]
        if seen.any():
            height = clip.points[:, wrist, 1]
            heights.append(height - np.median(height[seen]))
    if not heights:
        return clip
    # y points down; the higher hand decides, as the other one may rest throughout.
    up = np.flatnonzero(np.min(heights, axis=0) < _REST_DROP)
    first, last = (int(up[0]), int(up[-1])) if len(up) else (0, len(clip) - 1)
    if 2 * (last - first + 1) < len(clip):
        return clip
    return Clip(clip.points[first : last + 1], clip.present[first : last + 1])
