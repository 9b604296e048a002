"""Reads .pose files of any extractor, their points by name.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slr_models.data.columns import GroupSizes
from slr_models.data.layout import Bools, Floats
from slr_models.data.reading import parsing
from slr_models.errors import DataError

INSTALL = "run: pip install 'slr-stability-sweep[fingerspelling]'"
"""What to do where pose-format or the clips of letters are missing."""
_POSE = (
    "NOSE LEFT_EYE_INNER LEFT_EYE LEFT_EYE_OUTER RIGHT_EYE_INNER RIGHT_EYE RIGHT_EYE_OUTER LEFT_EAR RIGHT_EAR "
    "MOUTH_LEFT MOUTH_RIGHT LEFT_SHOULDER RIGHT_SHOULDER LEFT_ELBOW RIGHT_ELBOW LEFT_WRIST RIGHT_WRIST LEFT_PINKY "
    "RIGHT_PINKY LEFT_INDEX RIGHT_INDEX LEFT_THUMB RIGHT_THUMB LEFT_HIP RIGHT_HIP LEFT_KNEE RIGHT_KNEE LEFT_ANKLE "
    "RIGHT_ANKLE LEFT_HEEL RIGHT_HEEL LEFT_FOOT_INDEX RIGHT_FOOT_INDEX"
).split()
_HAND = ["WRIST", "THUMB_CMC", "THUMB_MCP", "THUMB_IP", "THUMB_TIP"] + [
    f"{finger}_{joint}"
    for finger in ("INDEX_FINGER", "MIDDLE_FINGER", "RING_FINGER", "PINKY")
    for joint in ("MCP", "PIP", "DIP", "TIP")
]
_OPENPOSE_HAND = ["BASE", "T_STT", "T_BCMC", "T_MCP", "T_IP"] + [
    f"{finger}_{joint}" for finger in "IMRP" for joint in ("CMC", "MCP", "PIP", "DIP")
]
_BODY_25 = (
    "Nose Neck RShoulder RElbow RWrist LShoulder LElbow LWrist MidHip RHip RKnee RAnkle LHip LKnee LAnkle REye LEye "
    "REar LEar LBigToe LSmallToe LHeel RBigToe RSmallToe RHeel"
).split()
_COCO = (
    "nose left_eye right_eye left_ear right_ear left_shoulder right_shoulder left_elbow right_elbow left_wrist "
    "right_wrist left_hip right_hip left_knee right_knee left_ankle right_ankle"
).split()
_COCO_FEET = "left_big_toe left_small_toe left_heel right_big_toe right_small_toe right_heel".split()
_FACE_POINTS = 468
"""Of MediaPipe's face; a refined one has ten iris points after them, which are left out."""
_WORLD = "POSE_WORLD_LANDMARKS"
"""MediaPipe's pose again, in metres around the hips."""


@dataclass(frozen=True)
class PoseFile:
    """The first person of a .pose file."""

    points: Floats
    """[T, P, C]."""
    present: Bools
    """[T, P]: where the confidence is above 0 and the coordinates are numbers."""
    named: tuple[tuple[str, int], ...]
    """Part and number of each point, as in `slr_models.data.columns`; parts follow one another."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the points flattened to [T, F]."""
        axes = "xyz"[: self.points.shape[2]]
        return tuple(f"{axis}_{part}_{point}" for part, point in self.named for axis in axes)

    def arranged(self, parts: GroupSizes) -> tuple[Floats, Bools] | None:
        """Points and presence in the order of whole parts; None where a point of them is not in the file."""
        place = {key: index for index, key in enumerate(self.named)}
        wanted = [place.get((part, point), -1) for part, size in parts for point in range(size)]
        if min(wanted) < 0:
            return None
        return self.points[:, wanted], self.present[:, wanted]


def read_pose_file(path: Path) -> PoseFile:
    """The landmarks of the first person.

    Points of MediaPipe Holistic, OpenPose and COCO-WholeBody are known by their names; others are parts of their own,
    by the name of their component.

    Raises:
        DataError: The file is missing, broken or without a person, or pose-format is not installed.
    """
    try:
        from pose_format import Pose
    except ImportError as error:
        raise DataError(f"Reading {path.name} needs the package pose-format; {INSTALL}") from error
    if not path.is_file():
        raise DataError(f"{path} is missing; reinstall or correct the path")
    with parsing(path, "replace it with a whole .pose file"):
        pose = Pose.read(path.read_bytes())
        data = np.asarray(pose.body.data.data, dtype=np.float32)
        confidence = np.asarray(pose.body.confidence)
    names: list[tuple[str, int] | None] = []
    for component in pose.header.components:
        names += _named(component.name, list(component.points))
    if data.ndim != 4 or data.shape[2] != len(names) or data.shape[3] not in (2, 3):
        raise DataError(
            f"{path} holds data of shape {data.shape}, not x, y (and z) of {len(names)} points; extract it again"
        )
    if confidence.shape != data.shape[:3]:
        raise DataError(f"{path} holds confidences of shape {confidence.shape}, not {data.shape[:3]}; extract it again")
    if data.shape[1] == 0:
        raise DataError(f"{path} shows no person; extract it again, or leave it out")
    kept = [index for index, name in enumerate(names) if name is not None]
    points = data[:, 0, kept]
    present = (confidence[:, 0, kept] > 0) & ~np.isnan(points[..., :2]).any(axis=2)
    named = tuple(name for name in names if name is not None)
    if len(set(named)) < len(named):
        raise DataError(f"{path} names a point twice; extract it again")
    return PoseFile(points, present, named)


def _named(component: str, points: list[str]) -> list[tuple[str, int] | None]:
    """Part and number of each point of a component; None for those that are left out."""
    if component == _WORLD:
        return [None] * len(points)
    if component == "FACE_LANDMARKS" and all(point.isdecimal() for point in points):
        return [("face", int(point)) if int(point) < _FACE_POINTS else None for point in points]
    known = _part_names(component, points)
    if known is not None:
        part, order = known
        return [(part, order.index(point)) for point in points]
    own = "".join(letter if letter.isalnum() else "_" for letter in component.lower())
    return [(own, index) for index in range(len(points))]


def _part_names(component: str, points: list[str]) -> tuple[str, list[str]] | None:
    """The part and its points in order, of components that are known."""
    parts = {"POSE_LANDMARKS": ("pose", [_POSE]), "pose_keypoints_2d": ("body_25", [_BODY_25])}
    parts["BODY"] = "coco", [_COCO + _COCO_FEET]
    for side in ("LEFT", "RIGHT"):
        hands = [_HAND, _OPENPOSE_HAND, [f"hand_{number}" for number in range(len(_HAND))]]
        for name in (f"{side}_HAND_LANDMARKS", f"{side}_HAND", f"hand_{side.lower()}_keypoints_2d"):
            parts[name] = f"{side.lower()}_hand", hands
    part, orders = parts.get(component, ("", []))
    # Points may be called by their numbers.
    orders = [*orders, *([str(number) for number in range(len(order))] for order in orders[:1])]
    return next(((part, order) for order in orders if set(points) <= set(order)), None)
