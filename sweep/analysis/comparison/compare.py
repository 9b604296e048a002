"""Two studies -> everything that changed between them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from slr_models.errors import NothingToCompareError
from sweep.analysis.comparison.best import best_change, best_facts, claim_facts, recommended
from sweep.analysis.comparison.changes import Incomparable, StudyChange, Told, Verdict, corrected
from sweep.analysis.comparison.cost import cost_facts
from sweep.analysis.comparison.edges import edge_changes, maps, place_text, volume
from sweep.analysis.comparison.results import shared_results
from sweep.analysis.comparison.settings import Difference, differences
from sweep.analysis.comparison.shared import Shared, StudyRun, in_part, shared_part
from sweep.analysis.comparison.stability import fair_sample, new_outcomes, outcome_changes, share_changes, shared_panel
from sweep.records import NotKnown, Phase
from sweep.wording import plural, short_names

LITTLE = 0.5
"""Of either study's trainings: where less lies in the shared part, the comparison speaks of a part of the study."""


@dataclass(frozen=True)
class Overlap:
    """How many of the judged trainings that explore lie where both studies looked, and of how many."""

    num_a: int
    of_a: int
    num_b: int
    of_b: int

    @property
    def is_little(self) -> bool:
        """Whether it is less than half of either study's trainings."""
        return self.num_a < LITTLE * self.of_a or self.num_b < LITTLE * self.of_b

    @property
    def text(self) -> str:
        """`34 of A's 40 trainings and 40 of B's 40`."""
        return f"{self.num_a} of A's {plural(self.of_a, 'training')} and {self.num_b} of B's {self.of_b}"


@dataclass(frozen=True)
class Comparison:
    """What changed from study A to study B."""

    changes: tuple[StudyChange, ...]
    """Everything that was tested."""
    incomparable: tuple[Incomparable, ...]
    settings: tuple[Difference, ...]
    basis: tuple[str, ...]
    """Which trainings were held against each other, a sentence each."""
    region: tuple[Told, ...]
    best: tuple[Told, ...]
    outcomes: tuple[Told, ...]
    """Outcomes that only one study has."""
    costs: tuple[Told, ...]
    claims: tuple[Told, ...]
    """Claims whose verdict changed."""
    num_claims_same: int
    overlap: Overlap

    def of(self, verdict: Verdict) -> tuple[StudyChange, ...]:
        """The changes with this verdict."""
        return tuple(change for change in self.changes if change.verdict == verdict)


def compare(a: StudyRun, b: StudyRun) -> Comparison:
    """Holds two studies against each other.

    Raises:
        NothingToCompareError: a study has no finished trial, or there is nothing that can be compared.
    """
    for name, run in (("A", a), ("B", b)):
        if run.trials.empty:
            raise NothingToCompareError(f"{name} has no finished trial yet: compare again when some have finished")
    settings = differences(a.stored, b.stored)
    shared = shared_part(a, b)
    found: list[StudyChange | Incomparable] = []
    overlap = _overlap(a, b, shared)
    basis = list(_shared_sentences(a, b, shared, overlap))
    region: list[Told] = []
    outcomes: list[Told] = []
    if shared.empty:
        names = short_names([*a.space, *b.space])
        why = ", ".join(f"{names[path]}" for path in shared.empty)
        found.append(Incomparable("stable region", f"A and B have no value in common of: {why}"))
    else:
        fair = fair_sample(a, b, shared)
        if isinstance(fair, NotKnown):
            found.append(Incomparable("stable share", fair.reason))
        else:
            basis.append(f"shares of {fair.text}")
            found += [*share_changes(a, b, shared, fair), *outcome_changes(fair)]
        results = shared_results(a, b, shared, settings)
        basis.append(results.basis)
        found += results.found
        both = maps(a, b, shared)
        if isinstance(both, NotKnown):
            found.append(Incomparable("edges", both.reason))
        else:
            panel = shared_panel(a, b, shared)
            basis.append(place_text(both, panel.path if panel else None))
            found += edge_changes(a, b, shared, both)
            size = volume(both, shared)
            if isinstance(size, Told):
                region.append(size)
            else:
                found.append(size)
        outcomes = list(new_outcomes(in_part(a, shared), in_part(b, shared)))
    picks = (recommended(a), recommended(b))
    result = best_change(a, b, *picks, settings)
    found += [result] if result is not None else []
    claims, alone, same = claim_facts(a, b)
    comparison = Comparison(
        changes=corrected([one for one in found if isinstance(one, StudyChange)]),
        incomparable=(*(one for one in found if isinstance(one, Incomparable)), *alone),
        settings=settings,
        basis=tuple(line for line in basis if line),
        region=tuple(region),
        best=tuple(best_facts(a, b, *picks)),
        outcomes=tuple(outcomes),
        costs=tuple(cost_facts(a.trials, b.trials, same_machine=not any(d.title == "machine" for d in settings))),
        claims=tuple(claims),
        num_claims_same=same,
        overlap=overlap,
    )
    if all(math.isnan(change.p) for change in comparison.changes) and not claims and not same:
        reasons = [f"{one.subject}: {one.why.rstrip('.')}" for one in found if isinstance(one, Incomparable)]
        reasons += [
            f"{one.subject}: {one.difference}, but {one.power.text}"
            for one in comparison.changes
            if one.power is not None
        ]
        raise NothingToCompareError(
            f"A and B have nothing that can be compared ({'; '.join(reasons)}; no claim is in both)"
        )
    return comparison


def _overlap(a: StudyRun, b: StudyRun, shared: Shared) -> Overlap:
    num_a, num_b = (0 if shared.empty else len(in_part(run, shared)) for run in (a, b))
    of_a, of_b = (int((run.evidence.tried["phase"] == Phase.EXPLORE).sum()) for run in (a, b))
    return Overlap(num_a, of_a, num_b, of_b)


def _shared_sentences(a: StudyRun, b: StudyRun, shared: Shared, overlap: Overlap) -> Iterable[str]:
    names = short_names([*a.space, *b.space])
    for path in shared.one_sided:
        yield f"{names[path]} is searched in {'A' if path in a.space else 'B'} alone; the other has no such setting"
    if not shared.narrowed or shared.empty:
        return
    yield f"shared part of the space: {'; '.join(shared.narrowed)}"
    yield f"in it lie {overlap.text}"
