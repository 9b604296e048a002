"""What differences of the share of stable trainings two studies could have shown by each test."""

import functools
import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.stats import binom, hypergeom, norm, t

from sweep.analysis.comparison.changes import Power
from sweep.analysis.comparison.signed_ranks import POWER
from sweep.analysis.trials.outcomes import Share
from sweep.wording import percent, plural

Floats = npt.NDArray[np.float64]

_EXACT_UP_TO = 400
"""Trainings of a study; with more of them Fisher's test is as good as normal."""


def paired_power(num: int, apart: int, base: float, level: float) -> Power:
    """Of McNemar's exact test.

    Args:
        num: pairs.
        apart: those that differ; so often, or as often as the difference needs, pairs differ.
        base: the share of A.
        level: two-sided.
    """
    differ = (apart + 1) / (num + 2)
    counts = np.arange(num + 1)
    fewest = _fewest_better(num, level)

    def power(difference: float) -> float:
        rate = max(differ, difference)
        found = binom.sf(fewest - 1, counts, (1 + difference / rate) / 2)
        return float(binom.pmf(counts, num, rate) @ found)

    return _told(plural(num, "pair"), base, _least(power, base), _least(power, 1 - base))


def independent_power(base: Share, num: int, level: float) -> Power:
    """Of Fisher's exact test.

    Args:
        base: the share of A.
        num: trainings of B.
        level: two-sided.
    """
    what, rate = f"{base.total} and {plural(num, 'training')}", base.rate
    if max(base.total, num) > _EXACT_UP_TO:

        def reach(other: float) -> float:
            error = math.sqrt(rate * (1 - rate) / base.total + other * (1 - other) / num)
            return float(norm.sf(norm.isf(level / 2) - abs(other - rate) / error)) if error else 1.0
    else:
        rejected = _fisher_rejects(base.total, num, level)
        first = binom.pmf(np.arange(base.total + 1), base.total, rate)

        def reach(other: float) -> float:
            return float(first @ rejected @ binom.pmf(np.arange(num + 1), num, other))

    fall = _least(lambda difference: reach(rate - difference), rate)
    return _told(what, rate, fall, _least(lambda difference: reach(rate + difference), 1 - rate))


def mean_power(what: str, base: float, error: float, degrees: float, level: float) -> Power:
    """Of a test of means, as if they were normal.

    Args:
        what: the sample, in words.
        base: the share of A.
        error: standard error of the difference.
        degrees: of freedom that it is known with.
        level: two-sided.
    """
    if not error > 0:
        return Power(f"{what} of one study gave all the same, so what they could have shown is not known")
    reach = (float(t.isf(level / 2, degrees)) + float(t.ppf(POWER, degrees))) * error
    fall, rise = (reach if reach <= most else math.nan for most in (base, 1 - base))
    return _told(what, base, fall, rise)


def _told(what: str, base: float, fall: float, rise: float) -> Power:
    if math.isnan(fall) and math.isnan(rise):
        return Power(f"with {what} no difference would be told in {percent(POWER)} of such comparisons")
    sizes = {"fall": fall, "rise": rise}
    found = [f"a {name} of {math.ceil(100 * v - 1e-6)} points" for name, v in sizes.items() if not math.isnan(v)]
    missing = [f"; no {name} from {percent(base)} would be" for name, v in sizes.items() if math.isnan(v)]
    told = f"with {what} {' or '.join(found)} would be told in {percent(POWER)} of such comparisons"
    return Power(told + "".join(missing), -fall, rise)


def _least(power: Callable[[float], float], most: float) -> float:
    """The smallest difference with enough power; NaN where that is more than `most`."""
    return (
        float(brentq(lambda d: power(d) - POWER, 0.0, most, xtol=1e-4))
        if most > 0 and power(most) >= POWER
        else math.nan
    )


def _fewest_better(num: int, level: float) -> npt.NDArray[np.int64]:
    """How many of m pairs that differ have to be better for a two-sided p below the level, [N + 1]; m + 1: never."""
    apart = np.arange(num + 1)
    return np.asarray(binom.isf(level / 2, apart, 0.5), dtype=np.int64) + 1


@functools.lru_cache(maxsize=32)
def _fisher_rejects(first: int, second: int, level: float) -> npt.NDArray[np.bool_]:
    """Whether Fisher's two-sided p of so many successes in each sample is below the level, [first + 1, second + 1]."""
    found = np.zeros((first + 1, second + 1), dtype=bool)
    for successes in range(first + second + 1):
        counts = np.arange(max(0, successes - second), min(successes, first) + 1)
        chances = hypergeom.pmf(counts, first + second, successes, first)
        order = np.argsort(chances)
        total = np.cumsum(chances[order])
        last = np.searchsorted(chances[order], chances * (1 + 1e-7), side="right") - 1
        found[counts, successes - counts] = total[last] < level
    return found
