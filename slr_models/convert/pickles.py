"""Pickles, packed with gzip or not: loading one runs whatever code it holds, so a user has to say that it is trusted.

SignJoey's archives (phoenix14t.pami0.train) are lists of {name, signer, gloss, text, sign}, where sign is [T, 1024].
"""

import gzip
import pickle
from pathlib import Path
from typing import Any

from slr_models.convert.containers import of_file
from slr_models.convert.torch_files import as_numpy
from slr_models.convert.utterance import Found, Source, UntrustedError

_GZIP = b"\x1f\x8b"


def read(source: Source, path: Path) -> Found:
    """The utterances of a file."""
    yield from of_file(source, path, as_numpy(load(path, source.trust)))


def load(path: Path, trust: bool) -> Any:
    """What a pickle holds.

    Args:
        path: the file, which may be packed with gzip.
        trust: whether the user says that it may run code.

    Raises:
        UntrustedError: it is not trusted.
        Exception: it is damaged; see `slr_models.data.reading.parsing`.
    """
    if not trust:
        raise UntrustedError(
            f"{path} is a pickle, and loading one runs whatever code it holds; give --trust if you know who made it."
        )
    with path.open("rb") as file:
        is_packed = file.read(len(_GZIP)) == _GZIP
    with gzip.open(path) if is_packed else path.open("rb") as file:
        return pickle.load(file)
