"""`convert`: what it says of a folder, and that a study reads it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from slr_models.data import LandmarksConfig
from sweep import yaml_source
from sweep.__main__ import main


def source(folder: Path) -> Path:
    content = {
        f"u{index}": {
            "features": torch.rand(20 + index, 3, 2),
            "labels": "YES NO" if index % 2 else "NO",
            "signer": f"s{index // 2}",
        }
        for index in range(6)
    }
    content["u0"]["features"][0, 0, 0] = torch.nan  # type: ignore[index]
    torch.save(content, folder / "data.pt")
    return folder / "data.pt"


def test_it_says_what_is_there_and_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["convert", str(source(tmp_path)), "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"{out}: 6 utterances (4 train, 2 valid), 3 signers, 2 labels",
        "frames: 20 to 25, median 23; a frame is [3, 2]",
        "missing (NaN): 0.1 % of the values",
        "note: no split was told for validation: 2 of 6 were held out by whole signers (seed 0)",
    ]
    assert lines[-1] == "next: slr-sweep check STUDY.yaml"
    start = lines.index("in a study:")
    told = yaml_source.parse("\n".join(lines[start + 1 : -2]), "told").content["data"]
    assert told == {"kind": "landmarks", "path": str(out), "missing": "zero"}
    data = LandmarksConfig.model_validate(told).build()
    assert len(data.train.ids) == 4 and set(data.train.signers).isdisjoint(data.valid.signers)


def test_a_seed_chooses_who_is_validated_on(tmp_path: Path) -> None:
    path, seen = source(tmp_path), set()
    for seed in range(6):
        for again in ("a", "b"):
            out = tmp_path / f"{again}{seed}"
            assert main(["convert", str(path), "--out", str(out), "--seed", str(seed)]) == 0
        first, second = ((tmp_path / f"{again}{seed}" / "manifest.csv").read_text() for again in "ab")
        assert first == second
        seen.add(first)
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "error: {source}['u0']: the labels"),
        (["--valid-rate", "1"], "error: valid_rate: input should be less than 1, got 1.0"),
        (
            ["--labels-columns", "id=x"],
            "error: --labels-columns id=x: write role=column, where the role is one of",
        ),
        (["--labels", "none.csv"], "error: " + str(Path("none.csv").absolute()) + " is missing"),
        (["--out", "{source}"], "error: {source} is not empty, and nothing is overwritten"),
        (["--format", "hdf5"], "error: {source}: cannot be read ("),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "data.pt"
    torch.save({"u0": {"features": torch.ones(9, 2), "labels": "A B/C"}}, path)
    given = [one.format(source=path) for one in arguments]
    assert main(["convert", str(path), "--out", str(tmp_path / "out"), *given]) == 2
    err = capsys.readouterr().err
    assert err.startswith(said.format(source=path)) and err.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["data.pt"]


def test_what_a_source_refuses_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="slr-sweep convert SOURCE --out data/"):
        LandmarksConfig(path=str(tmp_path)).build()
    for name, said in (("a.h5", "slr-sweep convert SOURCE"), ("a.mp4", "slr-sweep landmarks VIDEOS --out data/")):
        (tmp_path / name).touch()
        (tmp_path / "manifest.csv").write_text(f"id,path,labels,signer,split\na,{name},x,s,train\n")
        with pytest.raises(ValueError, match=said):
            LandmarksConfig(path=str(tmp_path)).build()
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "train.csv").write_text("path,participant_id,sequence_id,sign\n")
    with pytest.raises(ValueError, match="slr-sweep convert SOURCE"):
        LandmarksConfig(path=str(tmp_path)).build()


def test_a_layout_that_is_told_is_read_and_a_false_one_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("id,path,labels,signer,split\na,a.npz,x,s,train\nb,a.npz,x,s,valid\n")
    landmarks = np.random.default_rng(0).random((9, 543, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", landmarks=landmarks, layout="mediapipe_holistic")
    assert LandmarksConfig(path=str(tmp_path), points="hands").build().groups
    np.savez(tmp_path / "a.npz", landmarks=landmarks[:, :500], layout="mediapipe_holistic")
    with pytest.raises(ValueError, match=r"\(9, 500, 3\), which is not \[frames, 543 points"):
        LandmarksConfig(path=str(tmp_path), points="hands").build()


def test_labels_that_are_validated_on_alone_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = ("train", "dev", "dev")
    content = {
        f"u{index}": {"features": torch.ones(20, 2), "labels": "NO" if index < 2 else "RARE NO", "split": split}
        for index, split in enumerate(splits)
    }
    torch.save(content, tmp_path / "data.pt")
    assert main(["convert", str(tmp_path / "data.pt"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "note: labels that no training utterance has occur in 1 of 2 utterances to validate on (first RARE)" in said
    assert "  unseen_glosses: count_as_errors\n" in said
