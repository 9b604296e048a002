"""Writes a manifest folder as a whole or not at all.

Dimension legend: T frames, P points, C coordinates a point, F features.
"""

import csv
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from slr_models.convert.utterance import Utterance
from slr_models.data.features_file import HOLISTIC_LAYOUT
from slr_models.data.index import MANIFEST_COLUMNS, Entry, SplitName
from slr_models.errors import DataError

FEATURES = "features"
"""The folder of the feature files."""
SPLIT_WORDS: dict[SplitName, str] = {"train": "train", "valid": "valid", "unused": "test"}
"""What a manifest calls a split."""


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder that appears at `path` if the block succeeds; else nothing is left.

    Raises:
        DataError: something lies there already.
    """
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise DataError(f"{path} is not empty, and nothing is overwritten; choose another folder for --out.")
    # On the same disk, so that it can be renamed; folders above it are made at the end.
    above = next(parent for parent in path.absolute().parents if parent.is_dir())
    temporary = above / f".{path.name}.{uuid.uuid4().hex[:8]}.partial"
    temporary.mkdir()
    try:
        yield temporary
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_features(folder: Path, utterance: Utterance) -> Path:
    """Writes the features of an utterance; returns their path within the folder."""
    suffix = ".npz" if utterance.is_holistic else ".npy"
    suffix = utterance.file.suffix if utterance.file is not None else suffix
    path = Path(FEATURES) / f"{utterance.id}{suffix}"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    if utterance.file is not None:
        shutil.copyfile(utterance.file, folder / path)
    elif utterance.is_holistic:
        np.savez_compressed(folder / path, landmarks=utterance.values.astype(np.float32), layout=HOLISTIC_LAYOUT)
    else:
        np.save(folder / path, utterance.values.astype(np.float32))
    return path


def write_manifest(path: Path, entries: Sequence[Entry], *, behind: bool = False) -> None:
    """Writes the list of utterances, whose features lie in the folder of the list; or adds them behind those of one."""
    with path.open("a" if behind else "w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        if not behind:
            lines.writerow(MANIFEST_COLUMNS)
        for entry in entries:
            features = entry.candidates[0].as_posix()
            lines.writerow((entry.id, features, " ".join(entry.labels), entry.signer, SPLIT_WORDS[entry.split]))
