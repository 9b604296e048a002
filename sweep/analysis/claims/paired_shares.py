"""The exact interval of the difference of two paired shares, as of stable trainings at two levels.

Of N independent pairs, `better` were stable at the second level alone and `worse` at the first alone. Neither the
difference d of the shares nor the chance r of a pair to differ is known, |d| <= r <= 1. The interval holds every d that
neither of two tests rejects at level / 2 (Chan and Zhang, Biometrics 55, 1999): outcomes are put in the order of
Tango's score statistic for d (Statistics in Medicine 17, 1998), and the p value is the chance of one that is as low, or
as high, with the r that makes it largest. Only an r that the number of pairs that differ leaves possible counts; the
error of that is added (Berger and Boos, Journal of the American Statistical Association 89, 1994). So each end misses
the truth with a chance of at most level / 2, whatever d and r are.

Approximate intervals miss more often on one side, of 6 to 48 pairs, where 2.5 % are stated: that of Bonett and Price in
up to 7.8 %, Tango's in up to 17 %, with continuity correction in up to 5.1 %.
"""

import functools
import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import bdtr, gammaln, xlog1py, xlogy

from sweep.analysis.claims.pairs import Floats
from sweep.analysis.trials.outcomes import clopper_pearson

Counts = npt.NDArray[np.int64]

UNLIKELY = 0.02
"""Part of the error that goes to values of r that are not tried."""
STEPS_PER_ERROR = 4
"""Values of r that are tried in a standard error of its estimate: between them, far less than UNLIKELY is missed."""
STEP, STEPS_BEYOND = 0.001, 30
"""How far beyond an end it is looked whether p rises again: by up to 0.025 (32 pairs)."""
RESOLUTION = 1e-5
"""To so much are the ends known."""


@functools.lru_cache(maxsize=4096)
def share_interval(num: int, better: int, worse: int, level: float) -> tuple[float, float]:
    """The interval of the difference.

    Args:
        num: pairs.
        better: of which only the second level is stable.
        worse: of which only the first is.
        level: two-sided, in (0, 1).
    """
    return -_upper_end(num, worse, better, level), _upper_end(num, better, worse, level)


def share_p(num: int, better: int, worse: int, value: float, level: float) -> float:
    """Two-sided p value of the difference being `value`: at most `level` where the interval at that level excludes it.

    The parts of the error that are spent on r are those of that level.
    """
    value = min(max(value, -1.0), 1.0)
    return min(1.0, 2 * min(p_low(num, better, worse, value, level), p_low(num, worse, better, -value, level)))


def p_low(num: int, better: int, worse: int, difference: float, level: float) -> float:
    """One-sided p value of an outcome too low for a difference, in [-1, 1]."""
    left_out = UNLIKELY * level / 2
    least = abs(difference)
    low, high = (max(end, least) for end in clopper_pearson(better + worse, num, 1 - left_out))
    if high <= low and least < 1:
        return left_out
    # Evenly spaced in sin^2, where the standard error of a share is the same everywhere.
    start, stop = (math.asin(math.sqrt((end - least) / max(1 - least, 1e-12))) for end in (low, high))
    steps = 2 + math.ceil(2 * STEPS_PER_ERROR * math.sqrt(num) * (stop - start))
    differ = least + (1 - least) * np.sin(np.linspace(start, stop, steps)[:, None]) ** 2  # [R, 1]
    share = np.divide((differ + difference) / 2, differ, out=np.full_like(differ, 0.5), where=differ > 1e-300)
    apart = np.arange(num + 1)
    most = _as_low(num, better, worse, difference)
    below = np.where(most >= 0, bdtr(np.maximum(most, 0), apart, share), 0.0)  # [R, N + 1]
    ways = gammaln(num + 1) - gammaln(apart + 1) - gammaln(num - apart + 1)
    chances = np.exp(ways + xlogy(apart, differ) + xlog1py(num - apart, -differ))
    return float((chances * below).sum(axis=1).max()) + left_out


def _as_low(num: int, better: int, worse: int, difference: float) -> Floats:
    """The outcomes as low as one or lower: the most better pairs among m that differ, [N + 1]; -1 where none is."""
    apart = np.arange(num + 1)[:, None]
    count = np.arange(num + 1)[None, :]
    here = _score(num, np.array(better), np.array(worse), difference)
    lower = (_score(num, count, apart - count, difference) <= here + 1e-9) & (count <= apart)
    return np.asarray(lower.sum(axis=1) - 1, dtype=np.float64)


def _score(num: int, better: Counts, worse: Counts, difference: float) -> Floats:
    """Tango's statistic: how far the outcome lies from a difference, in standard errors under that difference."""
    b = (2 * num - better + worse) * difference - better - worse
    c = -worse * difference * (1 - difference)
    only_worse = (np.sqrt(np.maximum(b * b - 8 * num * c, 0.0)) - b) / (4 * num)
    variance = np.maximum(num * (2 * only_worse + difference * (1 - difference)), 0.0)
    off = better - worse - num * difference
    far = np.where(np.abs(off) > 1e-9, np.copysign(np.inf, off), 0.0)
    return np.asarray(np.divide(off, np.sqrt(variance), out=far, where=variance > 1e-12), dtype=np.float64)


def _upper_end(num: int, better: int, worse: int, level: float) -> float:
    def excess(difference: float) -> float:
        return p_low(num, better, worse, difference, level) - level / 2

    if excess(1.0) > 0:
        return 1.0
    end = float(brentq(excess, (better - worse) / num, 1.0, xtol=RESOLUTION))
    # The p value may rise once more a little farther out.
    beyond = [d for d in end + STEP * np.arange(1, STEPS_BEYOND + 1) if d < 1 - STEP and excess(d) > 0]
    return float(brentq(excess, beyond[-1], beyond[-1] + STEP, xtol=RESOLUTION)) if beyond else end
