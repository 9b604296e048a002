"""Arrays without names in other orders and shapes than usual are told apart, or refused; other features are left be."""

from pathlib import Path

import numpy as np
import pytest

from slr_models.data import Dataset
from slr_models.errors import DataError
from tests.slr_models.data.test_layouts import (
    MEDIAPIPE_OF_BODY_25,
    MEDIAPIPE_OF_COCO,
    NUM_FRAMES,
    arrays,
    build,
    folder,
    foreign_body,
    person,
    reference,
    with_confidence,
)

PEOPLE = [person(seed) for seed in range(4)]


def assert_read_right(path: Path, people: list[dict[str, np.ndarray]] = PEOPLE) -> Dataset:
    data = build(path, points="hands_pose")
    found = [data.train.utterance(index) for index in range(len(people) - 1)] + [data.valid.utterance(0)]
    for parts, features in zip(people, found, strict=True):
        np.testing.assert_allclose(features, reference(parts, arms=True), rtol=0, atol=1e-5)
    return data


@pytest.mark.parametrize(
    "order",
    [
        "left_hand right_hand pose",
        "left_hand pose right_hand",
        "left_hand right_hand pose face",
        "pose left_hand right_hand face",
        "face left_hand pose right_hand",
    ],
)
@pytest.mark.parametrize("form", ["cube", "flat", "visibility"])
def test_parts_in_any_order_are_found_by_how_they_lie(tmp_path: Path, order: str, form: str) -> None:
    utterances = []
    for parts in PEOPLE:
        found = {name: parts[name][:, :468] for name in order.split()}
        if form == "visibility":
            pose = found["pose"]
            found["pose"] = np.concatenate([pose, np.ones_like(pose[..., :1])], axis=2)
        cube = np.concatenate([points.reshape(NUM_FRAMES, -1) for points in found.values()], axis=1)
        utterances.append(cube.reshape(NUM_FRAMES, -1, 3) if form == "cube" else cube)
    data = assert_read_right(folder(tmp_path, utterances))
    assert any(f"taken for {order.split()[0]}" in note for note in data.facts.notes)


@pytest.mark.parametrize("unseen", ["face", "hands"])
@pytest.mark.parametrize("fill", [np.nan, 0.0])
def test_the_first_file_need_not_show_all_parts(tmp_path: Path, unseen: str, fill: float) -> None:
    utterances = [arrays(parts)["543x3 face first"] for parts in PEOPLE]
    people = [dict(parts) for parts in PEOPLE]
    if unseen == "face":
        utterances[0][:, :468] = fill
    else:
        utterances[0][:, 468:489] = utterances[0][:, 522:] = fill
        people[0] |= {name: np.zeros_like(people[0][name]) for name in ("left_hand", "right_hand")}
    assert_read_right(folder(tmp_path, utterances), people)


def test_two_orders_in_one_folder_are_refused(tmp_path: Path) -> None:
    names = ("543x3 face first", "543x3", "543x3 face first", "543x3 face first")
    path = folder(tmp_path, [arrays(parts)[name] for parts, name in zip(PEOPLE, names, strict=True)])
    message = "u1.npy seems to hold pose 33, face 468, .* before it were taken for face 468, left_hand 21, pose 33"
    with pytest.raises(DataError, match=message):
        build(path, points="hands_pose")


@pytest.mark.parametrize("pixels", [1, 1000])
def test_a_body_of_openpose_without_hips_is_known_by_its_neck(tmp_path: Path, pixels: int) -> None:
    utterances = [arrays(parts)["67x3 openpose"] for parts in PEOPLE]
    for array in utterances:
        array[:, 8:15] = 0
        array[..., :2] *= pixels
    data = assert_read_right(folder(tmp_path, utterances))
    assert any("taken for body_25 25" in note for note in data.facts.notes)


@pytest.mark.parametrize("width", [126, 225, 258, 300, 1152, 1662])
def test_other_features_of_the_same_width_are_no_landmarks(tmp_path: Path, width: int) -> None:
    rng = np.random.default_rng(0)
    path = folder(tmp_path, [np.maximum(rng.standard_normal((30, width)), 0).astype(np.float32) for _ in range(3)])
    data = build(path)
    assert [group.name for group in data.groups] == ["features"] and not data.facts.possible_points
    if width == 225:
        notes = build(path, points="hands_pose").facts.notes
        assert "although they do not lie like a body and hands" in notes[0]


@pytest.mark.parametrize("shape", [(NUM_FRAMES, 1, 75, 3), (1, NUM_FRAMES, 75, 3), (1, NUM_FRAMES, 225)])
def test_the_axis_of_a_single_person_or_batch_is_left_out(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert_read_right(folder(tmp_path, [arrays(parts)["75x3"].reshape(shape) for parts in PEOPLE]))


@pytest.mark.parametrize(
    ("axes", "order", "settings"),
    [
        ((0, 2, 1), "frames, coordinates, points", {}),
        ((2, 0, 1), "coordinates, frames, points", {}),
        ((1, 0, 2), "points, frames, coordinates", {"points": "hands"}),
    ],
)
def test_each_order_of_axes_is_told(
    tmp_path: Path, axes: tuple[int, ...], order: str, settings: dict[str, str]
) -> None:
    path = folder(tmp_path, [arrays(parts)["75x3"].transpose(axes) for parts in PEOPLE])
    with pytest.raises(DataError, match=rf"which looks like \[{order}\]; store \[frames, points, coordinates\]"):
        build(path, **settings)


def archives(path: Path, contents: list[dict[str, np.ndarray]]) -> Path:
    """Utterances u0, u1, ... in a .npz each."""
    folder(path, [np.zeros((1, 1))] * len(contents))
    for index, content in enumerate(contents):
        np.savez(path / f"u{index}.npz", **content)
    manifest = path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(".npy", ".npz"))
    return path


def test_archives_tell_the_order_of_their_parts_each_for_itself(tmp_path: Path) -> None:
    orders = [("pose", "left_hand", "right_hand"), ("right_hand", "left_hand", "pose")] * 2
    contents = [{name: parts[name] for name in order} for parts, order in zip(PEOPLE, orders, strict=True)]
    path = archives(tmp_path, [{**content, "fps": np.float64(25)} for content in contents])
    assert_read_right(path)
    assert build(path).train.num_features == 225


@pytest.mark.parametrize(("size", "shared"), [(25, MEDIAPIPE_OF_BODY_25), (17, MEDIAPIPE_OF_COCO)])
def test_a_body_of_another_extractor_in_an_archive_is_not_taken_for_mediapipe(
    tmp_path: Path, size: int, shared: dict[int, int]
) -> None:
    contents = [
        {
            "pose": with_confidence(foreign_body(parts["pose"], size, shared)),
            **{hand: with_confidence(parts[hand]) for hand in ("left_hand", "right_hand")},
        }
        for parts in PEOPLE
    ]
    assert_read_right(archives(tmp_path, contents))


def test_openpose_without_confidences_puts_what_it_did_not_find_at_the_origin(tmp_path: Path) -> None:
    utterances = [arrays(parts)["137x3"][..., :2] for parts in PEOPLE]
    for array in utterances:
        array[4, 4] = 0
    data = build(folder(tmp_path, utterances), points="hands_pose")
    expected = reference(PEOPLE[1], arms=True)
    # Its right wrist.
    expected[4, 12:14] = 0
    np.testing.assert_allclose(data.train.utterance(1), expected, rtol=0, atol=1e-6)
