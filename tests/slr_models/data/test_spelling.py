"""Spelling of labels: what is one label, and what looks like one."""

from collections import Counter

import pytest

from slr_models.data.spelling import escaped, hidden, is_like_sentence, listed, look, separator, sound


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("KO\u0308LN", "K\u00d6LN"),
        ("RE\u200bGEN", "REGEN"),
        ("\ufeffREGEN", "REGEN"),
        ("RE\u00adGEN\u2060", "REGEN"),
        ("RE\u200dGEN", "REGEN"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627", "\u0645\u06cc\u200c\u062e\u0648\u0627"),
        ("A\x00B", "A\x00B"),
        ("\u200b", ""),
    ],
)
def test_invisible_characters_without_a_meaning_go(written: str, meant: str) -> None:
    assert sound(written) == meant == sound(meant)


def test_what_does_not_show_is_told() -> None:
    assert hidden("A\x00B\ufffd") == ["U+0000", "U+FFFD"] and escaped("A\x00B") == "A\\x00B"
    assert hidden("K\u00d6LN") == hidden("\u0645\u06cc\u200c\u062e") == hidden("\ue000") == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("REGEN", "Regen"),
        ("SONNE", "S0NNE"),
        ("REGEN", "\uff32\uff25\uff27\uff25\uff2e"),
        ("REGEN", "RE\x00GEN"),
        ("HOCH", "H\u041e\u0421H"),
        ("STRASSE", "Stra\u00dfe"),
        ("K\u00d6LN", "KO\u0308LN"),
    ],
)
def test_labels_that_look_alike(one: str, other: str) -> None:
    assert look(one) == look(other)


def test_labels_that_differ() -> None:
    assert len({look(label) for label in ("HABEN", "HABEN2", "loc-HABEN", "0", "O", "KOLN", "K\u00d6LN", "10")}) == 8


def test_a_target_that_is_a_python_list() -> None:
    assert listed(["['A',", "'B']"]) == ["A", "B"] == listed(['["A",', '"B"]'])
    assert listed(["['A'", "'B']"]) == ["A", "B"]
    assert listed(["('A',)"]) == ["A"]
    assert listed(["INDEX[1]", "A"]) is None and listed(["[A", "B]"]) is None


def test_a_separator_counts_where_many_labels_have_it() -> None:
    assert separator(Counter({"A/B": 3, "C/D": 1}), 0.2) == "/"
    assert separator(Counter({"A,": 3, "B,": 1, "C": 4}), 0.2) == ","
    assert separator(Counter({"A B": 1}), 0.2) == " "
    assert separator(Counter({"S+H": 2, "A": 9, "B": 9, "C": 9, "D": 9, "E": 9}), 0.2) is None
    assert separator(Counter("abc/,+ "), 0.2) is None, "characters are labels in fingerspelling"
    assert is_like_sentence("ICH-GEHE-HAUS") and is_like_sentence("\u6211\u4eca\u5929\u53bb\u5b66\u6821")
    assert not is_like_sentence("HAUS") and not is_like_sentence("\u5b66\u6821") and not is_like_sentence("__ON__")
