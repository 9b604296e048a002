"""Invariances of the features, and what missing points become."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slr_models.data.layout import HOLISTIC, Clip, Layout, PointSet
from slr_models.data.normalize import (
    MAX_ABS,
    VELOCITY_FRAMES,
    feature_groups,
    features,
    select,
    selected_layout,
    to_body_frame,
)

POINT_SETS: tuple[PointSet, ...] = ("hands", "hands_pose", "mediapipe_full")

UPPER_BODY = Layout.of(pose=25, left_hand=21, right_hand=21)


def body_clip(seed: int = 0, num_frames: int = 7) -> Clip:
    """A plausible body: shoulders one unit apart, hands below them."""
    rng = np.random.default_rng(seed)
    points = 0.2 * rng.standard_normal((num_frames, UPPER_BODY.num_points, 3)).astype(np.float32)
    points[:, 11, :2] = [0.5, 0.0]
    points[:, 12, :2] = [-0.5, 0.0]
    return Clip(points, np.ones(points.shape[:2], dtype=bool))


def to_features(clip: Clip, point_set: PointSet, velocity: bool = True) -> np.ndarray:
    body = to_body_frame(clip, UPPER_BODY)
    assert body is not None
    chosen = select(body, UPPER_BODY, point_set)
    return features(chosen, selected_layout(UPPER_BODY, point_set), point_set, velocity)


@pytest.mark.parametrize("point_set", POINT_SETS)
@settings(max_examples=20, deadline=None)
@given(scale=st.floats(0.05, 500), shift=st.tuples(*[st.floats(-100, 100)] * 3))
def test_features_ignore_place_and_size_of_the_body(
    point_set: PointSet, scale: float, shift: tuple[float, float, float]
) -> None:
    clip = body_clip()
    moved = Clip(((clip.points + np.array(shift, dtype=np.float32)) * scale).astype(np.float32), clip.present)
    # float32 points at 100 shoulder widths carry errors of 1e-5, and velocities five times that.
    np.testing.assert_allclose(to_features(moved, point_set), to_features(clip, point_set), atol=3e-3)


def test_a_hand_in_another_place_and_size_keeps_its_shape() -> None:
    clip = body_clip()
    hand = UPPER_BODY.part("right_hand").points
    moved = clip.points.copy()
    wrist = moved[:, hand][:, :1]
    moved[:, hand] = wrist + 1.5 * (moved[:, hand] - wrist) + np.array([0.3, -0.2, 0.0], dtype=np.float32)
    before, after = to_features(clip, "hands", False), to_features(Clip(moved, clip.present), "hands", False)
    np.testing.assert_allclose(after[:, 44:84], before[:, 44:84], atol=1e-4)
    np.testing.assert_allclose(after[:, 84:86] - before[:, 84:86], [[0.3, -0.2]] * len(clip), atol=1e-4)
    np.testing.assert_allclose(after[:, 86] - before[:, 86], np.log(1.5), atol=1e-4)
    np.testing.assert_array_equal(after[:, :44], before[:, :44])


def test_an_absent_hand_is_zero_in_every_feature_and_leaves_no_velocity() -> None:
    clip = body_clip()
    present = clip.present.copy()
    present[3, UPPER_BODY.part("left_hand").points] = False
    points = clip.points.copy()
    points[~present] = np.nan
    block = to_features(Clip(points, present), "hands")
    assert np.isfinite(block).all()
    assert not block[3, :88].any()
    assert block[3, 88:].any()
    # No velocity into or out of the gap; elsewhere there is one.
    assert not block[4, 44:88].any()
    assert block[5, 44:88].any()
    seen = to_features(clip, "hands")
    np.testing.assert_allclose(block[[0, 1, 2, 5, 6]], seen[[0, 1, 2, 5, 6]], atol=1e-5)


@pytest.mark.parametrize("point_set", POINT_SETS)
def test_velocity_is_the_scaled_difference_of_positions(point_set: PointSet) -> None:
    plain = to_features(body_clip(), point_set, velocity=False)
    stacked = to_features(body_clip(), point_set, velocity=True)
    layout = selected_layout(UPPER_BODY, point_set)
    for before, after in zip(
        feature_groups(layout, point_set, False), feature_groups(layout, point_set, True), strict=True
    ):
        size = before.stop - before.start
        assert after.stop - after.start == 2 * size
        position = stacked[:, after.start : after.start + size]
        np.testing.assert_array_equal(position, plain[:, before.start : before.stop])
        speed = stacked[1:, after.start + size : after.stop]
        inside = np.abs(speed) < MAX_ABS
        np.testing.assert_allclose(speed[inside], (np.diff(position, axis=0) * VELOCITY_FRAMES)[inside], atol=1e-3)
        assert not stacked[0, after.start + size : after.stop].any()


def test_feature_counts() -> None:
    def count(point_set: PointSet, velocity: bool) -> int:
        return feature_groups(selected_layout(HOLISTIC, point_set), point_set, velocity)[-1].stop

    assert count("hands", True) == 176
    assert count("hands_pose", False) == 88 + 14
    assert count("mediapipe_full", False) == 1629


def test_outliers_are_cut_off() -> None:
    clip = body_clip()
    points = clip.points.copy()
    points[2, UPPER_BODY.part("right_hand").start + 8] = 1e4
    assert np.abs(to_features(Clip(points, clip.present), "mediapipe_full")).max() == MAX_ABS


def test_without_shoulders_there_is_no_body_frame() -> None:
    clip = body_clip()
    present = clip.present.copy()
    present[:, 12] = False
    assert to_body_frame(Clip(clip.points, present), UPPER_BODY) is None
    together = clip.points.copy()
    together[:, 12] = together[:, 11]
    assert to_body_frame(Clip(together, clip.present), UPPER_BODY) is None


def test_gaps_are_bridged_in_a_straight_line_and_ends_repeat_the_nearest() -> None:
    clip = body_clip()
    hand = UPPER_BODY.part("right_hand").points
    points = clip.points.copy()
    points[:, hand] = np.linspace(0, 0.6, len(clip), dtype=np.float32)[:, None, None]
    present = clip.present.copy()
    present[[0, 3, 4], hand] = False
    points[~present] = 99.0
    body = to_body_frame(Clip(points, present), UPPER_BODY)
    assert body is not None
    np.testing.assert_allclose(body.points[:, 46, 0], [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], atol=1e-6)
