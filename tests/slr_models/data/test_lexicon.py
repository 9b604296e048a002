"""The clip index, .pose reading, and cutting the way to rest."""

import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from slr_models.data.layout import HOLISTIC, Clip
from slr_models.data.lexicon import find_lexicon, read_index, read_letter, read_pose, trim_rest
from slr_models.errors import DataError

needs_clips = pytest.mark.skipif(
    util.find_spec("spoken_to_signed") is None or util.find_spec("pose_format") is None,
    reason="the extra 'fingerspelling' (spoken-to-signed, pose-format) is not installed",
)


def wrist_clip(heights: list[float]) -> Clip:
    points = np.zeros((len(heights), HOLISTIC.num_points, 3), dtype=np.float32)
    present = np.zeros(points.shape[:2], dtype=bool)
    hand = HOLISTIC.part("right_hand")
    points[:, hand.start, 1] = heights
    present[:, hand.points] = True
    return Clip(points, present)


def test_without_the_package_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "spoken_to_signed", raising=False)
    with pytest.raises(DataError, match=r"pip install 'slr-stability-sweep\[fingerspelling\]'"):
        find_lexicon()


def test_the_hands_way_from_and_to_rest_is_cut() -> None:
    trimmed = trim_rest(wrist_clip([0.9, 0.5, 0.1, 0.0, 0.0, 0.0, 0.05, 0.0, 0.6]))
    np.testing.assert_allclose(trimmed.points[:, HOLISTIC.part("right_hand").start, 1], [0.1, 0.0, 0.0, 0.0, 0.05, 0.0])


def test_a_letter_that_moves_keeps_at_least_half_of_its_frames() -> None:
    moving = wrist_clip([1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert 2 * len(trim_rest(moving)) >= len(moving)
    still = wrist_clip([0.2] * 5)
    assert len(trim_rest(still)) == 5


@needs_clips
def test_every_latin_letter_of_every_language_can_be_read() -> None:
    lexicon = find_lexicon()
    assert len(lexicon.clips) >= 19
    for language in ("ase", "gsg", "ise"):
        for letter in "AJZ":
            clip = read_letter(lexicon, language, letter)
            assert 5 <= len(clip) <= 60
            hands = [clip.present[:, HOLISTIC.part(name).start] for name in ("left_hand", "right_hand")]
            assert np.any(hands, axis=0).all()
            shoulders = clip.points[:, [11, 12], 0]
            np.testing.assert_allclose(np.abs(np.diff(shoulders, axis=1)), 1.0, atol=0.1)


@needs_clips
def test_reading_does_not_import_the_package() -> None:
    find_lexicon()
    assert "spoken_to_signed" not in sys.modules


@needs_clips
def test_a_broken_clip_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "a.pose"
    broken.write_bytes(b"\x00\x01\x02")
    with pytest.raises(DataError, match=r"a\.pose cannot be read"):
        read_pose(broken)
    with pytest.raises(DataError, match=r"none\.pose is missing"):
        read_pose(tmp_path / "none.pose")


def test_a_wrong_index_is_named(tmp_path: Path) -> None:
    index = tmp_path / "index.csv"
    with pytest.raises(DataError, match=r"spoken-to-signed 0\.4 holds no index\.csv"):
        read_index(index, "0.4")
    index.write_text("path,words\na.pose,A\n")
    with pytest.raises(DataError, match="lacks a column of path, signed_language, words"):
        read_index(index, "0.4")
