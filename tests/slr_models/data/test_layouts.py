"""Every layout that people save landmarks in gives the features of the same landmarks, whatever its order and axes."""

from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from slr_models.data import ClipsConfig, Dataset, LandmarksConfig
from slr_models.data.columns import columns_of
from slr_models.data.layout import HOLISTIC
from slr_models.errors import DataError

NUM_FRAMES = 24
FINGERS = np.repeat(np.arange(5), 4), np.tile(np.arange(1, 5), 5)
MEDIAPIPE_OF_BODY_25 = {0: 0, 2: 12, 3: 14, 4: 16, 5: 11, 6: 13, 7: 15}
MEDIAPIPE_OF_COCO = {0: 0, 5: 11, 6: 12, 7: 13, 8: 14, 9: 15, 10: 16}


def hand(rng: np.random.Generator, at: tuple[float, float]) -> np.ndarray:
    """A hand that moves: 21 points, [T, 21, 3]."""
    finger, joint = FINGERS
    angle = np.linspace(-0.6, 0.6, 5)[finger]
    points = np.zeros((NUM_FRAMES, 21, 3))
    bend = 1 + 0.2 * np.sin(np.arange(NUM_FRAMES) / 5 + rng.uniform(0, 6))[:, None]
    points[:, 1:, 0] = 0.03 * joint * np.sin(angle) * bend
    points[:, 1:, 1] = -0.03 * joint * np.cos(angle) * bend
    points[:, 1:, 2] = 0.01 * rng.standard_normal((1, 20))
    points[..., :2] += np.array(at) + 0.01 * np.cumsum(rng.standard_normal((NUM_FRAMES, 1, 2)), axis=0)
    return points


def person(seed: int) -> dict[str, np.ndarray]:
    """MediaPipe's parts of a signer, [T, P, 3] each, as lengths of an image."""
    rng = np.random.default_rng(seed)
    pose = 0.5 + 0.15 * rng.standard_normal((1, 33, 3)) + 0.002 * rng.standard_normal((NUM_FRAMES, 33, 3))
    pose[:, 0, :2] += np.array([0.5, 0.2]) - pose[:, 0, :2].mean(axis=0)
    for point, x, y in ((11, 0.65, 0.4), (12, 0.35, 0.4), (23, 0.6, 0.9), (24, 0.4, 0.9)):
        pose[:, point, :2] = (x, y) + 0.002 * rng.standard_normal((NUM_FRAMES, 2))
    face = 0.5 + 0.02 * rng.standard_normal((1, 478, 3)) + 0.001 * rng.standard_normal((NUM_FRAMES, 478, 3))
    parts = {"pose": pose, "face": face, "left_hand": hand(rng, (0.7, 0.6)), "right_hand": hand(rng, (0.3, 0.6))}
    parts = {name: points.astype(np.float32) for name, points in parts.items()}
    # Not seen for some frames.
    parts["left_hand"][3:9] = 0
    return parts


def foreign_body(pose: np.ndarray, size: int, of: dict[int, int]) -> np.ndarray:
    """Another extractor's body with the points that it shares, and its neck and middle hip where it has them."""
    body = np.tile(np.float32([[0.5, 0.7, 0]]), (len(pose), size, 1))
    for own, point in of.items():
        body[:, own] = pose[:, point]
    if size == 25:
        body[:, 9], body[:, 12] = pose[:, 24], pose[:, 23]
        body[:, 1], body[:, 8] = (pose[:, 11] + pose[:, 12]) / 2, (pose[:, 23] + pose[:, 24]) / 2
    return body


def with_confidence(points: np.ndarray) -> np.ndarray:
    """x, y, confidence; 0, 0, 0 where a point was not found."""
    found = points[..., :2].any(axis=2)
    return np.concatenate([points[..., :2], found[..., None]], axis=2).astype(np.float32)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=1)


def arrays(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layouts of the table in `recognition.py`, [T, P, C] or [T, F]."""
    pose, face, left, right = parts.values()
    visible = [np.concatenate([p, np.ones_like(p[..., :1])], axis=2) for p in (pose, face[:, :468], left, right)]
    body_25, coco = foreign_body(pose, 25, MEDIAPIPE_OF_BODY_25), foreign_body(pose, 17, MEDIAPIPE_OF_COCO)
    flat = [part.reshape(NUM_FRAMES, -1) for part in (visible[0], face[:, :468], left, right)]
    return {
        "543x3": joined(pose, face[:, :468], left, right),
        "543x4": joined(*visible),
        "543x3 face first": joined(face[:, :468], left, pose, right),
        "553x3": joined(pose, face, left, right),
        "553x3 face first": joined(face, left, pose, right),
        "576x3": joined(pose, face[:, :468], left, right, pose),
        "586x3": joined(pose, face, left, right, pose),
        "75x3": joined(pose, left, right),
        "75x2": joined(pose, left, right)[..., :2],
        "67x3": joined(pose[:, :25], left, right),
        "67x3 openpose": with_confidence(joined(body_25, left, right)),
        "133x3": with_confidence(joined(coco, pose[:, :6], face[:, :68], left, right)),
        "133x2": joined(coco, pose[:, :6], face[:, :68], left, right)[..., :2],
        "137x3": with_confidence(joined(body_25, face[:, :70], left, right)),
        "1662": np.concatenate(flat, axis=1),
        "258": np.concatenate([flat[0], flat[2], flat[3]], axis=1),
        "1629": joined(pose, face[:, :468], left, right).reshape(NUM_FRAMES, -1),
        "225": joined(pose, left, right).reshape(NUM_FRAMES, -1),
        "150": joined(pose, left, right)[..., :2].reshape(NUM_FRAMES, -1),
    }


def reference(parts: dict[str, np.ndarray], arms: bool) -> np.ndarray:
    """The features of `hands` or `hands_pose` by their description, point by point in double precision."""
    pose = parts["pose"][..., :2].astype(float)
    left, right = pose[:, 11], pose[:, 12]
    width = np.median([np.hypot(*(a - b)) for a, b in zip(left, right, strict=True)])
    origin = np.median((left + right) / 2, axis=0)
    columns = [(pose[:, point] - origin) / width for point in (0, 11, 12, 13, 14, 15, 16)] if arms else []
    for name in ("left_hand", "right_hand"):
        rows = []
        for points in parts[name][..., :2].astype(float):
            if not points.any():
                rows.append(np.zeros(44))
                continue
            placed = (points - origin) / width
            fingers = placed[1:] - placed[0]
            palm = max(np.hypot(*fingers[knuckle - 1]) for knuckle in (5, 9, 13, 17))
            rows.append([*(fingers / palm).ravel(), *placed[0], np.log(palm / 0.3), 1.0])
        columns.append(np.array(rows))
    return np.clip(np.concatenate(columns, axis=1), -5, 5)


def folder(path: Path, utterances: list[np.ndarray]) -> Path:
    """Utterances u0, u1, ... with a label of their own; the last one, for validation, has the first one's."""
    lines = ["id,path,labels,signer,split"]
    for index, array in enumerate(utterances):
        np.save(path / f"u{index}.npy", array)
        last = index == len(utterances) - 1
        lines.append(f"u{index},u{index}.npy,{'S0' if last else f'S{index}'},s,{'dev' if last else 'train'}")
    (path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return path


def build(path: Path, **settings: Any) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(path), **settings}).build()


NAMES = tuple(arrays(person(0)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("arms", [False, True], ids=["hands", "hands_pose"])
def test_a_known_shape_gives_the_features_of_its_landmarks(tmp_path: Path, name: str, arms: bool) -> None:
    people = [person(seed) for seed in range(3)]
    data = build(folder(tmp_path, [arrays(parts)[name] for parts in people]), points="hands_pose" if arms else "hands")
    assert [data.vocabulary[label] for label in data.train.labels] == ["S0", "S1"]
    found = [data.train.utterance(0), data.train.utterance(1), data.valid.utterance(0)]
    for parts, features in zip(people, found, strict=True):
        np.testing.assert_allclose(features, reference(parts, arms), rtol=0, atol=1e-6)
    assert "left hand seen in 75% of the frames" in " ".join(data.facts.notes)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_shape_was_taken_for_is_told_and_zeros_are_missing(tmp_path: Path, name: str) -> None:
    data = build(folder(tmp_path, [arrays(person(seed))[name] for seed in range(3)]))
    parts = {part.name: part for part in data.facts.parts}
    assert parts["left_hand"].frames_seen == 3 * (NUM_FRAMES - 6) and parts["left_hand"].frames_equal == 18
    assert parts["right_hand"].frames_seen == parts["right_hand"].frames == 3 * NUM_FRAMES
    assert any(note.startswith("arrays of ") and "left_hand 21" in note for note in data.facts.notes)
    left = next(group for group in data.groups if group.name == "left_hand")
    columns = data.train.features[:, left.start : left.stop]
    gone = np.tile([3 <= frame < 9 for frame in range(NUM_FRAMES)], 2)
    assert not columns[gone].any()
    # What is seen keeps a spread of one.
    varying = columns[~gone].std(axis=0)
    np.testing.assert_allclose(varying[varying > 0], 1, atol=1e-4)
    kept = build(tmp_path, equal_points="keep")
    assert kept.facts.parts[0].frames_equal == 0 and kept.train.features[gone, left.start].all()


def test_hands_alone_are_placed_by_themselves(tmp_path: Path) -> None:
    people = [person(seed) for seed in range(3)]
    hands = [joined(parts["left_hand"], parts["right_hand"]) for parts in people]
    data = build(folder(tmp_path, hands), points="hands")
    assert data.num_features == 88 and "placed and scaled by the hands" in " ".join(data.facts.notes)
    moved = [np.where(array != 0, 640 * array + 100, 0).astype(np.float32) for array in hands]
    np.testing.assert_allclose(
        build(folder(tmp_path, moved), points="hands").train.features, data.train.features, rtol=0, atol=2e-4
    )
    seen = data.train.features[:, [43, 87]]
    assert set(np.unique(seen)) == {0.0, 1.0} and seen[:, 1].all()
    np.testing.assert_allclose(np.median(np.exp(data.train.utterance(0)[:, 86])), 1.0, atol=0.2)
    one = [parts["right_hand"] for parts in people]
    data = build(folder(tmp_path, one), points="hands")
    assert "the files hold no left_hand: these features are 0" in data.facts.notes
    assert not data.train.features[:, :44].any() and data.train.features[:, 44:].any()
    with pytest.raises(DataError, match="lacks 4 of the landmarks that points: hands_pose reads"):
        build(tmp_path, points="hands_pose")


def test_flat_hands_are_told_from_other_features(tmp_path: Path) -> None:
    flat = [joined(*list(person(seed).values())[2:]).reshape(NUM_FRAMES, -1) for seed in range(3)]
    assert {part.name for part in build(folder(tmp_path, flat)).facts.parts} == {"left_hand", "right_hand"}
    other = [np.random.default_rng(seed).standard_normal((NUM_FRAMES, 126)).astype(np.float32) for seed in range(3)]
    data = build(folder(tmp_path, other))
    assert data.facts.parts == () and [group.name for group in data.groups] == ["features"]
    # Whoever names groups names parts.
    other[1][4:7, :63] = 0
    data = build(folder(tmp_path, other), groups={"left": 63, "right": 63})
    assert [(part.name, part.frames_equal) for part in data.facts.parts] == [("left", 3), ("right", 0)]


def test_a_stated_layout_is_used_and_checked(tmp_path: Path) -> None:
    people = [person(seed) for seed in range(3)]
    odd = [joined(p["right_hand"], p["pose"][:, :13], p["left_hand"], p["face"][:, :5]) for p in people]
    path = folder(tmp_path, odd)
    with pytest.raises(DataError, match=r"\[frames, 60, 3\], of no known shape\) lacks .* needs `layout`"):
        build(path, points="hands")
    layout = {"right_hand": 21, "pose": 13, "left_hand": 21, "mouth": 5}
    data = build(path, points="hands", layout=layout)
    np.testing.assert_allclose(data.train.utterance(1), reference(people[1], arms=False), rtol=0, atol=1e-6)
    assert not any("taken for" in note for note in data.facts.notes)
    with pytest.raises(DataError, match=r"has shape \(24, 60, 3\), which is not \[frames, 59 points"):
        build(path, points="hands", layout={**layout, "mouth": 4})
    with pytest.raises(ValueError, match="left_hand has 21 points, not 20"):
        LandmarksConfig(path="x", layout={"left_hand": 20})


def test_axes_in_another_order_are_told(tmp_path: Path) -> None:
    path = folder(tmp_path, [arrays(person(seed))["75x3"].transpose(0, 2, 1) for seed in range(3)])
    with pytest.raises(DataError, match=r"\(24, 3, 75\), which looks like \[frames, coordinates, points\]"):
        build(path, points="hands")
    rng = np.random.default_rng(0)
    path = folder(tmp_path, [rng.standard_normal((40, 30 + seed)).astype(np.float32) for seed in range(4)])
    with pytest.raises(DataError, match=r"each file has 40 rows .* store \[frames, features\]"):
        build(path)


def test_an_archive_with_an_array_a_part_is_read(tmp_path: Path) -> None:
    people = [person(seed) for seed in range(3)]
    path = folder(tmp_path, [np.zeros((1, 1))] * 3)
    for index, parts in enumerate(people):
        np.savez(tmp_path / f"u{index}.npz", pose=parts["pose"], rh=parts["right_hand"], lh=parts["left_hand"])
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(".npy", ".npz"))
    data = build(path, points="hands_pose")
    np.testing.assert_allclose(data.train.utterance(1), reference(people[1], arms=True), rtol=0, atol=1e-6)
    np.savez(tmp_path / "u1.npz", pose=people[1]["pose"], rh=people[1]["right_hand"][:5])
    with pytest.raises(DataError, match=r"u1.npz holds the parts pose .* with as many frames"):
        build(path)


@pytest.mark.parametrize("unknown", ["nowhere", "pose", "all"])
@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_named_columns_without_depth_or_a_hand_give_the_same(tmp_path: Path, unknown: str, fill: float) -> None:
    people = [person(seed) for seed in range(3)]
    lines = ["id,path,labels,signer,split"]
    for index, parts in enumerate(people):
        cube = joined(parts["pose"], parts["face"][:, :468], parts["left_hand"], parts["right_hand"]).copy()
        cube[3:9, 501:522] = fill
        if unknown != "nowhere":
            cube[:, : 33 if unknown == "pose" else 543, 2] = np.nan
        table = pd.DataFrame(cube.reshape(NUM_FRAMES, -1), columns=list(columns_of(HOLISTIC)))
        table.to_parquet(tmp_path / f"u{index}.parquet")
        lines.append(f"u{index},u{index}.parquet,S{index % 2},s,{'dev' if index == 2 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    data = build(tmp_path, points="hands_pose")
    np.testing.assert_allclose(data.train.utterance(0), reference(people[0], arms=True), rtol=0, atol=1e-6)
    full = build(tmp_path, points="mediapipe_full")
    assert full.num_features == 1629 and full.train.features[:, :2].all()


needs_pose_format = pytest.mark.skipif(util.find_spec("pose_format") is None, reason="pose-format is not installed")


@needs_pose_format
@pytest.mark.parametrize("kind", ["holistic", "reduced", "hands and pose", "2-D", "openpose", "coco", "other order"])
def test_pose_files_are_read_by_the_names_of_their_points(tmp_path: Path, kind: str) -> None:
    from numpy import ma
    from pose_format import Pose
    from pose_format.numpy.pose_body import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions
    from pose_format.utils.cocowholebody133_header import BODY_POINTS, FACE_POINTS, HAND_POINTS
    from pose_format.utils.openpose import OpenPose_Components

    from slr_models.data.pose_file import _HAND, _POSE

    def component(name: str, points: list[str]) -> PoseHeaderComponent:
        return PoseHeaderComponent(name, points, [], [], "XYC" if kind in ("2-D", "openpose", "coco") else "XYZC")

    order = {
        "POSE_LANDMARKS": _POSE,
        "FACE_LANDMARKS": [str(point) for point in range(468)],
        "LEFT_HAND_LANDMARKS": _HAND,
        "RIGHT_HAND_LANDMARKS": _HAND,
        "POSE_WORLD_LANDMARKS": _POSE,
    }
    people = [person(seed) for seed in range(3)]
    lines = ["id,path,labels,signer,split"]
    for index, parts in enumerate(people):
        pose, face, left, right = (parts[name] for name in ("pose", "face", "left_hand", "right_hand"))
        kept = dict(zip(order, (pose, face[:, :468], left, right, pose), strict=True))
        if kind == "reduced":
            # As `reduce_holistic` does: no nose, no legs, a few points of the face.
            few = [_POSE.index(name) for name in _POSE if name.rpartition("_")[2] in ("SHOULDER", "ELBOW", "WRIST")]
            order |= {"POSE_LANDMARKS": [_POSE[point] for point in few], "FACE_LANDMARKS": ["7", "0", "466"]}
            kept |= {"POSE_LANDMARKS": pose[:, few], "FACE_LANDMARKS": face[:, [7, 0, 466]]}
            del kept["POSE_WORLD_LANDMARKS"]
        elif kind == "hands and pose":
            del kept["FACE_LANDMARKS"], kept["POSE_WORLD_LANDMARKS"]
        elif kind == "other order":
            kept = dict(reversed(kept.items()))
        components = [component(name, order[name]) for name in kept]
        if kind == "openpose":
            components = list(OpenPose_Components)
            body = foreign_body(pose, 25, MEDIAPIPE_OF_BODY_25)
            sizes = [len(one.points) for one in components]
            assert sizes == [25, 70, 21, 21]
            kept = dict(enumerate((body, face[:, :70], left, right)))
        elif kind == "coco":
            body = np.concatenate([foreign_body(pose, 17, MEDIAPIPE_OF_COCO), pose[:, :6]], axis=1)
            names = (BODY_POINTS, FACE_POINTS, HAND_POINTS, HAND_POINTS)
            titles = ("BODY", "FACE", "LEFT_HAND", "RIGHT_HAND")
            components = [component(title, points) for title, points in zip(titles, names, strict=True)]
            kept = dict(enumerate((body, face[:, :68], left, right)))
        cube = joined(*kept.values())[:, None, :, : 2 if components[0].format == "XYC" else 3]
        confidence = cube[..., :2].any(axis=3).astype(np.float32)
        dimensions = PoseHeaderDimensions(width=1, height=1, depth=1)
        body_of = NumPyPoseBody(25.0, ma.masked_array(cube, np.zeros(cube.shape, dtype=bool)), confidence)
        with (tmp_path / f"u{index}.pose").open("wb") as file:
            Pose(PoseHeader(0.2, dimensions, components), body_of).write(file)
        lines.append(f"u{index},u{index}.pose,S{index % 2},s,{'dev' if index == 2 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    data = build(tmp_path, points="hands_pose")
    expected = reference(people[1], arms=True)
    if kind == "reduced":
        expected[:, :2] = 0
        assert "the files hold no nose: these features are 0" in data.facts.notes
    np.testing.assert_allclose(data.train.utterance(1), expected, rtol=0, atol=1e-6)
    # As they are: what was not seen is NaN in a .pose file, and a fault until it is said to be missing.
    with pytest.raises(DataError, match="holds NaN .* points: hands_pose"):
        build(tmp_path)
    assert build(tmp_path, missing="zero").facts.parts


@pytest.mark.parametrize("form", ["cube", "lengths", "flat", "files", "named files", "points seen"])
def test_clips_of_any_layout_and_length_are_the_same_sentences(tmp_path: Path, form: str) -> None:
    rows, clips = [], []
    for sign in ("tea", "no"):
        for seed in range(4):
            rows.append([sign, "S1", "dev" if seed == 3 else "train"])
            clips.append(arrays(person(len(clips)))["75x3"])
    lengths = np.full(len(clips), NUM_FRAMES) if form in ("cube", "points seen") else NUM_FRAMES - np.arange(len(clips))
    clips = [clip[:length] for clip, length in zip(clips, lengths, strict=True)]
    header = "label,signer,split,all_missing"
    flags = ["True" if form == "cube" and row == 0 else "0" for row in range(len(rows))]
    paths = [""] * len(rows)
    if "files" in form:
        header += ",path"
        paths = [f",c{row}.{'npy' if form == 'files' else 'parquet'}" for row in range(len(rows))]
        for clip, name in zip(clips, paths, strict=True):
            if form == "files":
                np.save(tmp_path / name[1:], clip)
            else:
                used = [n for n in columns_of(HOLISTIC) if "face" not in n]
                pd.DataFrame(clip.reshape(len(clip), -1), columns=used).to_parquet(tmp_path / name[1:])
    elif form == "flat":
        np.savez(tmp_path / "clips.npz", landmarks=np.concatenate(clips), lengths=lengths)
    else:
        padded = np.stack([np.pad(clip, ((0, NUM_FRAMES - len(clip)), (0, 0), (0, 0))) for clip in clips])
        extra = {"lengths": lengths} if form == "lengths" else {}
        extra |= {"present": padded[..., :2].any(axis=3)} if form == "points seen" else {}
        np.savez(tmp_path / "clips.npz", landmarks=padded, **extra)
    lines = [",".join([*row, flag]) + path for row, flag, path in zip(rows, flags, paths, strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    config = ClipsConfig(path=str(tmp_path), num_train=20, num_valid=5, drop_first_frames=0, min_signs=1, max_signs=1)
    plain = config.model_copy(
        update={"augmentation": config.augmentation.model_copy(update=dict.fromkeys(NO_CHANGE, 0.0)), "velocity": False}
    )
    data = plain.build()
    assert data.vocabulary == ("<blank>", "no", "tea")
    known = [reference({"pose": c[:, :33], "left_hand": c[:, 33:54], "right_hand": c[:, 54:]}, True) for c in clips]
    for index in range(len(data.train)):
        features = data.train.utterance(index)
        assert min(np.abs(features - k).max() if k.shape == features.shape else 9 for k in known) < 3e-6
    left_out = data.facts.exclusions.get("clip without landmarks", 0)
    assert left_out == (1 if form == "cube" else 0)


NO_CHANGE = ("time_warp", "scale", "rotation_deg", "jitter", "dropped_frame_rate")
