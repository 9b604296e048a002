"""Reads a YAML 1.2 mapping and remembers the line of every key.

PyYAML follows YAML 1.1, where `1e-4` is a string and `off` is false. Settings mean numbers and words, so this
reader follows YAML 1.2's core schema, and rejects keys that stand twice.
"""

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from slr_models.errors import SettingError, SettingProblem

KeyPath = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's implicit types and unique keys."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


def parse_scalar(text: str) -> Any:
    """A value given on a command line, read as YAML.

    Raises:
        SettingError: it is no valid YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise SettingError(f"{text!r} is not a value that YAML can read") from error


@dataclass(frozen=True)
class YamlSource:
    """A parsed file: its content and where each key stands."""

    name: str
    content: dict[str, Any]
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    """1-based line of each key (or list item), by its path."""

    def line(self, path: KeyPath) -> int | None:
        """The line of the key, or of the nearest key around it; None where no key of the path stands in the file."""
        return next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)

    def where(self, path: KeyPath) -> str:
        """`file:line` of the key, or of the nearest key around it."""
        line = self.line(path)
        return self.name if line is None else f"{self.name}:{line}"

    def placed(self, problem: SettingProblem) -> SettingProblem:
        """The problem with file and line of its key."""
        return replace(problem, where=self.where(problem.path))


def load(path: Path) -> YamlSource:
    """Reads a file that holds one mapping.

    Raises:
        SettingError: the file is missing, is no valid YAML, or holds no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise SettingError(f"{path} is a folder: give the path of a study file") from None
    except FileNotFoundError:
        raise SettingError(f"{path} does not exist: give the path of a study file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read as text: {error}") from error
    return parse(text, str(path))


def parse(text: str, name: str) -> YamlSource:
    """Reads a text that holds one mapping; `name` stands for it in messages.

    Raises:
        SettingError: it is no valid YAML or holds no mapping.
    """
    try:
        node = yaml.compose(text, Loader=_Loader)
        content = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        problem = SettingProblem((), f"not valid YAML: {error.problem or error.context}", where=f"{name}{line}")
        raise SettingError(problem) from error
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise SettingError(SettingProblem((), f"not valid YAML: {said}", where=name)) from error
    except RecursionError:
        raise _too_deep(name) from None
    wanted = "a study file holds a mapping of settings"
    if content is None:
        raise SettingError(SettingProblem((), "the file is empty", wanted, where=name))
    if not isinstance(content, dict):
        raise SettingError(SettingProblem((), wanted, got=type(content).__name__, where=name))
    lines: dict[KeyPath, int] = {}
    try:
        _collect_lines(node, (), lines)
    except RecursionError:
        raise _too_deep(name) from None
    return YamlSource(name, content, lines)


def _too_deep(name: str) -> SettingError:
    problem = "its lists and mappings lie too deep in each other, or one contains itself (&name and *name)"
    return SettingError(SettingProblem((), problem, "no setting of a study does", where=name))


def _collect_lines(node: yaml.Node | None, path: KeyPath, lines: dict[KeyPath, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key = (*path, str(key_node.value))
            lines[key] = key_node.start_mark.line + 1
            _collect_lines(value_node, key, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            lines[(*path, index)] = item.start_mark.line + 1
            _collect_lines(item, (*path, index), lines)
