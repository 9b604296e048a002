"""A user's folder: every way to be wrong has its message or its count, and what is right comes through exactly."""

from importlib import util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from slr_models.data import Dataset, LandmarksConfig
from slr_models.data.columns import columns_of
from slr_models.data.layout import HOLISTIC, Clip, PointSet
from slr_models.data.lexicon import find_lexicon, read_pose
from slr_models.data.normalize import feature_groups, features, select, selected_layout, to_body_frame
from slr_models.errors import DataError

HEADER = "id,path,labels,signer,split"


def block(seed: int, num_frames: int = 20, num_features: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_frames, num_features)).astype(np.float32) + 3.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four good utterances: three to train on, one to validate on."""
    for index in range(4):
        np.save(tmp_path / f"u{index}.npy", block(index))
    lines = [
        HEADER,
        "u0,u0.npy,HELLO YOU,anna,train",
        "u1,u1.npy,YOU GO,ben,train",
        "u2,u2.npy,GO GO HELLO,anna,train",
        "u3,u3.npy,HELLO GO,carl,dev",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def add_line(folder: Path, line: str) -> None:
    with (folder / "manifest.csv").open("a") as manifest:
        manifest.write(line + "\n")


def build(folder: Path, **settings: object) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(folder), **settings}).build()


def test_a_manifest_comes_through_exactly(folder: Path) -> None:
    data = build(folder, standardize=False)
    assert data.vocabulary == ("<blank>", "GO", "HELLO", "YOU")
    assert (data.train.ids, data.valid.ids) == (("u0", "u1", "u2"), ("u3",))
    assert data.train.signers == ("anna", "ben", "anna")
    assert [data.train.target(i).tolist() for i in range(3)] == [[2, 3], [3, 1], [1, 1, 2]]
    np.testing.assert_array_equal(data.train.utterance(1), block(1))
    assert data.facts.exclusions == {}
    assert "none of its 1 signers is trained on" in data.facts.valid_measures


def test_standardization_uses_training_frames_only(folder: Path) -> None:
    data = build(folder)
    np.testing.assert_allclose(data.train.features.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.features.std(axis=0), 1, atol=1e-5)
    train = np.concatenate([block(i) for i in range(3)])
    np.testing.assert_allclose(data.valid.features, (block(3) - train.mean(axis=0)) / train.std(axis=0), atol=1e-5)


def test_velocities_follow_their_group(folder: Path) -> None:
    data = build(folder, standardize=False, velocity=True, groups={"hand": 4, "pose": 2})
    assert [(g.name, g.start, g.stop) for g in data.groups] == [("hand", 0, 8), ("pose", 8, 12)]
    expected = np.diff(block(0), axis=0, prepend=block(0)[:1])
    got = data.train.utterance(0)
    np.testing.assert_allclose(got[:, [4, 5, 6, 7, 10, 11]], expected)
    np.testing.assert_allclose(got[:, [0, 1, 2, 3, 8, 9]], block(0))


def make_bad(folder: Path, case: str) -> None:
    """Adds one bad utterance or line (line 6) to the good folder."""
    array, line = block(9), "bad,bad.npy,HELLO,anna,train"
    if case == "missing file":
        add_line(folder, line)
        return
    if case == "nan":
        array[7, 2] = np.nan
    elif case == "inf":
        array[3, 1] = np.inf
    elif case == "empty target":
        line = "bad,bad.npy, ,anna,train"
    elif case == "unknown gloss":
        line = "bad,bad.npy,HELLO BYE,anna,valid"
    elif case == "feature size":
        array = block(9, num_features=5)
    elif case == "target too long":
        array = block(9, num_frames=8)
        line = "bad,bad.npy,GO GO,anna,train"
    elif case == "duplicate id":
        line = "u1,bad.npy,HELLO,anna,train"
    elif case == "malformed line":
        line = "bad,bad.npy,HELLO,anna"
    elif case == "unknown split":
        line = "bad,bad.npy,HELLO,anna,trian"
    elif case == "no frames":
        array = block(9, num_frames=0)
    add_line(folder, line)
    if case == "pickle":
        np.save(folder / "bad.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif case == "text":
        (folder / "bad.npy").write_text("no array")
    elif case == "one-dimensional":
        np.save(folder / "bad.npy", np.zeros(5))
    else:
        np.save(folder / "bad.npy", array)


BAD = [
    ("missing file", "missing file", "no feature file .*bad.npy; add it"),
    ("nan", "non-finite features", r"bad.npy holds NaN \(first at frame 7, column 2\); .* missing: zero"),
    (
        "inf",
        "non-finite features",
        r"bad.npy holds infinity, or a number beyond float32 \(first at frame 3, column 1\)",
    ),
    ("empty target", "empty target", "'bad' has no labels; add"),
    ("unknown gloss", "unknown gloss", "glosses 'BYE' occur in no training utterance"),
    ("feature size", "feature size", "has 5 features a frame where the others have 6"),
    ("target too long", "target too long", "has 8 frames, but CTC needs 9 for its 2 labels at 4 frames"),
    ("duplicate id", "duplicate id", "'u1' was used before, at .*manifest.csv line 3; give"),
    ("malformed line", "malformed line", "has 4 fields where the header has 5; correct the line"),
    ("unknown split", "unknown split", "split is 'trian'; write one of train, valid"),
    ("no frames", "no frames", "holds no frames of 'bad'"),
    ("pickle", "unreadable file", "pickles are never loaded; save a plain array with np.save"),
    ("text", "unreadable file", "bad.npy .*(pickles are never loaded|cannot be read)"),
    ("one-dimensional", "unreadable file", r"shape \(5,\); store numbers as \[frames, features\]"),
]


@pytest.mark.parametrize(("case", "reason", "message"), BAD, ids=[case for case, _, _ in BAD])
def test_each_fault_has_a_message_and_a_count(folder: Path, case: str, reason: str, message: str) -> None:
    make_bad(folder, case)
    with pytest.raises(DataError, match=rf"manifest.csv line 6: .*{message}.*on_bad: exclude"):
        build(folder)
    data = build(folder, on_bad="exclude")
    assert data.facts.exclusions == {reason: 1}
    assert (data.train.ids, data.valid.ids) == (("u0", "u1", "u2"), ("u3",))
    assert np.isfinite(data.train.features).all()


def test_missing_landmarks_become_zero_after_standardization(folder: Path) -> None:
    holed = block(0)
    holed[4:8, 1] = np.nan
    np.save(folder / "u0.npy", holed)
    data = build(folder, missing="zero", velocity=True)
    assert not data.train.utterance(0)[4:8, 1].any()
    # The velocity into, within and out of the hole is missing too.
    assert not data.train.utterance(0)[4:9, 7].any()
    train = np.concatenate([holed, block(1), block(2)])
    expected = (block(3)[:, 1] - np.nanmean(train[:, 1])) / np.nanstd(train[:, 1])
    np.testing.assert_allclose(data.valid.features[:, 1], expected, atol=1e-5)
    np.save(folder / "u1.npy", np.full((20, 6), np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="line 3: .*u1.npy holds only missing values"):
        build(folder, missing="zero")


def test_a_constant_column_is_only_centred(folder: Path) -> None:
    for index in range(4):
        array = block(index)
        array[:, 0] = 7.0
        np.save(folder / f"u{index}.npy", array)
    assert not build(folder).train.features[:, 0].any()


def test_points_are_flattened_and_npz_is_read(folder: Path) -> None:
    cube = np.arange(20 * 3 * 2, dtype=np.float32).reshape(20, 3, 2)
    np.save(folder / "u0.npy", cube)
    np.savez(folder / "u1.npz", features=block(1), other=np.zeros(3))
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("u1.npy", "u1.npz"))
    data = build(folder, standardize=False)
    np.testing.assert_array_equal(data.train.utterance(0), cube.reshape(20, 6))
    np.testing.assert_array_equal(data.train.utterance(1), block(1))
    np.savez(folder / "u1.npz", a=block(1), b=block(1))
    with pytest.raises(DataError, match="u1.npz holds the arrays a, b; call the one to use 'features'"):
        build(folder)


needs_clips = pytest.mark.skipif(
    util.find_spec("spoken_to_signed") is None or util.find_spec("pose_format") is None,
    reason="the extra 'fingerspelling' (spoken-to-signed, pose-format) is not installed",
)


@needs_clips
def test_pose_files_bring_their_groups_and_mark_what_is_absent(folder: Path) -> None:
    letters = find_lexicon().letters("ase")
    rows = [f"{x},{letters[x]},{x},s,{'valid' if x == 'C' else 'train'}" for x in "ABC"]
    (folder / "manifest.csv").write_text("\n".join([HEADER, *rows]).replace("C,s,valid", "A,s,valid"))
    with pytest.raises(DataError, match=r"line 2: .*\.pose holds NaN .*set missing: zero .*points: hands_pose"):
        build(folder)
    data = build(folder, missing="zero")
    assert [(g.name, g.stop - g.start) for g in data.groups] == [
        ("pose", 99),
        ("face", 1404),
        ("left_hand", 63),
        ("right_hand", 63),
    ]
    assert not data.train.features[:, 1503:1566].any()
    assert data.train.features[:, 1566:].std() > 0.5


def pose_folder(folder: Path) -> dict[str, Path]:
    """Three real clips, two to train on."""
    letters = find_lexicon().letters("ase")
    for name in "ABC":
        (folder / f"{name}.pose").write_bytes(letters[name].read_bytes())
    rows = ["A,A.pose,A,s,train", "B,B.pose,B,s,train", "C,C.pose,A,s,valid"]
    (folder / "manifest.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return {name: folder / f"{name}.pose" for name in "ABC"}


@needs_clips
@pytest.mark.parametrize("velocity", [False, True])
@pytest.mark.parametrize(("points", "num_features"), [("hands", 88), ("hands_pose", 102), ("mediapipe_full", 1629)])
def test_points_make_the_features_of_fingerspelling(
    tmp_path: Path, points: PointSet, num_features: int, velocity: bool
) -> None:
    paths = pose_folder(tmp_path)
    data = build(tmp_path, points=points, velocity=velocity)
    assert data.num_features == num_features * (1 + velocity)
    layout = selected_layout(HOLISTIC, points)
    assert data.groups == feature_groups(layout, points, velocity)
    for split, names in ((data.train, "AB"), (data.valid, "C")):
        for i, name in enumerate(names):
            body = to_body_frame(Clip(*read_pose(paths[name])), HOLISTIC)
            assert body is not None
            expected = features(select(body, HOLISTIC, points), layout, points, velocity)
            np.testing.assert_allclose(split.utterance(i), expected, rtol=0, atol=1e-5)
    # These signers spell with one hand; the other one is missing.
    left = next(group for group in data.groups if group.name == "left_hand")
    assert not data.train.features[:, left.start : left.stop].any()
    assert f"landmarks were placed and scaled by the signer's body (points: {points})" in data.facts.notes
    assert "left hand seen in 0% of the frames; in 3 utterances never (A, B, C)" in data.facts.notes


@needs_clips
def test_named_parquet_columns_give_the_features_of_the_pose_file(tmp_path: Path) -> None:
    paths = pose_folder(tmp_path)
    expected = build(tmp_path, points="hands_pose")
    points, present = read_pose(paths["C"])
    values = np.where(present[..., None], points, np.nan).reshape(len(points), -1)
    table = pd.DataFrame(values, columns=list(columns_of(HOLISTIC)))
    # Kaggle's order of columns, without what is not read.
    order = [
        f"{axis}_{part}_{i}"
        for axis in "xy"
        for part, n in (("right_hand", 21), ("left_hand", 21), ("pose", 17))
        for i in range(n)
    ]
    table[order].to_parquet(tmp_path / "C.parquet")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("C.pose", "C.parquet"))
    np.testing.assert_allclose(
        build(tmp_path, points="hands_pose").valid.features, expected.valid.features, rtol=0, atol=1e-5
    )
    with pytest.raises(
        DataError, match=r"C.parquet lacks 968 of the landmarks that points: mediapipe_full reads \(first x_pose_17"
    ):
        build(tmp_path, points="mediapipe_full")
    table.drop(columns="x_pose_12").to_parquet(tmp_path / "C.parquet")
    with pytest.raises(DataError, match=r"lacks 1 of the landmarks that points: hands reads \(first x_pose_12\)"):
        build(tmp_path, points="hands")


@needs_clips
def test_pose_and_parquet_in_one_folder_have_one_order_of_columns(tmp_path: Path) -> None:
    paths = pose_folder(tmp_path)
    expected = build(tmp_path, missing="zero")
    points, present = read_pose(paths["C"])
    values = np.where(present[..., None], points, np.nan).reshape(len(points), -1)
    table = pd.DataFrame(values, columns=list(columns_of(HOLISTIC)))
    table[sorted(table.columns)].to_parquet(tmp_path / "C.parquet")
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("C.pose", "C.parquet"))
    np.testing.assert_array_equal(build(tmp_path, missing="zero").valid.features, expected.valid.features)


@needs_clips
def test_a_pose_file_that_cannot_be_placed_is_excluded(tmp_path: Path) -> None:
    from pose_format import Pose

    paths = pose_folder(tmp_path)
    for name, reason in (("headless", "no shoulders"), ("deserted", "unreadable file")):
        pose = Pose.read(paths["A"].read_bytes())
        if name == "headless":
            pose.body.confidence[:, :, :33] = 0
        else:
            pose.body.data, pose.body.confidence = pose.body.data[:, :0], pose.body.confidence[:, :0]
        with (tmp_path / f"{name}.pose").open("wb") as file:
            pose.write(file)
        add_line(tmp_path, f"{name},{name}.pose,A,s,train")
        message = "never shows both shoulders" if name == "headless" else "shows no person"
        with pytest.raises(DataError, match=rf"line 5: .*{name}.pose {message}"):
            build(tmp_path, points="hands")
        assert build(tmp_path, points="hands", on_bad="exclude").facts.exclusions == {reason: 1}
        pose_folder(tmp_path)


def test_points_need_named_landmarks(folder: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"u0.npy \(\[frames, 6\], of no known shape\) lacks .* points: hands_pose reads .* `layout`",
    ):
        build(folder, points="hands_pose")
    with pytest.raises(ValidationError, match="remove groups"):
        LandmarksConfig(path="x", points="hands", groups={"a": 3})
    with pytest.raises(ValidationError, match="remove standardize, or points"):
        LandmarksConfig(path="x", points="hands", standardize=True)


@pytest.mark.parametrize("name", ["u.npy", "stored.npz", "deflated.npz", "u.parquet", "u.pose"])
def test_truncated_and_damaged_files_are_excluded(folder: Path, name: str) -> None:
    array = block(0, num_frames=300)
    if name == "u.npy":
        np.save(folder / name, array)
    elif name == "stored.npz":
        np.savez(folder / name, array)
    elif name == "deflated.npz":
        np.savez_compressed(folder / name, array)
    elif name == "u.parquet":
        pd.DataFrame(array, columns=list("abcdef")).to_parquet(folder / name)
    else:
        if util.find_spec("spoken_to_signed") is None or util.find_spec("pose_format") is None:
            pytest.skip("the extra 'fingerspelling' is not installed")
        (folder / name).write_bytes(find_lexicon().letters("ase")["A"].read_bytes())
    whole = (folder / name).read_bytes()
    add_line(folder, f"bad,{name},HELLO,anna,train")
    stops = [0, 1, 5, 60, 200, len(whole) // 2, len(whole) - 30]
    damaged = [whole[:stop] for stop in stops]
    if name == "deflated.npz":
        # The deflate stream, not the archive around it.
        damaged.append(whole[:200] + bytes(100) + whole[300:])
    for content in damaged:
        (folder / name).write_bytes(content)
        with pytest.raises(DataError, match=f"manifest.csv line 6: .*{name}.*on_bad: exclude"):
            build(folder)
        assert build(folder, on_bad="exclude").facts.exclusions == {"unreadable file": 1}


def test_a_file_name_that_is_too_long_is_a_missing_file(folder: Path) -> None:
    add_line(folder, f"bad,{'x' * 3000},HELLO,anna,train")
    assert build(folder, on_bad="exclude").facts.exclusions == {"missing file": 1}


def test_a_random_part_is_drawn_by_the_seed(folder: Path) -> None:
    chosen = {build(folder, max_train=2, seed=seed, on_bad="exclude").train.ids for seed in range(12)}
    assert len(chosen) == 3
    assert all(len(ids) == 2 and list(ids) == sorted(ids) for ids in chosen)
    assert build(folder, max_train=2, seed=5, on_bad="exclude").train.ids in chosen


def phoenix(folder: Path, header: str, train: list[str], dev: list[str]) -> None:
    lists = folder / "annotations" / "manual"
    lists.mkdir(parents=True)
    (lists / "PHOENIX.train.corpus.csv").write_text("\n".join([header, *train]) + "\n", encoding="utf-8")
    (lists / "PHOENIX.train-complex-annotation.corpus.csv").write_text(header + "\n")
    (lists / "PHOENIX.dev.corpus.csv").write_text("\n".join([header, *dev]) + "\n", encoding="utf-8")
    for split, name, seed in (("train", "t0", 0), ("train", "t1", 1), ("dev", "d0", 2)):
        (folder / "features" / split).mkdir(parents=True, exist_ok=True)
        np.savez(folder / "features" / split / f"{name}.npz", block(seed, 40))


PHOENIX_2014 = ("id|folder|signer|annotation", "{id}|{id}/1/*.png|Signer01|{gloss}")
PHOENIX_2014T = (
    "name|video|start|end|speaker|orth|translation",
    '{id}|{id}/1/*.png|-1|-1|Signer01|{gloss}|und "nun, das wetter',
)


@pytest.mark.parametrize(("header", "line"), [PHOENIX_2014, PHOENIX_2014T], ids=["2014", "2014T"])
def test_phoenix_lists_and_features(tmp_path: Path, header: str, line: str) -> None:
    rows = [line.format(id="t0", gloss="MORGEN REGEN"), line.format(id="t1", gloss="REGEN __OFF__")]
    phoenix(tmp_path, header, rows, [line.format(id="d0", gloss="REGEN")])
    data = build(tmp_path, standardize=False)
    assert data.vocabulary == ("<blank>", "MORGEN", "REGEN", "__OFF__")
    np.testing.assert_array_equal(data.valid.utterance(0), block(2, 40))
    assert data.train.signers == ("Signer01", "Signer01")
    assert "1 of its 1 signers are also trained on" in data.facts.valid_measures
    (tmp_path / "features" / "dev" / "d0.npz").rename(tmp_path / "features" / "d0.npz")
    assert build(tmp_path).valid.ids == ("d0",)


def test_phoenix_faults_name_the_line(tmp_path: Path) -> None:
    header, line = PHOENIX_2014
    rows = [line.format(id="t0", gloss="A"), "t1|only|three"]
    phoenix(tmp_path, header, rows, [line.format(id="d0", gloss="A")])
    with pytest.raises(DataError, match=r"train.corpus.csv line 3: has 3 fields where the header has 4"):
        build(tmp_path)
    assert build(tmp_path, on_bad="exclude").facts.exclusions == {"malformed line": 1}
    (tmp_path / "annotations" / "manual" / "PHOENIX.dev.corpus.csv").unlink()
    with pytest.raises(DataError, match="exactly one dev list"):
        build(tmp_path, on_bad="exclude")


def parquet_folder(folder: Path, tables: list[pd.DataFrame]) -> None:
    """Utterances u0, u1, ... of which the last one is for validation."""
    lines = [HEADER]
    for index, table in enumerate(tables):
        table.to_parquet(folder / f"u{index}.parquet")
        lines.append(f"u{index},u{index}.parquet,A,s,{'valid' if index == len(tables) - 1 else 'train'}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


LEFT, RIGHT = ["x_left_hand_0", "y_left_hand_0"], ["x_right_hand_0", "y_right_hand_0"]


def test_columns_in_another_order_come_into_the_first_files_order(tmp_path: Path) -> None:
    table = pd.DataFrame(block(0, num_features=4), columns=LEFT + RIGHT)
    parquet_folder(tmp_path, [table, table[RIGHT + LEFT], table[RIGHT[::-1] + LEFT]])
    data = build(tmp_path, standardize=False)
    assert [(g.name, g.start, g.stop) for g in data.groups] == [("left_hand", 0, 2), ("right_hand", 2, 4)]
    for utterance in (data.train.utterance(0), data.train.utterance(1), data.valid.utterance(0)):
        np.testing.assert_array_equal(utterance, block(0, num_features=4))
    plain = pd.DataFrame(block(0), columns=list("abcdef"))
    parquet_folder(tmp_path, [plain, plain[list("fedcba")]])
    np.testing.assert_array_equal(build(tmp_path, standardize=False).valid.utterance(0), block(0))


def test_other_columns_of_the_same_number_are_not_mixed_in(tmp_path: Path) -> None:
    table = pd.DataFrame(block(0), columns=list("abcdef"))
    parquet_folder(tmp_path, [table, table.rename(columns={"f": "g"}), table])
    with pytest.raises(DataError, match=r"line 3: .*u1.parquet names 'g' where the others name 'f'"):
        build(tmp_path)
    assert build(tmp_path, on_bad="exclude").facts.exclusions == {"feature names": 1}
    np.save(tmp_path / "u1.npy", block(0))
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("u1.parquet", "u1.npy"))
    with pytest.raises(DataError, match=r"u1.npy names no columns where the others name 'a'"):
        build(tmp_path)


def test_parquet_rows_are_sorted_by_frame(tmp_path: Path) -> None:
    table = pd.DataFrame(block(0), columns=list("abcdef")).assign(frame=range(20))
    shuffled = table.sample(frac=1, random_state=0)
    parquet_folder(tmp_path, [shuffled, table])
    data = build(tmp_path, standardize=False)
    np.testing.assert_array_equal(data.train.utterance(0), block(0))
    np.testing.assert_array_equal(data.valid.utterance(0), block(0))


PARQUET_FAULTS = [
    ({"frame": [0, *range(19)]}, "holds frame 0 twice; number the frames"),
    ({"frame": [None, *range(19)]}, "has rows without a number in the column frame"),
    ({"sequence_id": [1] * 10 + [2] * 10}, "holds several sequences .* write a file an utterance"),
    ({"note": ["good", None] * 10}, "holds (large_)?string in the column note; store numbers alone"),
    ({"note": ["1.5"] * 20}, "holds (large_)?string in the column note"),
    ({"note": pd.date_range("2026-01-01", periods=20)}, "holds timestamp.* in the column note"),
    ({"note": [[1.0, 2.0]] * 20}, "holds list<element: double> in the column note; store numbers alone"),
]


@pytest.mark.parametrize(("columns", "message"), PARQUET_FAULTS)
def test_parquet_columns_that_are_no_features_are_explained(
    tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    table = pd.DataFrame(block(0), columns=list("abcdef"))
    parquet_folder(tmp_path, [table, table.assign(**columns), table])
    with pytest.raises(DataError, match=f"line 3: .*u1.parquet {message}"):
        build(tmp_path)
    assert build(tmp_path, on_bad="exclude").facts.exclusions == {"unreadable file": 1}


def kaggle(folder: Path, participants: bool) -> None:
    names = [f"{axis}_{part}_{i}" for axis in "xyz" for part, n in (("face", 2), ("left_hand", 1)) for i in range(n)]
    rows, frames = [], []
    for sequence in range(10):
        values = block(sequence, 30, len(names))
        frames.append(pd.DataFrame(values, columns=names, index=pd.Index([sequence] * 30, name="sequence_id")))
        row = {"path": "landmarks/1.parquet", "file_id": 1, "sequence_id": sequence, "phrase": "ab a"}
        rows.append(row | ({"participant_id": sequence % 5} if participants else {}))
    (folder / "landmarks").mkdir()
    table = pd.concat(frames)
    table.insert(0, "frame", [i % 30 for i in range(len(table))])
    table.to_parquet(folder / "landmarks" / "1.parquet")
    pd.DataFrame(rows).to_csv(folder / "train.csv", index=False)


@pytest.mark.parametrize("participants", [False, True])
def test_kaggle_parquet(tmp_path: Path, participants: bool) -> None:
    kaggle(tmp_path, participants)
    data = build(tmp_path, standardize=False, valid_rate=0.3)
    assert data.vocabulary == ("<blank>", "<space>", "a", "b")
    assert data.train.target(0).tolist() == [2, 3, 1, 2]
    assert [(g.name, g.start, g.stop) for g in data.groups] == [("face", 0, 6), ("left_hand", 6, 9)]
    first = int(data.train.ids[0])
    # File order is x of all parts, then y, then z; features are ordered by part, point and axis.
    np.testing.assert_array_equal(data.train.utterance(0), block(first, 30, 9)[:, [0, 3, 6, 1, 4, 7, 2, 5, 8]])
    assert sorted(map(int, data.train.ids + data.valid.ids)) == list(range(10))
    assert len(data.valid) == (4 if participants else 3)
    if participants:
        assert not set(data.train.signers) & set(data.valid.signers)
        assert "none of its 2 signers is trained on" in data.facts.valid_measures
    else:
        assert "names no signers" in data.facts.valid_measures


def test_kaggle_numbers_that_are_none_are_malformed(tmp_path: Path) -> None:
    kaggle(tmp_path, participants=False)
    with (tmp_path / "train.csv").open("a", encoding="utf-8") as lines:
        # A superscript two is a digit to str.isdigit, and no number to int.
        lines.writelines(f"landmarks/1.parquet,1,{number},ab\n" for number in ("\u00b2", "--5", "9" * 5000, "7.0"))
    with pytest.raises(DataError, match="train.csv line 12: sequence_id is .*; write a whole number"):
        build(tmp_path)
    assert build(tmp_path, on_bad="exclude").facts.exclusions == {"malformed line": 4}


def test_a_folder_without_a_list_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no list of utterances; put manifest.csv"):
        build(tmp_path)
    with pytest.raises(DataError, match="There is no folder .*; correct `path`"):
        build(tmp_path / "none")
    with pytest.raises(DataError, match=r"manifest.csv is missing"):
        build(tmp_path, format="manifest")


def test_headers_encodings_and_empty_splits_are_explained(folder: Path) -> None:
    manifest = folder / "manifest.csv"
    good = manifest.read_text()
    manifest.write_text(good.replace("labels,", "gloss,"))
    with pytest.raises(DataError, match=r"line 1: the header is 'id,path,gloss,signer,split'; write id,path,labels"):
        build(folder)
    manifest.write_bytes(good.replace("anna", "Jos\xe9").encode("latin-1"))
    with pytest.raises(DataError, match="manifest.csv is not UTF-8"):
        build(folder)
    manifest.write_text(good.replace("dev", "test"))
    with pytest.raises(DataError, match="has no usable valid utterance"):
        build(folder)


def test_settings_without_effect_are_rejected(folder: Path) -> None:
    with pytest.raises(ValidationError, match="valid_rate has no effect with format: manifest"):
        LandmarksConfig(path="x", format="manifest", valid_rate=0.2)
    # A recipe states all settings, the defaults too.
    config = LandmarksConfig(path="x", format="manifest")
    assert LandmarksConfig.model_validate(config.model_dump()) == config
    with pytest.raises(DataError, match="`groups` names 5 columns, but the features in .* have 6"):
        build(folder, groups={"a": 5})


def test_test_utterances_are_left_alone_and_told(folder: Path) -> None:
    add_line(folder, "u9,none.npy,HELLO,anna,test")
    assert build(folder).facts.notes == ("1 test utterances were not used",)
