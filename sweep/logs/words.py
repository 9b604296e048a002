"""NumberCells as programs write them: NaN and infinity in many spellings, decimal commas, thousands separators."""

import math
import re
from collections.abc import Iterable

NAN_WORD = (
    r"(?:[sq]?nan(?:\([^()\s]*\)|[a-z%]{0,4}(?![a-z]))|n a n|#(?:qnan|snan|ind|nan)\w*|1\.#(?!inf|j\b)\w*(?:[-+]\d+)?)"
)
"""A NaN, in lower case: nan, -nan(ind), nanxxx (with what is left of a number's format), n a n, 1.#QNAN, 1.#IND."""
INF_WORD = r"(?:inf(?:inity)?(?![a-z])|1\.#(?:inf\w*|j)(?:[-+]\d+)?|\u221e)"
"""An infinity, in lower case: inf, Infinity, 1.#INF, 1.#J (as two digits of it are printed)."""
_NAN = re.compile(rf"[-+]?{NAN_WORD}\.?")
_INF = re.compile(rf"([-+]?){INF_WORD}\.?")
_WORDS = {"true": 1.0, "yes": 1.0, "t": 1.0, "false": 0.0, "no": 0.0, "f": 0.0}
_THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?(?:e[-+]?\d+)?", re.IGNORECASE)
_DECIMAL_COMMA = re.compile(r"[-+]?(?:\d*|\d{1,3}(?:\.\d{3})+),\d+(?:e[-+]?\d+)?", re.IGNORECASE)
_TENSOR = re.compile(r"(?:[a-z_]\w*\.)*(?:tensor|array|float(?:16|32|64))\(\s*([^,()]+?)\s*(?:,.*)?\)")
"""tensor(3.2, device='cuda:0'), np.float64(3.2)."""


class AmbiguousError(ValueError):
    """A number that may be several; `readings` are these."""

    def __init__(self, readings: Iterable[float]) -> None:
        super().__init__()
        self.readings = tuple(readings)


def parse(word: str, comma: str | None = None) -> float:
    """The number that a word is.

    Args:
        word: as it stands in the log.
        comma: what the commas of its column are, "thousands" or "decimal"; None: not known.

    Raises:
        AmbiguousError: the word may be several numbers.
        ValueError: it is none.
    """
    word = word.strip().strip("'\"*`").strip().lower()
    if "_" not in word:
        # float() takes 1_000 for a number.
        try:
            return float(word)
        except ValueError:
            pass
    if word in _WORDS:
        return _WORDS[word]
    if _NAN.fullmatch(word):
        return math.nan
    if (infinite := _INF.fullmatch(word)) is not None:
        return -math.inf if infinite[1] == "-" else math.inf
    if (wrapped := _TENSOR.fullmatch(word)) is not None:
        return parse(wrapped[1], comma)
    readings = comma_readings(word)
    if len(readings) == 1:
        return next(iter(readings.values()))
    if comma in readings:
        return readings[comma]
    if readings:
        raise AmbiguousError(readings.values())
    raise ValueError


def comma_readings(word: str) -> dict[str, float]:
    """What a number with a comma may be, by what the comma is: 4,1234 and 1,234.5 are plain, 1,234 is both."""
    readings: dict[str, float] = {}
    if _THOUSANDS.fullmatch(word):
        readings["thousands"] = float(word.replace(",", ""))
    if _DECIMAL_COMMA.fullmatch(word):
        readings["decimal"] = float(word.replace(".", "").replace(",", "."))
    return readings


def comma_style(words: Iterable[str]) -> str | None:
    """What the commas of a column are, as its plain numbers tell; None where they tell nothing, or different things."""
    styles: set[str] = set()
    for word in words:
        readings = comma_readings(word.strip())
        if len(readings) == 1:
            styles.update(readings)
        elif "." in word and "#" not in word:
            # With a decimal point in use, a comma is none.
            styles.add("thousands")
    return styles.pop() if len(styles) == 1 else None
