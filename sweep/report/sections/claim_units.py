"""How the response and the effect of a claim are named and written: in points, times, decades and so on."""

import math

from sweep.analysis.claims.named import is_ratio, level_text, response, shown
from sweep.study.claim import Claim
from sweep.wording import number


def levels(claim: Claim) -> list[str]:
    """The compared levels; one that says nothing by itself, such as a number, with its factor: `batch 4`."""
    return [level_text(claim.factor, level) for level in claim.levels]


def by_levels(claim: Claim) -> list[str]:
    """The same for the two levels that the effect is compared between."""
    assert claim.by is not None, "asked of interactions alone"
    return [level_text(claim.by, level) for level in claim.by_levels]


def zone(claim: Claim) -> tuple[float, float]:
    """The effects too small to matter, in the effect's own unit."""
    value, smallest = claim.null, claim.smallest_effect
    return (value / smallest, value * smallest) if is_ratio(claim) else (value - smallest, value + smallest)


def unit(claim: Claim) -> str:
    """The unit of the effect, as `shown` gives it."""
    if is_ratio(claim):
        return "times"
    one = response(claim).unit
    if claim.effect == "mean" and response(claim).is_share:
        return "%"
    return f"{one} a doubling" if claim.effect == "slope" else one


def effect_number(claim: Claim, effect: float) -> str:
    """An effect without its unit; with its sign where zero means none."""
    value = shown(claim, effect)
    if not math.isfinite(value) or is_ratio(claim) or claim.effect == "mean":
        return number(value)
    if abs(value) >= 10 and response(claim).is_share:
        return f"{value:+.0f}"
    return ("+" if value > 0 else "") + number(value, 2 if response(claim).is_share else 3)


def effect_text(claim: Claim, effect: float) -> str:
    """An effect with its unit: `+4 points`, `1.3 times`."""
    return f"{effect_number(claim, effect)} {unit(claim)}"


def interval_name(level: float) -> str:
    """The name of an interval that errs at this rate: 0.05 -> `95 % interval`, 1.5e-5 -> `99.9985 % interval`."""
    return f"{100 - float(f'{100 * level:.2g}'):.10g} % interval"
