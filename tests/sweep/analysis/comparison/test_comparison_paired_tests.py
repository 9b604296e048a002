"""Tests of pairs against each other and by enumeration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.analysis.claims.bounded_means import gaffke_interval
from sweep.analysis.claims.paired_shares import share_interval
from sweep.analysis.comparison.paired_tests import difference_interval, mcnemar_p, sign_flip_p


def test_the_interval_of_groups_of_pairs_is_that_of_means() -> None:
    effects = np.array([1.0, 0.0, 0.0, -1.0, 1.0, 1.0])
    assert difference_interval(effects, 1, 0.05) == share_interval(6, 3, 1, 0.05)
    assert difference_interval(effects, 2, 0.05) == gaffke_interval(effects, -1.0, 1.0, 0.05)


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=30))
@settings(max_examples=50, deadline=None)
def test_sign_flips_of_single_trainings_are_mcnemars_test(differences: list[float]) -> None:
    values = np.array(differences)
    assert sign_flip_p(values, 1) == pytest.approx(mcnemar_p(values))


def test_sign_flips_of_averages_by_enumeration() -> None:
    effects = np.array([0.5, 1.0, -0.5, 0.5, 1.0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 5)).reshape(5, -1)
    expected = np.mean(np.abs(np.abs(effects) @ signs) >= abs(effects.sum()) - 1e-9)
    assert sign_flip_p(effects, 2) == pytest.approx(expected)
