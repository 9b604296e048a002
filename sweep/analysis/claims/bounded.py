"""Effects on the share of stable trainings: every value is 0 or 1, so small samples need exact procedures.

With one training a level, interval and p value of a difference are exact (paired_shares.py), and so are those of the
share of one level (Clopper and Pearson). Averages over several trainings of a block, differences of differences and
slopes lie between two ends, and nothing else of their distribution is known (bounded_means.py). Which procedure it is
depends on the design alone, not on what came out: a choice by the outcome has an error of its own.
"""

import math

import numpy as np
from scipy.stats import binomtest

from sweep.analysis.claims.bounded_means import mean_interval, mean_p
from sweep.analysis.claims.effects import Effect, unknown
from sweep.analysis.claims.paired_shares import share_interval, share_p
from sweep.analysis.claims.pairs import Floats, Pairs
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
    spread = float(np.append(pairs.effects, [least, most]).std())
    if pairs.cells == 1 and np.array_equal(pairs.weights, (-1.0, 1.0)):
        better, worse = int((pairs.effects > 0).sum()), int((pairs.effects < 0).sum())
        low, high = share_interval(num, better, worse, level)
        return Effect(estimate, low, high, share_p(num, better, worse, value, level), spread, *NAMES)
    low, high = mean_interval(pairs.effects, least, most, level)
    return Effect(estimate, low, high, mean_p(pairs.effects, least, most, value), spread, *MEAN_NAMES)


def difference_interval(effects: Floats, cells: int, level: float) -> tuple[float, float]:
    """The interval of a difference of shares.

    Args:
        effects: one a block, [N], each in [-1, 1].
        cells: trainings behind each value.
        level: two-sided, in (0, 1).
    """
    if cells > 1:
        return mean_interval(effects, -1.0, 1.0, level)
    return share_interval(len(effects), int((effects > 0).sum()), int((effects < 0).sum()), level)


def agreeing(low: float, high: float, p: float, level: float) -> tuple[float, float]:
    """An interval that holds 0 where the test of no effect allows it at that level."""
    return (min(low, 0.0), max(high, 0.0)) if p > level else (low, high)


def mcnemar_p(differences: Floats) -> float:
    """The exact two-sided p value of McNemar's test: are as many pairs better as are worse?

    Args:
        differences: -1, 0 or 1 a pair, [N].
    """
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return 1.0 if better + worse == 0 else float(binomtest(better, better + worse).pvalue)


def sign_flip_p(effects: Floats, cells: int) -> float:
    """The exact two-sided p value of the sign-flip test: how often random signs give a sum as far from 0.

    Args:
        effects: one a block, [N]; multiples of 1 / cells, or a mean of differences of such.
        cells: trainings behind each value.
    """
    scaled = effects * cells
    if np.abs(scaled - np.rint(scaled)).max(initial=0.0) > 1e-6:
        scaled = effects * 1000  # slopes: no small whole numbers
    rounded = np.rint(scaled).astype(int)
    units, total = np.abs(rounded), abs(int(rounded.sum()))
    reach = int(units.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for unit in units[units > 0]:
        chances = (np.roll(chances, unit) + np.roll(chances, -unit)) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, chances[sums >= total].sum()))


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
