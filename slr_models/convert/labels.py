"""Tells the labels of a text apart, by what all texts of a source show; a manifest has them apart by spaces."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from slr_models.convert.utterance import Labels
from slr_models.data.batch import BLANK_TOKEN
from slr_models.data.spelling import sound
from slr_models.errors import DataError

SEPARATORS = ("/", "|", ",")
"""What may stand between labels beside spaces."""
_JOINS = ("-", "_")
"""What a space within a label becomes, so that a manifest keeps it in one piece."""
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


@dataclass(frozen=True)
class Separated:
    """The labels of all utterances."""

    labels: dict[str, tuple[str, ...]]
    """By the utterance's id; none holds a space."""
    notes: tuple[str, ...]
    """What was changed."""


def labels_in(value: Any) -> Labels | None:
    """Labels as files hold them: a text, bytes, numbers, or a list or an array of these; None where there are none.

    Raises:
        DataError: it is nothing of that kind ("what; what to do").
    """
    if value is None or isinstance(value, str):
        return (value or "").strip() or None
    if isinstance(value, bytes):
        return value.decode("utf-8").strip() or None
    if isinstance(value, np.ndarray | np.generic):
        return labels_in(value.tolist())
    if isinstance(value, list | tuple):
        if len(value) == 1 and isinstance(value[0], list | tuple):
            return labels_in(value[0])
        return tuple(_label(one) for one in value) or None
    if isinstance(value, float) and np.isnan(value):
        return None
    return (_label(value),)


def separate(raw: Mapping[str, tuple[str, Labels]], separator: str | None) -> Separated:
    """The labels of each utterance, in Unicode's form NFC.

    Args:
        raw: id -> where it stands, and its labels as the source has them.
        separator: what is between the labels of a text; None: what all texts show.

    Raises:
        DataError: a text can be read in two ways, is a broken list, or has the label of CTC's blank.
    """
    listed = {name: (where, _as_list(where, labels)) for name, (where, labels) in raw.items()}
    texts = [(where, labels) for where, labels in listed.values() if isinstance(labels, str)]
    chosen = separator if separator is not None else _separator(texts)
    found: dict[str, tuple[str, ...]] = {}
    for name, (where, labels) in listed.items():
        pieces: Sequence[str] = labels
        if isinstance(labels, str):
            pieces = labels.split() if not chosen.strip() else labels.split(chosen)
        found[name] = tuple(" ".join(piece.split()) for piece in map(sound, pieces) if piece.strip())
        if BLANK_TOKEN in found[name]:
            raise DataError(f"{where}: {name!r} has the label {BLANK_TOKEN}, which is CTC's own; remove or rename it.")
    return _in_one_piece(found)


def _label(value: Any) -> str:
    """One label as text: whole numbers without a point."""
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int):
        return str(value)
    raise DataError(f"holds {value!r:.80} for a label; store texts or whole numbers")


def _as_list(where: str, labels: Labels) -> Labels:
    """The labels of a text that is a list of Python or JSON; any other as they are."""
    if not isinstance(labels, str) or not (labels.startswith("[") and labels.endswith("]")):
        return labels
    try:
        items = json.loads(labels)
    except ValueError:
        try:
            items = ast.literal_eval(labels)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            items = None
        # Python joins texts without a comma between them, as NumPy prints them.
        if isinstance(items, list) and len(_QUOTED.findall(labels)) > len(items):
            items = None
    if not isinstance(items, list) or not all(isinstance(item, str | int) for item in items):
        raise DataError(f"{where}: the labels {labels!r:.80} are no list of texts; write them apart by spaces.")
    return tuple(str(item) for item in items)


def _separator(texts: Sequence[tuple[str, str]]) -> str:
    """What stands between labels, where all texts agree on it.

    Raises:
        DataError: they do not.
    """
    seen = [mark for mark in SEPARATORS if any(mark in text for _, text in texts)]
    if not seen:
        return " "
    for where, text in texts:
        pieces = [piece.strip() for piece in text.split(seen[0])]
        others = [mark for mark in (*seen[1:], " ") if any(mark in piece for piece in pieces)]
        if others:
            first, second = repr(seen[0]), "spaces" if others[-1] == " " else repr(others[0])
            raise DataError(
                f"{where}: the labels {text!r:.80} can be apart by {second} or, as others of this source, by {first}; "
                f"say which with --label-separator {first} (a space within a label becomes -) or "
                f"--label-separator ' '."
            )
    return seen[0]


def _in_one_piece(found: dict[str, tuple[str, ...]]) -> Separated:
    """The labels without spaces, no two of which become one."""
    vocabulary = {label for labels in found.values() for label in labels}
    spaced = sorted(label for label in vocabulary if " " in label)
    if not spaced:
        return Separated(found, ())
    for join in _JOINS:
        new = {label: label.replace(" ", join) for label in vocabulary}
        if len(set(new.values())) == len(new):
            break
    else:
        raise DataError(
            f"{spaced[0]!r} holds a space, and the labels have both {spaced[0].replace(' ', '-')!r} and "
            f"{spaced[0].replace(' ', '_')!r} already; rename one of them."
        )
    note = f"{len(spaced)} labels hold spaces, which became {join!r} (first {spaced[0]!r} -> {new[spaced[0]]!r})"
    return Separated({name: tuple(new[label] for label in labels) for name, labels in found.items()}, (note,))
