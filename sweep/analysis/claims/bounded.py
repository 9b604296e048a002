"""Effects on the share of stable trainings: every value is 0 or 1, so small samples need exact procedures.

With one training a level, interval and p value of a difference are exact (paired_shares.py), and so are those of the
share of one level (Clopper and Pearson). Averages over several trainings of a block, differences of differences and
slopes lie between two ends, and nothing else of their distribution is known (bounded_means.py). Which procedure it is
depends on the design alone, not on what came out: a choice by the outcome has an error of its own.
"""

import math

import numpy as np
from scipy.stats import binomtest

from sweep.analysis.claims.bounded_means import gaffke_interval, gaffke_p
from sweep.analysis.claims.effects import Effect, unknown
from sweep.analysis.claims.paired_shares import share_interval, share_p
from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.trials.outcomes import clopper_pearson


def stable_effect(pairs: Pairs, value: float, level: float) -> Effect:
    """The mean over blocks of a contrast of stable trainings.

    Args:
        pairs: of a response that is 0 or 1.
        value: what the mean is tested against.
        level: two-sided, in (0, 1).
    """
    num = len(pairs)
    if num < 2:
        return unknown(float(pairs.effects.mean()) if num else math.nan, EXACT, "At least two pairs are needed.")
    single = pairs.cells == 1 and len(pairs.weights) == 1
    if single:
        return _share(int(pairs.effects.sum()), num, value, level)
    estimate = float(pairs.effects.mean())
    least, most = float(pairs.weights[pairs.weights < 0].sum()), float(pairs.weights[pairs.weights > 0].sum())
    # Two made-up blocks, one at either end, stand for what few blocks do not show of the spread.
    spread = float(np.append(pairs.effects, [least, most]).std())
    if pairs.cells == 1 and np.array_equal(pairs.weights, (-1.0, 1.0)):
        better, worse = int((pairs.effects > 0).sum()), int((pairs.effects < 0).sum())
        low, high = share_interval(num, better, worse, level)
        return Effect(estimate, low, high, share_p(num, better, worse, value, level), spread, *NAMES)
    low, high = gaffke_interval(pairs.effects, least, most, level)
    return Effect(estimate, low, high, gaffke_p(pairs.effects, least, most, value), spread, *MEAN_NAMES)


def _share(count: int, num: int, value: float, level: float) -> Effect:
    """The share of stable trainings at one level."""
    low, high = clopper_pearson(count, num, 1 - level)
    p = float(binomtest(count, num, min(max(value, 0.0), 1.0)).pvalue)
    smoothed = (count + 1) / (num + 2)
    return Effect(count / num, low, high, p, math.sqrt(smoothed * (1 - smoothed)), *SHARE_NAMES)


EXACT = "exact unconditional test and interval of the difference of paired shares"
NAMES = (
    EXACT,
    "Blocks are independent; within one, both levels share setting, weights and data order.",
)
MEAN_NAMES = (
    "Gaffke's interval and test of the mean of block effects that lie between two ends",
    "Blocks are independent and alike; no shape is assumed.",
)
SHARE_NAMES = ("exact binomial test, Clopper-Pearson interval", "Blocks are independent.")
