"""The targets of a list of utterances: labels that are spelled soundly, and cleaned up where that is asked for."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from slr_models.data.batch import BLANK_TOKEN
from slr_models.data.index import SPACE, Entry, Format
from slr_models.data.labels import Labels, LabelsConfig
from slr_models.data.problems import Problems
from slr_models.data.spelling import listed, sound


def with_sound_targets(
    entries: Sequence[Entry], kind: Format, clean_up: LabelsConfig | None, problems: Problems
) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries with the labels that are trained on, and notes on what was changed.

    Args:
        entries: as the list has them; those of no use are passed through.
        kind: the list's format; in that of Kaggle labels are single characters.
        clean_up: of the labels, while they are read or later.
        problems: hears of each entry whose labels cannot be used.

    Raises:
        DataError: an entry cannot be used, and the policy says so.
    """
    kept, respelled, num_respelled = [], set[str](), 0
    for entry in entries:
        labels = _characters(entry.labels) if kind == "kaggle" else tuple(filter(None, map(sound, entry.labels)))
        respelled.update(set(entry.labels) - set(labels))
        num_respelled += labels != entry.labels
        fault = None if entry.split == "unused" else _fault(entry, labels)
        if fault is None:
            kept.append(replace(entry, labels=labels))
        else:
            problems.report(*fault)
    notes = []
    if respelled:
        shown = ", ".join([*sorted(ascii(label) for label in respelled)[:5], *["..."] * (len(respelled) > 5)])
        notes.append(
            f"labels were brought to Unicode's form NFC, without invisible characters, in {num_respelled} of "
            f"{len(entries)} targets; spellings replaced: {len(respelled)} ({shown})"
        )
    if clean_up is not None:
        kept, told = _cleaned(kept, clean_up, problems)
        notes += told
    return kept, tuple(notes)


def _characters(labels: Labels) -> Labels:
    """The labels of a phrase; which characters are one is told by their neighbours."""
    phrase = sound("".join(" " if label == SPACE else label for label in labels))
    return tuple(SPACE if character == " " else character for character in phrase)


def _fault(entry: Entry, labels: Labels) -> tuple[str, str, str] | None:
    """Reason, place and message of what makes a target useless; None if nothing does."""
    if not labels:
        return "empty target", entry.where, f"utterance {entry.id!r} has no labels but invisible ones; add its labels"
    if BLANK_TOKEN in labels:
        message = f"utterance {entry.id!r} has the label {BLANK_TOKEN}, which is CTC's own; remove or rename it"
        return "reserved label", entry.where, message
    if (parts := listed(labels)) is not None:
        message = (
            f"the labels of utterance {entry.id!r} are written as a Python list ({' '.join(labels)}); "
            f"write them apart by blanks ({' '.join(parts)})"
        )
        return "labels as a list", entry.where, message
    return None


def _cleaned(
    entries: Sequence[Entry], clean_up: LabelsConfig, problems: Problems
) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries with clean labels, if they are to be trained on, and notes."""
    used = [entry for entry in entries if entry.split != "unused"]
    notes: list[str] = []
    if absent := clean_up.without_effect(entry.labels for entry in used):
        notes.append(f"labels.replace and labels.drop name {', '.join(absent)}, which no utterance has")
    if clean_up.when == "evaluation":
        notes.append(
            f"the WER is counted after clean-up of references and hypotheses ({clean_up.told}); wer_raw is the WER "
            f"before it"
        )
        return list(entries), tuple(notes)
    kept = []
    for entry in entries:
        clean = clean_up.reference(entry.labels)
        if clean or entry.split == "unused":
            kept.append(replace(entry, labels=clean))
        else:
            problems.report(
                "empty target",
                entry.where,
                f"utterance {entry.id!r} has no labels left of {' '.join(entry.labels)} after clean-up; "
                f"keep one of them",
            )
    before, after = (Counter(label for e in part if e.split != "unused" for label in e.labels) for part in (used, kept))
    notes.append(
        f"labels were cleaned up before training ({clean_up.told}): of {len(before)} glosses in {before.total()} "
        f"places, {len(after)} in {after.total()} were left; the WER is that of the clean ones"
    )
    return kept, tuple(notes)
