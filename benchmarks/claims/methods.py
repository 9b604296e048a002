"""Upper ends of the mean effect of some blocks, by procedures that are held against the tool's own.

Each gives the end of every outcome, [O], at a one-sided error. Lower ends are those of the mirror image.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm, t

from benchmarks.claims.outcomes import Floats, Outcomes, with_mean
from sweep.analysis.claims.bounded_means import upper_end
from sweep.analysis.comparison.paired_tests import agreeing, sign_flip_p

Method = Callable[[Outcomes, float], Floats]

ROUNDS = 30
"""Of halving, for an end."""
BETS = (np.arange(48) + 0.5) / 48
SIGNS = 2000
"""Draws of signs for a p value."""
NUISANCE, STEP = 300, 0.02
"""Distributions that the exact procedure tries at each mean, and the step of the means that it tries."""


def gaffke(seen: Outcomes, error: float) -> Floats:
    """The tool's own."""
    return np.array([upper_end(np.repeat(seen.values, c), seen.values[-1], error) for c in seen.counts])


def bonett_price(seen: Outcomes, error: float) -> Floats:
    """The tool's own before: mean and variance with a made-up block at either end, widened to hold 0 where the
    sign-flip test allows it."""
    padded = seen.counts.copy()
    padded[:, [0, -1]] += 1
    size = seen.blocks + 2
    center = padded @ seen.values / size
    spread = np.sqrt(np.maximum(padded @ seen.values**2 / size - center**2, 0.0))
    most = seen.values[-1]
    ends = np.maximum(np.minimum(center + norm.isf(error) * spread / np.sqrt(size), most), seen.means)
    per_unit = round((len(seen.values) - 1) / 2)
    for i in np.flatnonzero(ends < 0):
        p = sign_flip_p(np.repeat(seen.values, seen.counts[i]), per_unit)
        ends[i] = agreeing(-most, float(ends[i]), p, 2 * error)[1]
    return np.asarray(ends)


def students_t(seen: Outcomes, error: float) -> Floats:
    """With a continuity correction of half a step of the mean."""
    num = seen.blocks
    sd = np.sqrt(np.maximum(seen.counts @ seen.values**2 - num * seen.means**2, 0.0) / (num - 1))
    half = (seen.values[1] - seen.values[0]) / (2 * num)
    return np.minimum(seen.means + half + t.isf(error, num - 1) * sd / np.sqrt(num), seen.values[-1])


def likelihood(seen: Outcomes, error: float) -> Floats:
    """The likelihood ratio of a multinomial with these values, at the quantile of chi-squared."""
    bound = norm.isf(error) ** 2 / 2

    def rejects(mean: Floats) -> Floats:
        bet, odds = _profile(seen, mean)
        return np.asarray((seen.counts * np.log1p(bet * odds)).sum(axis=1) > bound)

    return _end(seen, rejects)


def score(seen: Outcomes, error: float) -> Floats:
    """Tango's statistic for a multinomial: the standard error is that of its likeliest distribution with the mean."""
    return _end(seen, lambda mean: _score(seen, mean) > norm.isf(error))


def betting(seen: Outcomes, error: float) -> Floats:
    """Even money on every size of bet against the mean, in any order of the blocks (Waudby-Smith and Ramdas 2024)."""

    def rejects(mean: Floats) -> Floats:
        odds = mean[:, None] - seen.values
        sizes = np.sin(np.pi / 2 * BETS) ** 2 / np.maximum(seen.values[-1] - mean, 1e-9)[:, None]
        wealth = [(seen.counts * np.log1p(size[:, None] * odds)).sum(axis=1) for size in sizes.T]
        return np.asarray(logsumexp(wealth, axis=0) - np.log(len(BETS)) > -np.log(error))

    return _end(seen, rejects)


def sign_flips(seen: Outcomes, error: float) -> Floats:
    """The mean that random signs of the effects' distances to it do not exclude."""
    rng = np.random.default_rng(0)
    signs = np.concatenate([rng.choice((-1.0, 1.0), (SIGNS, seen.blocks)), np.ones((1, seen.blocks))])
    picked = np.array([np.repeat(np.arange(len(seen.values)), c) for c in seen.counts])

    def rejects(mean: Floats) -> Floats:
        away = mean[:, None] - seen.values[picked]
        return np.array([np.mean(signs @ one >= one.sum() - 1e-9) <= error for one in away])

    return _end(seen, rejects)


def exact(seen: Outcomes, error: float) -> Floats:
    """Unconditional, in the order of the score: the p value is the largest over distributions with the mean."""
    rng = np.random.default_rng(0)
    ends = np.full(len(seen.counts), seen.values[0])
    for mean in np.arange(seen.values[0] + STEP, seen.values[-1], STEP):
        statistic = np.round(_score(seen, np.full(len(ends), mean), signed=True), 9)
        order = np.argsort(-statistic)
        tried = seen.chances(with_mean(seen.values, float(mean), NUISANCE, rng))[:, order]
        largest = np.cumsum(tried, axis=1).max(axis=0)
        # Of outcomes with the same statistic, the last one's chance counts.
        last = np.searchsorted(-statistic[order], -statistic, side="right") - 1
        ends[largest[last] > error] = mean + STEP
    return np.minimum(ends, seen.values[-1])


METHODS: dict[str, Method] = {
    "Bonett and Price's, widened to the sign-flip test (before)": bonett_price,
    "Student's t, continuity correction": students_t,
    "sign flips, inverted": sign_flips,
    "likelihood ratio of the multinomial": likelihood,
    "score of the multinomial, after Tango": score,
    "betting, any order (Waudby-Smith, Ramdas)": betting,
    "exact unconditional, in the order of the score": exact,
    "Gaffke's (used)": gaffke,
}
SLOW = (sign_flips, exact)
"""For few blocks only."""


def _end(seen: Outcomes, rejects: Callable[[Floats], Floats]) -> Floats:
    """The largest mean that is not rejected, [O], by halving."""
    low, high = seen.means, np.full(len(seen.counts), seen.values[-1])
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        out = rejects(middle)
        low, high = np.where(out, low, middle), np.where(out, middle, high)
    return high


def _profile(seen: Outcomes, mean: Floats) -> tuple[Floats, Floats]:
    """The bet that would have gained most against each mean, [O, 1], and what each value pays, [O, K].

    The likeliest distribution with that mean has the counted shares divided by 1 + bet x pay, and the rest at the end.
    """
    odds = mean[:, None] - seen.values
    low = np.zeros((len(mean), 1))
    high = 1 / np.maximum(seen.values[-1] - mean, 1e-12)[:, None] * (1 - 1e-12)
    for _ in range(ROUNDS + 10):
        middle = (low + high) / 2
        gains = (seen.counts * odds / (1 + middle * odds)).sum(axis=1, keepdims=True) > 0
        low, high = np.where(gains, middle, low), np.where(gains, high, middle)
    return (low + high) / 2, odds


def _score(seen: Outcomes, mean: Floats, *, signed: bool = False) -> Floats:
    """How many standard errors the outcome lies below each mean, [O]; `signed` where it may lie above, too."""
    if signed:
        below = seen.means <= mean
        mirror = Outcomes(-seen.values[::-1], seen.counts[:, ::-1])
        return np.where(below, _score(seen, mean), -_score(mirror, -mean))
    bet, odds = _profile(seen, mean)
    shares = seen.counts / seen.blocks / (1 + bet * odds)
    rest = np.maximum(1 - shares.sum(axis=1), 0.0)
    variance = (shares * odds**2).sum(axis=1) + rest * odds[:, -1] ** 2
    off = mean - seen.means
    return np.asarray(off / np.sqrt(np.maximum(variance, 1e-18) / seen.blocks))
