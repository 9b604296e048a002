"""Folders as they lie on disks: what is found in spite of its place or name, and what is told with the remedy."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slr_models.data import Dataset, LandmarksConfig
from slr_models.errors import DataError

HEADER = "id|folder|signer|annotation"


def block(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((40, 6)).astype(np.float32)


def phoenix(folder: Path, features: str = "features/{split}/{id}.npy") -> Path:
    """A corpus with two training utterances and one of its dev set."""
    lists = folder / "annotations" / "manual"
    lists.mkdir(parents=True)
    for split, ids in (("train", ("a", "b")), ("dev", ("c",))):
        lines = [HEADER, *(f"{id}|{id}/1/*.png|S1|REGEN WOLKE" for id in ids)]
        (lists / f"{split}.corpus.csv").write_text("\n".join(lines) + "\n")
        for id in ids:
            path = folder / features.format(split=split, id=id)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                np.save(file, block(ord(id)))
    return folder


def build(folder: Path, **settings: object) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(folder), **settings}).build()


@pytest.mark.parametrize(
    "features",
    [
        "features/{split}/{id}.npy",
        "features/{id}.npy",
        "features/fullFrame-210x260px/{split}/{id}.npy",
        "features/fullFrame-210x260px/{id}.npy",
        "features/{split}/{id}.NPY",
    ],
)
def test_features_of_a_corpus_are_found_where_people_put_them(tmp_path: Path, features: str) -> None:
    data = build(phoenix(tmp_path, features), standardize=False)
    np.testing.assert_array_equal(data.train.utterance(1), block(ord("b")))
    assert data.valid.ids == ("c",)


def test_stray_files_and_copies_of_lists_do_no_harm(tmp_path: Path) -> None:
    lists = phoenix(tmp_path) / "annotations" / "manual"
    (lists / "._train.corpus.csv").write_bytes(b"\x00\x05\x16\x07|Mac OS X")
    for copy in ("train.corpus.bak.csv", "train.corpus (1).csv", "old_train.csv"):
        shutil.copy(lists / "train.corpus.csv", lists / copy)
    assert len(build(tmp_path).train) == 2
    (lists / "train.corpus.csv").unlink()
    with pytest.raises(DataError, match=r"exactly one train list .*bak.csv"):
        build(tmp_path)


def test_a_folder_one_level_too_high_is_told(tmp_path: Path) -> None:
    phoenix(tmp_path / "phoenix-2014-multisigner")
    with pytest.raises(DataError, match=r"but phoenix-2014-multisigner in it does; set path: .*phoenix-2014-multi"):
        build(tmp_path)
    with pytest.raises(DataError, match=rf"no folder {tmp_path}/none/deep \({tmp_path} exists\); correct `path`"):
        build(tmp_path / "none" / "deep")


def test_a_list_in_latin_1_is_told_with_the_command_that_mends_it(tmp_path: Path) -> None:
    lists = phoenix(tmp_path) / "annotations" / "manual"
    text = (lists / "dev.corpus.csv").read_text().replace("REGEN", "K\u00d6LN")
    (lists / "dev.corpus.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"is not UTF-8 .*iconv -f latin1 -t utf-8 dev.corpus.csv > utf8.csv"):
        build(tmp_path)


def test_the_home_folder_and_absolute_paths_in_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    phoenix(tmp_path / "corpus")
    assert len(LandmarksConfig(path="~/corpus").build().train) == 2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus" / "features" / "train" / "a.npy").unlink()
    with pytest.raises(DataError, match=f"'a' has no feature file {tmp_path}/corpus/features/train/a.npz"):
        LandmarksConfig(path="corpus").build()


@pytest.mark.parametrize("as_text", [True, False])
def test_sequence_numbers_may_be_stored_as_text(tmp_path: Path, as_text: bool) -> None:
    tables = []
    for number in (1000, 1001, 1002):
        table = pd.DataFrame(block(number), columns=list("abcdef"))
        tables.append(table.assign(sequence_id=str(number) if as_text else number))
    pd.concat(tables).to_parquet(tmp_path / "1.parquet", index=False)
    lines = ["path,sequence_id,phrase", *(f"1.parquet,{number},ab" for number in (1000, 1001, 1002))]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    data = build(tmp_path, standardize=False)
    for split in (data.train, data.valid):
        for index, id in enumerate(split.ids):
            np.testing.assert_array_equal(split.utterance(index), block(int(id)))
    tables[1]["sequence_id"] = "seven"
    pd.concat([table.astype({"sequence_id": str}) for table in tables]).to_parquet(tmp_path / "1.parquet", index=False)
    with pytest.raises(DataError, match="holds text in the column sequence_id .*; write whole numbers"):
        build(tmp_path)


def test_the_odd_file_is_left_out_and_not_all_others(tmp_path: Path) -> None:
    lines = ["id,path,labels,signer,split"]
    for index in range(12):
        width = 7 if index == 0 else 6
        np.save(tmp_path / f"{index}.npy", np.random.default_rng(index).standard_normal((30, width)))
        lines.append(f"u{index},{index}.npy,{'AB'[index % 2]},s,{'dev' if index > 9 else 'train'}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"line 2: .*0.npy has 7 features a frame where the others have 6"):
        build(tmp_path)
    data = build(tmp_path, on_bad="exclude")
    assert (len(data.train), len(data.valid)) == (9, 2) and data.facts.exclusions == {"feature size": 1}
    for index in (3, 5, 7, 9, 10):
        (tmp_path / f"{index}.npy").write_text("broken")
    with pytest.raises(
        DataError, match=r"6 of 12 utterances .* \(unreadable file: 5, feature size: 1\), more than max_excluded: 0.4"
    ):
        build(tmp_path, on_bad="exclude", max_excluded=0.4)
    assert len(build(tmp_path, on_bad="exclude").train) == 5
