"""The file that is written: comments, values, and that it is a study before it is there."""

import contextlib
import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slr_models.errors import UserError
from sweep import store, yaml_source
from sweep.machine import storing
from sweep.running.own_study import own_program
from sweep.study import validate
from sweep.study.schema import study_schema_text

WIDTH = 118
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


def comment(text: str) -> str:
    """A comment of one paragraph."""
    lines = textwrap.wrap(" ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def inline(value: Any) -> str:
    """A value on one line: `{kind: landmarks, path: my_data}`."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{inline(key)}: {inline(one)}" for key, one in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(inline, value)) + "]"
        case bool():
            return str(value).lower()
        case float():
            return number(value)
        case str() if _PLAIN.fullmatch(value) and isinstance(yaml_source.parse_scalar(value), str):
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def number(value: float) -> str:
    """A number as a person writes it: 0.01, 3e-05 as 3e-5."""
    text = f"{value:.6g}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def step_text(seconds: float) -> str:
    """`85 ms`, `1.2 s`."""
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def check_free(path: Path, *, force: bool) -> None:
    """Makes sure that nothing is lost by writing a file.

    Raises:
        UserError: something is there, and it must not be replaced.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give --out a file, such as --out {path.name}.yaml")
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is a pipe or a device: give --out the name of a file")
    if path.name == yaml_source.SCHEMA_FILE:
        raise UserError(f"{path} is where the schema goes, which the study names: give --out another name")
    if path.exists() and not force:
        raise UserError(f"{path} exists already: --force replaces it, --out FILE writes another one")


def write_study(path: Path, text: str, *, force: bool, beside: Mapping[Path, str] | None = None) -> Sequence[Path]:
    """Writes a study file, if it is one whose trainings can begin, with a first line that tells editors of its schema.

    Args:
        path: of the study.
        text: what it says.
        force: whether files that are there are replaced.
        beside: what its trainings run that is written with it; None where all of that is there.

    Returns:
        The files that were written, as `write_files`.

    Raises:
        UserError: a setting that the user gave is wrong, such as a program that is not found, or a file is there.
    """
    text = yaml_source.SCHEMA_LINE + text
    loaded = validate(yaml_source.parse(text, str(path)))
    if beside is None:
        own_program(loaded, None)
    return write_files({path: text, **(beside or {})}, force=force)


def write_files(files: Mapping[Path, str], *, force: bool) -> Sequence[Path]:
    """Writes a study, which comes first, with what belongs to it and the schema that it names: all of it, or nothing.

    Returns:
        The files, of which the schema is one where it was not there.

    Raises:
        UserError: one is there already, and must not be replaced.
    """
    for path in files:
        check_free(path, force=force)
    schema = next(iter(files)).with_name(yaml_source.SCHEMA_FILE)
    told = [*files, *([] if schema.exists() else [schema])]
    with storing(schema.parent), contextlib.ExitStack() as stack:
        for path, text in {**files, schema: study_schema_text()}.items():
            stack.enter_context(store.atomic_path(path)).write_text(text, encoding="utf-8")
    return told
