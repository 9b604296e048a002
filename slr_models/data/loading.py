"""Reads the utterances of a list: their files, what is missing in them, and features that are alike in all.

Dimension legend: T frames, F features.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from slr_models.data.columns import GroupSizes, best_points, has_pose, layout_of, to_clip
from slr_models.data.feasibility import min_frames
from slr_models.data.features_file import Block, FeatureReader
from slr_models.data.index import Entry
from slr_models.data.layout import Bools, Floats, PointSet
from slr_models.data.missing import PartCount, mark_missing
from slr_models.data.normalize import features, select, selected_layout, to_body_frame, to_hands_frame
from slr_models.data.problems import Problems
from slr_models.errors import DataError
from slr_models.memory import check_memory

_CHECKED_EVERY = 2**25
"""Bytes after which the memory is looked at again."""


@dataclass
class Utterance:
    """A usable one."""

    entry: Entry
    path: Path
    block: Block
    """As the file holds it, without its values."""
    values: Floats | None
    """[T, F]: the features of `points`, or what the file holds with NaN for what is missing; None: to be read again."""
    num_frames: int
    num_features: int
    parts: tuple[PartCount, ...]


class UnusableError(Exception):
    """An utterance cannot be used."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Loader:
    """Reads entries with the settings of a source, whose meaning `LandmarksConfig` tells."""

    reader: FeatureReader
    problems: Problems
    folder: str
    """For messages."""
    points: PointSet | None
    velocity: bool
    missing: Literal["error", "zero"]
    equal_is_missing: bool
    groups: GroupSizes
    frames_per_output: int
    is_held: bool
    """Whether values stay in memory until they are taken; else files are read again."""
    _num_bytes: int = field(default=0, init=False)
    _checked_bytes: int = field(default=0, init=False)

    def load(self, entries: Sequence[Entry]) -> list[Utterance]:
        """The usable utterances."""
        kept: list[Utterance] = []
        for entry in entries:
            try:
                utterance = self._load(entry)
            except UnusableError as fault:
                self.problems.report(fault.reason, entry.where, str(fault))
                continue
            kept.append(utterance)
            self._num_bytes += 0 if utterance.values is None else utterance.values.nbytes
            if self._num_bytes > self._checked_bytes + _CHECKED_EVERY:
                self._checked_bytes = self._num_bytes
                check_memory(
                    self._num_bytes,
                    f"the features of {self.folder}",
                    "choose fewer with max_train, max_valid, or set map_dir",
                )
        return kept

    def values(self, utterance: Utterance, usual: Utterance) -> Floats:
        """The values of an utterance in the column order of a usual one, [T, F]."""
        values = utterance.values
        if values is None:
            try:
                block = self.reader.read(utterance.path, utterance.entry.sequence)
                values, _ = self._made(block, utterance.path)
            except UnusableError as error:
                raise DataError(f"{utterance.path} was changed while it was read ({error}); start again") from error
        if self.points is not None or utterance.block.columns == usual.block.columns:
            return values
        place = {name: column for column, name in enumerate(utterance.block.columns)}
        return values[:, [place[name] for name in usual.block.columns]]

    def _load(self, entry: Entry) -> Utterance:
        # Unlike Path.is_file, it takes a name that is too long for a missing file.
        path = next((candidate for candidate in entry.candidates if os.path.isfile(candidate)), None)
        if path is None:
            raise UnusableError(
                "missing file",
                f"utterance {entry.id!r} has no feature file {entry.candidates[0].absolute()}; add it or correct its "
                "path",
            )
        try:
            block = self.reader.read(path, entry.sequence)
        except DataError as error:
            raise UnusableError("unreadable file", str(error)) from error
        if block.values.size == 0:
            raise UnusableError("no frames", f"{path} holds no frames of {entry.id!r}; extract them again")
        infinite = np.isinf(block.values)
        if infinite.any():
            raise UnusableError(
                "non-finite features",
                f"{path} holds infinity, or a number beyond float32{_at(infinite)}; correct the extraction",
            )
        absent = np.isnan(block.values)
        if self.points is None and self.missing == "error" and absent.any() and not absent.all():
            ways = "set missing: zero if NaN stands for a missing landmark"
            if points := best_points(block.columns):
                ways += f", or points: {points} for features in which a missing landmark is 0"
            raise UnusableError("non-finite features", f"{path} holds NaN{_at(absent)}; correct it, {ways}")
        values, parts = self._made(block, path)
        self._check_length(len(values), path, entry)
        told = replace(block, values=block.values[:0])
        held = values if self.is_held else None
        return Utterance(entry, path, told, held, len(values), values.shape[1], parts)

    def _made(self, block: Block, path: Path) -> tuple[Floats, tuple[PartCount, ...]]:
        values, parts = mark_missing(block, self.groups, self.equal_is_missing)
        if np.isnan(values).all():
            how = "" if np.isnan(block.values).all() else " (in every frame all points lie in one place)"
            raise UnusableError("no landmarks", f"{path} holds only missing values{how}; extract it again")
        if self.points is not None:
            values = _placed(values, block, path, self.points, self.velocity)
        return values, parts

    def _check_length(self, num_frames: int, path: Path, entry: Entry) -> None:
        # Labels are compared with each other only, so that any numbers tell the repeats.
        numbers = [entry.labels.index(label) for label in entry.labels]
        needed = min_frames(numbers, self.frames_per_output)
        if num_frames < needed:
            raise UnusableError(
                "target too long",
                f"{path} has {num_frames} frames, but CTC needs {needed} for its {len(numbers)} labels at "
                f"{self.frames_per_output} frames an output; use a smaller frames_per_output and stride",
            )


def _placed(values: Floats, block: Block, path: Path, points: PointSet, velocity: bool) -> Floats:
    """The features of a point set, [T, F]; what is missing is 0."""
    try:
        # In double precision: hands are small differences of coordinates, in pixels of thousands.
        clip = to_clip(values.astype(np.float64), block.columns, points)
    except DataError as error:
        shape = ", ".join(map(str, block.shape[1:]))
        holds = path if block.columns else f"{path} ([frames, {shape}], of no known shape)"
        raise UnusableError("feature names", f"{holds} {error}") from error
    layout = layout_of(points)
    if has_pose(block.columns):
        placed, what = to_body_frame(clip, layout), "never shows both shoulders"
    else:
        placed, what = to_hands_frame(clip, layout), "never shows a whole hand"
    if placed is None:
        reason = "no shoulders" if has_pose(block.columns) else "no landmarks"
        raise UnusableError(
            reason, f"{path} {what}, so that its landmarks cannot be placed; record or extract it again"
        )
    selected = select(placed, layout, points)
    if not selected.present.any():
        raise UnusableError("no landmarks", f"{path} shows none of the landmarks of points: {points}; leave it out")
    return features(selected, selected_layout(layout, points), points, velocity)


def alike(
    utterances: list[Utterance], problems: Problems, points: PointSet | None, usual: Utterance | None = None
) -> Utterance:
    """Leaves out, in place, what differs in its columns from most, or from a usual one.

    Returns:
        The usual one: the first of the most frequent kind.

    Raises:
        DataError: One differs, and the policy says so; the files look transposed.
    """
    share = "those for training"
    if usual is None:
        _refuse_transposed(utterances)
        kind, count = Counter(_kind(utterance, points) for utterance in utterances).most_common(1)[0]
        usual = next(utterance for utterance in utterances if _kind(utterance, points) == kind)
        share = "the others" if count == len(utterances) - 1 else f"{count} of {len(utterances)}"
    kept = []
    for utterance in utterances:
        if _kind(utterance, points) == _kind(usual, points):
            kept.append(utterance)
        else:
            reason, message = _difference(utterance, usual, share, points)
            problems.report(reason, utterance.entry.where, message)
    utterances[:] = kept
    return usual


def _kind(utterance: Utterance, points: PointSet | None) -> tuple[object, ...]:
    block = utterance.block
    if points is not None:
        return (has_pose(block.columns),)
    return utterance.num_features, frozenset(block.columns)


def _difference(utterance: Utterance, first: Utterance, share: str, points: PointSet | None) -> tuple[str, str]:
    """Reason and message."""
    path, found, expected = utterance.path, utterance.block.columns, first.block.columns
    if points is not None:
        holds, hold = ("a body", "hands alone") if has_pose(found) else ("hands alone", "a body")
        return "feature names", f"{path} holds {holds} where {share} hold {hold}; extract all with the same settings"
    width, usual = utterance.num_features, first.num_features
    if width != usual:
        return (
            "feature size",
            f"{path} has {width} features a frame where {share} have {usual}; extract all with the same settings",
        )
    named = f"names {sorted(set(found) - set(expected))[0]!r}" if found else "names no columns"
    theirs = f"name {sorted(set(expected) - set(found))[0]!r}" if expected else "name none"
    return (
        "feature names",
        f"{path} {named} where {share} {theirs}, so that columns would be mixed up; "
        "store all utterances with the same columns",
    )


def _refuse_transposed(utterances: list[Utterance]) -> None:
    shapes = [utterance.block.shape for utterance in utterances]
    if len(shapes) < 3 or any(len(shape) != 2 for shape in shapes):
        return
    rows, widths = {shape[0] for shape in shapes}, {shape[1] for shape in shapes}
    if len(rows) == 1 and len(widths) > max(2, len(shapes) // 3):
        raise DataError(
            f"{utterances[0].path.parent}: each file has {rows.pop()} rows and a number of columns of its own, as "
            "[features, frames] would; store [frames, features], for example array.T"
        )


def _at(bad: Bools) -> str:
    frame, column = np.argwhere(bad)[0]
    return f" (first at frame {frame}, column {column})"
