"""Folders of OpenPose's JSON, a file a frame: <video>/<video>_000000000012_keypoints.json.

Dimension legend: T frames, P points (25 of BODY_25, 70 of the face, 21 of each hand: 137).
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.convert.utterance import Bad, Found, Source, Utterance
from slr_models.data.layout import Layout
from slr_models.data.reading import parsing
from slr_models.errors import DataError

SUFFIX = "_keypoints.json"
LAYOUT = Layout.of(pose=25, face=70, left_hand=21, right_hand=21)
_KEYS = {part.name: f"{part.name}_keypoints_2d" for part in LAYOUT.parts} | {
    "left_hand": "hand_left_keypoints_2d",
    "right_hand": "hand_right_keypoints_2d",
}
_NAME = re.compile(r"(.*?)_?([0-9]+)_keypoints\.json", re.IGNORECASE)


def read(source: Source) -> Found:
    """An utterance a video: [T, 137, 3] of x, y (pixels) and confidence; a person or a part that is not seen is 0."""
    videos: dict[tuple[Path, str], list[tuple[int, Path]]] = defaultdict(list)
    for path in source.files((SUFFIX,)):
        if match := _NAME.fullmatch(path.name):
            videos[path.parent, match.group(1)].append((int(match.group(2)), path))
    for (folder, prefix), frames in videos.items():
        where = f"{folder / prefix}_*{SUFFIX}"
        frames.sort()
        numbers = [number for number, _ in frames]
        gap = next((a + 1 for a, b in zip(numbers, numbers[1:], strict=False) if b != a + 1), None)
        if gap is not None:
            yield Bad("missing frame", where, f"frame {gap} is missing or there twice; run OpenPose on the video again")
            continue
        try:
            values = np.stack([_frame(path) for _, path in frames])
        except DataError as error:
            yield Bad("unreadable file", where, str(error))
            continue
        yield Utterance(_name(source, folder, prefix), values, where, split=source.split_of(frames[0][1]))


def _name(source: Source, folder: Path, prefix: str) -> str:
    """The video's folder below the source; with the files' beginning where it is another name."""
    below = folder.relative_to(source.path) if source.path.is_dir() else Path()
    return (below if prefix in ("", folder.name) and below.parts else below / prefix).as_posix()


def _frame(path: Path) -> npt.NDArray[np.float32]:
    """[P, 3] of the first person.

    Raises:
        DataError: the file is broken or of another layout.
    """
    with parsing(path, "run OpenPose on the video again"):
        people = json.loads(path.read_bytes())["people"]
        parts: dict[str, Any] = people[0] if people else {}
        points = np.zeros((LAYOUT.num_points, 3), dtype=np.float32)
        for part in LAYOUT.parts:
            numbers = np.asarray(parts.get(_KEYS[part.name]) or [], dtype=np.float32)
            if numbers.size not in (0, points[part.points].size):
                raise DataError(
                    f"{path} has {numbers.size} numbers in {_KEYS[part.name]}, not {points[part.points].size}; run "
                    "OpenPose with --model_pose BODY_25 --face --hand"
                )
            if numbers.size:
                points[part.points] = numbers.reshape(-1, 3)
    return points
