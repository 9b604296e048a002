"""The kit for data sources: a sound source passes, and for each check there is a source that fails it."""

from typing import Literal

import numpy as np
import pytest

from slr_models.data import BLANK_TOKEN, DataFacts, Dataset, FeatureGroup, Split
from slr_models.spec import Spec
from sweep.testing import DataSourceKit

NUM_FEATURES = 4


class NoiseConfig(Spec):
    """Random frames with random labels."""

    kind: Literal["noise"] = "noise"
    flaw: str = ""

    def build(self) -> Dataset:
        rng = np.random.default_rng(None if self.flaw == "unseeded" else 0)
        return Dataset(
            train=self.split(rng, "train", 5),
            valid=self.split(rng, "valid", 3),
            vocabulary=(BLANK_TOKEN, "a", "b", "c"),
            groups=(FeatureGroup("all", 0, NUM_FEATURES),),
            facts=DataFacts(
                source="" if self.flaw == "no source" else "random numbers",
                valid_measures="" if self.flaw == "measures nothing" else "How well noise is learned by heart.",
            ),
        )

    def split(self, rng: np.random.Generator, name: str, size: int) -> Split:
        num_frames = 2 if self.flaw == "short" else 9
        features = [rng.standard_normal((num_frames, NUM_FEATURES)).astype(np.float32) for _ in range(size)]
        if self.flaw == "NaN" and name == "valid":
            features[1][3, 2] = np.nan
        targets = [[1, 2, 1 + index % 3] for index in range(size)]
        if self.flaw == "labels out of range":
            targets[0][0] = 4
        names = [f"{name}-{0 if self.flaw == 'one name' else index}" for index in range(size)]
        return Split.from_utterances(features, targets, names, [""] * size, NUM_FEATURES)


class Misspelled(NoiseConfig):
    """Takes settings that it does not know."""

    model_config = {"extra": "ignore"}


class TestASoundSource(DataSourceKit):
    @pytest.fixture
    def config(self) -> NoiseConfig:
        return NoiseConfig()


FLAWS = [
    ("test_the_configuration_is_one", Misspelled(), "takes a setting that it does not know"),
    ("test_the_dataset_is_sound", "labels out of range", "the train split has labels outside of 1..3"),
    ("test_features_are_finite", "NaN", "1 frames of valid are not finite, first in 'valid-1'"),
    ("test_building_twice_gives_the_same", "unseeded", "features of train differ between two builds"),
    ("test_utterances_have_names_of_their_own", "one name", "two utterances of train are named 'train-0'"),
    ("test_targets_fit_into_their_utterances", "short", r"'train-0' \(train\) needs 3 frames and has 2"),
    ("test_facts_are_told", "no source", "facts.source is empty"),
    ("test_facts_are_told", "measures nothing", "is no sentence"),
]


@pytest.mark.parametrize(("check", "flaw", "message"), FLAWS)
def test_each_check_can_fail(check: str, flaw: str | Spec, message: str) -> None:
    config = NoiseConfig(flaw=flaw) if isinstance(flaw, str) else flaw
    with pytest.raises(AssertionError, match=message):
        getattr(DataSourceKit(), check)(config)


def test_no_check_is_left_out(checks_of) -> None:
    assert {check for check, _, _ in FLAWS} == checks_of(DataSourceKit)
