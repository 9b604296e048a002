"""What a claim can come to at best, which its design decides before anything is trained.

Shares of stable trainings move in steps of one pair. The exact test needs enough pairs that differ, and the interval
has a width even where no pair does; so a design may be too small for a claim whatever comes out. Of WER, losses and
steps that are claimed to be equal it decides how many failures may go unseen (blind.py).
"""

from dataclasses import dataclass

import numpy as np

from sweep.analysis.claims.blind import enough_without_failure, unseen_failures
from sweep.analysis.claims.bounded import stable_effect
from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.claims.responses import QUALITY, YES_OR_NO
from sweep.analysis.claims.sentences import amount, scaled
from sweep.analysis.claims.sequential import levels_at, look_blocks
from sweep.analysis.claims.verdict import verdict_of
from sweep.study.claim import Claim
from sweep.wording import number, percent

_MOST_PAIRS = 100
"""Pairs up to which a design that is large enough is looked for; p = 2^(1 - pairs) if all differ the same way."""


@dataclass(frozen=True)
class Attainable:
    """Whether a claim can be supported, and what that takes at the last look."""

    possible: bool
    text: str
    """For a person, without the claim's name."""


def is_foreseeable(claim: Claim) -> bool:
    """Whether `attainable` speaks of a claim with one training a level: a difference of shares of trainings against 0,
    or an equality of another response of quality."""
    if claim.response not in YES_OR_NO:
        return claim.response in QUALITY and claim.expected == "equal" and claim.effect != "slope" and not claim.by
    return claim.effect == "difference" and not claim.by and claim.null == 0


def attainable(claim: Claim, blocks: int, looks: int, num_claims: int) -> Attainable:
    """What it takes to support a claim, with one training a level in every block.

    Args:
        claim: for which `is_foreseeable`.
        blocks: planned.
        looks: planned.
        num_claims: of the study, that share the error: a claim has more of it once others are settled.
    """
    fractions = tuple(size / blocks for size in look_blocks(blocks, looks))
    among_all, alone = (levels_at(fractions, claim.alpha / among)[-1] for among in (num_claims, 1))
    if claim.response not in YES_OR_NO:
        return _without_failures(claim, blocks, alone)
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


def _without_failures(claim: Claim, blocks: int, level: float) -> Attainable:
    """Equality where no pair of a whole design fails: what a failure may cost, so that those unseen do not matter."""
    share, smallest = unseen_failures(blocks, level), scaled(claim, claim.smallest_effect)
    is_wer, is_mean = claim.response == "wer", claim.effect == "mean"
    # A mean that is equal to the value is at most this far from the WER of a failure.
    if is_wer and is_mean and share * (least := 1 - claim.null - smallest) >= smallest:
        return Attainable(
            False,
            f"cannot be supported: if none of {blocks} trainings fails, up to {percent(share)} may, which matters; "
            f"it needs at least {enough_without_failure(smallest / least, level)}",
        )
    seen = f"if none of {blocks} {'trainings' if is_mean else 'pairs'} fails{'' if is_mean else ' at one level alone'}"
    if is_wer and share <= smallest:
        return Attainable(True, f"{seen}, up to {percent(share)} may, too few to matter")
    cost = amount(claim, smallest / share)
    return Attainable(True, f"{seen}, up to {percent(share)} may: equal only if a failure costs less than {cost}")


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
