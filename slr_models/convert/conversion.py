"""Converts a source: reads an utterance, checks it, writes it; then the labels and the splits of all."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from slr_models.convert.folder import SPLIT_WORDS, new_folder, write_features, write_manifest
from slr_models.convert.formats import FORMATS, find_format
from slr_models.convert.labels import separate
from slr_models.convert.lists import LabelList, find_list, read_list
from slr_models.convert.splits import split_up, untrained
from slr_models.convert.summary import Measured, Summary
from slr_models.convert.utterance import Bad, Labels, Source, Utterance, fault_of_name
from slr_models.data.index import MANIFEST, SPLITS, Entry
from slr_models.data.problems import OnBad, Problems
from slr_models.errors import DataError
from slr_models.spec import Spec

FormatName = Literal["torch", "hdf5", "mat", "pickle", "openpose", "mediapipe", "gislr", "features"]
_MAX_NAMED = 3
"""Names that a note gives."""


class Conversion(Spec):
    """What is converted, and how."""

    source: Path
    """The file or the folder with the data."""
    out: Path
    """The manifest folder to make; nothing may lie there."""
    format: FormatName | None = None
    """The format of the source; None: what its files show."""
    labels: Path | None = None
    """A list of labels (CSV), or a folder with those of CE-CSL or CSL-Daily; None: those of the source."""
    labels_columns: dict[str, str] = Field(default_factory=dict)
    """name, labels, signer or split -> the column of the list that is read as it."""
    label_separator: str | None = None
    """What stands between labels in a text; None: what the texts show."""
    trust: bool = False
    """Whether pickles are loaded, which runs whatever code they hold."""
    on_bad: OnBad = "error"
    """A bad utterance ends the conversion, or is left out and counted."""
    valid_rate: float = Field(default=0.1, gt=0, lt=1)
    """Share of the utterances to validate on where no split is told, by whole signers where all are known; (0, 1)."""
    seed: int = Field(default=0, ge=0)
    """Seed of that choice."""


@dataclass(frozen=True)
class _Kept:
    """An utterance whose features are written."""

    id: str
    path: Path
    labels: Labels
    signer: str
    split: str
    where: str


def convert(settings: Conversion, progress: Callable[[int], None]) -> Summary:
    """Makes a manifest folder.

    Args:
        settings: what of.
        progress: hears after each utterance how many are done.

    Raises:
        DataError: the source cannot be used, or an utterance is bad and `on_bad` is "error"; nothing is left then.
    """
    source = Source(settings.source, settings.trust)
    if (source.path / MANIFEST).is_file() and settings.labels is None:
        raise DataError(f"{source.path} is a manifest folder already ({MANIFEST}); use it as `path` of a study's data.")
    with new_folder(settings.out) as folder:
        reader = FORMATS[settings.format or find_format(source.path)]
        listed = _listed(settings)
        problems, measured, kept = Problems(settings.on_bad, "give --on-bad exclude"), Measured(), dict[str, _Kept]()
        for found in reader.read(source):
            utterance = _complete(found, listed, measured, kept)
            if isinstance(utterance, Bad):
                problems.report(utterance.reason, utterance.where, utterance.message)
                continue
            path = write_features(folder, utterance)
            measured.add(utterance)
            kept[utterance.id] = _Kept(
                utterance.id, path, utterance.labels or "", utterance.signer, utterance.split, utterance.where
            )
            progress(len(kept))
        if not kept:
            raise DataError(f"{source.path} has no usable utterance (left out: {problems.counts or 'none'}).")
        separator = settings.label_separator or (listed.separator if listed is not None else None)
        separated = separate({one.id: (one.where, one.labels) for one in kept.values()}, separator)
        entries, notes = split_up(
            [_entry(one, separated.labels[one.id]) for one in kept.values()],
            [one.split for one in kept.values()],
            settings.valid_rate,
            settings.seed,
        )
        write_manifest(folder / MANIFEST, entries)
    counts = Counter(entry.split for entry in entries)
    return Summary(
        out=settings.out,
        utterances={word: count for split, word in SPLIT_WORDS.items() if (count := counts[split])},
        num_signers=len({entry.signer for entry in entries} - {""}),
        num_labels=len({label for entry in entries for label in entry.labels}),
        measured=measured,
        exclusions=problems.counts,
        num_untrained=len(untrained(entries)),
        notes=(*separated.notes, *notes, *_of_list(listed)),
    )


def _listed(settings: Conversion) -> LabelList | None:
    if settings.labels is not None:
        return read_list(settings.labels, settings.labels_columns, settings.trust)
    return find_list(settings.source, settings.trust) if settings.source.is_dir() else None


def _complete(
    found: Utterance | Bad, listed: LabelList | None, measured: Measured, kept: dict[str, _Kept]
) -> Utterance | Bad:
    """The utterance with what the list says of it, or what is wrong with it."""
    if isinstance(found, Bad):
        return found
    utterance = replace(found, id=found.id.strip())
    where = utterance.where
    if fault := fault_of_name(utterance.id):
        return Bad("bad name", where, fault)
    if utterance.id in kept:
        first = kept[utterance.id].where
        return Bad("duplicate name", where, f"{utterance.id!r} was there before, at {first}; give it its own name")
    if listed is not None:
        try:
            row = listed.find(utterance.id)
        except DataError as error:
            return Bad("duplicate labels", where, f"{utterance.id!r} {error}")
        if row is None:
            return Bad("no labels", where, f"{listed.told} has no line for {utterance.id!r}; add one")
        signer, split = row.signer or utterance.signer, row.split or utterance.split
        utterance = replace(utterance, labels=row.labels, signer=signer, split=split)
    return _fault(utterance, measured) or utterance


def _fault(utterance: Utterance, measured: Measured) -> Bad | None:
    """What is wrong with an utterance, if anything."""
    name, values, where = utterance.id, utterance.values, utterance.where
    if not utterance.labels:
        advice = "give them with --labels FILE (CSV: a column for the name, one for the labels)"
        return Bad("no labels", where, f"{name!r} has no labels; {advice}")
    told = utterance.labels if isinstance(utterance.labels, str) else " ".join(utterance.labels)
    if any(ord(letter) < ord(" ") and not letter.isspace() for letter in told + utterance.signer):
        return Bad("bad labels", where, f"the labels {told!r:.80} of {name!r} hold a control character; remove it")
    if utterance.split and utterance.split.lower() not in SPLITS:
        return Bad("unknown split", where, f"the split of {name!r} is {utterance.split!r}; write {', '.join(SPLITS)}")
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        wanted = "[frames, features] or [frames, points, coordinates]"
        return Bad("shape", where, f"{name!r} is {values.dtype} of shape {values.shape}; store numbers as {wanted}")
    if values.size == 0:
        return Bad("no frames", where, f"{name!r} has no frames; extract it again")
    if measured.frames and values.shape[1:] != measured.shape:
        others = f"where those before it have {list(measured.shape)}"
        return Bad(
            "feature size", where, f"{name!r} has {list(values.shape[1:])} numbers a frame {others}; extract again"
        )
    if values.dtype.kind == "f" and np.isinf(values).any():
        return Bad("non-finite features", where, f"{name!r} holds infinity; correct the extraction")
    if values.dtype.kind == "f" and np.isnan(values).all():
        return Bad("no landmarks", where, f"{name!r} holds only missing values; extract it again")
    return None


def _entry(kept: _Kept, labels: tuple[str, ...]) -> Entry:
    split = SPLITS[kept.split.lower()] if kept.split else "train"
    return Entry(kept.id, (kept.path,), labels, " ".join(kept.signer.split()), split, kept.where)


def _of_list(listed: LabelList | None) -> tuple[str, ...]:
    """What the list of labels was read as, and its lines without features."""
    if listed is None:
        return ()
    told = f"labels from {listed.told}"
    if not (unused := listed.unused):
        return (told,)
    more = f" and {len(unused) - _MAX_NAMED} more" if len(unused) > _MAX_NAMED else ""
    return told, f"{len(unused)} lines of the list have no features here: {', '.join(unused[:_MAX_NAMED])}{more}"
