"""Files of a results folder: written beside their place, then renamed over it: no reader sees half a file."""

import math
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a temporary path in the same folder; renames it to `path` if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    # As readable as anything else that the user makes (`tempfile` makes files private), and never over another's.
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_yaml(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a mapping as YAML, keys in their given order, atomically."""
    write_text(path, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=100))


def said(error: Exception) -> str:
    """What is wrong with a file, in one line: of many mistakes of fields the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unexpected_keyword_argument":
        return f"this version knows no field {place}"
    return f"{place}: {first['msg']}" if place else first["msg"]


def without_nonfinite(value: Any) -> Any:
    """The value as JSON can hold it: null for every number that is NaN or infinite, lists for tuples."""
    if isinstance(value, Mapping):
        return {key: without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
