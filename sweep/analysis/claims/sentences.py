"""What a claim's result is in plain words."""

import math
from typing import Any, NamedTuple

from sweep.analysis.claims.effects import Effect
from sweep.analysis.claims.named import level_text, response, response_text, shown
from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.claims.power import pairs_needed
from sweep.study.claim import Claim
from sweep.wording import number, percent, plural

OPENINGS = {
    "supported": "Supported",
    "refuted": "Refuted",
    "equivalent": "No difference that matters",
    "undecided": "Undecided",
}
NO_ROOM = "Not testable"
"""Opens the sentence of a claim whose reference leaves no room for it."""

_FAR_MORE = 10
"""Times the planned pairs: nobody runs so many, so their exact number says nothing."""

_LARGEST_LOG = 700.0
"""Of a ratio; a float ends at exp(709)."""


def sentence(
    claim: Claim, verdict: str, effect: Effect, pairs: Pairs, *, corrected: bool, why: str = "", testable: bool = True
) -> str:
    """What a reader takes away.

    Args:
        claim: an entry of the study's claims.
        verdict: its verdict.
        effect: on the scale of `Pairs.effects`.
        pairs: that it was estimated from.
        corrected: whether the interval allows for several looks or claims.
        why: it is undecided in spite of the interval, a sentence; empty where the interval decides.
        testable: whether it can be told at all, from where the reference is.
    """
    if not len(pairs):
        return f"{OPENINGS[verdict]}: no pair is complete yet."
    kind = "over all looks and claims" if corrected else ""
    coverage = f"{percent(1 - claim.alpha)} interval {kind}".strip()
    found = f"{_effect_name(claim)} {amount(claim, effect.estimate, signed=True)}"
    reach = f"{coverage} {_end(claim, effect.low)} to {_end(claim, effect.high)}"
    if math.isinf(effect.low) and math.isinf(effect.high):
        reach = "no interval yet"
    levels = ", ".join(
        f"{label}: {_level_text(claim, column)}" for label, column in zip(pairs.labels, pairs.values.T, strict=True)
    )
    told = f"{levels}; {found}" if claim.effect != "mean" else f"mean {amount(claim, effect.estimate)}"
    statement = _statement(claim, verdict, effect)
    opening = OPENINGS[verdict] if testable else NO_ROOM
    judged = f"{opening}: {statement} ({told}, {reach}; {plural(len(pairs), 'pair')})."
    return f"{judged} {why}".rstrip()


def amount(claim: Claim, effect: float, *, signed: bool = False) -> str:
    """An effect in its unit: `+4 points`, `1.8 times`, `-0.3 decades`; a ratio is given by its logarithm."""
    if claim.effect == "ratio":
        return f"{number(as_factor(effect))} times"
    if claim.effect == "mean":
        text = _plain(claim, effect, signed=False)
        return f"{text} %" if response(claim).is_share else _with_unit(claim, text)
    per = " a doubling" if claim.effect == "slope" else ""
    return _with_unit(claim, _plain(claim, effect, signed=signed)) + per


def span(claim: Claim, effect: Effect) -> str:
    """An effect with the ends of its interval: `+4 points, -6 to +14`."""
    return f"{amount(claim, effect.estimate, signed=True)}, {_end(claim, effect.low)} to {_end(claim, effect.high)}"


def power_sentence(claim: Claim, effect: Effect, level: float, planned: int) -> str:
    """How many pairs would find the smallest effect that matters.

    Args:
        claim: an entry of the study's claims.
        effect: on the scale of `Pairs.effects`.
        level: two-sided level at the last look.
        planned: pairs of the whole design.
    """
    smallest = scaled(claim, claim.smallest_effect)
    if effect.spread == 0:
        return "All pairs gave the same, so their spread, and the pairs that another effect would need, are unknown."
    needed = pairs_needed(effect.spread, smallest, level, equivalence=claim.expected == "equal")
    if needed is None:
        return "How many pairs would decide it is not known: too few say how much the effect scatters."
    goal = "rule out" if claim.expected == "equal" else "detect"
    effect_text = f"{goal} an effect of {size_text(claim)} with 80 % power, scattering as so far"
    if needed > _FAR_MORE * planned:
        return f"Far more pairs than the {planned} planned, some {number(needed, 2)}, would {effect_text}."
    return f"About {plural(needed, 'pair')} would {effect_text}; {planned} are planned."


def as_factor(log_ratio: float) -> float:
    """A ratio from its logarithm; infinite where no number holds it."""
    return math.exp(log_ratio) if log_ratio < _LARGEST_LOG else math.inf


def scaled(claim: Claim, given: float) -> float:
    """The claim's `null` or `smallest_effect` on the scale of `Pairs.effects`."""
    return math.log(given) if claim.effect == "ratio" else given


def size_text(claim: Claim) -> str:
    """The smallest effect that matters."""
    given = claim.smallest_effect
    if claim.effect == "ratio":
        return f"a factor of {number(given)}"
    per = " a doubling" if claim.effect == "slope" else ""
    return _with_unit(claim, _plain(claim, given, signed=False)) + per


class _Phrases(NamedTuple):
    """What a claim's statement can come to, in the words of its effect."""

    equal_open: str
    open: str
    within: str
    there: str
    absent: str


def _statement(claim: Claim, verdict: str, effect: Effect) -> str:
    value, smallest = scaled(claim, claim.null), scaled(claim, claim.smallest_effect)
    rises = claim.expected == "higher" or (claim.expected == "equal" and effect.estimate > value)
    against = effect.high < value if rises else effect.low > value
    at = _where(claim)
    if claim.by and value == 0:
        phrases = _of_interaction(claim, rises=rises, against=against)
    elif claim.effect in ("slope", "mean") or claim.by or value != 0:
        phrases = _of_quantity(claim, rises=rises, against=against)
    else:
        # Here the levels that it holds for come before the size.
        phrases, at = _of_levels(claim, effect, at, rises=rises, against=against), ""
    match verdict, claim.expected:
        case "undecided", "equal":
            return phrases.equal_open + at
        case "undecided", _:
            return phrases.open + at
        case ("equivalent", _) | ("supported", "equal"):
            return phrases.within + at
        case "supported", _:
            return phrases.there + at
        case _, "equal":
            size, beyond = size_text(claim), effect.low > value + smallest or effect.high < value - smallest
            sure = f" by more than {size}" if beyond else f" (whether by {size} or more is not sure)"
            return phrases.there + sure + at
        case _:
            return phrases.absent + at


def _of_levels(claim: Claim, effect: Effect, at: str, *, rises: bool, against: bool) -> _Phrases:
    noun, other, size = _noun(claim), level_text(claim.factor, claim.levels[1]), size_text(claim)
    up, verb, back = ("raise", "raises", "lowers") if rises else ("lower", "lowers", "raises")
    value = scaled(claim, claim.null)
    is_there = effect.low > value or effect.high < value
    though = f", though it {'raises' if effect.estimate > value else 'lowers'} it" if is_there else ""
    return _Phrases(
        f"whether {other} changes {noun} by {size} is open{at}",
        f"whether {other} {verb} {noun} by {size} is open{at}",
        f"{other} changes {noun} by less than {size} either way{at}{though}",
        f"{other} {verb} {noun}{at}",
        f"{other} does not {up} {noun}{at}" + (f", it {back} it" if against else f" by {size} or more"),
    )


def _of_interaction(claim: Claim, *, rises: bool, against: bool) -> _Phrases:
    assert claim.by is not None, "it is an interaction"
    first, second = (level_text(claim.by, level) for level in claim.by_levels)
    what = f"the effect of {level_text(claim.factor, claim.levels[1])} on {_noun(claim)}"
    side, back = ("higher", "lower") if rises else ("lower", "higher")
    size, apart = size_text(claim), f"with {second} than with {first}"
    return _Phrases(
        f"whether {what} differs by {size} between {first} and {second} is open",
        f"whether {what} is {side} by {size} {apart} is open",
        f"{what} differs by less than {size} between {first} and {second}",
        f"{what} is {side} {apart}",
        f"{what} is {back} {apart}" if against else f"{what} is not {side} by {size} or more {apart}",
    )


def _of_quantity(claim: Claim, *, rises: bool, against: bool) -> _Phrases:
    value, size, noun = amount(claim, scaled(claim, claim.null)), size_text(claim), _noun(claim)
    effect = f"the effect of {level_text(claim.factor, claim.levels[-1])} on {noun}"
    if claim.effect == "slope":
        what = f"the change of {noun} with {claim.factor}"
    elif claim.effect == "mean":
        what = f"{noun} with {level_text(claim.factor, claim.levels[0])}"
    elif claim.by:
        first, second = (level_text(claim.by, level) for level in claim.by_levels)
        what = f"{effect} with {second}, less that with {first},"
    else:
        what = effect
    side, back = ("above", "below") if rises else ("below", "above")
    return _Phrases(
        f"whether {what} is within {size} of {value} is open",
        f"whether {what} is {size} or more {side} {value} is open",
        f"{what} is within {size} of {value}",
        f"{what} is {side} {value}",
        f"{what} is {back} {value}" if against else f"{what} is not {size} or more {side} {value}",
    )


def _noun(claim: Claim) -> str:
    return f"the {response(claim).name}"


def _where(claim: Claim) -> str:
    levels = ", ".join(f"{factor} {level}" for factor, level in claim.where.items())
    return f" with {levels}" if levels else ""


def _level_text(claim: Claim, column: Any) -> str:
    """The mean of a column, geometric for a ratio."""
    if claim.effect == "ratio":
        return number(math.exp(sum(math.log(v) for v in column) / len(column)))
    mean = float(column.mean())
    return number(10**mean) if claim.response == "edge_lr" else response_text(claim, mean)


def _effect_name(claim: Claim) -> str:
    if claim.by:
        return "difference of the differences"
    return claim.effect


def _end(claim: Claim, effect: float) -> str:
    """An end of the interval, without its unit."""
    if math.isinf(effect):
        return "unknown"
    if claim.effect == "ratio":
        return number(as_factor(effect))
    return _plain(claim, effect, signed=claim.effect != "mean")


def _with_unit(claim: Claim, text: str) -> str:
    unit = response(claim).unit
    return f"{text} {unit.removesuffix('s') if text.lstrip('+-') == '1' and unit == 'points' else unit}"


def _plain(claim: Claim, effect: float, *, signed: bool) -> str:
    value = shown(claim, effect)
    text = number(value, 2 if abs(value) < 100 else 3)
    return f"+{text}" if signed and value > 0 else text
