"""Sentences from isolated signs: splits, fillers, exclusions and messages."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from slr_models.data import ClipsConfig, Dataset
from slr_models.data.compose import Augmentation
from slr_models.errors import DataError

PLAIN = Augmentation(time_warp=0, scale=0, rotation_deg=0, jitter=0, dropped_frame_rate=0)
HEADER = "row,label,signer,split,all_missing"
SIGNS = ("-", "tea", "no", "get")


def write_folder(folder: Path) -> None:
    """Two clips a sign, signer (S1, S2) and split; a clip's right wrist tells the sign. S3 knows one sign only."""
    lines = [HEADER]
    clips: list[np.ndarray] = []
    kinds = [(sign, signer, split) for sign in SIGNS for signer in ("S1", "S2") for split in ("train", "valid")]
    kinds += [("get", "S3", "valid")]
    for sign, signer, split in kinds * 2:
        points = 0.02 * np.random.default_rng(len(clips)).standard_normal((8, 67, 3))
        points[:, [11, 12], :2] = [[0.7, 0.4], [0.3, 0.4]]
        points[:, 46:, 0] += 0.1 * SIGNS.index(sign)
        # A paused recorder: a first frame far off.
        points[0, 46:] += 50
        lines.append(f"{len(clips)},{sign},{signer},{split},0")
        clips.append(points.astype(np.float16))
    lines.append(f"{len(clips)},tea,S1,train,1")
    clips.append(np.zeros((8, 67, 3), dtype=np.float16))
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    present = np.ones((len(clips), 8, 3), dtype=np.uint8)
    present[-1] = 0
    np.savez(folder / "clips.npz", landmarks=np.stack(clips), present=present)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path)
    return tmp_path


def build(folder: Path, **settings: object) -> Dataset:
    return ClipsConfig.model_validate(
        {"path": str(folder), "num_train": 40, "num_valid": 20, "augmentation": PLAIN, **settings}
    ).build()


def test_sentences_are_of_one_signer_and_their_labels_are_signs(folder: Path) -> None:
    data = build(folder)
    assert data.vocabulary == ("<blank>", "get", "no", "tea")
    assert set(data.train.signers) == set(data.valid.signers) == {"S1", "S2"}
    assert set(np.diff(data.train.label_offsets)) == {2, 3, 4, 5}
    # Columns 40, 41 and 128, 129: where the wrists are. The far first frame would show there.
    assert np.abs(data.train.features[:, [40, 41, 128, 129]]).max() < 3
    assert data.facts.exclusions == {
        "clip without landmarks": 1,
        "clip of a signer with fewer than two signs in the split": 2,
    }


def test_labels_follow_the_clips_and_fillers_have_none(folder: Path) -> None:
    data = build(folder, filler_rate=0.5, transition_frames=0, velocity=False, points="hands")
    fillers = 0
    for i in range(len(data.train)):
        # Seven frames a clip (the first is dropped); the wrist's x tells the sign, shoulder width is 0.4.
        wrist = data.train.utterance(i)[:, 84].reshape(-1, 7).mean(axis=1)
        signs = [SIGNS[round((x + 1.25) * 0.4 / 0.1)] for x in wrist]
        fillers += signs.count("-")
        labels = [data.vocabulary[label] for label in data.train.target(i)]
        assert [sign for sign in signs if sign != "-"] == labels
    assert fillers > 10
    assert build(folder, filler_rate=0.0).train.lengths.sum() < data.train.lengths.sum() * 1.2


def test_a_held_out_signer_is_not_trained_on(folder: Path) -> None:
    data = build(folder, split="signer", valid_signer="S2")
    assert set(data.train.signers) == {"S1"}
    assert set(data.valid.signers) == {"S2"}
    assert "S2, who is not trained on" in data.facts.valid_measures
    with pytest.raises(DataError, match="leaves no usable clips for the valid split .* signers are S1, S2, S3"):
        build(folder, split="signer", valid_signer="S9")


def test_the_same_seed_gives_the_same_sentences(folder: Path) -> None:
    first, again, other = (build(folder, seed=seed, augmentation=Augmentation()).train.features for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_settings_that_contradict_are_rejected() -> None:
    with pytest.raises(ValidationError, match="give both or neither"):
        ClipsConfig(path="x", split="signer")
    with pytest.raises(ValidationError, match="give both or neither"):
        ClipsConfig(path="x", valid_signer="S1")
    with pytest.raises(ValidationError, match="must not exceed"):
        ClipsConfig(path="x", min_signs=6)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",label,", ",gloss,", "labels.csv line 1: lacks the columns label"),
        ("1,-,S1,valid,0", "1,-,S1,vlaid,0", "labels.csv line 3: split is 'vlaid'; write one of train, valid"),
        ("1,-,S1,valid,0", "1,-,S1,valid", "labels.csv line 3: has another number of fields"),
        ("0,-,S1,train,0\n", "", r"landmarks has shape \(35, 8, 67, 3\), but labels.csv has 34 rows"),
    ],
)
def test_wrong_lists_are_explained(folder: Path, old: str, new: str, message: str) -> None:
    labels = folder / "labels.csv"
    assert old in labels.read_text()
    labels.write_text(labels.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        build(folder)


def test_wrong_arrays_are_explained(folder: Path) -> None:
    arrays = dict(np.load(folder / "clips.npz"))
    broken = arrays["landmarks"].copy()
    broken[4, 2, 3, 0] = np.inf
    np.savez(folder / "clips.npz", landmarks=broken, present=arrays["present"])
    with pytest.raises(DataError, match="clip 4 of landmarks holds infinity"):
        build(folder)
    np.savez(folder / "clips.npz", present=arrays["present"])
    with pytest.raises(DataError, match="holds no array landmarks"):
        build(folder)
    np.savez(folder / "clips.npz", landmarks=arrays["landmarks"], present=arrays["present"][..., :2])
    with pytest.raises(DataError, match=r"present has shape \(35, 8, 2\); give a flag for each of the 3 parts"):
        build(folder)
    (folder / "clips.npz").unlink()
    with pytest.raises(DataError, match="clips.npz is missing; set `path`"):
        build(folder)


def test_damaged_arrays_are_explained(folder: Path) -> None:
    path = folder / "clips.npz"
    arrays = dict(np.load(path))
    np.savez_compressed(path, **arrays)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[: len(whole) // 2], whole[:300] + bytes(200) + whole[500:]):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"clips.npz cannot be read \(.+\); it must hold the plain array"):
            build(folder)
    for landmarks in (np.zeros(5), np.zeros((35, 8, 201)), np.float32(1)):
        np.savez(path, landmarks=landmarks, present=arrays["present"])
        with pytest.raises(DataError, match=r"landmarks must be \[rows, T, P, C\]"):
            build(folder)
    np.savez(path, landmarks=arrays["landmarks"].astype(str), present=arrays["present"])
    with pytest.raises(DataError, match="landmarks holds <U.*; store landmarks as numbers"):
        build(folder)


def test_a_list_in_another_encoding_is_explained(folder: Path) -> None:
    labels = folder / "labels.csv"
    labels.write_bytes(labels.read_text().replace("tea", "th\u00e9").encode("latin-1"))
    with pytest.raises(DataError, match="labels.csv is not UTF-8"):
        build(folder)
    labels.write_text(f"{HEADER}\n0,{'x' * 200_000},S1,train,0\n")
    with pytest.raises(DataError, match="labels.csv line 2: field larger than"):
        build(folder)


def test_a_validation_signer_without_trained_signs_is_explained(folder: Path) -> None:
    labels = folder / "labels.csv"
    lines = labels.read_text().splitlines()
    # S2 keeps the fillers, but signs otherwise nothing that S1 and S3 sign.
    renamed = [line if ",S2," not in line or ",-," in line else line.replace(",", ",other-", 1) for line in lines]
    labels.write_text("\n".join(renamed) + "\n")
    with pytest.raises(DataError, match="leaves no usable clips for the valid split .*'validation clip of a sign"):
        build(folder, split="signer", valid_signer="S2")
    # Beside a signer of trained signs, such a signer is only left out.
    data = build(folder, split="session")
    assert set(data.valid.signers) == {"S1", "S2"}
    labels.write_text("\n".join(line for line in renamed if ",S2,train," not in line or ",-," in line) + "\n")
    arrays = dict(np.load(folder / "clips.npz"))
    kept = [i for i, line in enumerate(renamed[1:]) if ",S2,train," not in line or ",-," in line]
    np.savez(folder / "clips.npz", **{name: array[kept] for name, array in arrays.items()})
    data = build(folder, split="session")
    assert set(data.train.signers) == set(data.valid.signers) == {"S1"}
    assert data.facts.exclusions["validation clip of a sign that is not trained"] == 6


def real_signs() -> Path:
    """The real clips, where they lie beside the repository."""
    folder = Path(__file__).resolve().parents[3] / "../shared/data/asl_words"
    if not (folder / "clips.npz").is_file():
        pytest.skip("the folder of real signs (asl_words) is not beside this repository")
    return folder


def test_real_signs_become_sentences() -> None:
    folder = real_signs()
    data = build(folder, num_train=30, num_valid=10)
    assert len(data.vocabulary) == 16
    assert {"hello", "coffee", "thank-you"} < set(data.vocabulary)
    assert data.facts.exclusions["clip without landmarks"] == 60
    assert set(data.train.signers) == set(data.valid.signers) == {"S1", "S2"}
    assert [(g.name, g.stop - g.start) for g in data.groups] == [("pose", 28), ("left_hand", 88), ("right_hand", 88)]
    assert set(np.diff(data.train.label_offsets)) == {2, 3, 4, 5}
    # 19 frames a clip (the first is dropped), 4 a transition, and fillers now and then.
    assert (data.train.lengths >= np.diff(data.train.label_offsets) * 23 - 4).all()
    positions = data.train.features[:, :14]
    assert np.isfinite(data.train.features).all()
    # The shoulders are one unit apart, about the origin; the nose is above them, as y points down.
    np.testing.assert_allclose(np.median(np.abs(positions[:, 2] - positions[:, 4])), 1.0, atol=0.1)
    assert -2 < np.median(positions[:, 1]) < -0.2
    # Each clip shows some hand most of the time.
    seen = data.train.features[:, [28 + 43, 28 + 88 + 43]]
    assert set(np.unique(seen)) == {0.0, 1.0}
    assert seen.max(axis=1).mean() > 0.5


def test_real_signs_of_a_signer_who_is_not_trained_on() -> None:
    data = build(real_signs(), num_train=20, num_valid=5, split="signer", valid_signer="S2")
    assert set(data.train.signers) == {"S1"}
    assert set(data.valid.signers) == {"S2"}
