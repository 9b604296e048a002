"""A Gaussian process regression with priors on its length scales, amplitudes and noise.

scikit-learn does the same; the tests compare the two, and `benchmarks.speed.suggestion` says how much longer it takes.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from sweep.boundary.encoding import Floats
from sweep.boundary.threads import one_thread

_LENGTH = 0.5
"""Prior median of length scales, in units of a feature's range."""
_LENGTH_SPREAD = 0.8
"""Prior spread of length scales, in nats."""
_AMPLITUDE_SPREAD = 1.0
"""Prior spread of variances, in nats."""
_VARIANCES, _LENGTHS, _NOISES = (1e-6, 1e3), (0.02, 50.0), (1e-6, 10.0)
"""Bounds."""
_ROUNDS = 2
"""In which it is told anew how far each row lies from what the others say."""
_JITTER = 1e-10
"""Added to the variance of each row, so that equal rows do not make the covariance singular."""


class Process:
    """A fitted process: rows of features [N, F] -> targets [N].

    The function is a sum of parts, each with a Matern kernel (nu = 5/2), a variance, and a length scale for each of
    the features that it depends on (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006).
    """

    def __init__(
        self,
        features: Floats,
        targets: Floats,
        *,
        lengths: Floats | None = None,
        parts: Sequence[Sequence[int]] = (),
        noise: float = 0.2,
        noise_spread: float = 0.7,
        tails: float | None = None,
        row_noise: Floats | None = None,
        fitted: "Process | None" = None,
    ) -> None:
        """Fits N rows.

        Length scales, amplitudes and noise are the most probable ones: maximum likelihood alone overfits the dozen
        rows that a design begins with.

        Args:
            features: [N, F].
            targets: [N].
            lengths: prior median of the length scale of each feature, [F], in units of its range; None: _LENGTH each.
            parts: columns of features. The function is a sum of one of all features and one of each of these.
            noise: prior median of the noise variance, as a share of the targets' variance. With less, length scales
                are found under which the rows explain each other, and others do not follow (docs/LOG.md).
            noise_spread: prior spread of it, in nats.
            tails: degrees of freedom of Student's t, which noise is then taken to follow rather than the normal
                distribution: a row that all others speak against counts for less. Length scales, amplitudes and noise
                are those of normal noise.
            row_noise: noise variance of each row, [N], where it is known; None: the same of all, but for `tails`.
            fitted: a process whose length scales, amplitudes and noise to take; its mean, too.
        """
        self.features = features
        self.targets = targets
        if fitted is None:
            self._offset: float = float(targets.mean())
            self._parts = [np.arange(features.shape[1]), *(np.array(columns, dtype=int) for columns in parts)]
            self._theta = self._most_probable(lengths, noise, noise_spread)
        else:
            self._offset, self._parts, self._theta = fitted._offset, fitted._parts, fitted._theta
        self.noise = math.exp(self._theta[-1])
        """Variance of one row about the noise-free value."""
        covariance = self._covariance(features, features)
        self._condition(covariance, np.full(len(targets), self.noise) if row_noise is None else row_noise)
        if tails is not None:
            _, group, sizes = np.unique(features, axis=0, return_inverse=True, return_counts=True)
            for _ in range(_ROUNDS):
                mean, std = self.left_out()
                # Rows of equal features speak for each other: where they disagree, that is no outlier but how it is.
                far = np.where(sizes[group] > 1, 0.0, ((targets - mean) / std) ** 2)
                self._condition(covariance, self.noise * np.maximum((tails + far) / (tails + 1), 1.0))

    @one_thread()
    def _condition(self, covariance: Floats, row_noise: Floats) -> None:
        """Takes what the rows tell: the covariance of their noise-free values, [N, N], and the noise of each, [N]."""
        self._row_noise = row_noise
        covariance = covariance.copy()
        covariance[np.diag_indices_from(covariance)] += row_noise + _JITTER
        self._factor: Floats = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)[0]
        self._weights: Floats = cho_solve((self._factor, True), self.targets - self._offset, check_finite=False)

    @one_thread()
    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noise-free value, [M] each, for features [M, F]."""
        shared = self._covariance(self.features, features)
        mean = self._weights @ shared + self._offset
        explained = self._whitened(shared)
        variance = self._variance - np.einsum("nm,nm->m", explained, explained)
        return mean, np.sqrt(np.maximum(variance, 1e-12))

    @one_thread()
    def falls(self, features: Floats, points: Floats) -> Floats:
        """How much of the variance of the noise-free value at each of P points [P, F] one more row would take away, at
        each of M places [M, F]: [M, P]."""
        here = self._whitened(self._covariance(self.features, features))
        there = self._whitened(self._covariance(self.features, points))
        shared = self._covariance(features, points) - here.T @ there
        variance = self._variance - np.einsum("nm,nm->m", here, here)
        falls: Floats = shared**2 / (np.maximum(variance, 1e-12) + self.noise)[:, None]
        return falls

    def _whitened(self, shared: Floats) -> Floats:
        """The covariance of the rows with M places, [N, M], as if the rows were independent; it is overwritten."""
        whitened: Floats = solve_triangular(self._factor, shared, lower=True, overwrite_b=True, check_finite=False)
        return whitened

    @one_thread()
    def draws(self, features: Floats, num: int, seed: int) -> Floats:
        """Noise-free functions drawn from the process, at M rows of features [M, F]: [num, M]."""
        shared = self._covariance(self.features, features)
        mean = self._weights @ shared + self._offset
        explained = self._whitened(shared)
        covariance = self._covariance(features, features) - explained.T @ explained
        # As numpy draws, but for a matrix that rounding has left with negative eigenvalues.
        values, vectors = np.linalg.eigh(covariance)
        normal = np.random.default_rng(seed).standard_normal((num, len(features)))
        drawn: Floats = mean + (normal * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        return drawn

    def believing(self, features: Floats) -> "Process":
        """The process as if these rows [M, F] had come out at their mean: only its uncertainty changes.

        So that a design which runs several trainings at once does not propose the same place twice.
        """
        if not len(features):
            return self
        mean, _ = self.predict(features)
        rows = np.concatenate([self.features, features])
        noise = np.concatenate([self._row_noise, np.full(len(features), self.noise)])
        return Process(rows, np.concatenate([self.targets, mean]), row_noise=noise, fitted=self)

    @one_thread()
    def left_out(self) -> tuple[Floats, Floats]:
        """Mean and standard deviation (noise included) of each row, predicted from those with other features, [N] each.

        Rasmussen and Williams (2006), section 5.4.2, in blocks. The noise is that of a row like any other.
        """
        inverse = _inverse(self._factor)
        variance = 1 / np.diag(inverse)
        mean = self.targets - variance * self._weights
        _, group, sizes = np.unique(self.features, axis=0, return_inverse=True, return_counts=True)
        for key in np.flatnonzero(sizes > 1):
            rows = np.flatnonzero(group == key)
            covariance = np.linalg.inv(inverse[np.ix_(rows, rows)])
            mean[rows] = self.targets[rows] - covariance @ self._weights[rows]
            variance[rows] = np.diag(covariance)
        return mean, np.sqrt(np.maximum(variance - self._row_noise + self.noise, 1e-12))

    def correlation(self, first: Floats, second: Floats) -> float:
        """Of the noise-free values at two rows [1, F], before any row is known."""
        return float(self._covariance(first, second)[0, 0]) / self._variance

    @property
    def _variance(self) -> float:
        """Of the noise-free value, before any row is known."""
        return float(sum(math.exp(own[0]) for own in self._split(self._theta)))

    def _split(self, theta: Floats) -> list[Floats]:
        """Logarithms of the variance and the length scales of each part."""
        ends = np.cumsum([1 + len(columns) for columns in self._parts])
        return [theta[end - 1 - len(columns) : end] for end, columns in zip(ends, self._parts, strict=True)]

    def _covariance(self, first: Floats, second: Floats) -> Floats:
        """Of the noise-free values at N and M rows, [N, M]."""
        total = np.zeros((len(first), len(second)))
        for columns, own in zip(self._parts, self._split(self._theta), strict=True):
            scale = np.exp(-own[1:])
            a, b = first[:, columns] * scale, second[:, columns] * scale
            squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * (a @ b.T)
            total += math.exp(own[0]) * _matern(np.maximum(squares, 0.0))[0]
        return total

    @one_thread()
    def _most_probable(self, lengths: Floats | None, noise: float, noise_spread: float) -> Floats:
        """Logarithms of variance and length scales of each part, and of the noise, under which likelihood times prior
        is highest."""
        num, num_features = self.features.shape
        targets = self.targets - self._offset
        spread_of_targets = max(float(self.targets.var()), 1e-4)
        scales = np.full(num_features, _LENGTH) if lengths is None else lengths
        middles: list[float] = []
        spreads: list[float] = []
        bounds: list[tuple[float, float]] = []
        for columns in self._parts:
            middles += [spread_of_targets / len(self._parts), *scales[columns]]
            spreads += [_AMPLITUDE_SPREAD, *[_LENGTH_SPREAD] * len(columns)]
            bounds += [_VARIANCES, *[_LENGTHS] * len(columns)]
        middle, spread = np.log([*middles, noise * spread_of_targets]), np.array([*spreads, noise_spread])
        limits = np.log([*bounds, _NOISES])
        # Of each pair of rows once.
        first, second = np.tril_indices(num, -1)
        squares = ((self.features[first] - self.features[second]) ** 2).T
        of_parts = [squares[columns] for columns in self._parts]

        def loss(theta: Floats) -> tuple[float, Floats]:
            """Negative logarithm, and its gradient."""
            off = (theta - middle) / spread
            total, variance = np.zeros(len(first)), 0.0
            parts = []
            for own_squares, own in zip(of_parts, self._split(theta), strict=True):
                amplitude, inverse_squares = math.exp(own[0]), np.exp(-2 * own[1:])
                kernel, slope = _matern(inverse_squares @ own_squares)
                total += amplitude * kernel
                variance += amplitude
                parts.append((amplitude, inverse_squares, kernel, slope))
            noise = math.exp(theta[-1])
            covariance = np.zeros((num, num), order="F")
            covariance[first, second] = total
            covariance[np.diag_indices(num)] = variance + noise + _JITTER
            factor, failed = dpotrf(covariance, lower=True, overwrite_a=True)
            if failed:
                return math.inf, np.zeros_like(theta)
            weights = cho_solve((factor, True), targets, check_finite=False)
            value = 0.5 * float(targets @ weights) + float(np.log(np.diag(factor)).sum()) + 0.5 * float(off @ off)
            # Rasmussen and Williams (2006), equation 5.9; each pair counts twice.
            inverse, _ = dpotri(factor, lower=True, overwrite_c=True)
            pull = inverse[first, second] - weights[first] * weights[second]
            alone = 0.5 * float(np.trace(inverse) - weights @ weights)
            gradient: list[Floats] = []
            for own_squares, (amplitude, inverse_squares, kernel, slope) in zip(of_parts, parts, strict=True):
                gradient.append(np.array([amplitude * (float(pull @ kernel) + alone)]))
                gradient.append(-2 * amplitude * inverse_squares * (own_squares @ (pull * slope)))
            gradient.append(np.array([noise * alone]))
            return value, np.concatenate(gradient) + off / spread

        start = np.clip(middle, *limits.T)
        found: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=limits.tolist()).x
        return found


def _matern(squares: Floats) -> tuple[Floats, Floats]:
    """The kernel of variance 1 at squared distances, and its derivative with respect to these."""
    root = np.sqrt(5 * squares)
    decay = np.exp(-root)
    return (1 + root + 5 / 3 * squares) * decay, -5 / 6 * (1 + root) * decay


def _inverse(factor: Floats) -> Floats:
    """Of the matrix whose lower Cholesky factor this is, [N, N]."""
    below, _ = dpotri(factor, lower=True)
    below = np.tril(below)
    return np.asarray(below + np.tril(below, -1).T)
