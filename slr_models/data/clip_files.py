"""Reads a user's folder of isolated sign clips: the list of clips, and their landmarks in either of two forms.

Dimension legend: N clips, T frames, P points, C coordinates a point.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.data.batch import BLANK_TOKEN
from slr_models.data.columns import GroupSizes, groups_of
from slr_models.data.features_file import Block, FeatureReader
from slr_models.data.index import SPLITS, SplitName
from slr_models.data.reading import check_numpy_size, csv_lines, parsing
from slr_models.data.recognition import recognize
from slr_models.data.spelling import sound
from slr_models.errors import DataError

FILLER = "-"
"""Label of clips in which nothing is signed."""
_FLAGS = dict.fromkeys(("1", "1.0", "true", "yes"), True) | dict.fromkeys(("0", "0.0", "false", "no", ""), False)
_ARRAYS = ("landmarks", "present", "lengths")


@dataclass(frozen=True)
class ClipRow:
    """One line of labels.csv."""

    label: str
    signer: str
    split: SplitName
    all_missing: bool
    path: str
    """Of the clip's own file, relative to the folder; empty where all are in clips.npz."""
    where: str
    """File and line, for messages."""
    id: str
    """The path, or the line."""


def read_labels(path: Path) -> list[ClipRow]:
    """The clips of a list, in order.

    Raises:
        DataError: The list is missing or wrong ("where: what; what to do").
    """
    lines = csv_lines(path)
    _, raw = next(lines, (0, []))
    header = [name.strip().lower() for name in raw]
    missing = {"label", "signer", "split"} - set(header)
    if missing:
        raise DataError(f"{path} line 1: lacks the columns {', '.join(sorted(missing))}; add them.")
    rows: list[ClipRow] = []
    for number, fields in lines:
        if not any(field.strip() for field in fields):
            continue
        where = f"{path} line {number}"
        if len(fields) != len(header):
            raise DataError(f"{where}: has another number of fields than the header; correct the line.")
        row = dict(zip(header, (text.strip() for text in fields), strict=True))
        split = SPLITS.get(row["split"].lower())
        if split is None:
            raise DataError(f"{where}: split is {row['split']!r}; write one of {', '.join(SPLITS)}.")
        label = sound(row["label"])
        if not label:
            raise DataError(f"{where}: has no label; write the sign, or {FILLER} where nothing is signed.")
        if label == BLANK_TOKEN:
            raise DataError(f"{where}: has the label {BLANK_TOKEN}, which is CTC's own; rename it.")
        flag = row.get("all_missing", "").lower()
        if flag not in _FLAGS:
            raise DataError(f"{where}: all_missing is {row['all_missing']!r}; write 1 or 0.")
        if "path" in header and not row["path"]:
            raise DataError(f"{where}: has no path; write that of the clip's file, or remove the column path.")
        own_path = row.get("path", "")
        id = own_path or f"line {number}"
        rows.append(ClipRow(label, row["signer"], split, _FLAGS[flag], own_path, where, id))
    return rows


@dataclass
class ClipReader:
    """Reads the landmarks of listed clips."""

    folder: Path
    max_gb: float
    layout: GroupSizes
    """Name and number of points of each part; empty: known shapes are recognized."""
    assumed: list[str] = field(default_factory=list)
    """What arrays without names were taken for, after reading."""

    def read(self, rows: Sequence[ClipRow]) -> Iterator[Block]:
        """A block a row, with NaN for parts that an array `present` says were not seen.

        Raises:
            DataError: A file is missing, broken or of no known layout.
        """
        return self._files(rows) if any(row.path for row in rows) else self._archive(len(rows))

    def _files(self, rows: Sequence[ClipRow]) -> Iterator[Block]:
        reader = FeatureReader(self.max_gb, self.layout, wants_landmarks=True)
        for row in rows:
            places = [self.folder / text for text in (row.path, row.path.replace("\\", "/"))]
            path = next((place for place in places if os.path.isfile(place)), None)
            if path is None:
                raise DataError(f"{row.where}: there is no file {places[0].absolute()}; correct path.")
            try:
                block = reader.read(path, None)
            except DataError as error:
                raise DataError(f"{row.where}: {error}") from error
            if not block.columns:
                raise DataError(f"{row.where}: {path} has shape {block.shape}, of no known layout; set `layout`.")
            if np.isinf(block.values).any():
                raise DataError(f"{row.where}: {path} holds infinity; correct the extraction.")
            yield block
        if not self.layout:
            self.assumed += [found.told for found in reader.recognized.values() if found is not None]

    def _archive(self, num_rows: int) -> Iterator[Block]:
        path = self.folder / "clips.npz"
        arrays = _arrays(path, self.max_gb)
        landmarks, present = arrays["landmarks"], arrays.get("present")
        clips, spans = _spans(path, landmarks, arrays.get("lengths"), num_rows)
        shown = next((clip for clip in clips if np.isfinite(clip).all() and clip.any()), clips[0])
        try:
            found = recognize(shown.astype(np.float32), self.layout, wanted=True)
        except DataError as error:
            raise DataError(f"{path}: landmarks {error}.") from error
        if found is None:
            raise DataError(
                f"{path}: landmarks holds {shown.shape[1]} points with {shown.shape[2]} coordinates, of no known "
                "layout; set `layout`, such as {pose: 33, left_hand: 21, right_hand: 21}."
            )
        if not self.layout:
            self.assumed.append(found.told)
        sizes = [size for _, size in found.parts]
        groups = groups_of(found.columns)
        for index, (clip, span) in enumerate(zip(clips, spans, strict=True)):
            cube = clip.astype(np.float32)
            if np.isinf(cube).any():
                raise DataError(f"{path}: clip {index} of landmarks holds infinity; correct the extraction.")
            if present is not None:
                seen = _seen(path, present, span, sizes)
                cube = np.where(seen[..., None], cube, np.float32(np.nan))
            yield Block(cube.reshape(len(cube), -1), found.columns, groups, cube.shape)


def _arrays(path: Path, max_gb: float) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise DataError(
            f"{path.absolute()} is missing; set `path` to the folder that holds clips.npz and labels.csv, or give "
            "labels.csv a column path with a file a clip."
        )
    with (
        parsing(path, "it must hold the plain array landmarks."),
        # NumPy leaves a file that it opens itself open where it finds a damaged archive.
        path.open("rb") as file,
    ):
        check_numpy_size(path, file, max_gb)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _ARRAYS if name in archive.files}
    if "landmarks" not in arrays:
        raise DataError(f"{path} holds no array landmarks; store [clips, frames, points, coordinates] under that name.")
    for name, kinds in (("landmarks", "fiu"), ("present", "bfiu"), ("lengths", "iu")):
        if name in arrays and arrays[name].dtype.kind not in kinds:
            raise DataError(
                f"{path}: {name} holds {arrays[name].dtype}; store landmarks as numbers, present as 0 and 1, lengths "
                "as whole numbers."
            )
    return arrays


def _spans(
    path: Path, landmarks: npt.NDArray[Any], lengths: npt.NDArray[Any] | None, num_rows: int
) -> tuple[list[npt.NDArray[Any]], list[Any]]:
    """The clips, [T, P, C] each, and where each lies in the array."""
    expected = (
        f"labels.csv has {num_rows} rows; landmarks must be [rows, T, P, C], or [all frames, P, C] with an array "
        "lengths [rows]"
    )
    if landmarks.ndim not in (3, 4) or (landmarks.ndim == 4 and len(landmarks) != num_rows) or not num_rows:
        raise DataError(f"{path}: landmarks has shape {landmarks.shape}, but {expected}.")
    if lengths is None:
        if landmarks.ndim == 3:
            raise DataError(
                f"{path}: landmarks has shape {landmarks.shape} and there is no array lengths, but {expected}."
            )
        spans: list[Any] = list(range(num_rows))
    else:
        total = int(lengths.sum()) if lengths.shape == (num_rows,) and (lengths >= 0).all() else -1
        longest = landmarks.shape[1] if landmarks.ndim == 4 else total
        if total < 0 or (landmarks.ndim == 3 and total != len(landmarks)) or int(lengths.max()) > longest:
            raise DataError(
                f"{path}: lengths {lengths.shape} with a sum of {int(lengths.sum())} does not fit landmarks "
                f"{landmarks.shape}; {expected}."
            )
        ends = np.cumsum(lengths).tolist()
        if landmarks.ndim == 4:
            spans = [(row, slice(0, int(length))) for row, length in enumerate(lengths)]
        else:
            spans = [slice(end - int(length), end) for end, length in zip(ends, lengths, strict=True)]
    return [landmarks[span] for span in spans], spans


def _seen(path: Path, present: npt.NDArray[Any], span: Any, sizes: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Whether each point was seen in a clip, [T, P], from flags for parts or for points."""
    try:
        flags: npt.NDArray[np.bool_] = present[span].astype(bool)
        if flags.shape[-1] == len(sizes):
            flags = np.repeat(flags, sizes, axis=-1)
        if flags.ndim == 2 and flags.shape[-1] == sum(sizes):
            return flags
    except IndexError:
        pass
    raise DataError(
        f"{path}: present has shape {present.shape}; give a flag for each of the {len(sizes)} parts (or {sum(sizes)} "
        "points) in each frame of landmarks."
    )
