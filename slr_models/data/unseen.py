"""Glosses of the validation split that no training utterance holds.

Each is an entry of the vocabulary like any other, behind those that are trained, so that every target can be written
down and the published splits are used whole. The model has an output for it that it learns never to use. Nothing
that a hypothesis says by it counts as right (`slr_models.wer.Scoring`), and an utterance that holds one has no
validation loss: that would grow without limit the surer the model becomes, and say nothing of what it has learned.
"""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from slr_models.data.batch import Dataset
from slr_models.data.index import Entry
from slr_models.data.labels import LabelsConfig
from slr_models.data.problems import Problems

_START = "validation holds glosses that no training utterance holds:"
UnseenPolicy = Literal["count_as_errors", "refuse", "exclude"]


@dataclass(frozen=True)
class UnseenGlosses:
    """Those of the references as the WER has them."""

    glosses: tuple[str, ...]
    """In alphabetical order."""
    num_occurrences: int
    num_utterances: int
    """How many hold one."""
    num_labels: int
    """Labels of all references."""

    @property
    def lowest_wer(self) -> float:
        """Each occurrence is an error, so that no model has fewer."""
        return self.num_occurrences / max(self.num_labels, 1)


def is_trained(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Whether a training target holds an entry of the vocabulary, [V]."""
    return np.bincount(dataset.train.labels, minlength=len(dataset.vocabulary)) > 0


def unseen_targets(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Whether a validation target holds a label that training lacks, [N]."""
    trained, valid = is_trained(dataset), dataset.valid
    return np.array([not trained[valid.target(i)].all() for i in range(len(valid))], dtype=bool)


def unseen_glosses(dataset: Dataset) -> UnseenGlosses:
    """What of the validation references no hypothesis can get right."""
    names, valid, clean_up = dataset.vocabulary, dataset.valid, dataset.clean_up
    targets = [[names[label] for label in valid.target(i)] for i in range(len(valid))]
    references = targets if clean_up is None else [clean_up.reference(target) for target in targets]
    possible = sayable((names[label] for label in np.flatnonzero(is_trained(dataset))), clean_up)
    missed = [[gloss for gloss in reference if gloss not in possible] for reference in references]
    return UnseenGlosses(
        glosses=tuple(sorted({gloss for part in missed for gloss in part})),
        num_occurrences=sum(map(len, missed)),
        num_utterances=sum(map(bool, missed)),
        num_labels=sum(map(len, references)),
    )


def sayable(labels: Iterable[str], clean_up: LabelsConfig | None) -> Set[str]:
    """The glosses of hypotheses that are made of some labels."""
    return set(labels) if clean_up is None else {part for label in labels for part in clean_up.hypothesis([label])}


def admitted(
    entries: Sequence[Entry], listed: Set[str], trained: Set[str], policy: UnseenPolicy, problems: Problems
) -> list[Entry]:
    """The validation entries that a policy on unseen glosses lets through.

    Args:
        entries: of the validation split.
        listed: glosses that the training list holds; another one may be a misspelling.
        trained: glosses of the training utterances that are trained on.
        policy: count_as_errors lets all through, refuse those with glosses of the list, exclude those with trained
            ones.
        problems: hears of the others.

    Raises:
        DataError: one is refused, and bad utterances end the run.
    """
    kept = []
    for entry in entries:
        labels = set(entry.labels)
        if policy == "refuse" and (unknown := sorted(labels - listed)):
            message = (
                f"the validation glosses {', '.join(map(repr, unknown))} occur in no training utterance; correct their "
                f"spelling, set unseen_glosses: count_as_errors if the split is to be used as it is"
            )
            problems.report("unknown gloss", entry.where, message)
        elif policy == "exclude" and (unseen := sorted(labels - trained)):
            held = ", ".join(map(repr, unseen))
            message = f"no training utterance holds {held}; unseen_glosses: count_as_errors keeps it"
            problems.leave_out("unseen gloss", entry.where, message)
        else:
            kept.append(entry)
    return kept


def is_unseen_note(note: str) -> bool:
    """Whether it is one of `unseen_note`, which is true of the validation split that it was made of alone."""
    return note.startswith(_START)


def unseen_note(dataset: Dataset, listed: Set[str], chosen: Set[str]) -> str | None:
    """What a reader of the WER has to know; None where all glosses are trained.

    Args:
        dataset: the whole.
        listed: glosses of the training list.
        chosen: those of its utterances that were to be used, bad files among them.
    """
    found, num_with_loss = unseen_glosses(dataset), int((~unseen_targets(dataset)).sum())
    if not found.glosses:
        return None
    num_chosen, num_listed = (
        sum(gloss in sayable(labels, dataset.clean_up) for gloss in found.glosses) for labels in (chosen, listed)
    )
    reasons = [
        f"{number} {where}"
        for number, where in (
            (len(found.glosses) - num_listed, "that the training list lacks"),
            (num_listed - num_chosen, "only in training utterances that max_train did not choose"),
            (num_chosen, "only in training utterances that were left out"),
        )
        if number
    ]
    return (
        f"{_START} {len(found.glosses)} ({', '.join(reasons)}), "
        f"{found.num_occurrences} of {found.num_labels} labels, in {found.num_utterances} of {len(dataset.valid)} "
        f"utterances; each counts as an error, so that the WER cannot be lower than {100 * found.lowest_wer:.2f} %; "
        f"the validation loss is over the {num_with_loss} utterances whose labels are all trained"
    )
