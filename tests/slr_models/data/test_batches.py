"""The order of an epoch: every utterance once, neighbours in length together where asked for."""

import numpy as np
import pytest

from slr_models.data.batches import shuffled_updates

LENGTHS = np.random.default_rng(0).integers(20, 120, 170)


def updates(length_window: int, seed: int = 0) -> list[list[int]]:
    return shuffled_updates(np.random.default_rng(seed), LENGTHS, 8, length_window)


def padding(epoch: list[list[int]]) -> float:
    """Share of the padded batches that is padding."""
    return 1 - sum(LENGTHS[u].sum() for u in epoch) / sum(LENGTHS[u].max() * len(u) for u in epoch)


@pytest.mark.parametrize("length_window", [1, 3, 8, 1000])
def test_each_utterance_at_most_once_and_whole_updates(length_window: int) -> None:
    epoch = updates(length_window)
    assert [len(update) for update in epoch] == [8] * 21
    assert len({i for update in epoch for i in update}) == 168


def test_a_window_of_one_is_the_random_order() -> None:
    assert sum(updates(1), []) == np.random.default_rng(0).permutation(170)[:168].tolist()


def test_the_same_utterances_are_left_out_whatever_the_window() -> None:
    assert {i for u in updates(1) for i in u} == {i for u in updates(8) for i in u}


def test_padding_falls_with_the_window() -> None:
    random, three, eight = padding(updates(1)), padding(updates(3)), padding(updates(8))
    assert random > 0.25 and three < 0.6 * random and eight < 0.1


def test_epochs_differ_and_updates_do_not_come_by_length() -> None:
    assert updates(8) != updates(8, seed=1)
    longest = [LENGTHS[u].max() for u in updates(1000)]
    assert longest != sorted(longest)


def test_a_split_smaller_than_an_update_is_one() -> None:
    (update,) = shuffled_updates(np.random.default_rng(0), LENGTHS[:5], 8, 4)
    assert sorted(update) == [0, 1, 2, 3, 4]
