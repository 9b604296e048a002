"""Landmarks in body coordinates, and the features that a model reads.

Dimension legend: T frames, P points, D coordinates a point, F features.

| point set      | features a frame (doubled by velocities)                                               |
|----------------|----------------------------------------------------------------------------------------|
| hands          | 44 a hand: 20 points around the wrist in palm lengths (x, y), the wrist's place in the |
|                | body frame (x, y), log palm length, and 1 where the hand was seen                      |
| hands_pose     | the same, and nose, shoulders, elbows and wrists in the body frame (14)                |
| mediapipe_full | x, y, z of every point that the source has, in the body frame (543 points: 1629)       |

Body frame: origin between the shoulders, unit one shoulder width; both are medians over a clip, so that neither
the signer's place nor the distance to the camera remains. Of hands alone: origin at their wrists, unit what a shoulder
width is to a usual palm. What is not present is 0 in every feature.
"""

import numpy as np

from slr_models.data.batch import FeatureGroup
from slr_models.data.layout import (
    ARM_POINTS,
    LEFT_SHOULDER,
    NUM_HAND_POINTS,
    RIGHT_SHOULDER,
    Bools,
    Clip,
    Floats,
    Layout,
    Part,
    PointSet,
)

MAX_ABS = 5.0
"""Features are cut off here: a mistracked point reaches ten times the usual range."""
VELOCITY_FRAMES = 5.0
"""Velocities are differences of neighbouring frames times this, which puts them on the scale of positions."""

_HANDS = ("left_hand", "right_hand")
_KNUCKLES = (5, 9, 13, 17)
_TYPICAL_PALM = 0.3
"""Palm length in shoulder widths; makes the log palm length about 0."""
_MIN_PALM = 0.05
"""A hand seen end-on has no measurable palm; its points would explode."""
_HAND_FEATURES = 2 * (NUM_HAND_POINTS - 1) + 2 + 1 + 1


def to_body_frame(clip: Clip, layout: Layout) -> Clip | None:
    """The clip with its origin between the shoulders and one shoulder width as unit.

    z counts from a root point a part (mid-shoulder, nose tip, wrists): the origins that extractors give differ by
    part. Points that are absent for a while are interpolated in time, absent ones at an end repeat the nearest.

    Returns:
        The clip, or None where the shoulders are never seen (or coincide), so that no body frame exists.
    """
    pose = layout.part("pose")
    shoulders = [pose.start + LEFT_SHOULDER, pose.start + RIGHT_SHOULDER]
    seen = clip.present[:, shoulders].all(axis=1)
    if not seen.any():
        return None
    left, right = clip.points[seen][:, shoulders].transpose(1, 0, 2)
    width = float(np.median(np.linalg.norm(left[:, :2] - right[:, :2], axis=1)))
    if not width > 1e-6:
        return None
    origin = np.median((left[:, :2] + right[:, :2]) / 2, axis=0)
    points = _fill_gaps(clip.points, clip.present)
    if points.shape[2] > 2:
        for part in layout.parts:
            roots = {"pose": shoulders, "face": [part.start + 1]}.get(part.name, [part.start])
            points[:, part.points, 2] -= points[:, roots, 2].mean(axis=1, keepdims=True)
    points[..., :2] -= origin
    return Clip((points / width).astype(clip.points.dtype), clip.present)


def to_hands_frame(clip: Clip, layout: Layout) -> Clip | None:
    """The clip of a source that has hands alone, [T, P, 2], placed by them as `to_body_frame` places it by a body.

    Origin: median of the wrists. Unit: median palm length, as if it were the usual part of a shoulder width.

    Returns:
        The clip, or None where no hand is ever seen as a whole (or all of them are points).
    """
    wrists, palms = [], []
    for name in _HANDS:
        part = layout.part(name)
        hand = clip.points[clip.present[:, part.points].all(axis=1)][:, part.points]
        wrists.append(hand[:, 0])
        palms.append(_palm_lengths(hand[:, 1:] - hand[:, :1]))
    if not sum(map(len, palms)):
        return None
    palm = float(np.median(np.concatenate(palms)))
    if not palm > 1e-6:
        return None
    points = _fill_gaps(clip.points, clip.present) - np.median(np.concatenate(wrists), axis=0)
    return Clip((points * (_TYPICAL_PALM / palm)).astype(clip.points.dtype), clip.present)


def _palm_lengths(fingers: Floats) -> Floats:
    """The longest wrist-to-knuckle distance of points around the wrist, [T]; a single one collapses as a hand turns."""
    knuckles = fingers[:, [point - 1 for point in _KNUCKLES]]
    lengths: Floats = np.sqrt((knuckles**2).sum(axis=2)).max(axis=1)
    return lengths


def _fill_gaps(points: Floats, present: Bools) -> Floats:
    """Absent values interpolated in time; a point that is never seen is 0 throughout."""
    filled = np.where(present[..., None], points, 0.0).astype(points.dtype)
    # The points of a hand come and go together: one interpolation serves all with the same pattern.
    patterns: dict[bytes, list[int]] = {}
    for point in np.flatnonzero(~present.all(axis=0) & present.any(axis=0)).tolist():
        patterns.setdefault(present[:, point].tobytes(), []).append(point)
    frames = np.arange(len(points))
    for members in patterns.values():
        seen = frames[present[:, members[0]]]
        place = np.interp(frames, seen, np.arange(len(seen)))
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, len(seen) - 1)
        weight = (place - low).astype(points.dtype)[:, None, None]
        known = points[seen][:, members]
        filled[:, members] = known[low] * (1 - weight) + known[high] * weight
    return filled


def select(clip: Clip, layout: Layout, point_set: PointSet) -> Clip:
    """Only the points and coordinates that a point set reads, so that composing moves no others around."""
    if point_set == "mediapipe_full":
        return clip
    start = layout.part("pose").start
    wanted = [start + point for point in ARM_POINTS] if point_set == "hands_pose" else []
    for name in _HANDS:
        part = layout.part(name)
        wanted.extend(range(part.start, part.stop))
    return Clip(np.ascontiguousarray(clip.points[:, wanted, :2]), clip.present[:, wanted])


def selected_layout(layout: Layout, point_set: PointSet) -> Layout:
    """The layout of what `select` returns."""
    if point_set == "mediapipe_full":
        return layout
    hands = {name: NUM_HAND_POINTS for name in _HANDS}
    return Layout.of(pose=len(ARM_POINTS), **hands) if point_set == "hands_pose" else Layout.of(**hands)


def feature_groups(selected: Layout, point_set: PointSet, velocity: bool) -> tuple[FeatureGroup, ...]:
    """The columns of each part; a part's velocities follow its positions."""
    groups, start = [], 0
    for part in selected.parts:
        if point_set == "mediapipe_full":
            size = 3 * (part.stop - part.start)
        else:
            size = _HAND_FEATURES if part.name in _HANDS else 2 * (part.stop - part.start)
        stop = start + size * (2 if velocity else 1)
        groups.append(FeatureGroup(part.name, start, stop))
        start = stop
    return tuple(groups)


def features(clip: Clip, selected: Layout, point_set: PointSet, velocity: bool) -> Floats:
    """Features of a selected clip in the body frame, [T, F], finite and within [-MAX_ABS, MAX_ABS]."""
    blocks: list[Floats] = []
    for part in selected.parts:
        if part.name in _HANDS and point_set != "mediapipe_full":
            block, seen = _hand(clip, part)
        else:
            block, seen = _plain(clip, part)
        blocks.append(block)
        if velocity:
            blocks.append(_velocity(block, seen))
    return np.clip(np.concatenate(blocks, axis=1), -MAX_ABS, MAX_ABS).astype(np.float32)


def _hand(clip: Clip, part: Part) -> tuple[Floats, Bools]:
    """One hand's features, [T, 44], and where they mean something (same shape)."""
    points = clip.points[:, part.points]
    wrist = points[:, 0]
    fingers = points[:, 1:] - wrist[:, None]
    palm = np.maximum(_palm_lengths(fingers), _MIN_PALM)
    seen: Bools = np.all(clip.present[:, part.points], axis=1)
    block = np.empty((len(points), _HAND_FEATURES), dtype=points.dtype)
    block[:, :-4] = (fingers / palm[:, None, None]).reshape(len(points), -1)
    block[:, -4:-2] = wrist
    block[:, -2] = np.log(palm / _TYPICAL_PALM)
    block[:, -1] = 1.0
    block[~seen] = 0.0
    return block, np.broadcast_to(seen[:, None], block.shape)


def _plain(clip: Clip, part: Part) -> tuple[Floats, Bools]:
    """Coordinates as they are, [T, points x D], and where they mean something."""
    points = clip.points[:, part.points]
    seen = np.repeat(clip.present[:, part.points], points.shape[2], axis=1)
    return np.where(seen, points.reshape(len(points), -1), points.dtype.type(0)), seen


def _velocity(block: Floats, seen: Bools) -> Floats:
    """Differences to the frame before; 0 in the first frame and where either frame lacks the value."""
    velocity = np.zeros_like(block)
    velocity[1:] = np.where(seen[1:] & seen[:-1], (block[1:] - block[:-1]) * VELOCITY_FRAMES, 0.0)
    return velocity
