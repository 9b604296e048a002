"""The word list and spellings."""

import numpy as np

from slr_models.data.words import english_words, frequent_letters, random_spellings, spelled_with


def test_the_list_is_large_clean_and_distinct() -> None:
    words = english_words(1, 99)
    assert len(words) > 2000
    assert len(set(words)) == len(words)
    assert all(word.isascii() and word.isalpha() and word.isupper() for word in words)


def test_ten_letters_still_spell_hundreds_of_words() -> None:
    words = english_words(3, 6)
    letters = frequent_letters(words, sorted(set("".join(words))), 10)
    spelled = spelled_with(words, letters)
    assert len(spelled) > 400
    assert all(set(word) <= set(letters) and 3 <= len(word) <= 6 for word in spelled)
    assert {letter for word in spelled for letter in word} == set(letters)


def test_frequent_letters_come_from_those_available() -> None:
    assert frequent_letters(["AAB", "BC", "A"], ["C", "B", "Z"], 5) == ("B", "C")


def test_random_spellings_are_distinct_and_end_when_exhausted() -> None:
    found = random_spellings(("A", "CH"), 1, 2, 100, np.random.default_rng(0))
    assert sorted(found) == [
        ("A",),
        ("A", "A"),
        ("A", "CH"),
        ("CH",),
        ("CH", "A"),
        ("CH", "CH"),
    ]
    assert len(random_spellings(("A", "B"), 3, 6, 50, np.random.default_rng(0))) == 50
