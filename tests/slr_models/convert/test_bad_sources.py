"""What cannot be converted: one clear error, and nothing is left behind."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slr_models.convert.conversion import Conversion, convert
from slr_models.convert.summary import Summary
from slr_models.data import LandmarksConfig
from slr_models.errors import DataError

GOOD = {"features": torch.ones(20, 4), "labels": "YES NO"}


def run(source: Path, **settings: Any) -> Summary:
    content = {"source": source, "out": source.parent / "deep" / "out", **settings}
    return convert(Conversion.model_validate(content), lambda _: None)


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "data.pt")
    return folder / "data.pt"


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def broken(folder: Path, case: str) -> Path:
    """A source that is wrong in one way."""
    several = {"a": GOOD, "b": GOOD}
    match case:
        case "missing":
            return folder / "none"
        case "empty folder":
            (folder / "in").mkdir()
            return folder / "in"
        case "no content":
            return saved(folder, {})
        case "truncated":
            path = saved(folder, several)
            path.write_bytes(path.read_bytes()[:300])
            return path
        case "no file of its kind":
            (folder / "data.h5").write_text("hello")
            return folder / "data.h5"
        case "keys":
            return saved(folder, {"a": {"feat_matrix": torch.ones(9, 4), "labels": "YES"}})
        case "parts":
            parts = {"pose": torch.ones(9, 33, 3), "left_hand": torch.ones(9, 21, 3)}
            return saved(folder, {"a": {**parts, "labels": "YES"}})
        case "no labels":
            return saved(folder, {**several, "c": {"features": torch.ones(20, 4)}})
        case "shape":
            return saved(folder, {**several, "c": {"features": torch.ones(20, 5), "labels": "YES"}})
        case "one number a frame":
            return saved(folder, {"a": {"features": torch.ones(20), "labels": "YES"}})
        case "infinity":
            return saved(folder, {"a": {"features": torch.full((9, 4), torch.inf), "labels": "YES"}})
        case "no frames":
            return saved(folder, {"a": {"features": torch.ones(0, 4), "labels": "YES"}})
        case "twice":
            (folder / "in").mkdir()
            torch.save(several, folder / "in" / "x.pt")
            torch.save(several, folder / "in" / "y.pt")
            return folder / "in"
        case "escape" | "absolute" | "nul" | "line":
            name = {"escape": "../../x", "absolute": "/etc/x", "nul": "a\0b", "line": "a\nb"}[case]
            return saved(folder, {"a": GOOD, name: GOOD})
        case "long name":
            return saved(folder, {"a": GOOD, "x" * 300: GOOD})
        case "split":
            return saved(folder, {"a": {**GOOD, "split": "trian"}, "b": GOOD})
        case "some splits":
            return saved(folder, {"a": {**GOOD, "split": "train"}, "b": GOOD})
        case "one alone":
            return saved(folder, {"a": GOOD})
        case "several or one":
            return saved(folder, {"x": torch.ones(3, 20, 4), "y": torch.tensor([1, 2, 3])})
        case "padded labels":
            content = {"x": torch.ones(2, 20, 4), "y": torch.tensor([[1, 0], [1, 2]]), "lengths": torch.tensor([20, 9])}
            return saved(folder, content)
        case "two kinds":
            (folder / "in").mkdir()
            torch.save(GOOD, folder / "in" / "x.pt")
            np.save(folder / "in" / "y.npy", np.ones((4, 4)))
            return folder / "in"
        case "videos":
            (folder / "in").mkdir()
            (folder / "in" / "x.mp4").touch()
            return folder / "in"
        case "a pickle":
            (folder / "data.pkl").write_bytes(pickle.dumps({"a": Evil(folder / "mark")}))
            return folder / "data.pkl"
        case "code within":
            return saved(folder, {"a": Evil(folder / "mark")})
        case "a gap":
            (folder / "in" / "v").mkdir(parents=True)
            for frame in (0, 2):
                (folder / "in" / "v" / f"v_{frame:012d}_keypoints.json").write_text('{"people": []}')
            return folder / "in"
        case "another pose model":
            (folder / "in" / "v").mkdir(parents=True)
            people = [{"pose_keypoints_2d": [0.5] * 54}]
            (folder / "in" / "v" / "v_000000000000_keypoints.json").write_text(json.dumps({"people": people}))
            return folder / "in"
        case "half a frame":
            (folder / "in" / "v").mkdir(parents=True)
            (folder / "in" / "v" / "v_000000000000_keypoints.json").write_text('{"people": [{"pose_')
            return folder / "in"
        case "sides":
            hand = [{"x": 0.1, "y": 0.2, "z": 0.3}] * 21
            (folder / "data.json").write_text(json.dumps([{"handLandmarks": [hand], "handedness": []}]))
            return folder / "data.json"
        case "no list of frames":
            (folder / "data.json").write_text('{"version": 1}')
            return folder / "data.json"
        case "a path out of it":
            (folder / "in").mkdir()
            (folder / "in" / "train.csv").write_text("path,participant_id,sequence_id,sign\n../../x.parquet,1,2,tea\n")
            return folder / "in"
    raise AssertionError(case)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("missing", "There is no"),
        ("empty folder", "nothing of a known format; known are tensors of torch.save, HDF5"),
        ("no content", "holds nothing, but no features; call the features 'features'"),
        ("truncated", "data.pt: cannot be read ("),
        ("no file of its kind", "data.h5: cannot be read ("),
        ("keys", "['a']: holds feat_matrix, labels, but no features; call the features 'features'"),
        ("parts", "['a']: holds the arrays pose, left_hand; put what is to be used into one, 'features'"),
        ("no labels", "['c']: 'c' has no labels; give them with --labels FILE"),
        ("shape", "'c' has [5] numbers a frame where those before it have [4]"),
        ("one number a frame", "of shape (20,); store numbers as [frames, features]"),
        ("infinity", "'a' holds infinity"),
        ("no frames", "'a' has no frames"),
        ("twice", "y.pt['a']: 'a' was there before, at "),
        ("escape", "the name '../../x' leads out of the folder"),
        ("absolute", "the name '/etc/x' leads out of the folder"),
        ("nul", r"the name 'a\x00b' is empty, or holds a character"),
        ("line", r"the name 'a\nb' is empty, or holds a character"),
        ("long name", "has more than 200 bytes"),
        ("split", "the split of 'a' is 'trian'; write train, valid"),
        ("some splits", "'b' has no split where others have one (1 of 2 have none)"),
        ("one alone", "No utterance is left to train on"),
        ("several or one", "has x of shape (3, 20, 4) beside as many labels"),
        ("padded labels", "the labels of utterance 0 end in 0, a label or a filling; add label_lengths"),
        ("two kinds", "say with --format NAME"),
        ("videos", "slr-sweep landmarks VIDEOS --out data/"),
        ("a pickle", "is a pickle, and loading one runs whatever code it holds; give --trust"),
        ("code within", "holds objects of Python beside tensors (NumPy's arrays are such); save"),
        ("a gap", "frame 1 is missing"),
        ("another pose model", "has 54 numbers in pose_keypoints_2d, not 75"),
        ("half a frame", "_keypoints.json cannot be read ("),
        ("sides", "frame 0 has 1 hands, but the handedness of 0"),
        ("no list of frames", "holds no list of frames"),
        ("a path out of it", "train.csv line 2: the path '../../x.parquet' leads out of"),
    ],
)
def test_it_is_told_and_nothing_is_left(tmp_path: Path, case: str, said: str) -> None:
    source = broken(tmp_path, case)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as error:
        run(source)
    assert said in str(error.value), str(error.value)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_bad_utterances_are_left_out_and_counted(tmp_path: Path) -> None:
    content = {"a": GOOD, "b": GOOD, "c": {"features": torch.ones(20, 4)}, "../d": GOOD}
    summary = run(saved(tmp_path, content), on_bad="exclude")
    assert summary.exclusions == {"no labels": 1, "bad name": 1}
    assert sorted(path.name for path in (summary.out / "features").iterdir()) == ["a.npy", "b.npy"]


def test_names_of_any_script_are_names(tmp_path: Path) -> None:
    names = ['你好, "x"', "übung/ß 1", "नमस्ते"]
    summary = run(saved(tmp_path, {name: GOOD for name in names}))
    data = LandmarksConfig(path=str(summary.out), on_bad="error").build()
    assert sorted((*data.train.ids, *data.valid.ids)) == sorted(names)


def test_nothing_is_overwritten_and_an_empty_folder_is_filled(tmp_path: Path) -> None:
    source = saved(tmp_path, {"a": GOOD, "b": GOOD})
    (tmp_path / "out").mkdir()
    run(source, out=tmp_path / "out")
    with pytest.raises(DataError, match="is not empty, and nothing is overwritten"):
        run(source, out=tmp_path / "out")
    with pytest.raises(DataError, match="is not empty"):
        run(source, out=source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.pt", "out"]


def test_an_interrupt_leaves_nothing(tmp_path: Path) -> None:
    source = saved(tmp_path, {"a": GOOD, "b": GOOD})

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(Conversion(source=source, out=tmp_path / "out"), interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["data.pt"]


def test_code_in_a_file_runs_only_if_it_is_trusted(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for case in ("a pickle", "code within"):
        with pytest.raises(DataError):
            run(broken(tmp_path, case))
        assert not mark.exists()
    with pytest.raises(DataError, match="holds a, but no features"):
        run(tmp_path / "data.pkl", trust=True)
    assert mark.exists()
