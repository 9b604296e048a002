"""Which utterances are validated on, where a source does not tell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from slr_models.data.index import Entry
from slr_models.data.landmarks import hold_out
from slr_models.errors import DataError


def split_up(
    entries: Sequence[Entry], told: Sequence[str], valid_rate: float, seed: int
) -> tuple[list[Entry], tuple[str, ...]]:
    """The entries with some to validate on, held out where the source tells no such split, and notes on it.

    Args:
        entries: all utterances.
        told: the split that the source tells of each; empty where it tells none.
        valid_rate: share to hold out.
        seed: of the choice.

    Raises:
        DataError: some have a split and some none, or nothing is left to train on.
    """
    without = [entry for entry, split in zip(entries, told, strict=True) if not split]
    if without and len(without) < len(entries):
        raise DataError(
            f"{without[0].where}: {without[0].id!r} has no split where others have one ({len(without)} of "
            f"{len(entries)} have none); give all of them one, or none."
        )
    kept, notes = list(entries), tuple[str, ...]()
    if not any(entry.split == "valid" for entry in entries):
        kept, notes = _held_out(entries, valid_rate, seed)
    counts = Counter(entry.split for entry in kept)
    for split in ("train", "valid"):
        if not counts[split]:
            raise DataError(
                f"No utterance is left to {split} on (of {len(kept)}); give more utterances, or a split with both."
            )
    if without_training := untrained(kept):
        example = next(label for label in without_training[0].labels if label not in _trained(kept))
        notes += (
            f"labels that no training utterance has occur in {len(without_training)} of {counts['valid']} utterances "
            f"to validate on (first {example}): on_bad: exclude leaves these out of a study",
        )
    return kept, notes


def untrained(entries: Sequence[Entry]) -> list[Entry]:
    """Utterances to validate on with a label that none to train on has."""
    trained = _trained(entries)
    return [entry for entry in entries if entry.split == "valid" and not trained.issuperset(entry.labels)]


def _trained(entries: Sequence[Entry]) -> set[str]:
    return {label for entry in entries if entry.split == "train" for label in entry.labels}


def _held_out(entries: Sequence[Entry], valid_rate: float, seed: int) -> tuple[list[Entry], tuple[str, ...]]:
    training = [entry for entry in entries if entry.split == "train"]
    signers = {entry.signer for entry in training}
    by_signer = "" not in signers and len(signers) > 1
    drawn = hold_out(training, valid_rate, np.random.default_rng((seed, 0)))
    held = {entry.id for entry in drawn if entry.split == "valid"}
    how = "by whole signers" if by_signer else "at random, not by signers"
    note = f"no split was told for validation: {len(held)} of {len(training)} were held out {how} (seed {seed})"
    return [replace(entry, split="valid") if entry.id in held else entry for entry in entries], (note,)
