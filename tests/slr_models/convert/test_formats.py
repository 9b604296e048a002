"""Each format, written by the library that owns it: features and labels reach the model as they were."""

import gzip
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import io

from slr_models.convert.conversion import Conversion, convert
from slr_models.convert.formats import FORMATS
from slr_models.convert.summary import Summary
from slr_models.data import Dataset, LandmarksConfig
from slr_models.data.layout import HOLISTIC
from sweep import convert as command

NAMES = ("a", "b", "c")
LABELS = {"a": ("YOU", "GO"), "b": ("GO",), "c": ("GO", "YOU")}
SIGNERS = {"a": "anna", "b": "anna", "c": "ben"}
SPLITS = {"a": "train", "b": "train", "c": "dev"}


def features(name: str, shape: tuple[int, ...] = (6,)) -> np.ndarray:
    index = NAMES.index(name)
    return np.random.default_rng(index).standard_normal((20 + index, *shape)).astype(np.float32)


def run(source: Path, **settings: Any) -> Summary:
    out = source.parent / "out" if source.is_file() else source.with_name("out")
    content = {"source": source, "out": out, **settings}
    return convert(Conversion.model_validate(content), lambda _: None)


def built(summary: Summary, **settings: Any) -> Dataset:
    data = {"path": str(summary.out), "standardize": False, **settings}
    return LandmarksConfig.model_validate(data).build()


def check(data: Dataset, expected: dict[str, np.ndarray], labels: dict[str, tuple[str, ...]] = LABELS) -> None:
    """The utterances of both splits are the expected ones, value by value."""
    found = {}
    for split in (data.train, data.valid):
        for index, name in enumerate(split.ids):
            found[name] = split.utterance(index), tuple(data.vocabulary[one] for one in split.target(index).tolist())
    assert found.keys() == expected.keys()
    for name, (values, target) in found.items():
        np.testing.assert_allclose(values, expected[name].reshape(len(expected[name]), -1), atol=1e-6)
        assert target == labels[name]


def label_list(folder: Path, split: bool = True) -> Path:
    path = folder / "labels.csv"
    lines = ["video,gloss,signer" + (",split" if split else "")]
    lines += [f"{n}.mp4,{'/'.join(LABELS[n])},{SIGNERS[n]}" + (f",{SPLITS[n]}" if split else "") for n in NAMES]
    path.write_text("\n".join(lines) + "\n")
    return path


def record(name: str, values: Any) -> dict[str, Any]:
    return {"features": values, "labels": " ".join(LABELS[name]), "signer": SIGNERS[name], "split": SPLITS[name]}


def test_the_command_knows_every_format() -> None:
    assert set(command.FORMATS) == FORMATS.keys()


def test_pt_with_a_record_an_utterance(tmp_path: Path) -> None:
    torch.save({n: record(n, torch.from_numpy(features(n))) for n in NAMES}, tmp_path / "data.pt")
    data = built(run(tmp_path / "data.pt"))
    check(data, {n: features(n) for n in NAMES})
    assert data.train.signers == ("anna", "anna") and data.valid.signers == ("ben",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_pt_a_file_an_utterance_of_any_number(tmp_path: Path, dtype: torch.dtype) -> None:
    (tmp_path / "in").mkdir()
    tensors = {n: torch.from_numpy(features(n, (3, 2))).to(dtype) for n in NAMES}
    for name in NAMES:
        torch.save(tensors[name], tmp_path / "in" / f"{name}.pt")
    summary = run(tmp_path / "in", labels=label_list(tmp_path))
    check(built(summary), {n: tensors[n].float().numpy() for n in NAMES})


def test_pt_side_by_side(tmp_path: Path) -> None:
    lengths = torch.tensor([20, 21, 22])
    padded = torch.zeros(3, 30, 6)
    for index, name in enumerate(NAMES):
        padded[index, : lengths[index]] = torch.from_numpy(features(name))
    content = {"x": padded, "lengths": lengths, "y": torch.tensor([[2, 1], [1, -1], [1, 2]]), "names": list(NAMES)}
    torch.save({**content, "split": ["train", "train", "dev"]}, tmp_path / "data.pt")
    labels = {"a": ("2", "1"), "b": ("1",), "c": ("1", "2")}
    check(built(run(tmp_path / "data.pt")), {n: features(n) for n in NAMES}, labels)


def test_hdf5_a_group_an_utterance(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file.attrs["version"] = 3
        for name in NAMES:
            group = file.create_group(f"{SPLITS[name]}/{name}")
            group["features"] = features(name, (2, 3))
            group["labels"] = np.array(LABELS[name], dtype=h5py.string_dtype())
            group.attrs["signer"] = SIGNERS[name]
    check(built(run(tmp_path / "data.h5")), {n: features(n, (2, 3)) for n in NAMES})


def test_hdf5_a_dataset_an_utterance(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.hdf5", "w") as file:
        for name in NAMES:
            file[name] = features(name)
            file[name].attrs.update({"gloss": " ".join(LABELS[name]), "split": SPLITS[name]})
    check(built(run(tmp_path / "data.hdf5")), {n: features(n) for n in NAMES})


def test_hdf5_side_by_side(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        padded = np.full((3, 30, 6), np.nan, dtype=np.float32)
        for index, name in enumerate(NAMES):
            padded[index, : 20 + index] = features(name)
        file["features"], file["lengths"] = padded, [20, 21, 22]
        file["labels"] = np.array([[7, 0], [0, 0], [0, 7]])
        file["label_lengths"] = [2, 1, 2]
        file["name"] = np.array(NAMES, dtype=h5py.string_dtype())
    labels = {"a": ("7", "0"), "b": ("0",), "c": ("0", "7")}
    check(built(run(tmp_path / "data.h5", seed=1)), {n: features(n) for n in NAMES}, labels)


def test_mat(tmp_path: Path) -> None:
    io.savemat(tmp_path / "data.mat", {n: record(n, features(n, (2, 3))) for n in NAMES})
    check(built(run(tmp_path / "data.mat")), {n: features(n, (2, 3)) for n in NAMES})


def test_mat_with_cells(tmp_path: Path) -> None:
    cells = {"x": np.empty(3, dtype=object), "gloss": np.empty(3, dtype=object), "name": np.empty(3, dtype=object)}
    for index, name in enumerate(NAMES):
        cells["x"][index], cells["gloss"][index], cells["name"][index] = features(name), "/".join(LABELS[name]), name
    io.savemat(tmp_path / "data.mat", cells)
    check(built(run(tmp_path / "data.mat")), {n: features(n) for n in NAMES})


def test_mat_a_file_an_utterance(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in NAMES:
        io.savemat(tmp_path / "in" / f"{name}.mat", {"skeleton": features(name)})
    check(built(run(tmp_path / "in", labels=label_list(tmp_path))), {n: features(n) for n in NAMES})


def test_mat_of_version_7_3(tmp_path: Path) -> None:
    """As MATLAB writes it: its arrays' sizes the other way round, texts as numbers, cells as references."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "data.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name in NAMES:
            group = file.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            group["features"] = features(name, (2, 3)).transpose()
            group["features"].attrs["MATLAB_class"] = np.bytes_("single")
            references = []
            for index, label in enumerate(LABELS[name]):
                text = file.create_dataset(f"#refs#/{name}{index}", data=np.array([[ord(x)] for x in label], "uint16"))
                text.attrs["MATLAB_class"] = np.bytes_("char")
                references.append([text.ref])
            group.create_dataset("labels", data=np.array(references, dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)
            group["labels"].attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    check(built(run(path)), {n: features(n, (2, 3)) for n in NAMES})


@pytest.mark.parametrize("opened", [open, gzip.open])
def test_pickles_that_are_trusted(tmp_path: Path, opened: Callable[..., Any]) -> None:
    content = [{"name": n, "keypoints": features(n, (4, 2)), "gloss": list(LABELS[n])} for n in NAMES]
    with opened(tmp_path / "data.pkl", "wb") as file:
        pickle.dump(content, file)
    check(built(run(tmp_path / "data.pkl", trust=True)), {n: features(n, (4, 2)) for n in NAMES})


def test_signjoeys_archives(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for split in ("train", "dev"):
        items = [
            {
                "name": f"{split}/{n}",
                "signer": SIGNERS[n],
                "gloss": " ".join(LABELS[n]),
                "text": "ein satz .",
                "sign": torch.from_numpy(features(n, (1024,))),
            }
            for n in NAMES
            if SPLITS[n] == split
        ]
        with gzip.open(tmp_path / "in" / f"phoenix14t.pami0.{split}", "wb") as file:
            pickle.dump(items, file)
    data = built(run(tmp_path / "in", trust=True))
    names = {n: f"{SPLITS[n]}/{n}" for n in NAMES}
    check(data, {names[n]: features(n, (1024,)) for n in NAMES}, {names[n]: LABELS[n] for n in NAMES})
    assert data.train.ids == ("train/a", "train/b")


def openpose_frame(values: np.ndarray, *, has_left: bool) -> dict[str, Any]:
    parts = np.split(values, [25, 95, 116])
    names = ("pose", "face", "hand_left", "hand_right")
    person = {f"{name}_keypoints_2d": part.ravel().tolist() for name, part in zip(names, parts, strict=True)}
    if not has_left:
        person["hand_left_keypoints_2d"] = []
    return {"version": 1.3, "people": [person]}


def test_openpose(tmp_path: Path) -> None:
    expected = {n: features(n, (137, 3)) for n in NAMES}
    for name in NAMES:
        folder = tmp_path / "json" / name
        folder.mkdir(parents=True)
        for frame, values in enumerate(expected[name]):
            content = openpose_frame(values, has_left=frame % 2 == 0)
            (folder / f"{name}_{frame:012d}_keypoints.json").write_text(json.dumps(content))
            expected[name][frame, 95:116] *= frame % 2 == 0
        (folder / f"{name}_{0:012d}_keypoints.json").write_text(json.dumps({"people": []}))
        expected[name][0] = 0
    summary = run(tmp_path / "json", labels=label_list(tmp_path))
    check(built(summary), expected)
    assert summary.settings["points"] == "hands_pose"
    total = sum(summary.measured.frames)
    hidden = sum(1 + len(expected[n]) // 2 for n in NAMES)
    assert summary.measured.unseen == {"left_hand": hidden, "right_hand": 3}
    assert total == 63


def points(values: np.ndarray) -> list[dict[str, float]]:
    return [dict(zip("xyz", row, strict=True)) for row in values.tolist()]


@pytest.mark.parametrize("spelling", ["pose_landmarks", "poseLandmarks"])
def test_mediapipes_json(tmp_path: Path, spelling: str) -> None:
    is_snake = spelling == "pose_landmarks"
    hand, face = ("hand_landmarks", "face_landmarks") if is_snake else ("handLandmarks", "faceLandmarks")
    (tmp_path / "in").mkdir()
    expected = {n: features(n, (543, 3)) for n in NAMES}
    for name in NAMES:
        frames = []
        for index, values in enumerate(expected[name]):
            pose, of_face, left, right = np.split(values, [33, 501, 522])
            # The right hand is told first; every other frame has no left one.
            hands, sides = [points(right)], [[{"categoryName": "Right", "score": 0.9}]]
            if index % 2:
                hands, sides = [*hands, points(left)], [*sides, [{"category_name": "Left"}]]
            else:
                values[501:522] = np.nan
            refined = points(np.concatenate([of_face, np.zeros((10, 3))]))
            frames.append({spelling: [points(pose)], face: [refined], hand: hands, "handedness": sides})
        (tmp_path / "in" / f"{name}.json").write_text(json.dumps({"frames": frames, "gloss": " ".join(LABELS[name])}))
    summary = run(tmp_path / "in")
    check(built(summary, missing="zero"), {n: np.nan_to_num(expected[n]) for n in NAMES})
    assert summary.settings["points"] == "hands_pose"
    assert built(summary, points="hands", standardize=None).train.features.shape[1] > 0


def gislr_table(values: np.ndarray) -> pa.Table:
    rows: dict[str, list[Any]] = {name: [] for name in ("frame", "row_id", "type", "landmark_index", "x", "y", "z")}
    for frame, landmarks in enumerate(values):
        # Kaggle's order of the parts is another.
        for name in ("face", "left_hand", "pose", "right_hand"):
            for index, xyz in enumerate(landmarks[HOLISTIC.part(name).points]):
                row = (100 + 2 * frame, f"{frame}-{name}-{index}", name, index, *(None if v != v else v for v in xyz))
                for column, value in zip(rows, row, strict=True):
                    rows[column].append(value)
    return pa.table(rows)


def test_kaggles_isolated_signs(tmp_path: Path) -> None:
    source = tmp_path / "asl"
    lines, expected = ["path,participant_id,sequence_id,sign"], {}
    for index, name in enumerate(NAMES):
        values = features(name, (543, 3))[:8]
        values[::2, 501:522] = np.nan
        folder = source / "train_landmark_files" / str(index)
        folder.mkdir(parents=True)
        pq.write_table(gislr_table(values), folder / f"{100 + index}.parquet")
        lines.append(f"train_landmark_files/{index}/{100 + index}.parquet,{index},{100 + index},thank you")
        expected[str(100 + index)] = np.nan_to_num(values)
    (source / "train.csv").write_text("\n".join(lines) + "\n")
    summary = run(source)
    check(built(summary, missing="zero"), expected, dict.fromkeys(expected, ("thank-you",)))
    assert summary.num_signers == 3 and summary.utterances == {"train": 2, "valid": 1}
    assert any("'thank you' -> 'thank-you'" in note for note in summary.notes)


def write_pose(path: Path, values: np.ndarray, components: dict[str, int]) -> None:
    """NaN of a point is confidence 0."""
    header = pytest.importorskip("pose_format.pose_header")
    body = pytest.importorskip("pose_format.numpy.pose_body")
    pose = pytest.importorskip("pose_format.pose")
    parts = [
        header.PoseHeaderComponent(name, [str(i) for i in range(size)], [], [], "XYZC")
        for name, size in components.items()
    ]
    dimensions = header.PoseHeaderDimensions(width=100, height=100, depth=100)
    confidence = (~np.isnan(values).any(axis=2)).astype(np.float32)[:, None]
    data = body.NumPyPoseBody(25, np.nan_to_num(values)[:, None], confidence)
    with path.open("wb") as file:
        pose.Pose(header.PoseHeader(0.1, dimensions, parts), data).write(file)


@pytest.mark.parametrize("is_holistic", [True, False])
def test_pose_files(tmp_path: Path, is_holistic: bool) -> None:
    names = ("POSE_LANDMARKS", "FACE_LANDMARKS", "LEFT_HAND_LANDMARKS", "RIGHT_HAND_LANDMARKS")
    sizes = (33, 468, 21, 21) if is_holistic else (8, 5, 21, 21)
    (tmp_path / "in").mkdir()
    expected = {}
    for name in NAMES:
        values = features(name, (sum(sizes), 3))
        values[::2, -21:] = np.nan
        write_pose(tmp_path / "in" / f"{name}.pose", values, dict(zip(names, sizes, strict=True)))
        expected[name] = np.nan_to_num(values)
    summary = run(tmp_path / "in", labels=label_list(tmp_path))
    check(built(summary, missing="zero"), expected)
    # Eight points of a pose are without shoulders, so that nothing can be placed.
    assert ("points" in summary.settings) == is_holistic


@pytest.mark.parametrize("suffix", ["npy", "npz", "parquet"])
def test_feature_files_with_labels_elsewhere(tmp_path: Path, suffix: str) -> None:
    for name in NAMES:
        folder = tmp_path / "in" / SPLITS[name]
        folder.mkdir(parents=True, exist_ok=True)
        if suffix == "npy":
            np.save(folder / f"{name}.npy", features(name))
        elif suffix == "npz":
            np.savez(folder / f"{name}.npz", features=features(name))
        else:
            pq.write_table(pa.table({f"f{i}": features(name)[:, i] for i in range(6)}), folder / f"{name}.parquet")
    summary = run(tmp_path / "in", labels=label_list(tmp_path, split=False))
    names = {n: f"{SPLITS[n]}/{n}" for n in NAMES}
    check(built(summary), {names[n]: features(n) for n in NAMES}, {names[n]: LABELS[n] for n in NAMES})
    assert summary.utterances == {"train": 2, "valid": 1}


def test_ce_csl(tmp_path: Path) -> None:
    (tmp_path / "label").mkdir()
    (tmp_path / "in").mkdir()
    for split in ("train", "dev"):
        lines = ["Number,Translator,Chinese Sentences,Gloss,Note"]
        lines += [f'{n},{SIGNERS[n]},"a, b",{"/".join(LABELS[n])},' for n in NAMES if SPLITS[n] == split]
        (tmp_path / "label" / f"{split}.csv").write_text("\n".join(lines) + "\n")
    for name in NAMES:
        np.save(tmp_path / "in" / f"{name}.npy", features(name))
    data = built(run(tmp_path / "in", labels=tmp_path / "label"))
    check(data, {n: features(n) for n in NAMES})
    assert data.train.signers == ("anna", "anna") and data.valid.ids == ("c",)


@pytest.mark.parametrize("form", ["text", "pickle"])
def test_csl_daily(tmp_path: Path, form: str) -> None:
    names = {n: f"S00000{i}_P000{i}_T00" for i, n in enumerate(NAMES)}
    labels = tmp_path / "in" / "sentence_label"
    labels.mkdir(parents=True)
    (labels / "split_1.txt").write_text("name|split\n" + "".join(f"{names[n]}|{SPLITS[n]}\n" for n in NAMES))
    if form == "text":
        lines = [f"{i}|{names[n]}|20|{' '.join(LABELS[n])}|x|y|z" for i, n in enumerate(NAMES)]
        (labels / "video_map.txt").write_text("index|name|length|gloss|char|word|postag\n" + "\n".join(lines) + "\n")
    else:
        info = [{"name": names[n], "signer": i, "label_gloss": list(LABELS[n])} for i, n in enumerate(NAMES)]
        with (labels / "csl2020ct_v1.pkl").open("wb") as file:
            pickle.dump({"info": info, "gloss_map": ["YOU", "GO"]}, file)
    for name in NAMES:
        np.save(tmp_path / "in" / f"{names[name]}.npy", features(name))
    summary = run(tmp_path / "in", trust=form == "pickle")
    check(built(summary), {names[n]: features(n) for n in NAMES}, {names[n]: LABELS[n] for n in NAMES})
    assert summary.num_signers == 3 and summary.utterances == {"train": 2, "valid": 1}


def test_a_batch_of_one_is_an_utterance(tmp_path: Path) -> None:
    cubes = {n: np.random.default_rng(i).standard_normal((20 + i, 6, 2)) for i, n in enumerate(NAMES)}
    content = {n: {**record(n, torch.as_tensor(cubes[n])[None]), "signer": SIGNERS[n]} for n in NAMES}
    torch.save(content, tmp_path / "data.pt")
    check(built(run(tmp_path / "data.pt")), {n: cubes[n].reshape(len(cubes[n]), -1) for n in NAMES})
