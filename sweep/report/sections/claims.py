"""The claims of a study as cards of the page and lines of the terminal: findings -> texts and small drawings."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from sweep.analysis.claims.named import is_ratio, response, response_text, shown
from sweep.analysis.claims.responses import YES_OR_NO
from sweep.analysis.claims.stated import removed_note
from sweep.analysis.claims.verdict import ClaimFinding, Word
from sweep.report.contents.view import View
from sweep.report.figures.effect import draw_effect, effect_info
from sweep.report.figures.pairs import draw_slopes, draw_squares, slope_info, squares_info
from sweep.report.sections.claim_units import by_levels, effect_number, effect_text, interval_name, levels, unit, zone
from sweep.report.sections.section import Content
from sweep.study.claim import Claim
from sweep.wording import number, plural

VERDICTS: tuple[Word, ...] = ("supported", "refuted", "equivalent", "undecided")
"""In the order in which they are counted."""

MEANINGS = {
    "supported": "the effect is there, in the claimed direction, or the equality is",
    "refuted": "an effect as claimed is ruled out, or the equality is",
    "equivalent": "any effect is too small to matter",
    "undecided": "the runs so far allow more than one of these",
}


@dataclass(frozen=True)
class ClaimCard:
    """One claim, ready to be shown."""

    name: str
    anchor: str
    text: str
    """The claim in its own words; its name where it has none."""
    source: str
    verdict: str
    sentence: str
    """What a reader takes away, without the verdict's word."""
    effect: str
    """The effect, and in brackets its interval; empty while there is none."""
    row: Markup
    """The effect as a row of a forest plot."""
    plots: tuple[Markup, ...]
    """The pairs; empty while there are none."""
    progress: str
    """Pairs used of planned, and looks."""
    looks: tuple[bool, ...]
    """One for each planned look: whether its pairs were used."""
    power: str
    """How many pairs would decide an undecided claim; a settled one has it among its details."""
    endings: str
    note: str
    details: tuple[tuple[str, str], ...]
    """Test, assumptions and the like, as (label, text)."""


def headline(findings: Sequence[ClaimFinding]) -> str:
    """The verdicts counted: `3 claims: 1 supported, 1 refuted, 1 undecided`."""
    if not findings:
        return "This study states no claim."
    counts = Counter(finding.verdict for finding in findings)
    counted = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    told = counted if len(findings) > 1 else findings[0].verdict
    under_way = interim(findings)
    return f"{plural(len(findings), 'claim')}: {told}" + (f" ({under_way})" if under_way else "")


def interim(findings: Sequence[ClaimFinding]) -> str:
    """`interim: look 1 of 4` while trainings are due that an open claim waits for; else empty."""
    waiting = [f for f in findings if f.verdict == "undecided" and f.look < f.num_looks]
    if not waiting:
        return ""
    first = min(waiting, key=lambda finding: finding.look)
    return f"interim: look {first.look} of {first.num_looks}" if first.look else "interim: before the first look"


def null_name(findings: Sequence[ClaimFinding]) -> str:
    """What the dashed line of the effects' rows is."""
    is_null = all(f.claim.null == (1.0 if is_ratio(f.claim) else 0.0) for f in findings)
    return "no effect" if is_null else "no effect, or the value that the claim names"


def terminal_lines(findings: Sequence[ClaimFinding]) -> list[str]:
    """One line a claim; below an undecided one, what would decide it."""
    width = max((len(finding.verdict) for finding in findings), default=0)
    lines = []
    for finding in findings:
        told = ", ".join(filter(None, (_effect(finding, ""), _pairs_used(finding))))
        lines.append(f"{finding.verdict:<{width}}  {finding.claim.name}: {told}")
        if finding.verdict == "undecided":
            lines += [f"{'':<{width}}  {text}" for text in (finding.power, finding.note) if text]
    return lines


def claims_content(view: View) -> Content:
    """The claims, a card each."""
    return Content(
        {
            "view": view,
            "verdict_count": headline(view.findings),
            "cards": claim_cards(view.findings),
            "meanings": MEANINGS,
            "null_name": null_name(view.findings),
            "removed_claims": removed_note(view.provenance.claims_withdrawn_after),
        }
    )


def claim_cards(findings: Sequence[ClaimFinding]) -> tuple[ClaimCard, ...]:
    """The cards of all claims, in their order."""
    return tuple(_card(index, finding) for index, finding in enumerate(findings, start=1))


def _card(index: int, finding: ClaimFinding) -> ClaimCard:
    claim = finding.claim
    return ClaimCard(
        name=claim.name,
        anchor=f"claim-{index}",
        text=claim.text,
        source=claim.source,
        verdict=finding.verdict,
        sentence=_without_verdict(finding),
        effect=_effect(finding, ""),
        row=_row(finding),
        plots=_plots(finding),
        progress=_progress(finding),
        looks=tuple(look < finding.look for look in range(finding.num_looks)),
        power=finding.power if finding.verdict == "undecided" else "",
        endings=finding.endings,
        note=finding.note,
        details=tuple(_details(finding)),
    )


def _without_verdict(finding: ClaimFinding) -> str:
    """The sentence without the verdict in front, which the page writes in its colour."""
    rest = finding.sentence.partition(": ")[2] or finding.sentence
    first = rest.split(" ", 1)[0]
    # A name of the user's keeps its case.
    return rest if first in finding.claim.levels or not first.isalpha() else rest[:1].upper() + rest[1:]


def _effect(finding: ClaimFinding, interval: str) -> str:
    """`+4 points (95 % interval -6 to +14)`, with the given words before the interval."""
    claim = finding.claim
    if math.isnan(finding.estimate):
        return ""
    told = effect_text(claim, finding.estimate)
    if not math.isfinite(finding.low) and not math.isfinite(finding.high):
        return f"{told} (no interval yet)"
    low, high = effect_number(claim, finding.low), effect_number(claim, finding.high)
    return f"{told} ({interval} {low} to {high})".replace("( ", "(")


def _pairs_used(finding: ClaimFinding) -> str:
    return f"{finding.num_pairs} of {plural(finding.num_planned, 'pair')}"


def _progress(finding: ClaimFinding) -> str:
    told = _pairs_used(finding)
    if finding.settled_at is not None and finding.settled_at < finding.num_looks:
        return f"{told}; settled at look {finding.settled_at} of {finding.num_looks}"
    if finding.look == finding.num_looks:
        return f"{told}; {'settled at ' if finding.settled_at else ''}look {finding.look} of {finding.num_looks}"
    return f"{told}; {interim([finding])}"


def _claimed(claim: Claim) -> str:
    """What the claim says of its effect: `lower by 10 points or more`."""
    smallest, value = claim.smallest_effect, claim.null
    if is_ratio(claim):
        size = f"a factor of {number(smallest)}"
        from_value = "" if value == 1 else f" from {number(value)} times"
    else:
        size = f"{number(shown(claim, smallest))} {unit(claim)}"
        from_value = "" if value == 0 else f" from {effect_text(claim, value)}"
    if claim.expected == "equal":
        return f"equal: less than {size} away{from_value}"
    return f"{claim.expected} by {size} or more{from_value}"


def _compared(claim: Claim) -> str:
    """What is set against what: `fp16 against fp32, model teacher`."""
    names = levels(claim)
    if claim.by:
        by = by_levels(claim)
        told = f"{names[1]} against {names[0]}, in {by[1]} against {by[0]}"
    elif claim.effect == "slope":
        told = f"along {claim.factor} ({', '.join(claim.levels)})"
    elif claim.effect == "mean":
        told = names[0]
    else:
        told = f"{names[1]} against {names[0]}"
    return ", ".join([told, *(f"{factor} {level}" for factor, level in claim.where.items())])


def _row(finding: ClaimFinding) -> Markup:
    claim = finding.claim
    low, high = (shown(claim, end) for end in zone(claim))
    effect = _effect(finding, interval_name(finding.level)) or "not known yet"
    return draw_effect(
        effect_info(
            estimate=shown(claim, finding.estimate),
            low=shown(claim, finding.low),
            high=shown(claim, finding.high),
            value=shown(claim, claim.null),
            zone=(low, high),
            expected=claim.expected,
            sides=_sides(claim),
            name=_axis_name(claim),
            text=lambda value: _tick(claim, value),
            summary=f"{_axis_name(claim)}: {effect}; claimed: {_claimed(claim)}",
            log=is_ratio(claim),
        )
    )


def _tick(claim: Claim, value: float) -> str:
    signed = value > 0 and not is_ratio(claim) and claim.effect != "mean"
    return ("+" if signed else "") + number(value)


def _sides(claim: Claim) -> tuple[str, str]:
    if claim.by:
        other = by_levels(claim)[1]
        return f"effect lower in {other}", f"effect higher in {other}"
    if claim.effect == "slope" and claim.null == 0:
        return f"falls with {claim.factor}", f"rises with {claim.factor}"
    if claim.effect in ("slope", "mean"):
        return "lower", "higher"
    other = levels(claim)[1]
    if claim.response == "stable":
        return f"{other} less stable", f"{other} more stable"
    return f"lower under {other}", f"higher under {other}"


def _axis_name(claim: Claim) -> str:
    """The effect in words with its unit: `share of stable trainings, fp16 minus fp32 (points)`."""
    names, name = levels(claim), response(claim).name
    if claim.by:
        by = by_levels(claim)
        told = f"{name}, {names[1]} minus {names[0]}, in {by[1]} minus in {by[0]}"
    elif claim.effect == "slope":
        told = f"{name}, change with {claim.factor}"
    elif claim.effect == "mean":
        told = f"{name}, mean under {names[0]}"
    elif is_ratio(claim):
        return f"{name}, {names[1]} as a multiple of {names[0]} (log scale)"
    else:
        told = f"{name}, {names[1]} minus {names[0]}"
    return f"{told} ({unit(claim)})"


def _plots(finding: ClaimFinding) -> tuple[Markup, ...]:
    """The pairs behind the numbers that are shown; two parts for an interaction."""
    pairs, claim = finding.pairs, finding.claim
    if not len(pairs.blocks):
        return ()
    values = np.asarray(pairs.values, dtype=float)
    titles = by_levels(claim) if claim.by else [""]
    names = levels(claim) if claim.by else list(pairs.labels)
    as_squares = claim.response in YES_OR_NO and len(names) == 2 and bool(np.isin(values, (0.0, 1.0)).all())
    drawn = []
    for index, title in enumerate(titles):
        part = slice(index * len(names), (index + 1) * len(names))
        if as_squares:
            drawn.append(draw_squares(squares_info(title, names, values[:, part], claim.response)))
            continue
        # Edges come as logarithms: a reader knows learning rates.
        edges = claim.response == "edge_lr"
        shown_values = 10 ** values[:, part] if edges else values[:, part]
        info = slope_info(
            title, names, pairs.blocks.tolist(), shown_values, pairs.censored[:, part],
            lambda value: response_text(claim, value), log=edges or is_ratio(claim),
            failed=None if pairs.failed is None else pairs.failed[:, part],
        )  # fmt: skip
        drawn.append(draw_slopes(info))
    return tuple(drawn)


def _details(finding: ClaimFinding) -> list[tuple[str, str]]:
    claim = finding.claim
    p = "" if math.isnan(finding.p) else ("below 0.0001" if finding.p < 1e-4 else number(finding.p, 2))
    rows = [
        ("Name", claim.name),
        ("Claim as tested", f"{response(claim).name}: {_compared(claim)}; {_claimed(claim)}"),
        ("Response", response(claim).counted),
        ("Test", finding.test),
        ("Assumptions", finding.assumptions),
        (
            "Interval",
            f"{interval_name(finding.level)} at this look: the rate of error is {number(claim.alpha)} over "
            "all looks and claims together",
        ),
        ("p", p),
        ("Power", finding.power if finding.verdict != "undecided" else ""),
    ]
    return [(label, text) for label, text in rows if text]
