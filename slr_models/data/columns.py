"""Names of landmark columns, such as x_left_hand_0, and landmarks found by them in whatever order a file has them.

| part                  | points                                                                             |
|-----------------------|------------------------------------------------------------------------------------|
| pose                  | MediaPipe's 33, or its first ones                                                  |
| body_25, coco         | the bodies of OpenPose (BODY_25) and COCO (17); nose, shoulders and arms are read  |
| left_hand, right_hand | 21 each, which all extractors number alike                                         |
| face                  | MediaPipe's 468 or 478                                                             |

Axes: x right, y down, z away from the camera, c confidence. Dimension legend: T frames, P points, F features.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from slr_models.data.layout import (
    ARM_POINTS,
    HOLISTIC,
    LEFT_SHOULDER,
    POSE_HANDS,
    RIGHT_SHOULDER,
    Bools,
    Clip,
    Floats,
    Layout,
    PointSet,
)
from slr_models.errors import DataError

GroupSizes = tuple[tuple[str, int], ...]
"""Name and number of columns of each group, in order."""
Indices = npt.NDArray[np.intp]

_COLUMN = re.compile(r"([xyzc])_(\w+)_([0-9]{1,6})")
_OTHERS = "others"
"""Group of columns beside those of landmarks, such as timestamps."""
_HANDS = ("left_hand", "right_hand")
_AS_MEDIAPIPE = {
    "body_25": {0: 0, 2: 12, 3: 14, 4: 16, 5: 11, 6: 13, 7: 15},
    "coco": {0: 0, 5: 11, 6: 12, 7: 13, 8: 14, 9: 15, 10: 16},
}
"""Part -> point of its own -> point of MediaPipe's pose: nose, shoulders, elbows and wrists."""


def named_columns(parts: GroupSizes, axes: str) -> tuple[str, ...]:
    """The columns of an array [T, P, axes] of parts (name, number of points) that is flattened to [T, F]."""
    return tuple(f"{axis}_{part}_{point}" for part, size in parts for point in range(size) for axis in axes)


def columns_of(layout: Layout) -> tuple[str, ...]:
    """The columns of an array [T, P, 3] that is flattened to [T, 3 P]."""
    return named_columns(layout.sizes, "xyz")


def order_columns(names: list[str]) -> tuple[list[str], GroupSizes]:
    """Columns by part (as they first appear), point and axis where most are named so, the others last; else as are."""
    keys = _keys(tuple(names))
    if keys is None:
        return names, (("features", len(names)),)
    of = dict(zip(names, keys, strict=True))
    parts = sorted(dict.fromkeys(part for part, _, _ in keys), key=_OTHERS.__eq__)
    ordered = sorted(names, key=lambda name: (parts.index(of[name][0]), of[name][1:]))
    return ordered, groups_of(tuple(ordered))


@lru_cache(maxsize=64)
def groups_of(columns: tuple[str, ...]) -> GroupSizes:
    """The parts of named columns that come part by part, as groups."""
    keys = _keys(columns) or []
    return tuple((part, sum(key[0] == part for key in keys)) for part in dict.fromkeys(part for part, _, _ in keys))


def _keys(columns: tuple[str, ...]) -> list[tuple[str, int, str]] | None:
    """Part, point and axis of each column, `_OTHERS` for those that are no landmarks; None unless most are."""
    matches = [_COLUMN.fullmatch(name) for name in columns]
    if 2 * sum(match is not None for match in matches) <= len(columns):
        return None
    return [
        (match.group(2), int(match.group(3)), match.group(1)) if match else (_OTHERS, place, "")
        for place, match in enumerate(matches)
    ]


@dataclass(frozen=True)
class NamedPart:
    """Where a part's coordinates lie among the columns."""

    name: str
    axes: dict[str, Indices]
    """Axis -> the columns that hold it, a point each."""


@lru_cache(maxsize=64)
def parts_of(columns: tuple[str, ...]) -> tuple[NamedPart, ...]:
    """The landmark parts that named columns hold; none where most columns are not named so."""
    found: dict[str, dict[str, list[int]]] = {}
    for column, (part, _, axis) in enumerate(_keys(columns) or []):
        if part == _OTHERS:
            continue
        found.setdefault(part, {}).setdefault(axis, []).append(column)
    return tuple(
        NamedPart(name, {axis: np.array(places, dtype=np.intp) for axis, places in axes.items()})
        for name, axes in found.items()
    )


@dataclass(frozen=True)
class _Reading:
    """How named columns become a clip."""

    sources: Indices
    """Columns that are read."""
    targets: Indices
    """Where each goes, among the flattened points of the clip."""
    unnamed_z: Indices
    """Points whose z no column names, though x is there."""


@lru_cache(maxsize=64)
def _reading(columns: tuple[str, ...], points: PointSet, full: Layout) -> _Reading:
    layout, num_axes = layout_of(points, full), _num_axes(points)
    place: dict[tuple[str, int, str], int] = {}
    for column, (part, point, axis) in enumerate(_keys(columns) or []):
        if part == _OTHERS:
            continue
        if part in _AS_MEDIAPIPE:
            if point not in _AS_MEDIAPIPE[part]:
                continue
            part, point = "pose", _AS_MEDIAPIPE[part][point]
        place[part, point, axis] = column
    missing = [key for key in _needed(points, place, full) if key not in place]
    if missing:
        part, point, axis = missing[0]
        raise DataError(
            f"lacks {len(missing)} of the landmarks that points: {points} reads (first {axis}_{part}_{point}); use "
            "files that hold them, or other `points`; an array of no known shape needs `layout`"
        )
    sources, targets, unnamed_z = [], [], []
    for own in layout.parts:
        for point in range(own.stop - own.start):
            at = own.start + point
            for number, axis in enumerate("xyz"[:num_axes]):
                if (own.name, point, axis) in place:
                    sources.append(place[own.name, point, axis])
                    targets.append(at * num_axes + number)
            if (own.name, point, "x") in place and (own.name, point, "z") not in place:
                unnamed_z.append(at)
    return _Reading(*(np.array(indices, dtype=np.intp) for indices in (sources, targets, unnamed_z)))


def _needed(points: PointSet, place: dict[tuple[str, int, str], int], full: Layout) -> list[tuple[str, int, str]]:
    """What cannot be done without: a hand, and the shoulders unless the columns hold hands alone."""
    if points == "mediapipe_full":
        return [
            (part.name, point, axis) for part in full.parts for point in range(part.stop - part.start) for axis in "xy"
        ]
    parts = {part for part, _, _ in place}
    hands = [hand for hand in _HANDS if hand in parts] or list(_HANDS)
    keys = [(hand, point) for hand in hands for point in range(21)]
    if points == "hands_pose" or parts - set(_HANDS):
        keys += [("pose", LEFT_SHOULDER), ("pose", RIGHT_SHOULDER)]
    return [(part, point, axis) for part, point in keys for axis in "xy"]


def layout_of(points: PointSet, full: Layout = HOLISTIC) -> Layout:
    """The layout of the clips that `to_clip` makes."""
    return full if points == "mediapipe_full" else POSE_HANDS


def _num_axes(points: PointSet) -> int:
    return 3 if points == "mediapipe_full" else 2


def has_pose(columns: tuple[str, ...]) -> bool:
    """Whether named columns hold more than hands, so that a body can place them."""
    return any(part.name not in _HANDS for part in parts_of(columns))


def can_read(columns: tuple[str, ...], points: PointSet) -> bool:
    """Whether `to_clip` takes these columns."""
    try:
        _reading(columns, points, HOLISTIC)
    except DataError:
        return False
    return True


def best_points(columns: tuple[str, ...]) -> PointSet | Literal[""]:
    """The point set that places and scales these columns with most of what they hold; "" where none does."""
    sets: tuple[PointSet, ...] = ("hands_pose", "hands")
    return next((points for points in sets if can_read(columns, points)), "")


def unread_points(columns: tuple[str, ...], points: PointSet) -> list[str]:
    """Whole points that a point set has and the columns do not: their features are 0."""
    keys = {(part, point) for part, point, _ in _keys(columns) or []}
    keys |= {("pose", of.get(point, -1)) for part, of in _AS_MEDIAPIPE.items() for p, point in keys if p == part}
    hands = [hand for hand in _HANDS if not any(part == hand for part, _ in keys)]
    if points != "hands_pose":
        return hands if points == "hands" else []
    names = ("nose", "left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist")
    return hands + [name for name, point in zip(names, ARM_POINTS, strict=True) if ("pose", point) not in keys]


def to_clip(values: Floats, columns: tuple[str, ...], points: PointSet, full: Layout = HOLISTIC) -> Clip:
    """Landmarks from named columns in the layout and with the coordinates of a point set; NaN is absent.

    Args:
        values: [T, F].
        columns: The name of each column; others than landmarks that are read are left out.
        points: `hands` reads x and y of the hands and of the shoulders (of none where there are hands alone),
            `hands_pose` those of the arms and the nose too as far as they are there, `mediapipe_full` x, y and z of
            all points.
        full: the layout of `mediapipe_full`.

    Returns:
        [T, 75, 2], or [T, P, 3] in the layout `full`; a z that is nowhere known of a part (no column, or NaN
        throughout) is 0.

    Raises:
        DataError: Columns are missing ("what; what to do").
    """
    reading = _reading(columns, points, full)
    layout, num_axes = layout_of(points, full), _num_axes(points)
    flat = np.full((len(values), layout.num_points * num_axes), np.nan, dtype=values.dtype)
    flat[:, reading.targets] = values[:, reading.sources]
    cube = flat.reshape(len(values), layout.num_points, num_axes)
    if num_axes == 3:
        cube[:, reading.unnamed_z, 2] = 0.0
        for part in layout.parts:
            if np.isnan(cube[:, part.points, 2]).all():
                cube[:, part.points, 2] = 0.0
    present: Bools = np.logical_not(np.any(np.isnan(cube), axis=2))
    return Clip(np.where(present[..., None], cube, cube.dtype.type(0)), present)
