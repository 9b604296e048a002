"""Word errors as additive counts, so that a rate is computed once, over the whole split."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from slr_models.data.batch import Dataset
from slr_models.data.unseen import is_trained


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


class Scored(NamedTuple):
    """Errors of a hypothesis."""

    errors: ErrorCounts
    """As the WER counts them."""
    raw: ErrorCounts | None
    """Before the clean-up of labels; None without one."""


class Scoring:
    """Holds hypotheses against the references of a dataset's validation split, cleaned up as the dataset asks.

    An output that training never teaches is right by chance at most, so that what it says matches no reference.
    """

    def __init__(self, dataset: Dataset) -> None:
        """Of references in `dataset.valid`."""
        self._dataset = dataset
        self._is_trained = is_trained(dataset).tolist()

    def count(self, index: int, hypothesis: Sequence[int]) -> Scored:
        """Errors of a hypothesis for one utterance of the split."""
        reference = self._dataset.valid.target(index).tolist()
        # The blank is in no reference.
        said = [label if self._is_trained[label] else 0 for label in hypothesis]
        raw = count_errors(reference, said)
        clean_up, names = self._dataset.clean_up, self._dataset.vocabulary
        if clean_up is None:
            return Scored(raw, None)
        glosses = [[names[label] for label in labels] for labels in (reference, said)]
        return Scored(count_errors(clean_up.reference(glosses[0]), clean_up.hypothesis(glosses[1])), raw)
