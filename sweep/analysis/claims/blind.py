"""When pairs cannot show what is claimed: reasons not to settle a claim, a sentence each, empty where there is none.

- No room: the reference is so good (or bad) that the claimed effect cannot be reached. Nothing is settled.
- Nothing was tested: the levels gave the very same trainings, or half of the pairs or more failed at every level. No
  verdict that rests on seeing no effect is given.
- No failure was seen: of n pairs without one that failed at one level alone, as many as `unseen_failures` may. Where
  that share, times what a failure costs, comes to an effect that matters, WER, losses and steps are not called equal:
  their interval scatters as trainings that learn do, and a failure costs more.
"""

import math

from sweep.analysis.claims.effects import Effect
from sweep.analysis.claims.named import response
from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.claims.responses import QUALITY, YES_OR_NO
from sweep.analysis.claims.sentences import amount, scaled, size_text
from sweep.analysis.trials.outcomes import clopper_pearson
from sweep.study.claim import Claim
from sweep.wording import percent, plural


def rests_on_none(claim: Claim, effect: Effect, verdict: str) -> bool:
    """Whether a verdict says that there is no such effect because none was seen, and not because of the opposite."""
    value = scaled(claim, claim.null)
    if verdict == "refuted":
        return claim.expected != "equal" and effect.low <= value <= effect.high
    return verdict == "equivalent" or (verdict == "supported" and claim.expected == "equal")


def no_room(claim: Claim, seen: Pairs) -> str:
    """Why the claimed effect cannot be reached from where the reference is; of shares and their differences only."""
    if not response(claim).is_share or claim.effect != "difference" or claim.expected == "equal" or not len(seen):
        return ""
    rises = claim.expected == "higher"
    # The other level at its best: the last column, whose weight is 1.
    best = float((seen.values[:, :-1] @ seen.weights[:-1]).mean()) + rises
    room = best - claim.null if rises else claim.null - best
    if room >= claim.smallest_effect - 1e-9:
        return ""
    given = ", ".join(
        f"{label} {percent(float(column.mean()))}"
        for label, column in zip(seen.labels[:-1], seen.values.T[:-1], strict=True)
    )
    way = "rise" if rises else "fall"
    return f"No room: with {given} it cannot {way} by {size_text(claim)} any more."


def untested(claim: Claim, seen: Pairs) -> str:
    """Why these pairs tested nothing."""
    if claim.response not in QUALITY or claim.effect == "mean" or not len(seen):
        return ""
    num = plural(len(seen), "pair")
    if seen.identical == len(seen):
        return f"In all {num} the levels gave the very same training: the factor never acted, which tests nothing."
    if 2 * seen.barren >= len(seen):
        return f"In {seen.barren} of {num} no training was stable: where nothing learns, nothing can be compared."
    return ""


def failures_unseen(claim: Claim, seen: Pairs, level: float) -> str:
    """Why failures that were not seen may be an effect that matters.

    Args:
        claim: an entry of the study's claims.
        seen: what it saw.
        level: two-sided.
    """
    if seen.failed is None or claim.response in YES_OR_NO or not len(seen):
        return ""
    failed = seen.failed | seen.censored
    apart = failed.any(axis=1) if claim.effect == "mean" else failed.any(axis=1) & ~failed.all(axis=1)
    share, smallest = unseen_failures(len(seen), level), scaled(claim, claim.smallest_effect)
    cost = share * seen.cost_of_failure
    if apart.any() or not cost >= smallest:
        return ""
    what, alone = ("training", "") if claim.effect == "mean" else ("pair", " at one level alone")
    needed = plural(enough_without_failure(smallest / seen.cost_of_failure, level), what)
    return (
        f"None of {plural(len(seen), what)} failed{alone}, so up to {percent(share)} may: an effect of "
        f"{amount(claim, cost)}, not less than {size_text(claim)}. {needed} without one would do."
    )


def unseen_failures(num: int, level: float) -> float:
    """The largest share of pairs that may fail where none of some did, one-sided at half of a level."""
    return clopper_pearson(0, num, 1 - level)[1]


def enough_without_failure(share: float, level: float) -> int:
    """The fewest pairs of which none failed that exclude a share of failures, in (0, 1)."""
    return math.floor(math.log(level / 2) / math.log1p(-share)) + 1
