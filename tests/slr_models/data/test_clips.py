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
        ("1,-,S1,valid,0", "1,-,S1,vlaid,0", "labels.csv line 3: split is 'vlaid'; write train or valid"),
        ("1,-,S1,valid,0", "1,-,S1,valid", "labels.csv line 3: has another number of fields"),
        ("0,-,S1,train,0\n", "", r"landmarks has shape \(35, 8, 67, 3\) .* labels.csv has 34 rows"),
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
    broken[4, 2, 3, 0] = np.nan
    np.savez(folder / "clips.npz", landmarks=broken, present=arrays["present"])
    with pytest.raises(DataError, match="clip 4 of landmarks holds NaN"):
        build(folder)
    np.savez(folder / "clips.npz", landmarks=arrays["landmarks"])
    with pytest.raises(DataError, match="must hold the plain arrays landmarks and present"):
        build(folder)
    (folder / "clips.npz").unlink()
    with pytest.raises(DataError, match="clips.npz is missing; set `path`"):
        build(folder)
