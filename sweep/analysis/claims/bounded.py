"""Effects on the share of stable trainings: every value is 0 or 1, so small samples need exact procedures.

With one training a level, interval and p value are exact (paired_shares.py), also for averages where all trainings of a
block agree; so are those of the share of one level (Clopper and Pearson). For other averages, and differences of
differences, the interval adds one made-up block at either end of what is possible, as Bonett and Price (Biometrical
Journal 54, 2012) do: mean and variance of N + 2 blocks. The p value is that of all sign flips of the blocks. Where it
does not exclude "no effect", the interval is widened to hold it.
"""

import math

import numpy as np
from scipy.stats import binomtest, norm

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
    ends = np.array([pairs.weights[pairs.weights < 0].sum(), pairs.weights[pairs.weights > 0].sum()])
    padded = np.concatenate([pairs.effects, ends])
    center, spread = float(padded.mean()), float(padded.std())
    if len(pairs.weights) == 2 and np.isin(pairs.effects, (-1.0, 0.0, 1.0)).all():
        better, worse = int((pairs.effects > 0).sum()), int((pairs.effects < 0).sum())
        low, high = share_interval(num, better, worse, level)
        return Effect(estimate, low, high, share_p(num, better, worse, value, level), spread, *NAMES)
    low, high = padded_interval(pairs.effects, float(ends[0]), float(ends[1]), level)
    # The exact test is of no difference; another value (or a mean of several cells) is tested by the interval alone.
    if value == 0 and ends[0] < 0:
        p = sign_flip_p(pairs.effects, pairs.cells)
        low, high = agreeing(low, high, p, level)
    else:
        p = 2 * float(norm.sf(abs(center - value) / (spread / math.sqrt(len(padded)))))
    return Effect(estimate, low, high, p, spread, *FLIP_NAMES)


def padded_interval(effects: Floats, least: float, most: float, level: float) -> tuple[float, float]:
    """The interval of a mean effect with one made-up block at either end of what is possible, see above.

    Args:
        effects: one a block, [N], each between `least` and `most`.
        least: the smallest effect that is possible.
        most: the largest.
        level: two-sided, in (0, 1).
    """
    padded = np.concatenate([effects, [least, most]])
    center, estimate = float(padded.mean()), float(effects.mean())
    reach = float(norm.isf(level / 2)) * float(padded.std()) / math.sqrt(len(padded))
    return min(max(center - reach, least), estimate), max(min(center + reach, most), estimate)


def difference_interval(effects: Floats, level: float) -> tuple[float, float]:
    """The interval of a difference of shares: exact where all trainings of a block agree.

    Args:
        effects: one a block, [N], each in [-1, 1].
        level: two-sided, in (0, 1).
    """
    if not np.isin(effects, (-1.0, 0.0, 1.0)).all():
        return padded_interval(effects, -1.0, 1.0, level)
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
FLIP_NAMES = (
    "exact sign-flip test of the blocks, Bonett-Price interval of their effects",
    "Blocks are independent, and without an effect each is as likely to come out the other way round.",
)
SHARE_NAMES = ("exact binomial test, Clopper-Pearson interval", "Blocks are independent.")
