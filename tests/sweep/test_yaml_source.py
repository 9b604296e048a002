"""YAML 1.2 numbers and words, lines of keys, and errors that name a line."""

import os
import time
from pathlib import Path

import pytest

from slr_models.errors import SettingError
from sweep.yaml_source import dump, dump_whole, load, parse, parse_scalar


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e-3", -2.5e-3),
        (".5", 0.5),
        ("10", 10),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("off", "off"),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("null", None),
        ("1e-4x", "1e-4x"),
        ("'1e-4'", "1e-4"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    got = parse_scalar(text)
    assert got == value
    assert type(got) is type(value)


def test_every_key_has_its_line() -> None:
    source = parse("a: 1\nb:\n  c: {d: 2}\n  e:\n    - 5\n    - f: 6\n", "x.yaml")
    assert source.where(("a",)) == "x.yaml:1"
    assert source.where(("b", "c", "d")) == "x.yaml:3"
    assert source.where(("b", "e", 1, "f")) == "x.yaml:6"
    assert source.where(("b", "missing")) == "x.yaml:2"
    assert source.where(("nowhere",)) == "x.yaml"


def test_a_key_that_stands_twice_is_an_error_with_its_line() -> None:
    with pytest.raises(SettingError, match=r"x\.yaml:3: .*'a' stands twice"):
        parse("a: 1\nb: 2\na: 3\n", "x.yaml")


@pytest.mark.parametrize("text", ["a: [1, 2\nb: 3\n", "a: b: c\n", "\tx: 1\n"])
def test_broken_yaml_names_file_and_line(text: str) -> None:
    with pytest.raises(SettingError, match=r"x\.yaml:\d+: not valid YAML"):
        parse(text, "x.yaml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n- 2\n", "just words"])
def test_only_mappings_are_studies(text: str) -> None:
    with pytest.raises(SettingError, match="holds a mapping"):
        parse(text, "x.yaml")


def test_a_missing_or_binary_file_is_one_clear_error(tmp_path) -> None:
    with pytest.raises(SettingError, match="does not exist"):
        load(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(SettingError, match="cannot be read as text"):
        load(tmp_path / "binary.yaml")
    with pytest.raises(SettingError, match="is a folder"):
        load(tmp_path)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
QUADRATIC = f"a: &a [{'x, ' * 900}x]\nb: [{'*a, ' * 900}*a]\n"
TOO_MANY = "x.yaml:{line}: more than 20000 keys and values"
TOO_DEEP = "x.yaml:{line}: its lists and mappings lie too deep in each other"


REFUSED = {
    "a billion laughs": (LAUGHS, TOO_MANY.format(line=5)),
    "aliases of one list": (QUADRATIC, TOO_MANY.format(line=2)),
    "a list in itself": ("x: 1\na: &a [*a]", "x.yaml:2: *a stands within &a"),
    "a mapping in itself": ("a: &a\n  b: {c: *a}", "x.yaml:2: *a stands within &a"),
    "a study in itself": ("&a\nb: *a", "x.yaml:2: *a stands within &a"),
    "lists in flow": ("a: " + "[" * 100_000, TOO_DEEP.format(line=1)),
    "mappings in flow": ("a: " + "{a: " * 100_000, TOO_DEEP.format(line=1)),
    "lists in block": ("\n".join(" " * i + "-" for i in range(1000)), TOO_DEEP.format(line=41)),
    "compact lists": ("- " * 100_000, TOO_DEEP.format(line=1)),
    "compact keys": ("? " * 100_000, TOO_DEEP.format(line=1)),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(200_000)), TOO_MANY.format(line=10_001)),
    "a long list": ("a: [" + "1," * 300_000 + "]", TOO_MANY.format(line=1)),
    "digits": ("a: 1\nb: " + "9" * 5000, "x.yaml:2: a number of 5000 digits, 9999"),
    "hexadecimal digits": ("b: 0x" + "f" * 5000, "x.yaml:1: a number of 5002 digits"),
    "digits of a float": ("b: 0." + "1" * 5000, "x.yaml:1: a number of 5002 digits"),
    "a date": ("a: !!timestamp 2020-13-45", "x.yaml:1: !!timestamp is no kind of setting"),
    "bytes": ('a: !!binary "////"', "x.yaml:1: !!binary is no kind of setting"),
    "Python": ("a: !!python/object/apply:os.system [ls]", "x.yaml:1: !!python/object/apply:os.system is no"),
    "a set": ("a: !!set {b, c}", "x.yaml:1: !!set is no kind of setting"),
    "an ordered map": ("a: !!omap [b: 1]", "x.yaml:1: !!omap is no kind of setting"),
    "a tag of its own": ("a: !x y", "x.yaml:1: !x is no kind of setting"),
    "a tag of another kind": ("a: !!map [1]", "x.yaml:1: !!map is no kind of setting"),
    "no number": ("a: !!int word", "x.yaml:1: word is no int"),
    "no truth": ("a: !!bool word", "x.yaml:1: word is no bool"),
    "a merge key": ("a: &a {b: 1}\nc:\n  <<: *a", "x.yaml:3: merge keys (<<) are not read"),
    "a tagged merge key": ("a: {!!merge <<: {b: 1}}", "x.yaml:1: !!merge is no kind of setting"),
    "keys that are one": ("1: a\ntrue: b", "x.yaml:1: two keys are the same for a computer"),
    "documents": ("a: 1\n---\nb: 2", "x.yaml:2: a second document begins here (---)"),
    "a NUL": ("a: 1\nb: \0", "x.yaml:2: not valid YAML: the character '\\x00' is none of a text"),
    "an escaped NUL": ('a: "x\\0y"', "x.yaml:1: the text 'x\\x00y' has a control character"),
    "an escape of a terminal": ('"\\e[31m": 1', "x.yaml:1: the text '\\x1b[31m' has a control character"),
    "half a character": ('a: "\\ud800"', "x.yaml:1: the text '\\ud800' has a control character"),
    "no character": ('a: "\\UFFFFFFFF"', "x.yaml:1: not valid YAML: the number of an escape"),
    "a version": ("%YAML 1." + "9" * 5000 + "\n---\na: 1", "x.yaml:1: not valid YAML: the number of an escape"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_study_holds_is_told_in_one_line_and_at_once(text: str, says: str) -> None:
    began = time.process_time()
    with pytest.raises(SettingError) as told:
        parse(text, "x.yaml")
    assert time.process_time() - began < 2
    message = str(told.value)
    assert message.startswith(says) and "\n" not in message and len(message) < 200


def test_what_aliases_repeat_is_read() -> None:
    source = parse("\ufeffa: &a {b: [1, 2]}\nc: *a\nd: [*a, *a]\n", "x.yaml")
    assert source.content["c"] == source.content["a"] == {"b": [1, 2]}
    assert source.where(("d", 1)) == "x.yaml:1"


def test_values_of_the_command_line_have_the_same_limits() -> None:
    for text in ("[" * 60_000, "9" * 5000, "!!python/name:os.system", '"\\0"', "\udcff", "a\n---\nb"):
        with pytest.raises(SettingError) as told:
            parse_scalar(text)
        assert "\n" not in str(told.value) and len(str(told.value)) < 200


def test_only_a_text_of_the_size_of_a_study_is_opened(tmp_path: Path) -> None:
    large, utf16, latin = tmp_path / "large.yaml", tmp_path / "utf16.yaml", tmp_path / "latin.yaml"
    utf32, utf32_of_windows = tmp_path / "be.yaml", tmp_path / "le.yaml"
    with large.open("wb") as file:
        file.truncate(2**40)
    utf16.write_text("name: x", encoding="utf-16")
    utf32.write_bytes(b"\0\0\xfe\xff" + "name: x".encode("utf-32-be"))
    utf32_of_windows.write_bytes(b"\xff\xfe\0\0" + "name: x".encode("utf-32-le"))
    latin.write_bytes("name: x\ndescription: größe".encode("latin-1"))
    os.mkfifo(tmp_path / "pipe")
    told = {
        large: "is larger than 1 MiB, which no study is",
        utf16: "it is in UTF-16: save it as UTF-8",
        utf32: "it is in UTF-32: save it as UTF-8",
        utf32_of_windows: "it is in UTF-32: save it as UTF-8",
        latin: "latin.yaml:2: cannot be read as text: its byte 0xf6 is no UTF-8",
        tmp_path / "pipe": "is a pipe or a device",
        Path("/dev/zero"): "is a pipe or a device",
        tmp_path / ("x" * 300): "File name too long",
        Path("a\0b"): "embedded null byte",
        large / "x": "Not a directory",
        Path("-"): "does not exist: give the path of a study file",
    }
    for path, says in told.items():
        with pytest.raises(SettingError, match=says):
            load(path)


@pytest.mark.parametrize("text", ['!!float ""', '!!int ""', '!!int "-"', '!!bool ""', '!!float "."', '!!int "0x"'])
def test_a_tag_that_a_text_does_not_fit_is_told_of(text: str) -> None:
    with pytest.raises(SettingError, match=r"s.yaml:2: .* is no (float|int|bool)"):
        parse(f"a: 1\nb: {text}\n", "s.yaml")
    with pytest.raises(SettingError, match=r"is no (float|int|bool)"):
        parse_scalar(text)


@pytest.mark.parametrize(
    "value", ["1e-3", "1.5E4", "0o7", "on", "1:30", "2026-11-29", "~", ".inf", "0x1F", "1_000", ""]
)
def test_what_is_written_is_read_back_as_it_was(value: str) -> None:
    content = {"text": value, "list": [value, 1e-05, 1e300, -3, True, None], "number": 1e-4}
    assert parse(dump(content), "s.yaml").content == content


def test_a_file_with_marks_is_refused_wherever_it_is_cut() -> None:
    content = {"name": "s", "budget": {"trials": 3}, "notes": ["one", "...", "two"]}
    text = dump_whole(content)
    assert parse(text, "study.yaml").content == content
    assert parse(dump(content), "study.yaml").content == content, "that of an earlier version has no marks"
    lines = text.splitlines(keepends=True)
    for kept in range(1, len(lines)):
        with pytest.raises(SettingError):
            parse("".join(lines[:kept]), "study.yaml")
    with pytest.raises(SettingError, match="study.yaml: the file is cut off: its last line, ..., is missing"):
        parse("".join(lines[:3]), "study.yaml")
