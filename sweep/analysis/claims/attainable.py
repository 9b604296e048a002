"""What a claim on stability can come to at best, which its design decides before anything is trained.

Shares of stable trainings move in steps of one pair. The exact test needs enough pairs that differ, and the interval
has a width even where no pair does; so a design may be too small for a claim whatever comes out.
"""

from dataclasses import dataclass

import numpy as np

from sweep.analysis.claims.bounded import stable_effect
from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.claims.sequential import levels_at, look_blocks
from sweep.analysis.claims.verdict import verdict_of
from sweep.study.claim import Claim
from sweep.wording import number

_MOST_PAIRS = 100
"""Pairs up to which a design that is large enough is looked for; p = 2^(1 - pairs) if all differ the same way."""


@dataclass(frozen=True)
class Attainable:
    """Whether a claim can be supported, and what that takes at the last look."""

    possible: bool
    text: str
    """For a person, without the claim's name."""


def is_foreseeable(claim: Claim) -> bool:
    """Whether `attainable` speaks of a claim with one training a level: a difference of stable shares, against 0."""
    return bool(claim.response == "stable" and claim.effect == "difference" and not claim.by and claim.null == 0)


def attainable(claim: Claim, blocks: int, looks: int, num_claims: int) -> Attainable:
    """What it takes to support a claim on the stable share, with one training a level in every block.

    Args:
        claim: for which `is_foreseeable`.
        blocks: planned.
        looks: planned.
        num_claims: of the study, that share the error: a claim has more of it once others are settled.
    """
    fractions = tuple(size / blocks for size in look_blocks(blocks, looks))
    among_all, alone = (levels_at(fractions, claim.alpha / among)[-1] for among in (num_claims, 1))
    if claim.expected == "equal":
        return _equal(claim, blocks, among_all, alone)
    first, last = fewest_apart(claim, blocks, among_all), fewest_apart(claim, blocks, alone)
    if last is not None:
        apart = first or last
        text = f"needs at least {apart} of {blocks} pairs that differ, all one way ({100 * apart / blocks:.0f} points)"
        if first is None:
            text += ", once the other claims are settled"
        elif last < first:
            text += f"; {last} once the other claims are settled"
        return Attainable(True, text)
    needed = next((num for num in range(blocks, _MOST_PAIRS) if _supported(claim, num, num, alone)), _MOST_PAIRS)
    return Attainable(
        False, f"cannot be supported: {blocks} pairs are too few for the exact test, which needs at least {needed}"
    )


def fewest_apart(claim: Claim, num: int, level: float) -> int | None:
    """The fewest of some pairs that have to differ, all the claimed way, to support it; None where all are too few."""
    return next((apart for apart in range(num + 1) if _supported(claim, num, apart, level)), None)


def narrowest(num: int, level: float) -> float:
    """Half the width of the interval of so many pairs of which none differs: it is never narrower."""
    return stable_effect(_pairs(num, 0, 1), 0.0, level).high


def _equal(claim: Claim, blocks: int, among_all: float, alone: float) -> Attainable:
    width = f"+-{number(100 * narrowest(blocks, alone))} points"
    if not _supported(claim, blocks, 0, alone):
        return Attainable(
            False, f"cannot be supported: with {blocks} pairs the interval is never narrower than {width}"
        )
    if not _supported(claim, blocks, 0, among_all):
        return Attainable(
            True, f"needs {blocks} pairs of which none differs (interval {width}), once the other claims are settled"
        )
    return Attainable(
        True, f"the interval is +-{number(100 * narrowest(blocks, among_all))} points if none of {blocks} pairs differs"
    )


def _supported(claim: Claim, num: int, apart: int, level: float) -> bool:
    seen = _pairs(num, apart, -1 if claim.expected == "lower" else 1)
    return verdict_of(claim, stable_effect(seen, 0.0, level), level) == "supported"


def _pairs(num: int, apart: int, sign: int) -> Pairs:
    """So many pairs of which the first few differ, all one way."""
    reference, other = np.zeros(num), np.zeros(num)
    (other if sign > 0 else reference)[:apart] = 1.0
    values = np.column_stack([reference, other])
    return Pairs(
        blocks=np.arange(num),
        values=values,
        labels=("reference", "other"),
        censored=np.zeros((num, 2), dtype=bool),
        effects=other - reference,
        weights=np.array([-1.0, 1.0]),
        cells=1,
        low=values,
        high=values,
    )
