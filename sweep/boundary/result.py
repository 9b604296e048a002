"""What result a stable training of a setting is expected to have, learned from the stable ones."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.growing import MOST_KEPT
from sweep.boundary.process import Process
from sweep.boundary.thinning import MOST_FITTED, spread_out
from sweep.space import Scalar

MIN_STABLE = 3
"""Fewer stable trainings say nothing about where results are good."""

_NOISE, _NOISE_SPREAD = 0.7, 1.0
"""Results scatter over seeds more than margins do: prior ratio of that variance to all of it; its spread, in nats."""
_NUMBER_LENGTH, _CATEGORY_LENGTH = 0.7, 2.5
"""Prior length scales, in units of the range: results seldom differ much between values without an order."""


class ResultModel:
    """A Gaussian process on the results of stable trainings; lower is better."""

    def __init__(
        self,
        encoding: Encoding,
        settings: Sequence[Mapping[str, Scalar | None]],
        results: Sequence[float],
        pending: Sequence[Mapping[str, Scalar | None]] = (),
    ) -> None:
        """Fits N stable trainings with finite results, and believes that pending ones come out at their mean.

        Raises:
            ValueError: fewer than MIN_STABLE trainings.
        """
        if len(settings) < MIN_STABLE:
            raise ValueError(f"a result model needs at least {MIN_STABLE} stable trainings, got {len(settings)}")
        self.encoding = encoding
        values = np.asarray(results, dtype=float)
        self._middle, self._scale = float(values.mean()), max(float(values.std()), 1e-9)
        lengths = np.array([_CATEGORY_LENGTH if encoding.axis(o) is None else _NUMBER_LENGTH for o in encoding.owners])
        targets = (values - self._middle) / self._scale
        features = encoding.encode(settings)
        most = _telling(features, values, MOST_FITTED)
        process = Process(features[most], targets[most], lengths=lengths, noise=_NOISE, noise_spread=_NOISE_SPREAD)
        if len(values) > len(most):
            kept = _telling(features, values, MOST_KEPT)
            process = Process(features[kept], targets[kept], fitted=process)
        self._process = process.believing(encoding.encode(pending))

    def predict(self, settings: Sequence[Mapping[str, Scalar | None]]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noise-free result of M settings, in the results' own unit, [M] each."""
        mean, std = self._process.predict(self.encoding.encode(settings))
        return self._middle + self._scale * mean, self._scale * std

    def expected_improvement(self, features: Floats) -> Floats:
        """By how much each of M settings, as features [M, F], is expected to beat the best known one, [M].

        The best known one is the lowest mean among the trained settings: a single lucky seed is no mark to beat.
        """
        mean, std = self._process.predict(features)
        best = float(self._process.predict(self._process.features)[0].min())
        z = (best - mean) / std
        gain: Floats = std * (z * ndtr(z) + np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))
        return gain * self._scale


def _telling(features: Floats, results: Floats, most: int) -> npt.NDArray[np.int64]:
    """The rows of at most so many trainings: one half have the best results, the other is spread evenly."""
    if len(results) <= most:
        return np.arange(len(results))
    order = np.argsort(results, kind="stable")
    best, rest = order[: most // 2], order[most // 2 :]
    return np.sort(np.concatenate([best, rest[spread_out(features[rest], most - len(best))]]))
