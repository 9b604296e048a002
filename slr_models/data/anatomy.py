"""Whether points lie as those of a body or a hand do, and come and go as those of one part do.

The limits were chosen on 626 clips of fingerspelling (MediaPipe Holistic): the fit of their poses is 6.3 to 7.8, and
of other points in that place 0.03 to 0.13; bones of their hands are 0.08 to 0.20 long.

Dimension legend: T frames, P points.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from slr_models.data.columns import parts_of
from slr_models.data.layout import Bools, Floats

_Places = npt.NDArray[np.float64]

_RUN = 5
"""Neighbouring points in one place from which on they were not seen; coordinates in whole pixels make shorter ones."""
_BONES = [(finger + joint, finger + joint + 1) for finger in (1, 5, 9, 13, 17) for joint in range(3)]
"""Neighbouring points of a hand."""
_KNUCKLES = (5, 9, 13, 17)
_LONGEST_BONE = 0.25
"""In the median, of the diagonal of a hand's box; points without order: 0.35."""
_HEADS = {"pose": (11, 11, 12), "coco": (5, 5, 6)}
"""Body -> number of its first points, which are those of the head, and both shoulders."""
_FIT = 1.0
_OPENPOSE_BODY = 25
"""Points of a body that may be OpenPose's."""
_NECK = 0.15
"""Distance of OpenPose's neck from the middle of its shoulders, in their widths, at most. Of what is there in
MediaPipe's pose (corners of an eye, and the other one): 0.26."""


@dataclass(frozen=True)
class Posture:
    """How the points of an array lie if they are taken for certain parts."""

    fits: bool
    """They lie as these parts do, and each hand and face is there as a whole or not at all."""
    fails: bool
    """They cannot be these parts."""
    is_odd: bool
    """The body or a hand lies as none does."""
    fan: float
    """Distance of neighbouring knuckles, in distances from the wrist to them; a hand: about 0.25. Inf: none is seen."""


def posture(flat: Floats, columns: tuple[str, ...]) -> Posture:
    """How the points of an array [T, F] lie, of which the columns are taken for those of named parts."""
    is_whole, fans, bodies, hands = True, [], [], []
    for part in parts_of(columns):
        points = np.stack([flat[:, part.axes["x"]], flat[:, part.axes["y"]]], axis=2).astype(np.float64)
        gone = _gone(points)
        shown = points[~gone.any(axis=1)]
        if part.name in _HEADS or part.name == "body_25":
            points[gone] = np.nan
            bodies.append(_body_fit(part.name, points))
        if part.name.endswith("hand") or part.name in ("pose", "face"):
            # Legs may be hidden; what is seen of a person has a head and shoulders.
            must = gone[:, : max(_HEADS["pose"]) + 1] if part.name == "pose" else gone
            is_whole &= not (must.any(axis=1) & ~gone.all(axis=1)).any()
        if part.name.endswith("hand") and points.shape[1] == 21 and len(shown):
            hands.append(bone_length(shown) < _LONGEST_BONE)
            fans.append(_fan(shown))
    known = [fit for fit in bodies if np.isfinite(fit)]
    is_odd = not all(hands) or any(fit <= _FIT for fit in known)
    return Posture(
        fits=is_whole and not is_odd and bool(hands or known),
        fails=not is_whole or is_odd,
        is_odd=is_odd,
        fan=float(np.mean(fans)) if fans else np.inf,
    )


def is_hand(points: _Places) -> bool | None:
    """Whether points [T, 21, 2] are a hand: they lie so, or are in one place in some frames only; None: always are."""
    apart = (points != points[:, :1]).any(axis=(1, 2)) & ~np.isnan(points).all(axis=(1, 2))
    if not apart.any():
        return None
    return not apart.all() or bone_length(points[apart]) < _LONGEST_BONE


def bone_length(hand: _Places) -> float:
    """Median length of the bones of fingers [T, 21, 2], in diagonals of the hand's box; NaN where no frame tells."""
    bones = np.linalg.norm(np.stack([hand[:, a] - hand[:, b] for a, b in _BONES], axis=1), axis=2)
    with np.errstate(all="ignore"):
        return _median(np.median(bones, axis=1) / np.linalg.norm(hand.max(axis=1) - hand.min(axis=1), axis=1))


def _gone(points: _Places) -> Bools:
    """Where points are NaN, or in one place with several neighbours, [T, P]."""
    gone: Bools = np.array(np.isnan(points).any(axis=2))
    num_starts = points.shape[1] - _RUN + 1
    if num_starts > 0:
        same = (points[:, 1:] == points[:, :-1]).all(axis=2)
        starts = np.all([same[:, i : i + num_starts] for i in range(_RUN - 1)], axis=0)
        for i in range(_RUN):
            gone[:, i : i + num_starts] |= starts
    return gone


def _body_fit(name: str, body: _Places) -> float:
    """Above 1: it may be that body; NaN: its points are not seen."""
    neck = _neck_fit(body) if body.shape[1] == _OPENPOSE_BODY else 0.0
    if name == "body_25" or neck >= _FIT:
        return neck if name == "body_25" else 0.0
    num_head, left, right = _HEADS[name]
    if body.shape[1] <= right:
        return np.nan
    with np.errstate(all="ignore"):
        width = np.linalg.norm(body[:, left] - body[:, right], axis=1)
        return _median(width / np.sqrt(body[:, :num_head].var(axis=1).sum(axis=1)))


def _neck_fit(body: _Places) -> float:
    """Above 1 where neck and middle hip lie between shoulders and hips, as far as they are seen."""
    with np.errstate(all="ignore"):
        distances = [
            _median(
                np.linalg.norm(body[:, middle] - (body[:, a] + body[:, b]) / 2, axis=1)
                / np.linalg.norm(body[:, a] - body[:, b], axis=1)
            )
            for middle, a, b in ((1, 2, 5), (8, 9, 12))
        ]
    if np.isnan(distances[0]):
        return np.nan
    return float(_NECK / max(np.nanmax(distances), 1e-6))


def _fan(hand: _Places) -> float:
    with np.errstate(all="ignore"):
        knuckles = hand[:, list(_KNUCKLES)]
        apart = np.linalg.norm(np.diff(knuckles, axis=1), axis=2).mean(axis=1)
        return _median(apart / np.linalg.norm(knuckles - hand[:, :1], axis=2).mean(axis=1))


def _median(values: _Places) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan
