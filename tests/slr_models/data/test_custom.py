"""A user's own factory: found, called with its options, and held to the contract."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from slr_models.data import BLANK_TOKEN, CustomDataConfig, Dataset, FeatureGroup, SyntheticConfig
from slr_models.data.custom import broken_rule
from slr_models.errors import UserError

MODULE = """
from slr_models.data import SyntheticConfig

def make(num_train, seed=0):
    return SyntheticConfig(num_train=num_train, num_valid=3, seed=seed).build()

def wrong():
    return 3

constant = 1
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_own_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_own_data"
    sys.modules.pop("my_own_data", None)


def test_the_factory_gets_its_options(module: str) -> None:
    data = CustomDataConfig(factory=f"{module}:make", options={"num_train": 7, "seed": 4}).build()
    expected = SyntheticConfig(num_train=7, num_valid=3, seed=4).build()
    np.testing.assert_array_equal(data.train.features, expected.train.features)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        ("no_such_module:make", {}, "data.factory 'no_such_module:make' cannot be imported: No module named"),
        ("my_own_data:none", {}, "names no function of the module my_own_data"),
        ("my_own_data:constant", {}, "names no function of the module my_own_data"),
        ("my_own_data:make", {}, "does not take the given options: missing a required argument: 'num_train'"),
        ("my_own_data:make", {"num_train": 2, "x": 1}, "does not take the given options"),
        ("my_own_data:wrong", {}, "returned a int; return a slr_models.data.Dataset"),
    ],
)
def test_wrong_factories_are_explained(module: str, factory: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        CustomDataConfig.model_validate({"factory": factory, "options": options}).build()


def test_a_factory_has_a_module_and_a_name() -> None:
    with pytest.raises(ValidationError):
        CustomDataConfig(factory="just_a_name")


def broken(data: Dataset) -> dict[str, Dataset]:
    train = data.train
    return {
        r"vocabulary\[0\]": replace(data, vocabulary=("a", *data.vocabulary[1:])),
        "entry twice": replace(data, vocabulary=(BLANK_TOKEN, *["a"] * 12)),
        "do not cut the 24 feature columns": replace(data, groups=(FeatureGroup("a", 0, 5),)),
        "valid split is empty": replace(data, valid=train.from_utterances([], [], [], [], 24)),
        "2-D float64": replace(data, train=replace(train, features=train.features.astype(np.float64))),
        "labels outside of 1..12": replace(data, train=replace(train, labels=train.labels + 12)),
        "names 1 signers": replace(data, train=replace(train, signers=("a",))),
        "offsets that do not run": replace(data, train=replace(train, offsets=train.offsets + 1)),
        "empty target, 'train-0'": replace(
            data,
            train=replace(train, label_offsets=np.array([0, 0, *train.label_offsets[2:]])),
        ),
    }


@pytest.mark.parametrize("rule", list(broken(SyntheticConfig(num_train=4, num_valid=2).build())))
def test_a_broken_dataset_is_described(rule: str) -> None:
    data = SyntheticConfig(num_train=4, num_valid=2).build()
    assert broken_rule(data) is None
    message = broken_rule(broken(data)[rule])
    assert message is not None
    with pytest.raises(ValueError, match=rule):
        raise ValueError(message)
