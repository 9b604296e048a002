"""What is wrong or odd with labels: how often they occur, how they are spelled, whether targets are split into them."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np

from slr_models.data.batch import Dataset
from slr_models.data.inspection import Inspection
from slr_models.data.spelling import escaped, hidden, is_like_sentence, look, separator
from slr_models.data.unseen import unseen_glosses
from sweep.check.reading import Problem, SourceReading
from sweep.wording import percent, plural

RARE_LABEL, LARGE_IMBALANCE = 5, 100
"""Occurrences below which a label is rare; or this many times rarer than the most frequent one."""
UNSPLIT_SHARE = 0.2
"""Share of the labels, or of their occurrences, with a separator in them from which on they look unsplit. Compounds of
spelled letters (S+H) are far fewer."""


def label_problems(found: Inspection, source: SourceReading) -> Iterator[Problem]:
    """All of them, none of which ends a training."""
    dataset = source.dataset
    yield from _unseen(dataset)
    if not source.is_memory:
        yield from _rare(found)
    occurrences = _occurrences(dataset)
    yield from _hidden(occurrences)
    yield from _alike(occurrences)
    yield from _unsplit(occurrences, dataset)


def _occurrences(dataset: Dataset) -> Counter[str]:
    """How often each label occurs in both splits."""
    labels = np.concatenate([dataset.train.labels, dataset.valid.labels])
    counts = np.bincount(labels, minlength=len(dataset.vocabulary)).tolist()
    return Counter({label: count for label, count in zip(dataset.vocabulary, counts, strict=True) if count})


def _unseen(dataset: Dataset) -> Iterator[Problem]:
    unseen = unseen_glosses(dataset)
    if unseen.glosses:
        text = (
            f"{plural(len(unseen.glosses), 'label')} in validation but not in training, so always wrong: "
            f"{unseen.num_occurrences} of {unseen.num_labels} labels, in {plural(unseen.num_utterances, 'utterance')}; "
            f"the WER cannot be lower than {percent(unseen.lowest_wer, 2)}. In a published split that is as it should "
            f"be; in one of your own correct the spelling, or add training utterances with them"
        )
        yield Problem("warning", "untrained labels", text, unseen.glosses)


def _rare(found: Inspection) -> Iterator[Problem]:
    counts = found.label_counts
    unused = [label for label, count in counts.items() if count == 0 and label not in found.untrained_labels]
    if unused:
        yield Problem(
            "warning",
            "unused labels",
            f"{plural(len(unused), 'label')} of the vocabulary without any occurrence",
            tuple(unused),
        )
    most_frequent, most = next(iter(counts.items()), ("", 0))
    rare = [
        (label, count)
        for label, count in counts.items()
        if count and (count < RARE_LABEL or LARGE_IMBALANCE * count <= most)
    ]
    if rare:
        text = (
            f"{len(rare)} of {len(counts)} labels occur fewer than {RARE_LABEL} times in training, or "
            f"{LARGE_IMBALANCE} times less often than {most_frequent!r} ({most}): hardly anything can be learned of "
            f"them; add utterances with them, or merge or remove these labels"
        )
        yield Problem("warning", "rare labels", text, tuple(f"{label}: {count}" for label, count in reversed(rare)))


def _hidden(occurrences: Counter[str]) -> Iterator[Problem]:
    items = tuple(
        f"'{escaped(label)}': {', '.join(dict.fromkeys(characters))} ({count})"
        for label, count in occurrences.items()
        if (characters := hidden(label))
    )
    if items:
        text = (
            f"{plural(len(items), 'label')} with characters that do not show (control and format characters, U+FFFD), "
            f"as a wrong encoding or a damaged file leaves them: write the labels without"
        )
        yield Problem("warning", "hidden characters in labels", text, items)


def _alike(occurrences: Counter[str]) -> Iterator[Problem]:
    groups = defaultdict(list)
    for label in occurrences:
        groups[look(label)].append(label)
    items = tuple(
        " and ".join(f"{_unmistakable(label)} ({occurrences[label]})" for label in group)
        for group in groups.values()
        if len(group) > 1
    )
    if items:
        text = (
            f"{plural(len(items), 'group')} of labels that differ only in case, in invisible characters, or in "
            f"characters that look alike: each is learned as a label of its own; if they mean the same, write them "
            f"alike (landmarks: labels.replace)"
        )
        yield Problem("warning", "labels that look alike", text, items)


def _unmistakable(label: str) -> str:
    """A label such that no other is shown alike."""
    return f"'{label}'" if label.isascii() and label.isprintable() else ascii(label)


def _unsplit(occurrences: Counter[str], dataset: Dataset) -> Iterator[Problem]:
    mark = separator(occurrences, UNSPLIT_SHARE)
    if mark is not None:
        having = tuple(f"'{escaped(label)}' ({count})" for label, count in occurrences.items() if mark in label[1:])
        text = (
            f"{plural(len(having), 'label')} with {'a blank' if mark == ' ' else repr(mark)} inside or at the end, as "
            f"if the labels of a target were not split there: write labels apart by blanks alone, if these are several"
        )
        yield Problem("warning", "unsplit labels", text, having)
        return
    train = dataset.train
    lengths = np.diff(train.label_offsets)
    once = sum(count == 1 for count in np.bincount(train.labels).tolist())
    long = tuple(f"'{escaped(label)}' ({count})" for label, count in occurrences.items() if is_like_sentence(label))
    if len(train) > 2 and (lengths == 1).all() and (2 * once > len(train) or 2 * len(long) > len(occurrences)):
        text = (
            f"every training target is a single label: {once} of {len(train)} occur in no other, {len(long)} of "
            f"{len(occurrences)} labels look like several words; if they are whole sentences, write the labels of a "
            f"target apart by blanks"
        )
        yield Problem("warning", "unsplit labels", text, long)
