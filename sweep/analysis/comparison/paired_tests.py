"""Whether paired shares differ: exact tests of pairs and of groups of pairs, and the interval that agrees with them."""

import numpy as np
from scipy.stats import binomtest

from sweep.analysis.claims.bounded_means import gaffke_interval
from sweep.analysis.claims.paired_shares import share_interval
from sweep.analysis.claims.pairs import Floats


def difference_interval(effects: Floats, cells: int, level: float) -> tuple[float, float]:
    """The interval of a difference of shares.

    Args:
        effects: one a block, [N], each in [-1, 1].
        cells: trainings behind each value.
        level: two-sided, in (0, 1).
    """
    if cells > 1:
        return gaffke_interval(effects, -1.0, 1.0, level)
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
        effects: one a block, [N], multiples of 1 / cells.
        cells: trainings behind each value.
    """
    rounded = np.rint(effects * cells).astype(int)
    units, total = np.abs(rounded), abs(int(rounded.sum()))
    reach = int(units.sum())
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for unit in units[units > 0]:
        chances = (np.roll(chances, unit) + np.roll(chances, -unit)) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, chances[sums >= total].sum()))
