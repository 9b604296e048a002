"""Joining clips, and what augmentation may and may not do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from slr_models.data.compose import Augmentation, Rendering, Script, join, perform, render, resample
from slr_models.data.feasibility import min_frames
from slr_models.data.layout import Clip, Layout

LAYOUT = Layout.of(left_hand=21, right_hand=21)
NONE = Augmentation(time_warp=0, scale=0, rotation_deg=0, jitter=0, dropped_frame_rate=0)


def constant_clip(value: float, num_frames: int = 6) -> Clip:
    points = np.full((num_frames, 42, 2), value, dtype=np.float32) + np.linspace(0, 0.3, 42, dtype=np.float32)[:, None]
    return Clip(points, np.ones((num_frames, 42), dtype=bool))


def rendering(augmentation: Augmentation, frames_per_clip: int | None = None) -> Rendering:
    return Rendering(LAYOUT, "hands", True, frames_per_clip, 4, augmentation)


def script(values: list[float], transition: int = 3, labels: tuple[int, ...] | None = None) -> Script:
    clips = tuple(constant_clip(value) for value in values)
    return Script(clips, (transition,) * (len(clips) - 1), labels or (1,) * len(clips), "x", "s")


def test_join_moves_monotonically_between_clips_and_keeps_them() -> None:
    first, second = constant_clip(0.0), constant_clip(1.0)
    joined = join([first, second], [4])
    assert len(joined) == 16
    np.testing.assert_array_equal(joined.points[:6], first.points)
    np.testing.assert_array_equal(joined.points[10:], second.points)
    path = joined.points[5:11, 0, 0]
    assert (np.diff(path) > 0).all()
    assert np.diff(path).max() < 0.4


def test_a_transition_is_present_only_where_both_sides_are() -> None:
    first, second = constant_clip(0.0), constant_clip(1.0)
    present = second.present.copy()
    present[0, :21] = False
    joined = join([first, Clip(second.points, present)], [2])
    assert not joined.present[6:8, :21].any()
    assert joined.present[6:8, 21:].all()


@given(num_frames=st.integers(2, 40), target=st.integers(2, 60))
def test_resampling_keeps_a_straight_line_straight(num_frames: int, target: int) -> None:
    points = np.linspace(0, 1, num_frames, dtype=np.float32)[:, None, None]
    moved = resample(Clip(points, np.ones((num_frames, 1), dtype=bool)), target)
    np.testing.assert_allclose(moved.points[:, 0, 0], np.linspace(0, 1, target), atol=1e-5)
    assert moved.present.shape == (target, 1)


def test_without_augmentation_a_performance_is_the_joined_clips() -> None:
    made = script([0.0, 1.0])
    performed = perform(made, rendering(NONE), np.random.default_rng(0))
    np.testing.assert_array_equal(performed.points, join(made.clips, made.transitions).points)


def test_each_augmentation_has_its_own_effect() -> None:
    made = script([0.0, 1.0, 0.5] * 20)
    plain = perform(made, rendering(NONE), np.random.default_rng(0))

    def varied(**strength: float) -> Clip:
        return perform(made, rendering(NONE.model_copy(update=strength)), np.random.default_rng(0))

    scaled = varied(scale=0.5).points
    factor = scaled.sum() / plain.points.sum()
    np.testing.assert_allclose(scaled, factor * plain.points, rtol=1e-4)
    assert 0.5 <= factor <= 1.5 and abs(factor - 1) > 0.01
    turned = varied(rotation_deg=30).points
    np.testing.assert_allclose(np.linalg.norm(turned, axis=2), np.linalg.norm(plain.points, axis=2), atol=1e-5)
    assert np.abs(turned - plain.points).max() > 0.01
    assert np.std(varied(jitter=0.02).points - plain.points) == pytest.approx(0.02, rel=0.05)
    assert 0.75 < len(varied(dropped_frame_rate=0.1)) / len(plain) < 0.98
    assert len(varied(time_warp=0.5)) != len(plain)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(1, 2), min_size=1, max_size=9),
    transition=st.integers(0, 2),
    frames=st.integers(2, 5),
    dropped=st.floats(0, 0.9),
)
def test_every_rendered_target_is_feasible(labels: list[int], transition: int, frames: int, dropped: float) -> None:
    made = script([float(label) for label in labels], transition, tuple(labels))
    split, stretched = render([made], rendering(Augmentation(dropped_frame_rate=dropped), frames), 0, 0)
    assert split.lengths[0] >= min_frames(labels, 4)
    assert stretched in (0, 1)
    assert np.isfinite(split.features).all()


def test_stretched_utterances_are_counted_exactly() -> None:
    tight, roomy = script([0.0] * 8, 0), script([0.0])
    split, stretched = render([tight, roomy, tight], rendering(NONE, 2), 0, 0)
    assert stretched == 2
    assert split.lengths.tolist() == [min_frames([1] * 8, 4), 2, min_frames([1] * 8, 4)]


def test_utterances_have_their_own_random_streams() -> None:
    scripts = [script([0.0, 1.0]), script([1.0, 0.0]), script([0.5])]
    both, _ = render(scripts, rendering(Augmentation()), 3, 0)
    shorter, _ = render(scripts[:2], rendering(Augmentation()), 3, 0)
    other, _ = render(scripts, rendering(Augmentation()), 3, 1)
    np.testing.assert_array_equal(both.utterance(1), shorter.utterance(1))
    assert both.features.shape != other.features.shape or not np.array_equal(both.features, other.features)


@pytest.mark.parametrize("wrong", [{"scale": -0.1}, {"dropped_frame_rate": 1.0}, {"jitter": float("nan")}])
def test_impossible_strengths_are_rejected(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Augmentation(**wrong)
