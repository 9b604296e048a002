"""Lists of utterances and clips as spreadsheets, other systems and other programs write them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slr_models.data import ClipsConfig, Dataset, LandmarksConfig
from slr_models.data.columns import columns_of
from slr_models.data.layout import POSE_HANDS
from slr_models.errors import DataError
from tests.slr_models.data.test_layouts import arrays, person

LINES = ("u0,f/u0.npy,A B,s,train", "u1,f/u1.npy,B A,t,train", "u2,f/u2.npy,A B,s,valid")


def folder(path: Path, lines: tuple[str, ...] = LINES, header: str = "id,path,labels,signer,split") -> Path:
    (path / "f").mkdir()
    for index in range(len(lines)):
        np.save(path / "f" / f"u{index}.npy", np.random.default_rng(index).standard_normal((20, 4)))
    (path / "manifest.csv").write_text("\n".join((header, *lines)))
    return path


def build(path: Path, **settings: object) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(path), **settings}).build()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("id,path,labels,signer,split", "id, path, labels, signer, split"),
        ("id,path,labels,signer,split", "ID,Path,Labels,Signer,Split"),
        (",train", ",TRAIN"),
        (",train", ", training "),
        (",valid", ",Validation"),
        ("train\nu1", "train\n,,,,\n\n  \nu1"),
        ("f/", ".\\f\\"),
    ],
)
def test_a_manifest_of_another_program_is_the_same(tmp_path: Path, old: str, new: str) -> None:
    path = folder(tmp_path)
    expected = build(path).train
    manifest = tmp_path / "manifest.csv"
    assert old in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(old, new))
    np.testing.assert_array_equal(build(path).train.features, expected.features)


def test_separators_encodings_and_files_for_folders_are_told(tmp_path: Path) -> None:
    path = folder(tmp_path)
    manifest = tmp_path / "manifest.csv"
    text = manifest.read_text()
    with pytest.raises(DataError, match=rf"manifest.csv is a file; set `path` to the folder that holds it: {path}$"):
        build(manifest)
    manifest.write_text(text.replace(",", ";"))
    with pytest.raises(DataError, match="write id,path,labels,signer,split .fields are separated by ','"):
        build(path)
    manifest.write_text(text, encoding="utf-16")
    with pytest.raises(DataError, match="is not UTF-8 .* iconv -f utf-16 -t utf-8 manifest.csv"):
        build(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
@pytest.mark.parametrize("list_of", ["manifest.csv", "train.corpus.csv"])
@pytest.mark.parametrize("locked", ["list", "folder"])
def test_what_may_not_be_read_is_told(tmp_path: Path, list_of: str, locked: str) -> None:
    (tmp_path / list_of).write_text("id|folder|signer|annotation\n")
    (tmp_path if locked == "folder" else tmp_path / list_of).chmod(0)
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom slr_models.data.landmarks import LandmarksConfig\n"
        "from slr_models.errors import DataError\nos.chdir(sys.argv[1])\nos.setuid(65534)\n"
        "try:\n    LandmarksConfig(path='.').build()\nexcept DataError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "cannot be opened ([Errno 13] Permission denied" in done.stdout, done.stderr


def test_a_single_participant_is_split_by_sequences(tmp_path: Path) -> None:
    pd.DataFrame({"sequence_id": np.repeat(np.arange(8), 9), "f": np.arange(72.0)}).to_parquet(tmp_path / "1.parquet")
    rows = [f"1.parquet,{index},{'ab' if index % 2 else 'ba'},7" for index in range(8)]
    (tmp_path / "train.csv").write_text("\n".join(["path,sequence_id,phrase,participant_id", *rows]))
    data = build(tmp_path, frames_per_output=1)
    assert (len(data.train), len(data.valid)) == (7, 1)


def test_columns_beside_landmarks_do_not_hide_them(tmp_path: Path) -> None:
    path = folder(tmp_path, tuple(line.replace(".npy", ".parquet") for line in LINES))
    for index in range(3):
        table = pd.DataFrame(arrays(person(index))["225"], columns=list(columns_of(POSE_HANDS)))
        table.to_parquet(tmp_path / "f" / f"u{index}.parquet")
    expected = build(path, points="hands_pose").train.features
    for index in range(3):
        table = pd.read_parquet(tmp_path / "f" / f"u{index}.parquet")
        table.insert(5, "timestamp", np.arange(len(table)) / 25)
        table["visibility_0"] = table["visibility_1"] = table["visibility_2"] = 1.0
        table.to_parquet(tmp_path / "f" / f"u{index}.parquet")
    np.testing.assert_array_equal(build(path, points="hands_pose").train.features, expected)
    plain = build(path)
    assert [group.name for group in plain.groups] == ["pose", "left_hand", "right_hand", "others"]
    assert plain.num_features == 229 and {part.name for part in plain.facts.parts} == {
        "pose",
        "left_hand",
        "right_hand",
    }


def clips(path: Path, text: str) -> Dataset:
    landmarks = np.stack([arrays(person(index))["75x3"] for index in range(6)])
    np.savez(path / "clips.npz", landmarks=landmarks)
    (path / "labels.csv").write_text(text, encoding="utf-8")
    return ClipsConfig(path=str(path), num_train=4, num_valid=2).build()


def test_labels_of_clips_are_as_sound_as_others(tmp_path: Path) -> None:
    signs = ["KO\u0308LN", "K\u00d6LN", "NEIN", "KO\u0308LN", "NE\u200bIN", "K\u00d6LN"]
    splits = ["TRAIN", "training", "Train", "dev", "Valid", "validation"]
    rows = [f"{sign}, S1,{split},0.0" for sign, split in zip(signs, splits, strict=True)]
    data = clips(tmp_path, "\n".join(["Label, signer, Split,all_missing", *rows[:3], ",,,", *rows[3:]]))
    assert data.vocabulary == ("<blank>", "K\u00d6LN", "NEIN")
    with pytest.raises(DataError, match="labels.csv line 2: has the label <blank>, which is CTC's own; rename it"):
        clips(tmp_path, "\n".join(["label,signer,split,all_missing", rows[0].replace(signs[0], "<blank>"), *rows[1:]]))
