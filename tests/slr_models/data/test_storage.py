"""Features mapped from a file are those in memory, and only their place goes to other processes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slr_models.data import Dataset, LandmarksConfig, MemorizeConfig
from slr_models.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "corpus"
    path.mkdir()
    lines = ["id,path,labels,signer,split"]
    for index in range(9):
        points = 0.5 + 0.05 * np.random.default_rng(index).standard_normal((200 + index, 75, 3))
        points[20:60, 33:54] = 0
        np.save(path / f"{index}.npy", points.astype(np.float32))
        lines.append(f"u{index},{index}.npy,{'A B' if index % 2 else 'B'},s,{'dev' if index > 6 else 'train'}")
    (path / "manifest.csv").write_text("\n".join(lines))
    return path


def build(folder: Path, **settings: Any) -> Dataset:
    return LandmarksConfig.model_validate({"path": str(folder), **settings}).build()


@pytest.mark.parametrize(
    "settings", [{}, {"velocity": True, "missing": "zero"}, {"points": "hands_pose", "velocity": True}]
)
def test_a_mapped_set_is_the_same_set(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    held = build(folder, **settings)
    mapped = build(folder, map_dir=str(tmp_path / "maps"), **settings)
    assert isinstance(mapped.train.features, np.memmap) and not isinstance(held.train.features, np.memmap)
    again: Dataset = pickle.loads(pickle.dumps(mapped))
    assert len(pickle.dumps(mapped)) < 10_000 < held.train.features.nbytes
    for dataset in (mapped, again):
        assert dataset.groups == held.groups and dataset.facts == held.facts
        for own, theirs in ((dataset.train, held.train), (dataset.valid, held.valid)):
            np.testing.assert_array_equal(own.features, theirs.features)
            np.testing.assert_array_equal(own.offsets, theirs.offsets)
            np.testing.assert_array_equal(own.utterance(1), theirs.utterance(1))
    assert len(list((tmp_path / "maps").iterdir())) == 2
    # Other settings have files of their own; the same ones are written anew.
    build(folder, map_dir=str(tmp_path / "maps"), max_train=3, **settings)
    build(folder, map_dir=str(tmp_path / "maps"), **settings)
    assert len(list((tmp_path / "maps").iterdir())) == 4


def test_a_part_of_a_mapped_set_goes_as_its_place_too(folder: Path, tmp_path: Path) -> None:
    source = LandmarksConfig(path=str(folder), map_dir=str(tmp_path / "maps"))
    few = MemorizeConfig(num_utterances=2, source=source).build()
    again: Dataset = pickle.loads(pickle.dumps(few))
    assert isinstance(again.train.features, np.memmap)
    np.testing.assert_array_equal(again.train.features, few.train.features)
    late = few.train.features[150:301]
    split = pickle.loads(pickle.dumps(_with(few, late)))
    np.testing.assert_array_equal(split.features, late)
    # Every other row has no place of its own.
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(_with(few, late[::2]))).features, late[::2])


def _with(dataset: Dataset, features: np.ndarray) -> Any:
    from dataclasses import replace

    return replace(dataset.train, features=features)


def test_a_place_that_cannot_be_written_or_found_is_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be kept in .*file.*; choose another map_dir"):
        build(folder, map_dir=str(tmp_path / "file"))
    mapped = pickle.dumps(build(folder, map_dir=str(tmp_path / "maps")))
    for path in (tmp_path / "maps").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="map_dir has to be a folder that all machines share"):
        pickle.loads(mapped)
