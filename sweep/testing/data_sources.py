"""What every data source owes to those who train on it; knows nothing of sweeps.

    import pytest

    from sweep.testing import DataSourceKit

    class TestMySource(DataSourceKit):
        @pytest.fixture
        def config(self):
            return MySourceConfig(path="recordings")

A function that returns a `Dataset` is checked as `CustomDataConfig(factory="my_data:make", options={...})`.
"""

from collections import Counter
from dataclasses import fields
from typing import Protocol

import numpy as np

from slr_models.data import Dataset, Split
from slr_models.data.custom import broken_rule
from slr_models.data.feasibility import num_outputs_needed
from sweep.testing.configuration import check_configuration


class DataSource(Protocol):
    """The configuration of a data source, as `slr_models.data.DataConfig` holds them."""

    def build(self) -> Dataset:
        """Reads or makes the data."""
        ...


class DataSourceKit:
    """Checks of a data source; a subclass gives the fixture `config`, a small one."""

    def test_the_configuration_is_one(self, config: DataSource) -> None:
        """It comes back from a file as it went, and refuses a setting that it does not know."""
        check_configuration(config)

    def test_the_dataset_is_sound(self, config: DataSource) -> None:
        """Types, offsets, groups, vocabulary and labels are as `Dataset` promises, and no split is empty."""
        broken = broken_rule(config.build())
        assert broken is None, f"a dataset in which {broken}"

    def test_features_are_finite(self, config: DataSource) -> None:
        """A NaN must be asked for."""
        for name, split in _splits(config.build()):
            bad = ~np.isfinite(split.features).all(axis=1)
            frame = int(np.argmax(bad))
            utterance = int(np.searchsorted(split.offsets, frame, side="right")) - 1
            assert not bad.any(), f"{int(bad.sum())} frames of {name} are not finite, first in {split.ids[utterance]!r}"

    def test_building_twice_gives_the_same(self, config: DataSource) -> None:
        """What is random comes from a seed of the configuration."""
        data, again = config.build(), config.build()
        for (name, one), (_, two) in zip(_splits(data), _splits(again), strict=True):
            for field in fields(Split):
                left, right = getattr(one, field.name), getattr(two, field.name)
                assert np.array_equal(left, right), f"{field.name} of {name} differ between two builds"
        for what in ("vocabulary", "groups", "facts"):
            assert getattr(data, what) == getattr(again, what), f"the {what} differ between two builds"

    def test_utterances_have_names_of_their_own(self, config: DataSource) -> None:
        """Messages and reports name an utterance of a split by its id."""
        for name, split in _splits(config.build()):
            twice = [one for one, count in Counter(split.ids).items() if count > 1]
            assert not twice, f"two utterances of {name} are named {twice[0]!r}"
            assert all(split.ids), f"an utterance of {name} has an empty name"

    def test_targets_fit_into_their_utterances(self, config: DataSource) -> None:
        """CTC can align each target where a model gives an output a frame; where not, no model can learn it."""
        for name, split in _splits(config.build()):
            for index, utterance in enumerate(split.ids):
                needed = num_outputs_needed(split.target(index).tolist())
                frames = int(split.lengths[index])
                assert needed <= frames, f"the target of {utterance!r} ({name}) needs {needed} frames and has {frames}"

    def test_facts_are_told(self, config: DataSource) -> None:
        """A report says which data these are, and in one sentence what the validation split measures."""
        facts = config.build().facts
        assert facts.source.strip(), "facts.source is empty"
        assert facts.valid_measures.strip().endswith("."), (
            f"facts.valid_measures is no sentence: {facts.valid_measures!r}"
        )


def _splits(data: Dataset) -> tuple[tuple[str, Split], ...]:
    return ("train", data.train), ("valid", data.valid)
