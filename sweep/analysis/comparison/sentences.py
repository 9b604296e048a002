"""What a comparison found, in plain words for a terminal and as one JSON object."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sweep import store
from sweep.analysis.comparison.changes import ALPHA, StudyChange, Told, Verdict
from sweep.analysis.comparison.compare import Comparison
from sweep.analysis.comparison.settings import TITLES, Difference
from sweep.wording import number, percent, plural, value_text

MAX_SETTINGS = 6
"""Differing settings that a line names."""

KINDS: tuple[tuple[str, Verdict, str], ...] = (
    ("Regressions", "regression", "red"),
    ("Improvements", "improvement", "green"),
    ("Differences too small to matter", "too_small", ""),
    ("No difference that can be told", "open", ""),
)
"""Heading, verdict and rich style of the changes."""
Line = tuple[str, str]
"""Text and its rich style."""


def as_json(found: Comparison, before: Path | str, after: Path | str) -> dict[str, Any]:
    """The comparison as one JSON object; what is not a number is null."""
    content: dict[str, Any] = {"a": str(before), "b": str(after), "alpha": ALPHA}
    content |= {verdict: [_change_json(change) for change in found.of(verdict)] for _, verdict, _ in KINDS}
    content |= {key: value for key, value in asdict(found).items() if key != "changes"}
    finite: dict[str, Any] = store.without_nonfinite(content)
    return finite


def _change_json(change: StudyChange) -> dict[str, Any]:
    content = asdict(change)
    del content["power_at"]
    return {**content, "p_corrected": change.p_corrected}


def lines(found: Comparison, before: Path | str, after: Path | str) -> Iterator[Line]:
    """The comparison for a person."""
    yield f"A: {before}", ""
    yield f"B: {after}", ""
    yield _verdict(found)
    for title, verdict, style in KINDS:
        changes = found.of(verdict)
        if changes:
            yield from _heading(title)
            for change in changes:
                yield from _change_lines(change, style)
    if found.incomparable:
        yield from _heading("Cannot be compared")
        for one in found.incomparable:
            yield f"  {one.subject}: {one.why}", ""
    yield from _heading("What was compared")
    for sentence in found.basis:
        yield f"  {sentence}", ""
    yield (
        f"  95 % intervals; p corrected for all tests, so that any false alarm has a chance of about {percent(ALPHA)}; "
        "loss and WER count as two tests",
        "",
    )
    yield from _setting_lines(found.settings)
    yield from _told("Stable region", found.region)
    yield from _told("Best setting", found.best)
    yield from _told("Outcomes of all trainings of the shared part, new or gone", found.outcomes)
    yield from _told("Cost (told, not judged)", found.costs)
    yield from _told("Claims whose verdict changed", found.claims)
    if found.num_claims_same:
        yield f"  {plural(found.num_claims_same, 'claim')} with the same verdict", ""


def _verdict(found: Comparison) -> Line:
    """How much is shared, first where that is little, and what became of it."""
    worse, better, small, open_ = (len(found.of(verdict)) for _, verdict, _ in KINDS)
    counts = (
        f"{plural(worse, 'regression')}, {plural(better, 'improvement')}, "
        f"{f'{small} too small to matter, ' if small else ''}{open_} without a difference that can be told"
    )
    without = f", {len(found.incomparable)} that cannot be compared" if found.incomparable else ""
    if found.overlap.is_little:
        text = f"A and B share little: {found.overlap.text} lie where both looked. Of that: {counts}{without}"
    else:
        text = f"{counts}{without}; shared: {found.overlap.text}"
    return text, "bold red" if worse else "bold yellow" if found.overlap.is_little else "bold green"


def _heading(title: str) -> Iterator[Line]:
    yield "", ""
    yield title, "bold"


def _change_lines(change: StudyChange, style: str) -> Iterator[Line]:
    yield f"  {change.subject}: {change.difference}", style
    yield f"      {change.before} -> {change.after}; {change.test}, {_p_text(change)}", ""
    if change.power is not None:
        yield f"      power: {change.power.text}", ""


def _p_text(change: StudyChange) -> str:
    # What counts is the corrected one.
    return f"p = {number(change.p_corrected, 2)}" if change.num_tests else "which so few cannot show to differ"


def _told(title: str, facts: Sequence[Told]) -> Iterator[Line]:
    if not facts:
        return
    yield from _heading(title)
    for fact in facts:
        note = f"  [{fact.note}]" if fact.note else ""
        same = fact.before == fact.after
        yield f"  {fact.subject}: {f'{fact.before} in both' if same else f'{fact.before} -> {fact.after}'}{note}", ""


def _setting_lines(settings: Sequence[Difference]) -> Iterator[Line]:
    yield from _heading("What differs between the studies")
    if not settings:
        yield "  nothing: same settings, data, software and machine", ""
    for title in TITLES:
        own = [one for one in settings if one.title == title]
        known = [one for one in own if one.in_both]
        for one in known[:MAX_SETTINGS]:
            yield f"  {one.path}: {_exact(one.before)} -> {_exact(one.after)}", ""
        rest = len(own) - len(known[:MAX_SETTINGS])
        alone = [one.path for one in own if not one.in_both]
        if rest:
            kind = f"that only one of them has, such as {alone[0]}" if rest == len(alone) else "that differ"
            yield f"  {rest} more of {title} {kind} (--json lists all)", ""


def _exact(value: Any) -> str:
    return str(value) if isinstance(value, int | list) and not isinstance(value, bool) else value_text(value)
