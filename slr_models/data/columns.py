"""Landmark columns that say what they are (x_left_hand_0: axis, part, point), in whatever order a file has them.

Dimension legend: T frames, P points, F features.
"""

import re

import numpy as np

from slr_models.data.layout import ARM_POINTS, HOLISTIC, Bools, Clip, Floats, Layout, PointSet
from slr_models.errors import DataError

GroupSizes = tuple[tuple[str, int], ...]
"""Name and number of columns of each group, in order."""

_COLUMN = re.compile(r"([xyz])_(\w+)_([0-9]{1,6})")


def columns_of(layout: Layout) -> tuple[str, ...]:
    """The columns of an array [T, P, 3] that is flattened to [T, 3 P]."""
    return tuple(
        f"{axis}_{part.name}_{point}"
        for part in layout.parts
        for point in range(part.stop - part.start)
        for axis in "xyz"
    )


HOLISTIC_COLUMNS = columns_of(HOLISTIC)
_PLACE = {name: place for place, name in enumerate(HOLISTIC_COLUMNS)}


def order_columns(names: list[str]) -> tuple[list[str], GroupSizes]:
    """Columns by part (as they first appear), point and axis where all are named so; else as they come."""
    matches = {name: _COLUMN.fullmatch(name) for name in names}
    keys = {name: (match.group(2), int(match.group(3)), match.group(1)) for name, match in matches.items() if match}
    if len(keys) < len(names):
        return names, (("features", len(names)),)
    parts = list(dict.fromkeys(part for part, _, _ in keys.values()))
    ordered = sorted(names, key=lambda name: (parts.index(keys[name][0]), keys[name][1:]))
    sizes = tuple((part, sum(key[0] == part for key in keys.values())) for part in parts)
    return ordered, sizes


def is_holistic(columns: tuple[str, ...]) -> bool:
    """Whether columns name the pose and both hands, so that the body frame can be built."""
    return _needed("hands_pose").issubset(columns)


def to_clip(values: Floats, columns: tuple[str, ...], points: PointSet) -> Clip:
    """Landmarks in MediaPipe Holistic's layout from named columns; NaN is absent, other columns are left out.

    Args:
        values: [T, F].
        columns: The name of each column.
        points: What has to be there: x and y of the pose and the hands, or all 543 points with z.

    Returns:
        [T, 543, 3]; a z that no column names is 0.

    Raises:
        DataError: Columns are missing ("what; what to do").
    """
    named = set(columns)
    absent = _needed(points) - named
    missing = [name for name in HOLISTIC_COLUMNS if name in absent]
    if missing:
        raise DataError(
            f"lacks {len(missing)} of the columns that points: {points} reads (first {missing[0]}); use .pose files "
            "of MediaPipe Holistic or parquet columns named like x_left_hand_0, or remove `points`"
        )
    if columns == HOLISTIC_COLUMNS:
        flat = values
    else:
        flat = np.full((len(values), len(HOLISTIC_COLUMNS)), np.nan, dtype=np.float32)
        flat[:, [place for name, place in _PLACE.items() if name[0] == "z" and name not in named]] = 0.0
        known = [(_PLACE[name], column) for column, name in enumerate(columns) if name in _PLACE]
        flat[:, [place for place, _ in known]] = values[:, [column for _, column in known]]
    cube = flat.reshape(len(values), HOLISTIC.num_points, 3)
    present: Bools = np.logical_not(np.any(np.isnan(cube), axis=2))
    return Clip(np.where(present[..., None], cube, np.float32(0)), present)


def _needed(points: PointSet) -> set[str]:
    if points == "mediapipe_full":
        return set(HOLISTIC_COLUMNS)
    hands = [(part.name, point) for part in HOLISTIC.parts[2:] for point in range(part.stop - part.start)]
    # The shoulders make the body frame, so that "hands" needs the pose too.
    return {f"{axis}_{part}_{point}" for part, point in [*hands, *(("pose", p) for p in ARM_POINTS)] for axis in "xy"}
