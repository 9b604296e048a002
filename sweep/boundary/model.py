"""How far a setting is from instability, and how likely it is to train stably, learned from finished trainings.

A Gaussian process (scikit-learn's) on the margin of trainings, `sweep.objective.margin`: negative = stable. What it
learns is two-sided by nature: too hot diverges, too cold stalls, and both have a positive margin.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweep.boundary.encoding import Encoding, Floats
from sweep.space import Scalar, Space

MIN_ROWS = 4
"""Fewer trainings say nothing about a boundary."""

_LENGTH, _LENGTH_SPREAD = 0.5, 0.8
"""Prior of length scales, log-normal: median, in units of a dimension's range, and spread in nats."""
_NOISE, _NOISE_SPREAD = 0.05, 1.0
"""Prior of the noise variance as a share of the targets' variance."""
_AMPLITUDE_SPREAD = 1.0
_CALIBRATION_SPREAD = 0.5
"""Prior spread of both calibration numbers about no change."""


class MarginModel:
    """The fitted model. Two settings with equal features are the same setting under other seeds."""

    def __init__(
        self,
        encoding: Encoding,
        settings: Sequence[Mapping[str, Scalar | None]],
        margins: Sequence[float],
    ) -> None:
        """Fits N trainings.

        Args:
            encoding: of the space.
            settings: of each training.
            margins: in [-1, 1], finite; negative = stable.

        Raises:
            ValueError: fewer than MIN_ROWS trainings.
        """
        if len(settings) < MIN_ROWS:
            raise ValueError(f"a margin model needs at least {MIN_ROWS} trainings, got {len(settings)}")
        self.encoding = encoding
        self._features = encoding.encode(settings)
        margin = np.asarray(margins, dtype=float)
        self._stable = margin < 0
        targets = _spread(margin)
        self._offset = float(targets.mean())
        self._process = _fit(self._features, targets - self._offset)
        self._noise = float(self._process.kernel_.k2.noise_level)
        self._shift, self._slope = self._calibrate(targets - self._offset)

    @classmethod
    def fit(
        cls, space: Space, settings: Sequence[Mapping[str, Scalar | None]], margins: Sequence[float]
    ) -> "MarginModel":
        """As the constructor, for a space."""
        return cls(Encoding(space), settings, margins)

    def predict(self, settings: Sequence[Mapping[str, Scalar | None]]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noise-free margin of M settings, on the model's own scale, [M] each.

        The scale keeps the sign: negative = stable.
        """
        return self.predict_features(self.encoding.encode(settings))

    def predict_features(self, features: Floats) -> tuple[Floats, Floats]:
        """As `predict`, for features [M, F]."""
        mean, std = self._process.predict(features, return_std=True)
        # The process counts the noise of one training as part of its own spread.
        return mean + self._offset, np.sqrt(np.maximum(std**2 - self._noise, 1e-12))

    def p_stable(self, settings: Sequence[Mapping[str, Scalar | None]]) -> Floats:
        """Calibrated probability that a training of each setting with a fresh seed is stable, [M]."""
        return self.p_stable_features(self.encoding.encode(settings))

    def p_stable_features(self, features: Floats) -> Floats:
        """As `p_stable`, for features [M, F]."""
        mean, std = self.predict_features(features)
        return self._probability(-mean / np.sqrt(std**2 + self._noise))

    def believing(self, settings: Sequence[Mapping[str, Scalar | None]]) -> "Callable[[Floats], tuple[Floats, Floats]]":
        """`predict_features` as if these settings had been trained and come out at their mean.

        So that a design which runs several trainings at once does not propose the same place twice.
        """
        if not settings:
            return self.predict_features
        pending = self.encoding.encode(settings)
        process = GaussianProcessRegressor(kernel=self._process.kernel_, optimizer=None)
        targets = np.concatenate([self._process.y_train_, self._process.predict(pending)])
        process.fit(np.concatenate([self._features, pending]), targets)

        def predict(features: Floats) -> tuple[Floats, Floats]:
            mean, std = process.predict(features, return_std=True)
            return mean + self._offset, np.sqrt(np.maximum(std**2 - self._noise, 1e-12))

        return predict

    def left_out(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Calibrated P(stable) of each training, predicted from all other *settings*, and what came of it, [N] each."""
        return self._probability(self._left_out_scores(self._process.y_train_)), self._stable

    def _probability(self, scores: Floats) -> Floats:
        return np.asarray(norm.cdf(self._shift + self._slope * scores), dtype=float)

    def _left_out_scores(self, targets: Floats) -> Floats:
        """Standardized distance on the stable side, each setting predicted from the others (all its seeds left out).

        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), section 5.4.2, in blocks.
        """
        factor = self._process.L_
        inverse = np.linalg.inv(factor @ factor.T)
        weights = inverse @ targets
        scores = np.empty(len(targets))
        _, group = np.unique(self._features, axis=0, return_inverse=True)
        for key in np.unique(group):
            rows = np.flatnonzero(group == key)
            covariance = np.linalg.inv(inverse[np.ix_(rows, rows)])
            mean = targets[rows] - covariance @ weights[rows] + self._offset
            scores[rows] = -mean / np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        return scores

    def _calibrate(self, targets: Floats) -> tuple[float, float]:
        """Shift and slope of the scores under which the left-out settings are most likely (Platt, in probits)."""
        scores, stable = self._left_out_scores(targets), self._stable
        if stable.all() or not stable.any():
            return 0.0, 1.0

        def loss(parameters: Floats) -> float:
            shift, log_slope = parameters
            signed = np.where(stable, 1.0, -1.0) * (shift + math.exp(log_slope) * scores)
            prior = (shift**2 + log_slope**2) / (2 * _CALIBRATION_SPREAD**2)
            return float(-norm.logcdf(signed).sum() + prior)

        found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-2, 2), (-2, 2)])
        return float(found.x[0]), math.exp(found.x[1])


def _spread(margin: Floats) -> Floats:
    """Margins on the model's scale: roots, which keep the sign and pull apart what lies close to the boundary."""
    return np.sign(margin) * np.sqrt(np.abs(margin))


def _fit(features: Floats, targets: Floats) -> GaussianProcessRegressor:
    """The process with the most probable length scales, amplitude and noise, given log-normal priors.

    Maximum likelihood alone overfits the dozen trainings that a design begins with.
    """
    num_features = features.shape[1]
    variance = max(float(targets.var()), 1e-4)
    middle = np.log([variance, *[_LENGTH] * num_features, _NOISE * variance])
    spread = np.array([_AMPLITUDE_SPREAD, *[_LENGTH_SPREAD] * num_features, _NOISE_SPREAD])
    kernel = ConstantKernel(variance, (1e-6, 1e3)) * Matern(
        [_LENGTH] * num_features, (0.02, 50.0), nu=2.5
    ) + WhiteKernel(_NOISE * variance, (1e-6, 10.0))

    def most_probable(
        negative_likelihood: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: Floats
    ) -> tuple[Floats, float]:
        def loss(theta: Floats) -> tuple[float, Floats]:
            value, gradient = negative_likelihood(theta)
            off = (theta - middle) / spread
            return float(value + 0.5 * (off**2).sum()), gradient + off / spread

        found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds.tolist())
        return found.x, float(found.fun)

    process = GaussianProcessRegressor(kernel=kernel, optimizer=most_probable)
    with warnings.catch_warnings():
        # A length scale at its bound means only that a dimension does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(features, targets)
    return process
