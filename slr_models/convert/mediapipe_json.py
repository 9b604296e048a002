"""JSON of MediaPipe Tasks: the landmark lists of each frame, in the names of JavaScript or of Python.

    [{"poseLandmarks": [[{"x": 0.5, "y": 0.4, "z": -0.1}, ...]], "handLandmarks": [...], "handedness": [...]}, ...]

or {"frames": [...], "labels": ...}, or {id: either of these}. Dimension legend: T frames, P points.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.convert.labels import labels_in
from slr_models.convert.records import LABELS
from slr_models.convert.utterance import Bad, Found, Source, Utterance
from slr_models.data.index import SPLITS
from slr_models.data.layout import HOLISTIC
from slr_models.errors import DataError

_PARTS = {
    "pose": ("poselandmarks", "pose"),
    "face": ("facelandmarks", "face"),
    "left_hand": ("lefthandlandmarks", "lefthand"),
    "right_hand": ("righthandlandmarks", "righthand"),
}
_HANDS = ("handlandmarks", "hands", "multihandlandmarks")
_SIDES = ("handedness", "handednesses", "multihandedness")


def read(source: Source, path: Path) -> Found:
    """The utterances of a file: [T, 543, 3] in the order of `layout.HOLISTIC`; what is not seen is NaN."""
    yield from _utterances(json.loads(path.read_bytes()), source.name_of(path), str(path), source.split_of(path))


def _utterances(content: Any, name: str, where: str, split: str) -> Found:
    fields = {_plain(key): value for key, value in content.items()} if isinstance(content, Mapping) else {}
    frames = content if isinstance(content, list) else fields.get("frames")
    if isinstance(frames, list):
        try:
            values = np.full((len(frames), HOLISTIC.num_points, 3), np.nan, dtype=np.float32)
            for index, frame in enumerate(frames):
                _fill(values[index], frame, f"frame {index}")
            labels = labels_in(next((fields[_plain(key)] for key in LABELS if _plain(key) in fields), None))
        except DataError as error:
            yield Bad("wrong content", where, str(error))
            return
        yield Utterance(
            name,
            values,
            where,
            labels,
            str(fields.get("signer", "")),
            str(fields.get("split", split)),
            is_holistic=True,
        )
    elif isinstance(content, Mapping) and content and all(isinstance(one, list | Mapping) for one in content.values()):
        for key, value in content.items():
            below = key.lower() if key.lower() in SPLITS else split
            yield from _utterances(value, key, f"{where}[{key!r}]", below)
    else:
        yield Bad("wrong keys", where, "holds no list of frames; write the landmarks of each frame into a list")


def _fill(points: npt.NDArray[np.float32], frame: Any, where: str) -> None:
    """Puts a frame's landmarks in their places.

    Raises:
        DataError: it has none of the names, or other landmarks than MediaPipe's.
    """
    if not isinstance(frame, Mapping):
        raise DataError(f"{where} is {type(frame).__name__}, not the landmarks by their names; write them so")
    fields = {_plain(key): value for key, value in frame.items()}
    if fields and not fields.keys() & {*_HANDS, *(key for keys in _PARTS.values() for key in keys)}:
        raise DataError(f"{where} holds {', '.join(list(fields)[:5])}, but no poseLandmarks, handLandmarks or others")
    found = {part: _one(next((fields[key] for key in keys if fields.get(key)), None)) for part, keys in _PARTS.items()}
    hands: list[Any] = next((fields[key] for key in _HANDS if fields.get(key)), [])
    sides: list[Any] = next((fields[key] for key in _SIDES if fields.get(key)), [])
    if len(sides) != len(hands):
        raise DataError(f"{where} has {len(hands)} hands, but the handedness of {len(sides)}; write it for each")
    for hand, side in zip(hands, sides, strict=True):
        name = f"{_side(side, where)}_hand"
        found[name] = found[name] or hand
    for part in HOLISTIC.parts:
        landmarks, size = found[part.name], part.stop - part.start
        if not landmarks:
            continue
        # A face that is refined has ten points of the irises after the others.
        if len(landmarks) < size or (len(landmarks) > size and part.name != "face"):
            raise DataError(f"{where} has {len(landmarks)} landmarks of {part.name}, not {size}; extract it again")
        try:
            points[part.points] = [_xyz(landmark) for landmark in landmarks[:size]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{where} has a landmark of {part.name} without x, y, z; extract it again") from error


def _one(landmarks: Any) -> Any:
    """The landmarks of the first person, where those of several are listed."""
    return landmarks[0] if landmarks and isinstance(landmarks[0], list) and not _is_point(landmarks[0]) else landmarks


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (2, 3) and not isinstance(value[0], list | Mapping)


def _xyz(landmark: Any) -> tuple[float, float, float]:
    if isinstance(landmark, Mapping):
        return float(landmark["x"]), float(landmark["y"]), float(landmark.get("z", 0.0))
    x, y, *z = landmark
    return float(x), float(y), float(z[0]) if z else 0.0


def _side(side: Any, where: str) -> str:
    """Left or right, of [{"categoryName": "Left", ...}] in any of its spellings."""
    while isinstance(side, list) and side:
        side = side[0]
    if isinstance(side, Mapping):
        fields = {_plain(key): value for key, value in side.items()}
        side = next((fields[key] for key in ("categoryname", "label", "displayname") if fields.get(key)), None)
    if not isinstance(side, str) or side.lower() not in ("left", "right"):
        raise DataError(f"{where} has the handedness {side!r:.40}; write Left or Right")
    return side.lower()


def _plain(key: Any) -> str:
    return str(key).replace("_", "").lower()
