"""A shipped list of common English words, and spellings drawn from an alphabet."""

from collections import Counter
from collections.abc import Sequence
from importlib import resources

import numpy as np

Spelling = tuple[str, ...]
"""A word as its letters; a letter of an alphabet can have several characters (CH)."""


def english_words(min_letters: int, max_letters: int) -> list[str]:
    """The shipped words of that length in upper case, in alphabetical order."""
    text = resources.files("slr_models.data").joinpath("words.txt").read_text(encoding="ascii")
    return [word.upper() for word in text.split() if min_letters <= len(word) <= max_letters]


def frequent_letters(words: Sequence[str], available: Sequence[str], size: int) -> tuple[str, ...]:
    """The `size` letters of `available` that occur most often in the words, most frequent first."""
    counts = Counter(letter for word in words for letter in word)
    known = [letter for letter in available if counts[letter]]
    return tuple(sorted(known, key=lambda letter: (-counts[letter], letter))[:size])


def spelled_with(words: Sequence[str], letters: Sequence[str]) -> list[Spelling]:
    """The words that need no other letter."""
    allowed = set(letters)
    return [tuple(word) for word in words if allowed.issuperset(word)]


def random_spellings(
    letters: Sequence[str], min_letters: int, max_letters: int, count: int, rng: np.random.Generator
) -> list[Spelling]:
    """Distinct random letter strings; fewer than `count` where the letters allow no more."""
    found: dict[Spelling, None] = {}
    for _ in range(20 * count):
        size = int(rng.integers(min_letters, max_letters + 1))
        found[tuple(letters[i] for i in rng.integers(len(letters), size=size))] = None
        if len(found) == count:
            break
    return list(found)
