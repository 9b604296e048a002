"""What one more training is expected to teach: of how many settings it would be told right on which side they lie.

Stepwise uncertainty reduction (Bect et al., Sequential design of computer experiments for the estimation of a
probability of failure, Statistics and Computing 22, 2012): the expected share of settings that the model would still
tell wrong once it knew the training's end, over points of the space. Unlike rules that look at one place by itself, it
counts what a training tells of all others, and it takes no second look at an outcome that was chance.
"""

import numpy as np
from scipy.special import ndtr

from sweep.boundary.encoding import Floats
from sweep.boundary.process import Process

_NODES, _NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_MOST = 0.999
"""Share of a variance that one training can take away; more is rounding."""


def lessons(process: Process, candidates: Floats, points: Floats) -> Floats:
    """By how much a training at each of M candidates [M, F] is expected to lower the chance that a point lies on the
    other side of 0 than its mean, summed over P points [P, F]: [M]."""
    mean, std = process.predict(points)
    fall = np.minimum(process.falls(candidates, points), _MOST * std**2)
    spread, left = np.sqrt(fall), np.sqrt(std**2 - fall)
    wrong = np.zeros(len(candidates))
    for node, weight in zip(_NODES, _NODE_WEIGHTS / _NODE_WEIGHTS.sum(), strict=True):
        # What the mean would be then is not known yet.
        wrong += weight * ndtr(-np.abs(mean + node * spread) / left).sum(axis=1)
    gain: Floats = ndtr(-np.abs(mean) / std).sum() - wrong
    return gain
