"""YAML 1.2 numbers and words, lines of keys, and errors that name a line."""

import pytest

from slr_models.errors import SettingError
from sweep.study.yaml_source import load, parse, parse_scalar


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


@pytest.mark.parametrize("text", ["a: &a [*a]", "name: " + "[" * 3000 + "]" * 3000], ids=["in itself", "deep"])
def test_what_lies_too_deep_in_itself_is_told_in_one_line(text: str) -> None:
    with pytest.raises(SettingError, match="x.yaml: its lists and mappings lie too deep") as told:
        parse(text, "x.yaml")
    assert "\n" not in str(told.value)
