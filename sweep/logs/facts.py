"""What one line of a text log says, as facts that can be read again from every line of the same shape."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sweep.logs.words import INF_WORD, NAN_WORD, parse

_DIGITS = (
    # A comma with digits after it belongs to the number: 1.234,5 or 1,234.5 or 4,1234; else 1234.5.
    r"(?:\d{1,3}(?:\.\d{3})+,\d+(?!\d|[.,]\d|/)|\d{1,3}(?:,\d{3})+(?:\.\d*)?(?!\d|,\d)|\d+,\d+(?!\d|[.,]\d|/)|"
    r"\d+(?:\.\d*)?|\.\d+)"
)
NUMBER = rf"(?:[-+]?{NAN_WORD}|[-+]?{INF_WORD}|[-+]?{_DIGITS}(?:e[-+]?\d+)?(?!\.?#))"
"""A number in a line; to be matched in any case."""
GLUED = r"(?=[a-z]{4,}(?!\w))(?!sec|msec|min|hour|day|percent|sample|token|step|batch|epochs|iter|byte)"
"""What is glued to a number and no unit of it, in any case."""
PIECES = re.compile(r"(\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?)")
"""Parts a line at its digits: what stands between them is its shape."""

ID_PIECES = re.compile(rf"(\b(?=[a-f]*\d)[0-9a-f]{{4,}}(?![\w.])|{PIECES.pattern[1:-1]})")
"""The same with hexadecimal names as digits, for a log that has another one in each line."""


@dataclass(frozen=True)
class Fact:
    """One thing that a line says."""

    key: str
    """The column, by its name in normal form; of a message: the field."""
    name: str
    """The column as the line calls it."""
    place: int | None = None
    """Which piece of the line its number is; None where it is none of them."""
    factor: float = 1.0
    """What the number at the place is multiplied by."""
    value: float = math.nan
    """The number, where it stands at no place."""
    is_constant: bool = False
    """Whether a number that stands at no place is the same in every line of this shape."""
    is_said: bool = False
    """Whether it is a message."""

    @property
    def holds_for_shape(self) -> bool:
        """Whether the fact can be read from the other lines of this shape."""
        return self.place is not None or self.is_constant

    def times(self, factor: float) -> "Fact":
        """The same with its number multiplied."""
        return replace(self, factor=factor * self.factor, value=factor * self.value)


def said(field: str, value: float) -> Fact:
    """What a message says of a field, whatever numbers stand in its line."""
    return Fact(field, field, value=value, is_constant=True, is_said=True)


class Places:
    """Where the numbers of a line stand."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self._pieces = pieces
        self._starts: dict[int, int] = {}
        position = 0
        for place, piece in enumerate(pieces):
            if place % 2:
                self._starts[position] = place
            position += len(piece)

    def fact(self, key: str, name: str, number: str, start: int) -> Fact:
        """The fact that a number of the line is."""
        digits = number.lstrip("+-")
        place = self._starts.get(start + len(number) - len(digits))
        if place is not None and self._pieces[place] == digits:
            return Fact(key, name, place, -1.0 if number.startswith("-") else 1.0)
        try:
            value = parse(number)
        except ValueError:
            value = math.nan
        # Words are the same in every line of a shape; a number that is parted otherwise is not.
        is_word = not any(mark.isdigit() for mark in number) or "#" in number
        return Fact(key, name, value=value, is_constant=is_word)
