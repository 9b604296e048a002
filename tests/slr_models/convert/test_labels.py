"""Labels of texts, and lists of them that lie beside the features."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slr_models.convert.labels import Labels, labels_in, separate
from slr_models.convert.lists import read_list
from slr_models.errors import DataError


def labels_of(*texts: Labels, separator: str | None = None) -> list[tuple[str, ...]]:
    raw = {str(index): (f"line {index}", text) for index, text in enumerate(texts)}
    return list(separate(raw, separator).labels.values())


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("YES NO", "NO"), [("YES", "NO"), ("NO",)]),
        (("YES/NO", "NO"), [("YES", "NO"), ("NO",)]),
        (("YES, NO", "NO"), [("YES", "NO"), ("NO",)]),
        (("你好/我/", "我"), [("你好", "我"), ("我",)]),
        (("['YES', 'NO']", '["IT\'S"]'), [("YES", "NO"), ("IT'S",)]),
        (('["\\u4f60", "NO"]',), [("你", "NO")]),
        ((("THANK YOU", "NO"), ("YES",)), [("THANK-YOU", "NO"), ("YES",)]),
        ((("A B",), ("A-B",)), [("A_B",), ("A-B",)]),
        (("KO\u0308LN \u200b", ("K\u00d6LN",)), [("K\u00d6LN",), ("K\u00d6LN",)]),
    ],
)
def test_what_is_between_labels_is_what_all_texts_show(texts: tuple[Labels, ...], expected: list[Any]) -> None:
    assert labels_of(*texts) == expected


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (
            ("YES NO", "THIS/THAT"),
            "line 0: the labels 'YES NO' can be apart by spaces or, as others of this",
        ),
        (("YES/NO,GO",), "by ',' or, as others of this source, by '/'"),
        (("['YES' 'NO']",), "are no list of texts"),
        (("[YES, NO]",), "are no list of texts"),
        ((("A B",), ("A-B",), ("A_B",)), "'A B' holds a space"),
        (("YES <blank>",), "line 0: '0' has the label <blank>, which is CTC's own; remove or rename it."),
    ],
)
def test_what_can_be_read_in_two_ways_is_no_guess(texts: tuple[Labels, ...], said: str) -> None:
    with pytest.raises(DataError) as error:
        labels_of(*texts)
    assert said in str(error.value)


def test_the_user_says_what_is_between_labels() -> None:
    assert labels_of("GOOD DAY/YES", "THIS/THAT", separator="/") == [("GOOD-DAY", "YES"), ("THIS", "THAT")]
    assert labels_of("GOOD DAY", "THIS/THAT", separator=" ") == [("GOOD", "DAY"), ("THIS/THAT",)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"YES", "YES"),
        (" ", None),
        (3, ("3",)),
        (np.float64(3.0), ("3",)),
        (float("nan"), None),
        (np.array([1, 2]), ("1", "2")),
        (np.array(["A", "B"]), ("A", "B")),
        ([b"A", "B"], ("A", "B")),
        ([["A", "B"]], ("A", "B")),
        ([], None),
    ],
)
def test_labels_as_files_hold_them(value: Any, expected: Labels | None) -> None:
    assert labels_in(value) == expected


def test_half_a_label_is_none() -> None:
    with pytest.raises(DataError, match="store texts or whole numbers"):
        labels_in([0.5])


def test_a_line_is_found_by_its_name_first(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("File;Gloss;Set\nx.mp4;A;train\nb/x.mp4;B;dev\nfolder/y.mov;C;test\n")
    listed = read_list(path, {}, trust=False)
    rows = {name: listed.find(name) for name in ("b/x", "y", "z/y", "w")}
    assert {name: row and (row.labels, row.split) for name, row in rows.items()} == {
        "b/x": ("B", "dev"),
        "y": ("C", "test"),
        "z/y": ("C", "test"),
        "w": None,
    }
    assert listed.unused == ["x.mp4"]
    with pytest.raises(DataError, match=r"is named by .* line 2 and by .* line 3"):
        listed.find("x")


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("clip,words\n", {}, "line 1: which column has the name? It has clip, words; say it with --labels-columns"),
        ("id,words\n", {}, "which column has the labels?"),
        ("id,words\n", {"labels": "word"}, "has no column 'word'; it has id, words"),
        ("id,labels\na,b,c\n", {}, "line 2: has 3 fields where the header has 2"),
        ("", {}, "which column has the name?"),
    ],
)
def test_mistakes_of_a_list(tmp_path: Path, text: str, columns: dict[str, str], said: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read_list(tmp_path / "list.csv", columns, trust=False)
    assert said in str(error.value)


def test_columns_are_those_that_the_user_says(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("clip,words,id\nx,A B,7\n")
    row = read_list(tmp_path / "list.csv", {"name": "clip", "labels": "words"}, trust=False).find("x")
    assert row is not None and row.labels == "A B"


def test_a_folder_without_a_known_list(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no labels of CE-CSL"):
        read_list(tmp_path, {}, trust=False)
