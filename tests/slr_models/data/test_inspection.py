"""Looking at a dataset: every fault that is put in is found, at its place, and a clean one is clean."""

from dataclasses import replace

import numpy as np
import pytest

from slr_models.data import SyntheticConfig
from slr_models.data.batch import Dataset, Split
from slr_models.data.inspection import Inspection, UtteranceName, inspect_dataset, utterance_outliers

CLEAN = SyntheticConfig(vocabulary_size=4, num_train=40, num_valid=10, num_features=6).build()


def inspected(train: Split | None = None, valid: Split | None = None) -> Inspection:
    return inspect_dataset(replace(CLEAN, train=train or CLEAN.train, valid=valid or CLEAN.valid))


def changed(split: Split, index: int, change) -> Split:
    """The split with one utterance's features changed in place by `change`."""
    features = split.features.copy()
    change(features[split.offsets[index] : split.offsets[index + 1]])
    return replace(split, features=features)


def test_a_clean_set_has_nothing_but_facts() -> None:
    found = inspected()
    assert not found.nonfinite and not found.constant_features and not found.untrained_labels
    assert not found.utterance_outliers and not found.feature_outliers
    assert not found.leaked.pairs and not found.repeated.pairs
    assert not found.still and not found.single_frames and not found.repeated_ids
    lengths = CLEAN.train.lengths
    assert (found.frames.smallest, found.frames.largest) == (lengths.min(), lengths.max())
    assert sum(found.label_counts.values()) == len(CLEAN.train.labels)
    assert list(found.label_counts.values()) == sorted(found.label_counts.values(), reverse=True)
    assert found.absmax == max(np.abs(CLEAN.train.features).max(), np.abs(CLEAN.valid.features).max())


def test_nan_and_inf_are_found_at_their_place_and_count_for_nothing_else() -> None:
    def spoil(block) -> None:
        block[2:5, 3] = np.nan
        block[4, 1] = -np.inf

    found = inspected(train=changed(CLEAN.train, 7, spoil), valid=changed(CLEAN.valid, 9, spoil))
    one, other = found.nonfinite
    assert (one.split, one.id, one.num_nan, one.num_inf) == ("train", CLEAN.train.ids[7], 3, 1)
    assert (one.first_frame, one.last_frame) == (2, 4) and one.features == ("features[1]", "features[3]")
    assert (other.split, other.id) == ("valid", CLEAN.valid.ids[9])
    assert np.isfinite(found.absmax) and not found.utterance_outliers and not found.constant_features


def test_nan_at_the_edges_of_utterances_is_blamed_on_the_right_one() -> None:
    for index in (0, 1, len(CLEAN.train) - 1):
        for frame in (0, -1):

            def spoil(block, frame=frame) -> None:
                block[frame, 0] = np.nan

            (one,) = inspected(train=changed(CLEAN.train, index, spoil)).nonfinite
            assert one.id == CLEAN.train.ids[index]


def test_constant_columns_with_and_without_values() -> None:
    features = CLEAN.train.features.copy()
    features[:, 2] = 1e4
    features[0, 2] += 1e-3  # rounding, not variation
    features[:, 4] = np.nan
    assert inspected(train=replace(CLEAN.train, features=features)).constant_features == ("features[2]", "features[4]")


def test_outliers_of_scale_in_both_directions() -> None:
    def grow(block) -> None:
        block *= 1000

    def shrink(block) -> None:
        block *= 1e-4

    found = inspected(train=changed(changed(CLEAN.train, 3, grow), 5, shrink))
    assert [outlier.name for outlier in found.utterance_outliers] == [CLEAN.train.ids[5], CLEAN.train.ids[3]]
    assert found.utterance_outliers[0].z < -6 < 6 < found.utterance_outliers[1].z
    features = CLEAN.train.features.copy()
    features[:, 1] *= 500
    (column,) = inspected(train=replace(CLEAN.train, features=features)).feature_outliers
    assert column.name == "features[1]" and column.z > 6 and column.absmax > 100 and 1 < column.usual < 10
    raw = replace(CLEAN.train, features=CLEAN.train.features * 30)
    (wild,) = utterance_outliers(changed(raw, 3, grow))
    usual = np.median([np.abs(raw.utterance(i)).max() for i in range(len(raw))])
    assert wild.usual == pytest.approx(usual, rel=0.1) and 500 < wild.absmax / wild.usual < 2000


def test_utterances_that_are_odd_by_themselves() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(length, 6)).astype(np.float32) for length in (9, 9, 9, 1, 9, 9)]
    blocks[1][:] = 0.0
    blocks[2][:] = blocks[2][0]
    blocks[4][:] = np.nan  # says nothing of change
    blocks[5][:, 1:] = 0.0  # one column does change
    split = Split.from_utterances(blocks, [[1], [2], [1], [1], [2], [2]], ["a", "b", "c", "d", "e", "a"], [""] * 6, 6)
    found = inspected(train=split)
    assert found.still == (UtteranceName("train", "b"), UtteranceName("train", "c"))
    assert found.single_frames == (UtteranceName("train", "d"),)
    assert found.repeated_ids == (UtteranceName("train", "a"),)
    assert inspected(valid=split).still == (UtteranceName("valid", "b"), UtteranceName("valid", "c"))


def test_labels_that_are_never_trained() -> None:
    labels = np.where(CLEAN.train.labels == 3, 1, CLEAN.train.labels)
    found = inspected(train=replace(CLEAN.train, labels=labels))
    assert found.untrained_labels == ("w3",) and found.label_counts["w3"] == 0


def test_utterances_that_are_the_same() -> None:
    def joined(split: Split, others: Split, index: int, target: list[int] | None = None) -> Split:
        blocks = [split.utterance(i) for i in range(len(split))] + [others.utterance(index)]
        targets = [split.target(i).tolist() for i in range(len(split))]
        ids = [*split.ids, "copy"]
        last = target or others.target(index).tolist()
        return Split.from_utterances(blocks, [*targets, last], ids, [""] * len(ids), split.num_features)

    leak = inspected(valid=joined(CLEAN.valid, CLEAN.train, 4))
    assert leak.leaked.pairs == ((CLEAN.train.ids[4], "copy"),) and leak.leaked.num_other_target == 0
    assert not leak.repeated.pairs
    twice = inspected(train=joined(CLEAN.train, CLEAN.train, 6, target=[1, 1, 1, 1, 1]))
    assert twice.repeated.pairs == ((CLEAN.train.ids[6], "copy"),) and twice.repeated.num_other_target == 1


def test_a_set_of_one_utterance() -> None:
    one = Split.from_utterances([np.ones((5, 6), np.float32)], [[1]], ["a"], [""], 6)
    found = inspect_dataset(Dataset(one, one, ("<blank>", "x"), CLEAN.groups, CLEAN.facts))
    assert len(found.constant_features) == 6 and found.leaked.pairs == (("a", "a"),)
