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
| 543    | MediaPipe Holistic: pose, face 468, left hand, right hand; or face, left hand,   |
|        | pose, right hand (Kaggle's order), where the first points lie as a face does     |
| 553    | the same with a face of 478 points (MediaPipe Tasks, refined faces)              |
| 576,   | pose-format's: pose, face (468, 478), hands, and the pose in metres              |
| 586    |                                                                                  |

Flat arrays [T, F] are taken for P x C of these, C coordinates a point (below 200 columns where `points` is set, or the
values look like hands); 1662, 1692 and 258 for a pose with visibility before a face and hands without.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

from dataclasses import dataclass

import numpy as np

from slr_models.data.columns import GroupSizes, named_columns
from slr_models.data.layout import Floats
from slr_models.errors import DataError

_BOTH_HANDS: GroupSizes = (("left_hand", 21), ("right_hand", 21))
_LAYOUTS: dict[int, tuple[GroupSizes, ...]] = {
    21: ((("right_hand", 21),),),
    42: (_BOTH_HANDS,),
    67: ((("pose", 25), *_BOTH_HANDS), (("body_25", 25), *_BOTH_HANDS)),
    75: ((("pose", 33), *_BOTH_HANDS),),
    133: ((("coco", 17), ("feet", 6), ("face_68", 68), *_BOTH_HANDS),),
    137: ((("body_25", 25), ("face_70", 70), *_BOTH_HANDS),),
    543: (
        (("pose", 33), ("face", 468), *_BOTH_HANDS),
        (("face", 468), ("left_hand", 21), ("pose", 33), ("right_hand", 21)),
    ),
    553: (
        (("pose", 33), ("face", 478), *_BOTH_HANDS),
        (("face", 478), ("left_hand", 21), ("pose", 33), ("right_hand", 21)),
    ),
    576: ((("pose", 33), ("face", 468), *_BOTH_HANDS, ("pose_world", 33)),),
    586: ((("pose", 33), ("face", 478), *_BOTH_HANDS, ("pose_world", 33)),),
}
_WITH_CONFIDENCE = {"body_25", "coco"}
"""Bodies of extractors that give x, y and a confidence; the others give x, y, z."""
_MIXED: dict[int, GroupSizes] = {
    258: (("pose", 33), *_BOTH_HANDS),
    1662: (("pose", 33), ("face", 468), *_BOTH_HANDS),
    1692: (("pose", 33), ("face", 478), *_BOTH_HANDS),
}
"""Width of flat arrays of a pose with x, y, z, visibility and other parts with x, y, z."""
_FEWEST_FLAT = 200
"""Columns below which a flat array is taken for landmarks only where they are asked for, or where it looks like hands:
features of other kinds are as wide."""
_BONES = [(finger + joint, finger + joint + 1) for finger in (1, 5, 9, 13, 17) for joint in range(3)]
"""Neighbouring points of a hand."""
_LONGEST_BONE = 0.25
"""In the median, of the diagonal of a hand's box; points without order: 0.35."""
_PART_SIZES = {"pose": range(1, 34), "body_25": range(25, 26), "coco": range(17, 18)}
_PART_SIZES |= dict.fromkeys(("left_hand", "right_hand"), range(21, 22))
_CLEARLY = 2.0
"""How many times better another order of parts has to fit than the usual one."""


@dataclass(frozen=True)
class Recognized:
    """What an array was taken for."""

    parts: GroupSizes
    """Name and number of points, in order."""
    columns: tuple[str, ...]
    """Of the array, flattened to [T, F]."""

    @property
    def text(self) -> str:
        """The parts, for a reader."""
        return ", ".join(f"{name} {size}" for name, size in self.parts)


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


def recognize(array: Floats, stated: GroupSizes, wanted: bool) -> Recognized | None:
    """The landmarks of an array, or None where it is of no known shape.

    Args:
        array: [T, P, C] or [T, F].
        stated: The setting `layout`; empty: by the shape.
        wanted: Whether landmarks are asked for, so that a narrow array [T, F] is taken for them too.

    Raises:
        DataError: The array cannot hold what is stated, or its axes are in another order ("what; what to do").
    """
    if stated:
        return _as_stated(array, stated)
    if array.ndim == 3:
        _, num_points, num_axes = array.shape
        if num_points in (2, 3, 4) and num_axes in _LAYOUTS and wanted:
            raise DataError(
                f"has shape {array.shape}, which looks like [frames, coordinates, points]; store [frames, points, "
                "coordinates]"
            )
        return _of(array, num_axes) if num_points in _LAYOUTS and num_axes in (2, 3, 4) else None
    width = array.shape[1]
    if width in _MIXED:
        parts = _MIXED[width]
        columns = named_columns(parts[:1], "xyzc") + named_columns(parts[1:], "xyz")
        return Recognized(parts, columns)
    fitting = [axes for axes in (3, 2, 4) if width % axes == 0 and width // axes in _LAYOUTS]
    if not fitting:
        return None
    points = array.reshape(len(array), -1, fitting[0])
    found = _of(points, fitting[0])
    return found if wanted or width >= _FEWEST_FLAT or _has_hands(points, found.parts) else None


def _as_stated(array: Floats, stated: GroupSizes) -> Recognized:
    num_points = sum(size for _, size in stated)
    width = int(np.prod(array.shape[1:]))
    num_axes = width // num_points
    if num_axes * num_points != width or num_axes not in (2, 3, 4) or (array.ndim == 3 and array.shape[2] != num_axes):
        raise DataError(
            f"has shape {array.shape}, which is not [frames, {num_points} points, 2 to 4 coordinates] as `layout` says"
        )
    return Recognized(stated, named_columns(stated, _axes(stated, num_axes)))


def _of(array: Floats, num_axes: int) -> Recognized:
    """The best of the layouts with as many points, [T, P, C]."""
    usual, *others = _LAYOUTS[array.shape[1]]
    best = usual
    for other in others:
        fit = _fit_of_faces if dict(other).get("face") else _fit_of_bodies
        if fit(array, other) > _CLEARLY * fit(array, usual):
            best = other
    return Recognized(best, named_columns(best, _axes(best, num_axes)))


def _axes(parts: GroupSizes, num_axes: int) -> str:
    has_confidence = any(name in _WITH_CONFIDENCE for name, _ in parts)
    return {2: "xy", 3: "xyc" if has_confidence else "xyz", 4: "xyzc"}[num_axes]


def _fit_of_faces(array: Floats, parts: GroupSizes) -> float:
    """How many times wider the pose lies than the face."""
    place, start = {}, 0
    for name, size in parts:
        place[name] = array[:, start : start + size, :2]
        start += size
    pose, face = (float(np.median(_widths(place[name]))) for name in ("pose", "face"))
    return pose / face if face > 0 else 0.0


def _fit_of_bodies(array: Floats, parts: GroupSizes) -> float:
    """1 over how far neck and middle hip lie from the middle of shoulders and hips, in their widths; MediaPipe: 1.

    Those of OpenPose's body lie there; in MediaPipe's pose these numbers are parts of the face.
    """
    if dict(parts).get("body_25") is None:
        return 1.0
    with np.errstate(all="ignore"):
        distances = [
            np.linalg.norm(array[:, middle, :2] - (array[:, a, :2] + array[:, b, :2]) / 2, axis=1)
            / np.linalg.norm(array[:, a, :2] - array[:, b, :2], axis=1)
            for middle, a, b in ((1, 2, 5), (8, 9, 12))
        ]
        known = [distance[np.isfinite(distance)] for distance in distances]
    worst = max((float(np.median(distance)) if len(distance) else np.inf) for distance in known)
    return 0.3 / worst if worst > 0 else np.inf


def _has_hands(array: Floats, parts: GroupSizes) -> bool:
    """Whether the points of some hand lie like a hand's, or are in one place in some frames and not in all."""
    start = 0
    for name, size in parts:
        hand = array[:, start : start + size, :2].astype(np.float64)
        start += size
        if not name.endswith("hand"):
            continue
        apart = (hand != hand[:, :1]).any(axis=(1, 2)) & ~np.isnan(hand).all(axis=(1, 2))
        if apart.any() and not apart.all():
            return True
        bones = np.linalg.norm(np.stack([hand[:, a] - hand[:, b] for a, b in _BONES], axis=1), axis=2)
        extent = np.linalg.norm(hand.max(axis=1) - hand.min(axis=1), axis=1)
        if apart.any() and np.median(np.median(bones[apart], axis=1) / extent[apart]) < _LONGEST_BONE:
            return True
    return False


def _widths(points: Floats) -> Floats:
    """Deviation of a part's points from their middle in each frame that shows it, [T']; [0] where none does."""
    with np.errstate(all="ignore"):
        deviations = np.sqrt(points.var(axis=1).sum(axis=1))
    shown = deviations[np.isfinite(deviations) & (deviations > 0)]
    return shown if len(shown) else np.zeros(1, dtype=np.float32)
