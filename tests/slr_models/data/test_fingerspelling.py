"""Real letter clips: honest splits, determinism, sane features."""

from importlib import util

import numpy as np
import pytest
from pydantic import ValidationError

from slr_models.data import FingerspellingConfig
from slr_models.data.compose import Augmentation
from slr_models.data.feasibility import min_frames
from slr_models.errors import DataError

pytestmark = pytest.mark.skipif(
    util.find_spec("spoken_to_signed") is None or util.find_spec("pose_format") is None,
    reason="the extra 'fingerspelling' (spoken-to-signed, pose-format) is not installed",
)

SMALL = {"num_train": 60, "num_valid": 30}
PLAIN = Augmentation(time_warp=0, scale=0, rotation_deg=0, jitter=0, dropped_frame_rate=0)


def spelled(ids: tuple[str, ...]) -> set[str]:
    return {word for name in ids for word in name.split("-")[2:]}


def test_the_default_is_a_size_that_a_cpu_learns() -> None:
    data = FingerspellingConfig().build()
    assert (len(data.train), len(data.valid), data.num_features, len(data.vocabulary)) == (800, 100, 204, 11)
    assert 70 < data.train.lengths.mean() < 90
    outputs_per_label = np.ceil(data.train.lengths / 4).sum() / len(data.train.labels)
    assert 3.5 < outputs_per_label < 5
    for split in (data.train, data.valid):
        assert np.isfinite(split.features).all()
        assert np.abs(split.features).max() <= 5
        assert (np.abs(split.features) == 5).mean() < 1e-4
        for i in range(len(split)):
            assert split.lengths[i] >= min_frames(split.target(i).tolist(), 4)


@pytest.mark.parametrize("max_words", [1, 3])
@pytest.mark.parametrize("spelling", ["english", "random"])
def test_no_validation_spelling_is_trained(max_words: int, spelling: str) -> None:
    data = FingerspellingConfig.model_validate({**SMALL, "max_words": max_words, "spelling": spelling}).build()
    trained, tested = spelled(data.train.ids), spelled(data.valid.ids)
    assert trained and tested and not trained & tested
    targets = {tuple(data.train.target(i)) for i in range(len(data.train))}
    assert not targets & {tuple(data.valid.target(i)) for i in range(len(data.valid))}
    assert "not new signers" in data.facts.valid_measures


def test_labels_spell_the_words_of_the_ids() -> None:
    data = FingerspellingConfig(**SMALL, max_words=2).build()
    for i, name in enumerate(data.train.ids):
        letters = "".join(data.vocabulary[label] for label in data.train.target(i))
        assert letters == "".join(name.split("-")[2:])


def test_same_configuration_same_data_other_seed_other_data() -> None:
    first, again, other = (FingerspellingConfig(**SMALL, seed=seed).build() for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train.features, again.train.features)
    np.testing.assert_array_equal(first.valid.labels, again.valid.labels)
    assert first.train.ids == again.train.ids != other.train.ids


def test_clip_borders_do_not_jump() -> None:
    """No frame-to-frame step of the wrist is larger than what the recordings themselves do."""
    config = FingerspellingConfig(**SMALL, velocity=False, augmentation=PLAIN)
    data = config.build()
    right = next(group for group in data.groups if group.name == "right_hand")
    wrist = slice(right.stop - 4, right.stop - 2)
    steps = [np.abs(np.diff(data.train.utterance(i)[:, wrist], axis=0)).max() for i in range(len(data.train))]
    assert max(steps) < 0.35
    assert np.median(steps) < 0.2


def test_phrases_hold_longer_gaps_between_words() -> None:
    config = FingerspellingConfig(
        num_train=20, num_valid=5, max_words=3, min_letters=3, max_letters=3, augmentation=PLAIN
    )
    data = config.build()
    words = [len(name.split("-")) - 2 for name in data.train.ids]
    assert set(words) == {1, 2, 3}
    for count, frames in zip(words, data.train.lengths, strict=True):
        assert frames == count * (3 * 14 + 2 * 4) + (count - 1) * 8


def test_other_languages_can_be_the_validation_split() -> None:
    data = FingerspellingConfig(**SMALL, valid_languages=("fsl", "psr")).build()
    assert set(data.train.signers) == {"ase"}
    assert data.valid.signers[:3] == ("fsl", "psr", "fsl")
    assert not spelled(data.train.ids) & spelled(data.valid.ids)
    assert "fsl, psr" in data.facts.valid_measures and "other sign languages" in data.facts.valid_measures


def test_explicit_letters_and_own_speed() -> None:
    data = FingerspellingConfig(
        **SMALL, letters=("S", "T", "O", "E", "N", "J"), frames_per_letter=None, signed_language="bzs"
    ).build()
    assert data.vocabulary == ("<blank>", "S", "T", "O", "E", "N", "J")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"signed_language": "xx"}, "'xx'; choose one of ase, asq"),
        ({"letters": ("A", "B", "!")}, r"letters \['!'\] in sign language ase; choose from A B C"),
        ({"signed_language": "gss"}, "set spelling: random"),
        ({"alphabet_size": 27}, "only 26 usable letters"),
        ({"letters": ("Q", "Z", "X")}, "Only 0 words .* needs at least 10"),
        ({"letters": ("Q", "Z"), "spelling": "random", "max_letters": 3}, "Only 8 words"),
    ],
)
def test_impossible_requests_are_explained(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        FingerspellingConfig.model_validate({**SMALL, **wrong}).build()


def test_contradictions_are_rejected_at_load() -> None:
    with pytest.raises(ValidationError, match="must not exceed"):
        FingerspellingConfig(min_letters=7, max_letters=3)
    with pytest.raises(ValidationError, match="either letters or alphabet_size"):
        FingerspellingConfig(letters=("A", "B"), alphabet_size=2)
    with pytest.raises(ValidationError, match="must differ"):
        FingerspellingConfig(letters=("A", "A"))
    # A recipe states all settings, the defaults too.
    config = FingerspellingConfig(letters=("A", "B"))
    assert FingerspellingConfig.model_validate(config.model_dump()) == config


def test_greek_letters_are_spelled_at_random() -> None:
    data = FingerspellingConfig(**SMALL, signed_language="gss", spelling="random", alphabet_size=6).build()
    assert len(data.vocabulary) == 7
    assert np.isfinite(data.train.features).all()
