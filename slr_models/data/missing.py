"""Parts that an extractor did not see, and how often that was.

Many scripts store zeros (or another single point) for a hand that was not found. A real part never has all of its
points in one place, so a part whose points are all exactly equal in a frame is missing there.

Dimension legend: T frames, F features.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from slr_models.data.batch import PartSeen
from slr_models.data.columns import GroupSizes, NamedPart, parts_of
from slr_models.data.features_file import Block
from slr_models.data.layout import Bools, Floats

_WITH_ZEROS = ("body_25", "coco")
"""Bodies of extractors that put each point that they did not find at the origin."""
_FEWEST = 3
"""Points (or columns of a group without names) of which it says something that all are equal."""


def _parts(block: Block, groups: GroupSizes) -> Sequence[NamedPart]:
    """Landmark parts; of other features the groups that a user tells, or all points of an array [T, P, C]."""
    named = parts_of(block.columns)
    if named:
        return named
    width = block.values.shape[1]
    if not groups:
        if len(block.shape) < 3:
            return ()
        num_axes = block.shape[2]
        return (NamedPart("all points", {str(axis): np.arange(axis, width, num_axes) for axis in range(num_axes)}),)
    parts, start = [], 0
    for name, size in groups:
        parts.append(NamedPart(name, {"": np.arange(start, min(start + size, width))}))
        start += size
    return parts


def _is_equal(values: Floats, part: NamedPart) -> Bools:
    """Where all points of a part are in one place, [T]; NaN throughout is not."""
    spatial = [columns for axis, columns in part.axes.items() if axis != "c"]
    if not spatial or len(spatial[0]) < _FEWEST:
        return np.zeros(len(values), dtype=bool)
    equal: Bools = np.logical_not(np.isnan(values[:, spatial[0]]).all(axis=1))
    for columns in spatial:
        place = values[:, columns]
        # A z that is unknown of all points says nothing.
        equal &= (place == place[:, :1]).all(axis=1) | np.isnan(place).all(axis=1)
    return equal


@dataclass(frozen=True)
class PartCount:
    """Of one part in one utterance, in frames."""

    name: str
    seen: int
    frames: int
    equal: int
    """All points in one place, and taken as missing."""


def mark_missing(block: Block, groups: GroupSizes, equal_is_missing: bool) -> tuple[Floats, tuple[PartCount, ...]]:
    """The values [T, F] with NaN for what was not seen, and how often each part was seen.

    Args:
        block: an utterance; NaN is missing in any case.
        groups: name and size of the parts that a user tells; they count where the file names no landmarks.
        equal_is_missing: whether a part whose points are all in one place is missing, and a point of confidence 0 (of
            OpenPose and COCO without confidences: a point at the origin).
    """
    values = block.values
    marked = values.copy() if equal_is_missing else values
    counts, parts = [], _parts(block, groups)
    has_zeros = any(part.name in _WITH_ZEROS for part in parts)
    for part in parts:
        equal = np.zeros(len(values), dtype=bool)
        if equal_is_missing:
            equal = _is_equal(values, part)
            marked[np.ix_(equal, np.concatenate(list(part.axes.values())))] = np.nan
            if set(part.axes) == {"x", "y", "c"} or (has_zeros and set(part.axes) == {"x", "y"}):
                # Extractors that give a confidence put what they did not find at the origin, with confidence 0.
                telling = "c" if "c" in part.axes else "xy"
                unseen = np.all([marked[:, part.axes[axis]] == 0 for axis in telling], axis=0)
                for axis in "xy":
                    marked[:, part.axes[axis]] = np.where(unseen, np.nan, marked[:, part.axes[axis]])
        seen = ~np.isnan(marked[:, next(iter(part.axes.values()))]).all(axis=1)
        counts.append(PartCount(part.name, int(seen.sum()), len(values), int(equal.sum())))
    return marked, tuple(counts)


def parts_seen(counts: Iterable[tuple[str, tuple[PartCount, ...]]]) -> tuple[PartSeen, ...]:
    """How often each part was seen over utterances (id, counts), in the order of the files."""
    frames: dict[str, list[int]] = {}
    never: dict[str, list[str]] = {}
    for id, parts in counts:
        for part in parts:
            total = frames.setdefault(part.name, [0, 0, 0])
            for place, number in enumerate((part.seen, part.frames, part.equal)):
                total[place] += number
            if not part.seen:
                never.setdefault(part.name, []).append(id)
    return tuple(
        PartSeen(name, seen, total, equal, tuple(never.get(name, ()))) for name, (seen, total, equal) in frames.items()
    )
