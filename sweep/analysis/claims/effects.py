"""The effect of a claim from its pairs: an estimate, an interval at any level and a p value, each with its procedure.

| response                    | effect                         | procedure                                           |
|-----------------------------|--------------------------------|-----------------------------------------------------|
| stable, one cell a level    | difference                     | exact interval and p (paired_shares.py)             |
| stable, averaged, with by,  | difference, interaction, mean, | Gaffke's interval and p of means between two ends   |
| or a slope                  | slope                          | (bounded_means.py)                                  |
| stable, one cell            | mean                           | Clopper-Pearson interval, exact binomial p          |
| edge_lr                     | difference, mean, interaction  | normal model of interval-censored edges (edges.py)  |
| all others                  | all                            | Student's t on block effects; from BOOTSTRAP_FROM   |
|                             |                                | pairs, the wider of it and a studentized bootstrap  |
| all others, no spread       | all                            | exact interval of the median pair                   |
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

from sweep.analysis.claims.pairs import Floats

BOOTSTRAP_FROM = 12
"""Pairs from which on their own spread is enough to resample."""
RESAMPLES = 9999
BOOTSTRAP_LEVEL = 0.01
"""The smallest two-sided level at which the tails of RESAMPLES resamples hold enough of them (50 a side)."""


@dataclass(frozen=True)
class Effect:
    """What the pairs say of an effect, on the scale of `Pairs.effects`: the logarithm of a ratio."""

    estimate: float
    """NaN where there are no pairs."""
    low: float
    high: float
    """Two-sided interval at the level that was asked for; infinite where nothing is known."""
    p: float
    """Two-sided, of the effect being the claim's value."""
    spread: float
    """Standard deviation of a block's effect, as the power is computed with; NaN where unknown."""
    test: str
    """Name of the procedure."""
    assumptions: str


def unknown(estimate: float, test: str, assumptions: str) -> Effect:
    """An effect of which too few pairs tell."""
    return Effect(estimate, -math.inf, math.inf, 1.0, math.nan, test, assumptions)


def continuous(effects: Floats, value: float, level: float) -> Effect:
    """The mean effect of blocks.

    Student's t, and from BOOTSTRAP_FROM pairs, at each end, the farther of its interval and that of the studentized
    bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 12.5): t misses too often where the
    effects are skewed, the bootstrap where they are symmetric with long tails. Beyond BOOTSTRAP_LEVEL (early looks)
    the resamples have no such tails, and where more than half of the pairs gave the same effect (counts) many resamples
    have no spread, so t stands alone.

    Args:
        effects: one a block, [N].
        value: what the mean is tested against.
        level: two-sided, in (0, 1).
    """
    num = len(effects)
    mean = float(effects.mean()) if num else math.nan
    if num < 2:
        return unknown(mean, T_TEST, "At least two pairs are needed.")
    sd = float(effects.std(ddof=1))
    if sd <= 1e-9 * max(1.0, abs(mean)):
        return _identical(float(np.median(effects)), num, value, level)
    error = sd / math.sqrt(num)
    statistic = (mean - value) / error
    reach = float(t.isf(level / 2, num - 1))
    p = 2 * float(t.sf(abs(statistic), num - 1))
    same = int((np.abs(effects - np.median(effects)) <= 1e-6 * sd).sum())
    if num < BOOTSTRAP_FROM or level < BOOTSTRAP_LEVEL or 2 * same > num:
        return Effect(mean, mean - reach * error, mean + reach * error, p, sd, T_TEST, T_ASSUMPTIONS)
    drawn = bootstrap_t(effects)
    tail_size = int(len(drawn) * level / 2)
    lower, upper = drawn[tail_size], drawn[-1 - tail_size]
    tail = min(float(np.mean(drawn >= statistic)), float(np.mean(drawn <= statistic)))
    p = max(p, min(1.0, 2 * (tail * len(drawn) + 1) / (len(drawn) + 1)))
    low, high = mean - max(reach, float(upper)) * error, mean + max(reach, -float(lower)) * error
    return Effect(mean, low, high, p, sd, BOTH, BOTH_ASSUMPTIONS)


def bootstrap_t(effects: Floats, resamples: int = RESAMPLES) -> Floats:
    """Studentized means of resampled blocks, [resamples], sorted; the same ones for the same effects.

    A resample without any spread counts as infinitely far off (on the side of its mean), which widens the interval.
    """
    num = len(effects)
    picks = np.random.default_rng(0).integers(0, num, (resamples, num))
    drawn = effects[picks]
    shift = drawn.mean(axis=1) - effects.mean()
    error = drawn.std(axis=1, ddof=1) / math.sqrt(num)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sort(np.where(shift == 0, 0.0, shift / error))


def _identical(effect: float, num: int, value: float, level: float) -> Effect:
    """Every pair gave the same effect: nothing is known of the spread, but the median pair has an exact interval.

    The smallest and the largest of N effects hold the median with a probability of 1 - 2^(1-N) whatever the
    distribution, so the interval is that one point as soon as 2^(1-N) is below the level, and unbounded before.
    """
    chance = 2.0 ** (1 - num)
    p = 1.0 if math.isclose(effect, value, abs_tol=1e-9) else chance
    low, high = (effect, effect) if chance <= level else (-math.inf, math.inf)
    return Effect(effect, low, high, p, 0.0, IDENTICAL, IDENTICAL_ASSUMPTIONS)


T_TEST = "Student's t of the blocks' effects"
T_ASSUMPTIONS = (
    "Blocks are independent and their effects roughly normal. Failures so rare that no block here has one are not seen."
)
BOTH = "Student's t and studentized bootstrap of the blocks' effects, the wider at each end"
BOTH_ASSUMPTIONS = (
    "Blocks are independent and alike; no shape is assumed. Failures so rare that no block here has one are not seen."
)
IDENTICAL = "exact interval of the median pair (all pairs gave the same)"
IDENTICAL_ASSUMPTIONS = "Blocks are independent. It speaks of the typical block: rare other ones are not excluded."
