"""How sure scores of a model are, learned from settings that were left out: a curve from score to chance.

    P = lucky + (1 - failing - lucky) * Phi(shift + slope * score)

Platt's scaling in probits, with two lapse rates: seeds that fail where a model is sure of success, and lucky ones the
other way round (as psychometric functions have them: Wichmann and Hill, The psychometric function: I, Perception &
Psychophysics 63, 2001). Without them a model calls a setting as sure as it is deep, although a fifth of all seeds fails
everywhere. All four are averaged over what the left-out settings leave possible, so that few trainings give careful
chances.
"""

import itertools
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, ndtr

from sweep.boundary.encoding import Floats

_SPREAD = 0.5
"""Prior spread of shift and of the logarithm of the slope, about no change."""
_SHIFTS = np.linspace(-1.0, 1.0, 9)
_LOG_SLOPES = np.linspace(-1.0, 1.0, 9)
_FAILING = np.array([0.0, 0.01, 0.02, 0.04, 0.07, 0.12, 0.18, 0.25, 0.35])
_LUCKY = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.3])
_LAPSE_PRIOR = 0.3, 30.0
"""Beta distribution of each lapse rate."""
_NEGLIGIBLE = 1e-4
"""Combinations that are so much less likely than the likeliest are left out."""
_SCORES = np.linspace(-8, 8, 321)
"""Where the curve is tabulated."""


class ChanceCurve:
    """The curve that N left-out trainings leave likely."""

    def __init__(self, scores: Floats, stable: npt.NDArray[np.bool_]) -> None:
        """Learns from standardized distances on the stable side, [N], and what came of each, [N]."""
        self._lines, self._lapses, log_prior = _grid()
        shift, slope = self._lines.T
        of_line = ndtr(shift[:, None] + slope[:, None] * scores)
        likelihood = np.empty((len(self._lines), len(self._lapses)))
        for number, (failing, lucky) in enumerate(self._lapses):
            p = lucky + (1 - failing - lucky) * of_line
            p = np.where(stable, p, 1 - p)
            likelihood[:, number] = np.log(np.maximum(p, 1e-12)).sum(axis=1)
        weights = np.exp(likelihood + log_prior - (likelihood + log_prior).max())
        self._chosen = np.argwhere(weights > _NEGLIGIBLE)
        chosen = weights[tuple(self._chosen.T)]
        self._weights: Floats = chosen / chosen.sum()

    @property
    def line(self) -> tuple[float, float]:
        """Mean shift and slope."""
        shift, slope = self._weights @ self._lines[self._chosen[:, 0]]
        return float(shift), float(slope)

    @property
    def lapses(self) -> tuple[float, float]:
        """Mean share of seeds that fail where all else is well, and of those that do well where all else is lost."""
        failing, lucky = self._weights @ self._lapses[self._chosen[:, 1]]
        return float(failing), float(lucky)

    def chance(self, scores: Floats) -> Floats:
        """Chance of each score, [M]."""
        return np.asarray(np.interp(scores, _SCORES, self._weights @ self._curves))

    def least(self, scores: Floats, credibility: float) -> Floats:
        """What the chance of each score is at least, with this credibility, [M]."""
        order = np.argsort(self._curves, axis=0)
        heaped = np.cumsum(self._weights[order], axis=0)
        row = (heaped < 1 - credibility).sum(axis=0)
        curve = np.take_along_axis(self._curves, np.take_along_axis(order, row[None], axis=0), axis=0)[0]
        return np.asarray(np.interp(scores, _SCORES, curve))

    @cached_property
    def _curves(self) -> Floats:
        """Chance at each of _SCORES under each combination that is left, [combinations, 321]."""
        shift, slope = self._lines[self._chosen[:, 0]].T
        failing, lucky = self._lapses[self._chosen[:, 1]].T[:, :, None]
        curves: Floats = lucky + (1 - failing - lucky) * ndtr(shift[:, None] + slope[:, None] * _SCORES)
        return curves


@cache
def _grid() -> tuple[Floats, Floats, Floats]:
    """Shifts and slopes [L, 2], lapse rates [K, 2], and the logarithm of the prior of each pair of these, [L, K]."""
    lines = np.array(list(itertools.product(_SHIFTS, np.exp(_LOG_SLOPES))))
    log_line = -(lines[:, 0] ** 2 + np.log(lines[:, 1]) ** 2) / (2 * _SPREAD**2)
    lapses = np.array(list(itertools.product(_FAILING, _LUCKY)))
    log_lapses = np.add.outer(_log_mass(_FAILING), _log_mass(_LUCKY)).ravel()
    return lines, lapses, log_line[:, None] + log_lapses


def _log_mass(rates: Floats) -> Floats:
    """Logarithm of the prior mass that lies nearest to each lapse rate."""
    ends = np.concatenate([[0.0], (rates[1:] + rates[:-1]) / 2, [1.0]])
    mass: Floats = np.log(np.diff(betainc(*_LAPSE_PRIOR, ends)))
    return mass
