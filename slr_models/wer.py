"""Word errors as additive counts, so that a rate is computed once, over the whole split."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Errors of one or many utterances; `+` pools them."""

    substitutions: int = 0
    deletions: int = 0
    """Reference labels that the hypothesis lacks."""
    insertions: int = 0
    """Hypothesis labels that the reference lacks."""
    num_labels: int = 0
    """Labels of the reference."""

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.num_labels + other.num_labels,
        )

    @property
    def num_errors(self) -> int:
        """Edit distance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors a reference label, never capped at 1; never NaN: an empty reference counts as one label."""
        return self.num_errors / max(self.num_labels, 1)


def count_errors(reference: Sequence[object], hypothesis: Sequence[object]) -> ErrorCounts:
    """Fewest edits from the reference to the hypothesis; among equals, those with the most substitutions."""
    # An edit costs `unit`, an insertion one more: the minimum has the fewest edits, then insertions.
    unit = len(hypothesis) + 1
    costs = [column * (unit + 1) for column in range(len(hypothesis) + 1)]
    for row, label in enumerate(reference, start=1):
        diagonal, costs[0] = costs[0], row * unit
        for column, word in enumerate(hypothesis, start=1):
            substitution = diagonal if label == word else diagonal + unit
            diagonal = costs[column]
            costs[column] = min(substitution, diagonal + unit, costs[column - 1] + unit + 1)
    edits, insertions = divmod(costs[-1], unit)
    deletions = len(reference) - len(hypothesis) + insertions
    return ErrorCounts(edits - deletions - insertions, deletions, insertions, len(reference))
