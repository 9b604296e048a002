"""A Gaussian process regression (scikit-learn's) with priors on its length scales, amplitude and noise."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Kernel, Matern, WhiteKernel

from sweep.boundary.encoding import Floats
from sweep.boundary.kernels import OnColumns
from sweep.boundary.threads import one_thread

_LENGTH = 0.5
"""Prior median of length scales, in units of a feature's range."""
_LENGTH_SPREAD = 0.8
"""Prior spread of length scales, in nats."""
_AMPLITUDE_SPREAD = 1.0
"""Prior spread of variances, in nats."""
_VARIANCES, _LENGTHS = (1e-6, 1e3), (0.02, 50.0)
"""Bounds."""


class Process:
    """A fitted process: rows of features [N, F] -> targets [N]."""

    def __init__(
        self,
        features: Floats,
        targets: Floats,
        *,
        lengths: Floats | None = None,
        parts: Sequence[Sequence[int]] = (),
        noise: float = 0.2,
        noise_spread: float = 0.7,
        fitted: "Process | None" = None,
    ) -> None:
        """Fits N rows.

        Length scales, amplitude and noise are the most probable ones: maximum likelihood alone overfits the dozen
        rows that a design begins with.

        Args:
            features: [N, F].
            targets: [N].
            lengths: prior median of the length scale of each feature, [F], in units of its range; None: _LENGTH each.
            parts: columns of features. The function is a sum of one of all features and one of each of these.
            noise: prior median of the noise variance, as a share of the targets' variance. With less, length scales
                are found under which the rows explain each other, and others do not follow (docs/LOG.md).
            noise_spread: prior spread of it, in nats.
            fitted: a process whose length scales, amplitude and noise to take.
        """
        self.features = features
        self.targets = targets
        self._offset: float = float(targets.mean()) if fitted is None else fitted._offset
        centred = targets - self._offset
        if fitted is None:
            self._process = _most_probable(features, centred, lengths, parts, noise, noise_spread)
        else:
            self._process = GaussianProcessRegressor(kernel=fitted._process.kernel_, optimizer=None)
            with one_thread():
                self._process.fit(features, centred)
        self.noise = float(self._process.kernel_.k2.noise_level)
        """Variance of one row about the noise-free value."""

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noise-free value, [M] each, for features [M, F]."""
        with one_thread():
            mean, std = self._process.predict(features, return_std=True)
        # The process counts the noise of one row as part of its own spread.
        return mean + self._offset, np.sqrt(np.maximum(std**2 - self.noise, 1e-12))

    def draws(self, features: Floats, num: int, seed: int) -> Floats:
        """Noise-free functions drawn from the process, at M rows of features [M, F]: [num, M]."""
        with one_thread():
            mean, covariance = self._process.predict(features, return_cov=True)
            covariance = covariance - self.noise * np.eye(len(features))
            # As numpy draws, but for a matrix that rounding has left with negative eigenvalues.
            values, vectors = np.linalg.eigh(covariance)
            normal = np.random.default_rng(seed).standard_normal((num, len(features)))
            drawn: Floats = mean + self._offset + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return drawn

    def believing(self, features: Floats) -> "Process":
        """The process as if these rows [M, F] had come out at their mean: only its uncertainty changes.

        So that a design which runs several trainings at once does not propose the same place twice.
        """
        if not len(features):
            return self
        mean, _ = self.predict(features)
        rows = np.concatenate([self.features, features])
        return Process(rows, np.concatenate([self.targets, mean]), fitted=self)

    @one_thread()
    def left_out(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation (noise included) of each row, predicted from those with other features, [N] each.

        Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), section 5.4.2, in blocks.
        """
        factor = (self._process.L_, True)
        weights: Floats = cho_solve(factor, self.targets - self._offset)
        inverse: Floats = cho_solve(factor, np.eye(len(self.targets)))
        mean, variance = np.empty(len(self.targets)), np.empty(len(self.targets))
        _, group = np.unique(self.features, axis=0, return_inverse=True)
        for key in np.unique(group):
            rows = np.flatnonzero(group == key)
            covariance: Floats = cho_solve(cho_factor(inverse[np.ix_(rows, rows)], lower=True), np.eye(len(rows)))
            mean[rows] = self.targets[rows] - covariance @ weights[rows]
            variance[rows] = np.diag(covariance)
        return mean, np.sqrt(np.maximum(variance, 1e-12))


def _most_probable(
    features: Floats,
    targets: Floats,
    lengths: Floats | None,
    parts: Sequence[Sequence[int]],
    noise: float,
    noise_spread: float,
) -> GaussianProcessRegressor:
    num_features = features.shape[1]
    variance = max(float(targets.var()), 1e-4)
    scales = np.full(num_features, _LENGTH) if lengths is None else lengths
    share = variance / (1 + len(parts))
    kernel: Kernel = ConstantKernel(share, _VARIANCES) * Matern(scales, _LENGTHS, nu=2.5)
    middles, spreads = [share, *scales], [_AMPLITUDE_SPREAD, *[_LENGTH_SPREAD] * num_features]
    for columns in parts:
        own = scales[list(columns)]
        kernel += OnColumns(ConstantKernel(share, _VARIANCES) * Matern(own, _LENGTHS, nu=2.5), columns)
        middles += [share, *own]
        spreads += [_AMPLITUDE_SPREAD, *[_LENGTH_SPREAD] * len(own)]
    kernel += WhiteKernel(noise * variance, (1e-6, 10.0))
    middle, spread = np.log([*middles, noise * variance]), np.array([*spreads, noise_spread])

    def optimize(
        negative_likelihood: Callable[[Floats], tuple[float, Floats]], start: Floats, bounds: Floats
    ) -> tuple[Floats, float]:
        def loss(theta: Floats) -> tuple[float, Floats]:
            value, gradient = negative_likelihood(theta)
            off = (theta - middle) / spread
            return float(value + 0.5 * (off**2).sum()), gradient + off / spread

        found: Any = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds.tolist())
        return found.x, float(found.fun)

    process = GaussianProcessRegressor(kernel=kernel, optimizer=optimize)
    with warnings.catch_warnings(), one_thread():
        # A length scale at its bound means only that a dimension does not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(features, targets)
    return process
