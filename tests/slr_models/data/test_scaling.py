"""Standardization and velocities with missing values, against NumPy's own statistics."""

import numpy as np

from slr_models.data.scaling import column_statistics, stack_velocity


def test_merged_statistics_equal_those_of_all_frames() -> None:
    rng = np.random.default_rng(0)
    # A far mean and unequal lengths: summing raw squares in float32 would lose the deviation.
    blocks = [(1000 + rng.standard_normal((t, 3)) + shift).astype(np.float32) for t, shift in ((5, 0), (40, 3), (1, 9))]
    blocks[1][rng.random((40, 3)) < 0.3] = np.nan
    blocks[0][:, 2] = np.nan
    everything = np.concatenate(blocks).astype(np.float64)
    statistics = column_statistics(blocks)
    np.testing.assert_allclose(statistics.mean, np.nanmean(everything, axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics.deviation, np.nanstd(everything, axis=0), rtol=1e-6)
    assert np.isnan(statistics.standardize(blocks[0])[:, 2]).all()


def test_a_column_without_any_value_or_variation_is_left_in_place() -> None:
    block = np.array([[np.nan, 2.0], [np.nan, 2.0]], dtype=np.float32)
    statistics = column_statistics([block])
    np.testing.assert_array_equal(statistics.mean, [0.0, 2.0])
    np.testing.assert_array_equal(statistics.deviation, [1.0, 1.0])


def test_velocities_stand_behind_their_group_and_miss_what_is_missing() -> None:
    block = np.array([[1, 10], [3, np.nan], [6, 30]], dtype=np.float32)
    stacked = stack_velocity(block, [1, 1])
    np.testing.assert_array_equal(
        stacked, np.array([[1, 0, 10, 0], [3, 2, np.nan, np.nan], [6, 3, 30, np.nan]], dtype=np.float32)
    )
