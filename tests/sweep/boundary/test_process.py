"""The process is scikit-learn's, with priors: the same predictions, and no setting of its own is more probable."""

import math
from typing import Any

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweep.boundary.encoding import Floats
from sweep.boundary.process import Process

RNG = np.random.default_rng(3)
FEATURES = RNG.random((40, 3))
FEATURES[7] = FEATURES[3]
TARGETS = np.tanh(4 * (FEATURES[:, 0] + 0.3 * FEATURES[:, 1] - 0.6)) + 0.1 * RNG.standard_normal(40)
ELSEWHERE = RNG.random((60, 3)) * 1.4 - 0.2


def reference(theta: Floats) -> Any:
    """scikit-learn's process of one part, with these logarithms of variance, length scales and noise."""
    kernel = ConstantKernel(math.exp(theta[0])) * Matern(np.exp(theta[1:-1]), nu=2.5)
    kernel += WhiteKernel(math.exp(theta[-1]))
    return GaussianProcessRegressor(kernel, optimizer=None).fit(FEATURES, TARGETS - TARGETS.mean())


def test_it_predicts_as_scikit_learns_does() -> None:
    process = Process(FEATURES, TARGETS)
    mean, std = process.predict(ELSEWHERE)
    theirs = reference(process._theta)
    expected, expected_std = theirs.predict(ELSEWHERE, return_std=True)
    np.testing.assert_allclose(mean, expected + TARGETS.mean(), atol=1e-8)
    np.testing.assert_allclose(np.sqrt(std**2 + process.noise), expected_std, atol=1e-8)
    drawn = process.draws(ELSEWHERE[:5], 20_000, seed=0)
    _, covariance = theirs.predict(ELSEWHERE[:5], return_cov=True)
    latent = covariance - process.noise * np.eye(5)
    np.testing.assert_allclose(drawn.mean(axis=0), mean[:5], atol=0.03)
    np.testing.assert_allclose(np.cov(drawn.T), latent, atol=0.05 * latent.max())


def test_nothing_near_by_is_more_probable() -> None:
    theta = Process(FEATURES, TARGETS)._theta
    variance = float(TARGETS.var())
    middle = np.log([variance, 0.5, 0.5, 0.5, 0.2 * variance])
    spread = np.array([1.0, 0.8, 0.8, 0.8, 0.7])

    def log_probability(place: Floats) -> float:
        prior = -0.5 * float((((place - middle) / spread) ** 2).sum())
        return float(reference(place).log_marginal_likelihood_value_) + prior

    best = log_probability(theta)
    for column in range(len(theta)):
        for step in (-0.05, 0.05):
            assert log_probability(theta + step * np.eye(len(theta))[column]) < best


def test_a_sum_of_parts_is_one_of_all_features_and_one_of_each_part() -> None:
    """What depends on the first feature alone is foretold far from all rows in the others."""
    rows = np.column_stack([RNG.random(30), 0.1 * RNG.random((30, 2))])
    targets = np.sin(6 * rows[:, 0])
    far = np.column_stack([np.linspace(0.1, 0.9, 9), np.full((9, 2), 3.0)])
    alone, parts = Process(rows, targets), Process(rows, targets, parts=[[0]])
    truth = np.sin(6 * far[:, 0])
    assert np.abs(parts.predict(far)[0] - truth).mean() < 0.3 * np.abs(alone.predict(far)[0] - truth).mean()


def test_equal_rows_and_equal_targets_are_no_trouble() -> None:
    process = Process(np.full((12, 2), 0.5), np.full(12, 0.25))
    mean, std = process.predict(np.array([[0.5, 0.5], [0.0, 1.0]]))
    assert mean == pytest.approx(0.25) and np.isfinite(std).all()
    assert np.isfinite(process.left_out()[1]).all()


def test_with_tails_an_outlier_counts_for_less_but_seeds_of_one_setting_for_what_they_are() -> None:
    places = np.linspace(0, 1, 21)[:, None]
    targets = np.where(places[:, 0] > 0.5, 0.4, -0.4)
    targets[3] = 0.4
    plain, robust = Process(places, targets), Process(places, targets, tails=3.0)
    assert robust.predict(places[3:4])[0][0] < plain.predict(places[3:4])[0][0] - 0.02
    again = np.vstack([places, places[3:4]]), np.append(targets, -0.4)
    both, both_plain = Process(*again, tails=3.0), Process(*again)
    assert both._row_noise[3] == both._row_noise[-1] == both.noise
    assert both.predict(places[3:4])[0][0] == pytest.approx(both_plain.predict(places[3:4])[0][0], abs=0.1)


def test_believing_keeps_what_tails_have_found() -> None:
    places = np.linspace(0, 1, 21)[:, None]
    targets = np.where(places[:, 0] > 0.5, 0.4, -0.4)
    targets[3] = 0.4
    robust = Process(places, targets, tails=3.0)
    believed = robust.believing(np.array([[0.77]]))
    at = np.linspace(0, 1, 30)[:, None]
    assert believed.predict(at)[0] == pytest.approx(robust.predict(at)[0], abs=1e-6)
    assert (believed.predict(at)[1] <= robust.predict(at)[1] + 1e-9).all()
