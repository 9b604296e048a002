"""The overfit test's data."""

import numpy as np
import pytest

from slr_models.data import MemorizeConfig, SyntheticConfig
from slr_models.data.custom import broken_rule
from slr_models.errors import DataError

SOURCE = SyntheticConfig(num_train=6, num_valid=3, seed=4)


def test_both_splits_are_the_first_utterances_of_the_source() -> None:
    whole = SOURCE.build()
    few = MemorizeConfig(num_utterances=4, source=SOURCE).build()
    assert broken_rule(few) is None
    assert few.train.ids == few.valid.ids == whole.train.ids[:4]
    for index in range(4):
        np.testing.assert_array_equal(few.valid.utterance(index), whole.train.utterance(index))
        np.testing.assert_array_equal(few.train.target(index), whole.train.target(index))
    assert (few.vocabulary, few.groups) == (whole.vocabulary, whole.groups)
    assert "memorise" in few.facts.valid_measures and few.facts.source == whole.facts.source


def test_more_utterances_than_there_are_is_an_error() -> None:
    with pytest.raises(DataError, match="num_utterances is 7, but the source has only 6 training utterances"):
        MemorizeConfig(num_utterances=7, source=SOURCE).build()
    assert len(MemorizeConfig(num_utterances=6, source=SOURCE).build().train) == 6
