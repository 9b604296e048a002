"""Bounds of group-sequential looks against published ones."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from sweep.analysis.claims.sequential import levels_at, look, look_blocks, nominal_levels


@pytest.mark.parametrize(
    ("looks", "bounds"),
    [
        (1, [1.960]),
        (2, [2.963, 1.969]),
        (3, [3.710, 2.511, 1.993]),
        (4, [4.333, 2.963, 2.359, 2.014]),
        (5, [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_bounds_are_those_of_lan_and_demets(looks: int, bounds: list[float]) -> None:
    found = [float(norm.isf(level / 2)) for level in nominal_levels(looks, 0.05)]
    assert found == pytest.approx(bounds, abs=6e-4)


def test_unevenly_spaced_looks_spend_what_they_may() -> None:
    fractions, alpha = (0.3, 0.4, 1.0), 0.1
    bounds = [float(norm.isf(level / 2)) for level in levels_at(fractions, alpha)]
    times = np.array(fractions)
    correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    within = multivariate_normal.cdf(
        bounds, cov=correlation, lower_limit=[-b for b in bounds], maxpts=200_000, abseps=1e-6
    )
    assert 1 - within == pytest.approx(alpha, abs=5e-4)


def test_looks_reject_no_more_than_alpha_together() -> None:
    rng = np.random.default_rng(0)
    levels = np.array(nominal_levels(8, 0.2))
    walks = rng.standard_normal((20_000, 8)).cumsum(axis=1) / np.sqrt(np.arange(1, 9))
    rejected = (np.abs(walks) > norm.isf(levels / 2)).any(axis=1).mean()
    assert rejected == pytest.approx(0.2, abs=0.009)  # three standard errors


def test_looks_are_evenly_spaced_and_end_at_the_end() -> None:
    assert look_blocks(24, 4) == (6, 12, 18, 24)
    assert look_blocks(10, 4) == (3, 5, 8, 10)
    assert look_blocks(2, 4) == (1, 2)


def test_the_last_look_reached() -> None:
    assert [look(num, 24, 4) for num in (0, 5, 6, 17, 18, 24)] == [None, None, 0, 1, 2, 3]


@pytest.mark.parametrize(("fractions", "alpha"), [((0.5, 0.5), 0.05), ((0.5, 1.2), 0.05), ((1.0,), 0.0)])
def test_nonsense_is_refused(fractions: tuple[float, ...], alpha: float) -> None:
    with pytest.raises(ValueError, match="must"):
        levels_at(fractions, alpha)
