"""Claims -> findings: looks in order, Holm over the claims at each, verdicts from one interval.

Every claim has its own `alpha`. At a look a claim is judged at the nominal level that the look may spend of alpha / m,
where m counts the claims that are not settled (Holm, 1979, with group-sequential levels: Maurer and Bretz, 2013). A
settled claim stays as it was at its look. Every wrong verdict needs the interval to miss the truth on one side, which
has half the level; so the chance of any wrong verdict is at most alpha / 2 (1 + 1/2 + ... + 1/m) even if each claim
were settled the right way just before it could be settled the wrong way: 0.92 alpha for 3 claims, 1.04 for 4, 1.55 for
12. The exception is `equal` refuted because the interval excludes the value and the estimate is `smallest_effect` away:
that there is an effect is sure at alpha; that it matters is likely, and the sentence says so.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sweep.analysis.claims.blind import failures_unseen, no_room, rests_on_none, untested
from sweep.analysis.claims.bounded import stable_effect
from sweep.analysis.claims.edges import edge_effect
from sweep.analysis.claims.effects import Effect, continuous, unknown
from sweep.analysis.claims.endings import endings
from sweep.analysis.claims.mixed_logistic import interaction_odds_ratio
from sweep.analysis.claims.named import response
from sweep.analysis.claims.pairs import Pairs, num_finished, pairs
from sweep.analysis.claims.responses import YES_OR_NO, Evals
from sweep.analysis.claims.sentences import as_factor, power_sentence, scaled, sentence, span
from sweep.analysis.claims.sequential import levels_at, look, look_blocks
from sweep.analysis.claims.stated import note_of
from sweep.store import without_nonfinite
from sweep.study.claim import Claim
from sweep.study.settings import Study
from sweep.wording import number, percent, plural

RULES = 4
"""Number of the rules by which claims are settled; a study that other rules ended is judged again."""

Word = Literal["supported", "refuted", "equivalent", "undecided"]


@dataclass(frozen=True)
class ClaimFinding:
    """What the trials say of one claim."""

    claim: Claim
    """The entry of the study's claims."""
    verdict: Word
    estimate: float
    """The effect in its unit: a share, nats, steps, decades, ...; a factor for a ratio. NaN without a pair."""
    low: float
    high: float
    """Interval of the effect at `level`; infinite (0 and infinite for a ratio) where nothing is known."""
    level: float
    """Two-sided nominal level of this look after Holm's correction."""
    p: float
    """Two-sided p value of the effect being the claim's `value`, to compare with `level`."""
    num_pairs: int
    """Blocks that the numbers stand on."""
    num_planned: int
    look: int
    """Looks evaluated so far, 0 before the first; of a settled claim the one that settled it."""
    num_looks: int
    settled_at: int | None
    """The look (from 1) at which the verdict fell; None while undecided."""
    test: str
    """Name of the procedure."""
    assumptions: str
    power: str
    """How many pairs would find the smallest effect that matters: a sentence."""
    pairs: Pairs
    sentence: str
    """What a reader takes away."""
    endings: str
    """How the trainings behind it ended, and why some fell short; empty without a pair."""
    note: str
    """What else to know; empty if nothing."""


@dataclass(frozen=True)
class Judged:
    """A claim at a look."""

    verdict: Word
    effect: Effect
    """On the scale of `Pairs.effects`."""
    level: float
    last_level: float
    """Nominal level of the last look, for the power."""
    look: int
    pairs: Pairs
    why: str = ""
    """It is undecided in spite of its interval; empty where the interval decides."""
    testable: bool = True
    """Whether the reference leaves room for what is claimed."""
    all_pairs: Pairs | None = None
    """Of all finished blocks, where they are more than those that it was judged by."""


def judge(trials: pd.DataFrame, study: Study, evals: Evals) -> list[ClaimFinding]:
    """The findings, in the order of the study's claims; none for a study without claims.

    Args:
        trials: as `store.read_trials` gives them.
        study: of the results folder.
        evals: gives the evaluations of a trial by its id.
    """
    claims = study.claims
    if not claims:
        return []
    design = study.design
    assert design is not None, "claims are of a design"
    blocks, looks = design.blocks, design.looks
    sizes = look_blocks(blocks, looks)
    fractions = tuple(size / blocks for size in sizes)
    finished = num_finished(trials, design)
    reached = look(finished, blocks, looks)
    cached = functools.cache(evals)
    found = follow(
        claims,
        fractions,
        lambda i, index: pairs(trials, claims[i], study, cached, sizes[index]),
        num_looks=0 if reached is None else reached + 1,
    )
    if reached is None:
        for i, claim in enumerate(claims):
            levels = levels_at(fractions, claim.alpha / len(claims))
            early = _judged(claim, pairs(trials, claim, study, cached), levels[0], levels[-1], 0)
            found[i] = dataclasses.replace(early, verdict="undecided")
    for i, claim in enumerate(claims):
        if found[i].look and finished > sizes[found[i].look - 1]:
            found[i] = dataclasses.replace(found[i], all_pairs=pairs(trials, claim, study, cached))
    corrected = len(claims) > 1 or len(sizes) > 1
    return [
        _finding(
            claim,
            found[i],
            blocks,
            len(sizes),
            endings(trials, claim, study, found[i].pairs, cached),
            note_of(claim),
            corrected=corrected,
        )
        for i, claim in enumerate(claims)
    ]


def follow(
    claims: Sequence[Claim],
    fractions: tuple[float, ...],
    see: Callable[[int, int], Pairs],
    *,
    num_looks: int,
) -> dict[int, Judged]:
    """Goes through the looks in order: Holm over the claims that are open; a settled claim stays as it is.

    Args:
        claims: of one study.
        fractions: of the planned blocks at each of all planned looks.
        see: what a claim (by its place) sees at a look (by its index).
        num_looks: how many looks have been reached.

    Returns:
        place of the claim -> the claim at its latest look; empty before the first look.
    """
    found: dict[int, Judged] = {}
    for index in range(num_looks):
        waiting = [i for i in range(len(claims)) if i not in found or found[i].verdict == "undecided"]
        seen = {i: see(i, index) for i in waiting}
        while waiting:
            for i in waiting:
                levels = levels_at(fractions, claims[i].alpha / len(waiting))
                found[i] = _judged(claims[i], seen[i], levels[index], levels[-1], index + 1)
            still = [i for i in waiting if found[i].verdict == "undecided"]
            if len(still) == len(waiting):
                break
            waiting = still
    return found


def settled(trials: pd.DataFrame, study: Study, evals: Evals) -> str | None:
    """Why no more blocks are needed; None while a claim is open, or where there are no claims."""
    findings = judge(trials, study, evals)
    if not findings or any(finding.settled_at is None for finding in findings):
        return None
    design = study.design
    assert design is not None, "claims are of a design"
    blocks = design.blocks
    latest = max(finding.settled_at or 0 for finding in findings)
    done = look_blocks(blocks, design.looks)[latest - 1]
    every = "the claim is" if len(findings) == 1 else "every claim is"
    return f"{every} settled after {done} of {plural(blocks, 'block')}"


def to_json(findings: Sequence[ClaimFinding]) -> list[dict[str, Any]]:
    """The findings as JSON can hold them, without the pairs; null for what is unknown or unbounded."""
    names = [field.name for field in dataclasses.fields(ClaimFinding) if field.name != "pairs"]
    rows: list[dict[str, Any]] = without_nonfinite(
        [{**{n: getattr(f, n) for n in names}, "claim": f.claim.model_dump(mode="json")} for f in findings]
    )
    return rows


def verdict_of(claim: Claim, effect: Effect, level: float) -> Word:
    """The verdict from the interval of an effect at a level (both on the scale of `Pairs.effects`).

    At most one of these holds: supported, if the interval excludes `value` on the claimed side and reaches an effect
    that matters; equivalent, if it lies within the effects too small to matter; refuted, if it excludes all that matter
    on the claimed side.
    """
    value, smallest = scaled(claim, claim.null), scaled(claim, claim.smallest_effect)
    estimate, low, high = effect.estimate - value, effect.low - value, effect.high - value
    if math.isnan(estimate):
        return "undecided"
    within = -smallest < low and high < smallest
    if claim.expected == "equal":
        if within:
            return "supported"
        beyond = high < -smallest or low > smallest
        excluded = (low > 0 or high < 0) and effect.p <= level and abs(estimate) >= smallest
        return "refuted" if beyond or excluded else "undecided"
    if claim.expected == "lower":
        low, high = -high, -low
    if low > 0 and high >= smallest:
        return "supported"
    if within:
        return "equivalent"
    return "refuted" if high < smallest else "undecided"


def estimate_effect(claim: Claim, seen: Pairs, level: float) -> Effect:
    """The effect by the procedure for its response, with an interval at a two-sided level."""
    value = scaled(claim, claim.null)
    if claim.response == "edge_lr":
        return edge_effect(seen, value, level)
    if claim.response in YES_OR_NO:
        return stable_effect(seen, value, level)
    effect = continuous(seen.effects, value, level)
    if len(seen) and seen.censored.all():
        return unknown(effect.estimate, effect.test, effect.assumptions)
    return _possible(effect, seen, claim)


def _possible(effect: Effect, seen: Pairs, claim: Claim) -> Effect:
    """The interval without values that no shares can have."""
    if not response(claim).is_share or claim.effect == "slope":
        return effect
    least, most = float(seen.weights[seen.weights < 0].sum()), float(seen.weights[seen.weights > 0].sum())
    return dataclasses.replace(effect, low=max(effect.low, least), high=min(effect.high, most))


def _judged(claim: Claim, seen: Pairs, level: float, last_level: float, at: int) -> Judged:
    effect = estimate_effect(claim, seen, level)
    verdict = verdict_of(claim, effect, level)
    full = no_room(claim, seen)
    why = full
    if not full and rests_on_none(claim, effect, verdict):
        why = untested(claim, seen) or failures_unseen(claim, seen, level)
    return Judged("undecided" if why else verdict, effect, level, last_level, at, seen, why, testable=not full)


def _finding(
    claim: Claim, judged: Judged, planned: int, looks: int, ended: str, stated: str, *, corrected: bool
) -> ClaimFinding:
    effect, seen = judged.effect, judged.pairs
    powerless = judged.why or seen.identical == len(seen) > 0
    back = as_factor if claim.effect == "ratio" else float
    return ClaimFinding(
        claim=claim,
        verdict=judged.verdict,
        estimate=back(effect.estimate),
        low=back(effect.low),
        high=back(effect.high),
        level=judged.level,
        p=effect.p,
        num_pairs=len(seen),
        num_planned=planned,
        look=judged.look,
        num_looks=looks,
        settled_at=judged.look if judged.verdict != "undecided" else None,
        test=effect.test,
        assumptions=effect.assumptions,
        power="" if powerless else power_sentence(claim, effect, judged.last_level, planned),
        pairs=seen,
        sentence=sentence(
            claim,
            judged.verdict,
            effect,
            seen,
            corrected=corrected,
            why=judged.why,
            testable=judged.testable,
        ),
        endings=ended,
        note=" ".join(filter(None, (*_notes(claim, judged), stated))),
    )


def _notes(claim: Claim, judged: Judged) -> list[str]:
    seen, notes = judged.pairs, []
    if judged.look == 0:
        notes.append("No look has been reached: nothing is judged yet.")
    if why := untested(claim, seen):
        notes += [why] if why != judged.why else []
    elif seen.barren:
        notes.append(f"In {seen.barren} of {plural(len(seen), 'pair')} no training was stable: they count as equal.")
    if seen.crashed:
        notes.append(f"{plural(seen.crashed, 'block')} left out: a training crashed or ran out of memory.")
    if seen.undefined:
        notes.append(f"{plural(seen.undefined, 'block')} left out: a value is 0, of which a ratio has no meaning.")
    if unclear := seen.left_out - seen.crashed - seen.undefined:
        notes.append(
            f"{plural(unclear, 'block')} left out: the response of a training is not known, or its end is open."
        )
    if judged.all_pairs is not None and len(judged.all_pairs) > len(seen):
        alpha = claim.alpha
        later = estimate_effect(claim, judged.all_pairs, alpha)
        notes.append(
            f"With all {plural(len(judged.all_pairs), 'pair')} trained: {span(claim, later)} "
            f"({percent(1 - alpha)} interval, without allowance for looks and claims)."
        )
    both = int(seen.censored.all(axis=1).sum())
    if both and claim.response == "steps_to_loss":
        notes.append(
            f"In {both} of {plural(len(seen), 'pair')} no training reached the loss: steps count up to the end only."
        )
    elif seen.censored.any() and claim.response == "edge_lr":
        beyond = int(seen.censored.any(axis=1).sum())
        notes.append(
            f"In {beyond} of {plural(len(seen), 'pair')} an edge lies beyond the learning rates that were tried."
        )
    if claim.response in YES_OR_NO and claim.by and seen.cells == 1 and len(seen):
        odds = interaction_odds_ratio(seen, claim.alpha)
        notes.append(
            f"Mixed logistic model: odds ratio of the interaction {number(odds.estimate)} "
            f"({percent(1 - claim.alpha)} interval {number(odds.low)} to {number(odds.high)})."
        )
    return notes
