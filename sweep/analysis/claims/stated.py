"""When claims were stated: one that was stated or changed after trainings had finished is exploratory.

study.yaml keeps the record: `stated_after` of each claim, and in `provenance` the claims that no longer stand.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def record(before: Mapping[str, Any] | None, claims: Sequence[Mapping[str, Any]], num_finished: int) -> Record:
    """The record of a study that states these claims now.

    A claim that tests what it tested before keeps its number, under another name, too.

    Args:
        before: study.yaml of the earlier run; None where there is none.
        claims: as study.yaml is going to hold them, without gaps.
        num_finished: trainings that have finished.
    """
    content = before or {}
    withdrawn = _withdrawn(content)
    left = list(content.get("claims") or ())
    stood: dict[str, int] = {}
    for may_be_renamed in (False, True):
        for claim in claims:
            same = (c for c in left if tested(c) == tested(claim) and (may_be_renamed or c["name"] == claim["name"]))
            if claim["name"] not in stood and (found := next(same, None)) is not None:
                stood[claim["name"]] = _stated_after(found)
                left.remove(found)
    if num_finished:
        withdrawn |= {claim["name"]: num_finished for claim in left if claim["name"] not in withdrawn}
    return Record({claim["name"]: stood.get(claim["name"], num_finished) for claim in claims}, withdrawn)


def tested(claim: Mapping[str, Any]) -> dict[str, Any]:
    """What a claim tests: all but its name, its words and when it was stated."""
    return {key: value for key, value in claim.items() if key not in _UNTESTED_KEYS}


def note_of(claim_name: str, study: Mapping[str, Any]) -> str:
    """What to know of when a claim was stated; empty where that was before any training had finished.

    Args:
        claim_name: one of the study's claims.
        study: study.yaml; `provenance` may be missing.
    """
    after = next(_stated_after(claim) for claim in study["claims"] if claim["name"] == claim_name)
    return f"Stated after {plural(after, 'training')}: exploratory, its error rate is not assured." if after else ""


def removed_note(study: Mapping[str, Any]) -> str:
    """Which claims no longer stand as they did when trainings began; empty where all do.

    Args:
        study: study.yaml with its `provenance`.
    """
    names = list(_withdrawn(study))
    were = "was" if len(names) == 1 else "were"
    told = f"{plural(len(names), 'claim')} {were} removed or changed after trainings began: {', '.join(names)}."
    return told if names else ""


def exploratory_lines(study: Mapping[str, Any]) -> Iterator[str]:
    """The study's exploratory claims for the terminal, a line for each time at which some were stated."""
    claims = study["claims"]
    for after in sorted({_stated_after(claim) for claim in claims} - {0}):
        names = ", ".join(claim["name"] for claim in claims if _stated_after(claim) == after)
        yield f"claims changed after {plural(after, 'training')}: {names}; they are marked as exploratory"


def _stated_after(claim: Mapping[str, Any]) -> int:
    # Earlier versions refused changed claims, and did not write it.
    return int(claim.get("stated_after", 0))


def _withdrawn(study: Mapping[str, Any]) -> dict[str, int]:
    return dict((study.get("provenance") or {}).get(WITHDRAWN_KEY) or {})
