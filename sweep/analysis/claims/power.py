"""How many pairs a claim needs, from the spread of the effects so far."""

import math

from scipy.stats import norm, t

POWER = 0.8
"""Chance to find the smallest effect that matters, if it is there."""
MOST_PAIRS = 1_000_000


def pairs_needed(spread: float, smallest: float, level: float, *, equivalence: bool = False) -> int | None:
    """Pairs at which a two-sided test at a level finds an effect of `smallest` with 80 % power.

    Student's t on normal effects (the noncentral distribution by its usual shift); None where the spread
    is unknown or 0, or more than MOST_PAIRS are needed.

    Args:
        spread: standard deviation of a block's effect, on the scale of `smallest`.
        smallest: the effect that matters, above 0.
        level: two-sided, in (0, 1).
        equivalence: count the pairs instead at which an interval at that level lies within +-`smallest` with 80 %
            power if there is no effect at all.
    """
    if not math.isfinite(spread) or spread <= 0:
        return None
    power = 1 - (1 - POWER) / 2 if equivalence else POWER
    shift = float(norm.isf(level / 2) + norm.ppf(power))
    num = max(2.0, (shift * spread / smallest) ** 2)
    for _ in range(20):  # quantiles of t depend on the number: a few rounds settle it
        if num > MOST_PAIRS:
            return None
        degrees = max(math.ceil(num), 2) - 1
        again = ((float(t.isf(level / 2, degrees) + t.ppf(power, degrees))) * spread / smallest) ** 2
        if abs(again - num) < 0.5:
            break
        num = (num + max(2.0, again)) / 2
    return max(2, math.ceil(num))
