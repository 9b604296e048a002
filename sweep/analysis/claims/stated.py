"""When claims were stated: one that was stated or changed after trainings had finished is exploratory.

study.yaml keeps the record: `stated_after` of each claim, and in `provenance` the claims that no longer stand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.study.claim import Claim
from sweep.wording import plural

WITHDRAWN_KEY = "claims_withdrawn_after"
"""In `provenance`: name of a claim that was removed or changed -> trainings that had finished by then."""
_UNTESTED_KEYS = ("name", "text", "source", "stated_after")
"""Parts of a claim that may change without another thing being tested."""


@dataclass(frozen=True)
class Record:
    """What was stated when, in finished trainings."""

    stated_after: Mapping[str, int]
    """Of each claim that stands; 0 where it was stated before any training had finished."""
    withdrawn_after: Mapping[str, int]
    """Of each claim that was removed, or changed in what it tests, after trainings had finished."""


def record(
    before: Sequence[Claim], withdrawn_after: Mapping[str, int], claims: Sequence[Claim], num_finished: int
) -> Record:
    """The record of a study that states these claims now.

    A claim that tests what it tested before keeps its number, under another name, too.

    Args:
        before: what an earlier run stated.
        withdrawn_after: as it was recorded then.
        claims: what is stated now, without gaps.
        num_finished: trainings that have finished.
    """
    withdrawn, left = dict(withdrawn_after), list(before)
    stood: dict[str, int] = {}
    for may_be_renamed in (False, True):
        for claim in claims:
            same = (c for c in left if _tests(c) == _tests(claim) and (may_be_renamed or c.name == claim.name))
            if claim.name not in stood and (found := next(same, None)) is not None:
                stood[claim.name] = found.stated_after
                left.remove(found)
    if num_finished:
        withdrawn |= {claim.name: num_finished for claim in left if claim.name not in withdrawn}
    return Record({claim.name: stood.get(claim.name, num_finished) for claim in claims}, withdrawn)


def tested(claim: Mapping[str, Any]) -> dict[str, Any]:
    """What a claim, as JSON has it, tests: all but its name, its words and when it was stated."""
    return {key: value for key, value in claim.items() if key not in _UNTESTED_KEYS}


def _tests(claim: Claim) -> dict[str, Any]:
    return tested(claim.model_dump(mode="json"))


def note_of(claim: Claim) -> str:
    """What to know of when a claim was stated; empty where that was before any training had finished."""
    after = claim.stated_after
    return f"Stated after {plural(after, 'training')}: exploratory, its error rate is not assured." if after else ""


def removed_note(withdrawn_after: Mapping[str, int]) -> str:
    """Which claims no longer stand as they did when trainings began; empty where all do.

    Args:
        withdrawn_after: of the study's provenance.
    """
    names = list(withdrawn_after)
    were = "was" if len(names) == 1 else "were"
    told = f"{plural(len(names), 'claim')} {were} removed or changed after trainings began: {', '.join(names)}."
    return told if names else ""


def exploratory_lines(claims: Sequence[Claim]) -> Iterator[str]:
    """The exploratory claims for the terminal, a line for each time at which some were stated."""
    for after in sorted({claim.stated_after for claim in claims} - {0}):
        names = ", ".join(claim.name for claim in claims if claim.stated_after == after)
        yield f"claims changed after {plural(after, 'training')}: {names}; they are marked as exploratory"
