"""How labels are spelled: one form for what looks the same, and what in one cannot be seen."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_JOINERS = "\u200c\u200d"
"""Have a meaning in Arabic, the scripts of India and the like, and in emoji."""
_INVISIBLE = str.maketrans(
    dict.fromkeys("\u00ad\u061c\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")
)
"""Soft hyphen, spaces of no width, marks of direction: nobody who writes a gloss means one."""
_LIKE_LATIN = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0456"
    "\u03b1\u03b2\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7",
    "abekmhopctyxiabezhikmnoptyx",
)
"""Small letters, Cyrillic then Greek, whose capitals look like Latin ones."""
_SEPARATORS = (" ", ",", ";", "/", "|", "+")
_LIST = re.compile(r"[\[(] ?(['\"]).*\1 ?,? ?[\])]")
_QUOTED = re.compile(r"(['\"])(.*?)\1")
_WORDS = re.compile(r"[^\W_][\W_]+[^\W_]")
_LONG, _LONG_OF_SYLLABLES = 16, 5
"""Characters of a sentence; the latter in a script of East Asia, where most are a syllable or a word."""


def sound(text: str) -> str:
    """A text in Unicode's form NFC, without what has neither form nor meaning in it (`_INVISIBLE`)."""
    seen = text.translate(_INVISIBLE)
    if any(joiner in seen for joiner in _JOINERS):
        without = seen.translate(dict.fromkeys(map(ord, _JOINERS)))
        if all(_is_european(character) for character in without):
            seen = without
    return unicodedata.normalize("NFC", seen)


def _is_european(character: str) -> bool:
    """Whether it is of the blocks of Latin, Greek, Cyrillic and Armenian, which join no letters."""
    return character < "\u0590" or "\u1d00" <= character < "\u2000"


def hidden(label: str) -> list[str]:
    """The characters of a label that are no text, escaped: control and format characters, and U+FFFD."""
    return [
        f"U+{ord(character):04X}"
        for character in label
        if character == "\ufffd"
        or (unicodedata.category(character) in ("Cc", "Cf", "Cs") and character not in _JOINERS)
    ]


def escaped(label: str) -> str:
    """A label with an escape in place of each character that does not show."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in label)


def look(label: str) -> str:
    """What is equal for labels that look alike: without case, width, invisible characters, and zeros for O."""
    plain = "".join(c for c in label if unicodedata.category(c) not in ("Cc", "Cf") and not "\ufe00" <= c <= "\ufe0f")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", plain).casefold()).translate(_LIKE_LATIN)
    # Among single characters, as in fingerspelling, the digit and the letter both belong.
    return folded.replace("0", "o") if len(folded) > 1 and not folded.isdigit() else folded


def listed(labels: Sequence[str]) -> list[str] | None:
    """The labels that a target written as a Python list stands for (`['A',`, `'B']`); None if it is none."""
    text = " ".join(labels)
    return [part for _, part in _QUOTED.findall(text)] if _LIST.fullmatch(text) else None


def separator(labels: Counter[str], share: float) -> str | None:
    """The character that more than a share of the labels hold between or behind other characters; None if none does.

    Args:
        labels: label -> occurrences.
        share: of all labels, or of all occurrences.
    """
    for mark in _SEPARATORS:
        having = [label for label in labels if mark in label[1:]]
        if len(having) > share * len(labels) or sum(labels[label] for label in having) > share * labels.total():
            return mark
    return None


def is_like_sentence(label: str) -> bool:
    """Whether a label looks like several: parts with something between them, or more than a word has."""
    is_syllabic = any("\u2e80" <= character <= "\ud7ff" for character in label)
    return bool(_WORDS.search(label)) or len(label) >= (_LONG_OF_SYLLABLES if is_syllabic else _LONG)
