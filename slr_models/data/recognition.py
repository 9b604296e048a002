"""Which landmarks an array without names holds: as the setting `layout` says, or by its shape.

| points | taken for                                                                        |
|--------|----------------------------------------------------------------------------------|
| 21     | one hand, as right hand                                                          |
| 42     | left hand, right hand                                                            |
| 67     | 25 points of MediaPipe's pose, or OpenPose's body where its neck and hip lie so; |
|        | left hand, right hand                                                            |
| 75     | MediaPipe's pose (33), left hand, right hand                                     |
| 133    | COCO-WholeBody: body 17, feet 6, face 68, left hand, right hand                  |
| 137    | OpenPose: body 25, face 70, left hand, right hand                                |
| 543    | MediaPipe Holistic: pose, face 468, left hand, right hand                        |
| 553    | the same with a face of 478 points (MediaPipe Tasks, refined faces)              |
| 576,   | pose-format's: pose, face (468, 478), hands, and the pose in metres              |
| 586    |                                                                                  |

Parts in another order, such as Kaggle's face, left hand, pose, right hand, are known where they lie as a body and
hands do and come and go as a whole, while those of the usual order do not. Which hand is which cannot be seen: the left
one comes first.

Flat arrays [T, F] are taken for P x C of these, C coordinates a point, 1662, 1692 and 258 columns for a pose with
visibility and other parts without: where `points` is set, or the values look like hands.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations

import numpy as np

from slr_models.data.anatomy import is_hand, posture
from slr_models.data.columns import GroupSizes, named_columns, parts_of
from slr_models.data.layout import Floats
from slr_models.errors import DataError

_BOTH_HANDS: GroupSizes = (("left_hand", 21), ("right_hand", 21))
_LAYOUTS: dict[int, GroupSizes] = {
    21: (("right_hand", 21),),
    42: _BOTH_HANDS,
    67: (("pose", 25), *_BOTH_HANDS),
    75: (("pose", 33), *_BOTH_HANDS),
    133: (("coco", 17), ("feet", 6), ("face_68", 68), *_BOTH_HANDS),
    137: (("body_25", 25), ("face_70", 70), *_BOTH_HANDS),
    543: (("pose", 33), ("face", 468), *_BOTH_HANDS),
    553: (("pose", 33), ("face", 478), *_BOTH_HANDS),
    576: (("pose", 33), ("face", 468), *_BOTH_HANDS, ("pose_world", 33)),
    586: (("pose", 33), ("face", 478), *_BOTH_HANDS, ("pose_world", 33)),
}
_MOST_ORDERED = 4
"""Parts of a layout that people put together themselves, in any order; one of more is its extractor's."""
_OTHER_BODIES = {("pose", 25): "body_25", ("pose", 17): "coco"}
"""What a body of so many points may be as well."""
_WITH_CONFIDENCE = {"body_25", "coco"}
"""Bodies of extractors that give x, y and a confidence; the others give x, y, z."""
_MIXED: dict[int, GroupSizes] = {
    258: (("pose", 33), *_BOTH_HANDS),
    1662: (("pose", 33), ("face", 468), *_BOTH_HANDS),
    1692: (("pose", 33), ("face", 478), *_BOTH_HANDS),
}
"""Width of flat arrays of a pose with x, y, z, visibility and other parts with x, y, z."""
_FEWEST_FLAT = 200
"""Columns below which a flat array in which no hand is ever seen is no landmarks, unless they are asked for."""
_PART_SIZES = {"pose": range(1, 34), "body_25": range(25, 26), "coco": range(17, 18)}
_PART_SIZES |= dict.fromkeys(("left_hand", "right_hand"), range(21, 22))
_FRAMES_LOOKED_AT = 32
"""At most, of a file that is expected to be as those before it."""
_CLEARLY = 2.0
"""How many times better the hands of another order have to look where the usual one is possible too."""


@dataclass(frozen=True)
class Recognized:
    """What an array was taken for."""

    parts: GroupSizes
    """Name and number of points, in order."""
    columns: tuple[str, ...]
    """Of the array, flattened to [T, F]."""

    is_odd: bool = False
    """Whether a body or a hand lies as none does."""

    @property
    def text(self) -> str:
        """The parts, for a reader."""
        return ", ".join(f"{name} {size}" for name, size in self.parts)

    @property
    def told(self) -> str:
        """The same, with doubts."""
        return self.text + (", although they do not lie like a body and hands" if self.is_odd else "")


def check_layout(layout: GroupSizes) -> None:
    """Refuses sizes that a part of that name cannot have.

    Raises:
        ValueError: What is wrong, and what to do.
    """
    for name, size in layout:
        sizes = _PART_SIZES.get(name)
        if sizes is not None and size not in sizes:
            wanted = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            raise ValueError(f"{name} has {wanted} points, not {size}; give a part of another kind another name")


def is_known_width(width: int) -> bool:
    """Whether a flat array of so many columns may hold landmarks (those of both hands at least)."""
    return width in _MIXED or any(width % axes == 0 and width // axes in _LAYOUTS for axes in (2, 3) if width > 100)


def recognize(
    array: Floats,
    stated: GroupSizes,
    wanted: bool,
    told: GroupSizes = (),
    before: Recognized | None = None,
) -> Recognized | None:
    """The landmarks of an array, or None where it is of no known shape.

    Args:
        array: [T, P, C] or [T, F].
        stated: The setting `layout`; empty: by the shape.
        wanted: Whether landmarks are asked for, so that a narrow array [T, F] is taken for them too.
        told: The parts that the file itself names.
        before: What arrays of this shape were taken for in the files before.

    Raises:
        DataError: The array cannot hold what is stated, its axes are in another order, or its parts in another order
            than those before ("what; what to do").
    """
    if stated:
        return _as_stated(array, stated)
    flat = array.reshape(len(array), -1)
    if told:
        return _best(flat, _candidates(told, _num_axes(array, told), False), before)
    if array.ndim == 3:
        _check_axes(array.shape, wanted)
        _, num_points, num_axes = array.shape
        if num_points not in _LAYOUTS or num_axes not in (2, 3, 4):
            return None
        return _best(flat, _candidates(_LAYOUTS[num_points], num_axes, True), before)
    width = array.shape[1]
    if width in _MIXED:
        candidates = _candidates(_MIXED[width], 0, True)
    else:
        fitting = [axes for axes in (3, 2, 4) if width % axes == 0 and width // axes in _LAYOUTS]
        if not fitting:
            return None
        candidates = _candidates(_LAYOUTS[width // fitting[0]], fitting[0], True)
    found = _best(flat, candidates, before)
    return found if wanted or before or _has_hands(flat, found) else None


def _check_axes(shape: tuple[int, ...], wanted: bool) -> None:
    """Refuses axes that clearly are in another order; where landmarks are asked for, those that may well be."""
    first, second, third = shape
    known = [size for size in _LAYOUTS if wanted or size > 21]
    order = ""
    if second in (2, 3, 4) and third in known:
        order = "frames, coordinates, points"
    elif first in (2, 3, 4) and third in known and second not in known:
        order = "coordinates, frames, points"
    elif wanted and first in known and second not in known and third in (2, 3, 4):
        order = "points, frames, coordinates"
    if order:
        raise DataError(f"has shape {shape}, which looks like [{order}]; store [frames, points, coordinates]")


def _as_stated(array: Floats, stated: GroupSizes) -> Recognized:
    return Recognized(stated, named_columns(stated, _axes(stated, _num_axes(array, stated))))


def _num_axes(array: Floats, stated: GroupSizes) -> int:
    num_points = sum(size for _, size in stated)
    width = int(np.prod(array.shape[1:]))
    num_axes = width // num_points
    if num_axes * num_points != width or num_axes not in (2, 3, 4) or (array.ndim == 3 and array.shape[2] != num_axes):
        raise DataError(
            f"has shape {array.shape}, which is not [frames, {num_points} points, 2 to 4 coordinates] as `layout` says"
        )
    return num_axes


@lru_cache(maxsize=64)
def _candidates(usual: GroupSizes, num_axes: int, is_any_order: bool) -> tuple[Recognized, ...]:
    """What an array may be taken for, the usual first; 0 axes: a pose has visibility, other parts have none."""
    orders: list[GroupSizes] = [usual]
    if is_any_order and len(usual) <= _MOST_ORDERED:
        names = [name for name, _ in usual]
        if {"left_hand", "right_hand"}.issubset(names):
            orders += [o for o in permutations(usual) if o != usual and _is_left_first(o)]
    bodies = [tuple((_OTHER_BODIES.get(part, part[0]), part[1]) for part in order) for order in orders]
    orders += [other for other in bodies if other not in orders]
    return tuple(Recognized(parts, _columns(parts, num_axes)) for parts in orders)


def _is_left_first(parts: GroupSizes) -> bool:
    names = [name for name, _ in parts]
    return names.index("left_hand") < names.index("right_hand")


def _columns(parts: GroupSizes, num_axes: int) -> tuple[str, ...]:
    if num_axes:
        return named_columns(parts, _axes(parts, num_axes))
    return tuple(c for part in parts for c in named_columns((part,), "xyzc" if part[0] == "pose" else "xyz"))


def _axes(parts: GroupSizes, num_axes: int) -> str:
    has_confidence = any(name in _WITH_CONFIDENCE for name, _ in parts)
    return {2: "xy", 3: "xyc" if has_confidence else "xyz", 4: "xyzc"}[num_axes]


def _best(flat: Floats, candidates: tuple[Recognized, ...], before: Recognized | None) -> Recognized:
    """The usual candidate, unless the points cannot be that and can be another.

    Raises:
        DataError: they are another than those of the files before.
    """
    usual = before or candidates[0]
    if before:
        flat = flat[:: 1 + len(flat) // _FRAMES_LOOKED_AT]
    found = posture(flat, usual.columns)
    if before and not found.fails:
        return before
    others = [(other, posture(flat, other.columns)) for other in candidates if other.columns != usual.columns]
    fitting = sorted((one for one in others if one[1].fits), key=lambda one: one[1].fan)
    if fitting and (found.fails or _CLEARLY * fitting[0][1].fan < found.fan < np.inf):
        best = fitting[0][0]
        if before:
            raise DataError(
                f"seems to hold {best.text}, where the files before it were taken for {before.text}; store all in one "
                "order, or set `layout`"
            )
        return best
    return before or replace(usual, is_odd=found.is_odd)


def _has_hands(flat: Floats, found: Recognized) -> bool:
    """Whether some hand is one; where none is ever seen, whether the array is as wide as few others are."""
    hands = [
        is_hand(np.stack([flat[:, part.axes["x"]], flat[:, part.axes["y"]]], axis=2).astype(np.float64))
        for part in parts_of(found.columns)
        if part.name.endswith("hand")
    ]
    return any(hands) or (all(hand is None for hand in hands) and flat.shape[1] >= _FEWEST_FLAT)
