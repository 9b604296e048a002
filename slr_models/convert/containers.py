"""What files of nested content share: how their utterances are called, and which split a file is."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slr_models.convert.records import Rows, holds_some, utterances
from slr_models.convert.utterance import Found, Source
from slr_models.data.index import SPLITS


def of_file(source: Source, path: Path, content: Any) -> Found:
    """The utterances of a file's content; those without names of their own are called by the file."""
    if isinstance(content, Mapping) and source.path.is_dir():
        # One variable of a file each utterance: its name is the same in all files.
        inside = [value for value in content.values() if holds_some(value)]
        if len(inside) == 1 and isinstance(inside[0], Rows):
            content = inside[0]
    yield from utterances(content, source.name_of(path), str(path), source.split_of(path) or _split_of_name(path))


def _split_of_name(path: Path) -> str:
    """Of phoenix14t.pami0.dev: dev; of a name with no split's word, or several, none."""
    words = [word for word in re.split(r"[._-]", path.name.lower()) if word in SPLITS]
    return words[0] if len(words) == 1 else ""
