"""Names the landmark blocks of a source, and a clip of landmarks. Extractors differ in the order of blocks.

Dimension legend: T frames, P points, D coordinates a point (x right, y down, z away from the camera).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

PointSet = Literal["hands", "hands_pose", "mediapipe_full"]
"""Which landmarks become features; see `slr_models.data.normalize`."""

NUM_HAND_POINTS = 21
NOSE, LEFT_SHOULDER, RIGHT_SHOULDER = 0, 11, 12
ARM_POINTS = (NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, 13, 14, 15, 16)
"""Nose, shoulders, elbows and wrists in MediaPipe's pose numbering."""


@dataclass(frozen=True)
class Part:
    """Points `start:stop` of a layout."""

    name: str
    start: int
    stop: int

    @property
    def points(self) -> slice:
        """Where the part lies in an array of points."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Layout:
    """The parts of a landmark array, in order and without gaps."""

    parts: tuple[Part, ...]

    @staticmethod
    def of(**num_points: int) -> "Layout":
        """A layout from part names and sizes, in order."""
        parts, start = [], 0
        for name, size in num_points.items():
            parts.append(Part(name, start, start + size))
            start += size
        return Layout(tuple(parts))

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Name and number of points of each part, in order."""
        return tuple((part.name, part.stop - part.start) for part in self.parts)

    @property
    def num_points(self) -> int:
        """Points of all parts."""
        return self.parts[-1].stop

    def part(self, name: str) -> Part:
        """The part of that name."""
        return next(part for part in self.parts if part.name == name)


HOLISTIC = Layout.of(pose=33, face=468, left_hand=NUM_HAND_POINTS, right_hand=NUM_HAND_POINTS)
"""MediaPipe Holistic: 543 points."""
POSE_HANDS = Layout.of(pose=33, left_hand=NUM_HAND_POINTS, right_hand=NUM_HAND_POINTS)
"""MediaPipe Holistic without its face: 75 points."""


@dataclass(frozen=True)
class Clip:
    """A stretch of landmarks."""

    points: Floats
    """[T, P, D], float32 or, on the way, float64; the values of points that are not present mean nothing."""
    present: Bools
    """[T, P]: whether the extractor saw the point."""

    def __len__(self) -> int:
        return len(self.points)
