"""Reads a YAML 1.2 mapping and remembers the line of every key; writes one.

PyYAML follows YAML 1.1, where `1e-4` is a string and `off` is false. Settings mean numbers and words, so this
reader follows YAML 1.2's core schema, and rejects keys that stand twice. A file need not be a study at all, or may be
made to harm: what is too large, too deep or no plain file is refused before it costs time or memory.
"""

import os
import re
import stat
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.reader import Reader, ReaderError

from slr_models.errors import SettingError, SettingProblem

KeyPath = tuple[str | int, ...]

MAX_BYTES = 2**20
"""Of a study file; the longest of ours has 3 KB."""
MAX_VALUES = 20_000
"""Keys and values of a study, those that an alias (*name) repeats counted again at each place."""
MAX_DEPTH = 40
"""Lists and mappings in each other."""
MAX_DIGITS = 300
"""Of a number; a float ends at 1.8e308."""

_TAG = "tag:yaml.org,2002:"
_TAGS: dict[type[yaml.Node], tuple[str, ...]] = {
    yaml.ScalarNode: ("null", "bool", "int", "float", "str"),
    yaml.SequenceNode: ("seq",),
    yaml.MappingNode: ("map",),
}
"""What a study is made of."""


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's implicit types, unique keys and limits to what it makes of a text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._num_values = 0
        self._sizes: dict[yaml.Node, int] = {}
        """Of each node that is complete, what it counts for in `_num_values`."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._num_values
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _wrong("its lists and mappings lie too deep in each other: no setting does", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        assert node is not None, "PyYAML returns a node or raises"
        if isinstance(event, yaml.AliasEvent) and node not in self._sizes:
            raise _wrong(
                f"*{event.anchor} stands within &{event.anchor}, which so contains itself: write it out", event
            )
        self._num_values += self._sizes.get(node, 1)
        self._sizes.setdefault(node, self._num_values - before)
        if self._num_values > MAX_VALUES:
            repeated = ", what aliases (*name) repeat included" if self.anchors else ""
            raise _wrong(f"more than {MAX_VALUES} keys and values{repeated}: no study has so many", event)
        if node.tag.removeprefix(_TAG) not in _TAGS[type(node)]:
            tag = node.tag.replace(_TAG, "!!")
            raise _wrong(f"{_short(tag)} is no kind of setting: write a plain number, word, list or mapping", node)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, IndexError):
            # PyYAML looks at the first character of a number that may have none.
            raise _wrong(
                f"{_short(str(node.value)) or 'an empty text'} is no {node.tag.rpartition(':')[2]}", node
            ) from None

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        text = super().construct_scalar(node)
        if Reader.NON_PRINTABLE.search(text):
            raise _wrong(f"the text {_short(ascii(text))} has a control character: leave it out", node)
        if node.tag.endswith((":int", ":float")) and len(text) > MAX_DIGITS:
            raise _wrong(f"a number of {len(text)} digits, {_short(text)}: no setting has more than {MAX_DIGITS}", node)
        return text

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise _wrong(f"the key {_short(repr(key))} stands twice", key_node)
            if key == "<<":
                raise _wrong("merge keys (<<) are not read: write the settings out", key_node)
            seen.add(key)
        content = super().construct_mapping(node, deep)
        if len(content) < len(seen):
            raise _wrong("two keys are the same for a computer, as 1 and true are: put them in quotes", node)
        return content


class _Dumper(yaml.SafeDumper):
    """SafeDumper that puts a text in quotes where either version of YAML would take it for something else."""


class _NoStudyError(ConstructorError):
    """Valid YAML that no study is written in; the problem says what to do."""


def _wrong(problem: str, at: yaml.Node | yaml.Event) -> _NoStudyError:
    mark: Any = at.start_mark
    return _NoStudyError(None, None, problem, mark)


def _short(text: str) -> str:
    """A text of a file as a message has room for it."""
    return text if len(text) <= 40 else f"{text[:30]} ..."


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
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _tag, re.compile(_pattern), _first)


def _construct_int(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text.startswith(("0o", "0x")) else int(text)


_Loader.add_constructor(f"{_TAG}int", _construct_int)


def parse_scalar(text: str) -> Any:
    """A value given on a command line, read as YAML.

    Raises:
        SettingError: it is no valid YAML.
    """
    try:
        return _read(text)[1]
    except _NoStudyError as error:
        raise SettingError(_said(error, text)[0]) from error
    except yaml.YAMLError as error:
        raise SettingError(f"{_short(repr(text))} is not a value that YAML can read") from error


def dump(content: Mapping[str, Any]) -> str:
    """A mapping as text that `parse` reads back, its keys in their given order."""
    text: str = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


SCHEMA_FILE = "study.schema.json"
"""The schema of studies, beside them."""
SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
"""The first line of a study file, which tells an editor where the schema is."""
_BEGINNING, _END = "--- # whole if its last line is ...", "..."


def dump_study(content: Mapping[str, Any]) -> str:
    """As `dump`, with a line that tells an editor where the schema is."""
    return f"{SCHEMA_LINE}{dump(content)}"


def dump_whole(content: Mapping[str, Any]) -> str:
    """As `dump_study`, with marks at its beginning and end: `parse` refuses it if the end is missing.

    A file that is cut between two lines would else be one with fewer settings.
    """
    return f"{_BEGINNING}\n{dump_study(content)}{_END}\n"


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
        SettingError: the file is missing, is no text of a study's size, is no valid YAML, or holds no mapping.
    """
    try:
        content = _content(path)
    except SettingError:
        raise
    except FileNotFoundError:
        raise SettingError(f"{path} does not exist: give the path of a study file") from None
    except (OSError, ValueError) as error:
        raise SettingError(f"{path} cannot be read as text: {error}") from error
    # The mark of UTF-32 begins with that of UTF-16.
    for name, marks in (("UTF-32", (b"\xff\xfe\0\0", b"\0\0\xfe\xff")), ("UTF-16", (b"\xff\xfe", b"\xfe\xff"))):
        if content.startswith(marks):
            raise SettingError(f"{path} cannot be read as text: it is in {name}: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingError(
            f"{path}:{line}: cannot be read as text: its byte 0x{content[error.start]:02x} is no UTF-8: save it as that"
        ) from error
    return parse(text, str(path))


def _content(path: Path) -> bytes:
    """The bytes of a plain file that is no larger than a study.

    Raises:
        SettingError: it is something else.
        OSError: it cannot be opened.
        ValueError: no file has such a name.
    """
    # A pipe that nobody writes to would be waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise SettingError(f"{path} is a folder: give the path of a study file")
        if not stat.S_ISREG(mode):
            raise SettingError(f"{path} is a pipe or a device: give the path of a study file")
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(MAX_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_BYTES:
        raise SettingError(f"{path} is larger than {MAX_BYTES // 2**20} MiB, which no study is: give the path of one")
    return content


def parse(text: str, name: str) -> YamlSource:
    """Reads a text that holds one mapping; `name` stands for it in messages.

    Raises:
        SettingError: it is no valid YAML or holds no mapping.
    """
    try:
        node, content = _read(text)
    except yaml.YAMLError as error:
        said, line = _said(error, text)
        where = name if line is None else f"{name}:{line}"
        raise SettingError(SettingProblem((), said, where=where)) from error
    wanted = "a study file holds a mapping of settings"
    if content is None:
        raise SettingError(SettingProblem((), "the file is empty", wanted, where=name))
    if not isinstance(content, dict):
        raise SettingError(SettingProblem((), wanted, got=type(content).__name__, where=name))
    if text.startswith(_BEGINNING) and text.rstrip().rpartition("\n")[2] != _END:
        raise SettingError(SettingProblem((), f"the file is cut off: its last line, {_END}, is missing", where=name))
    lines: dict[KeyPath, int] = {}
    _collect_lines(node, (), lines)
    return YamlSource(name, content, lines)


def _read(text: str) -> tuple[yaml.Node | None, Any]:
    """The one document of a text, with and without its lines.

    Raises:
        yaml.YAMLError: it is no valid YAML, or too much.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    except (ValueError, OverflowError):
        # As with "\U00110000". PyYAML does not say so itself.
        mark = None if loader is None else loader.get_mark()
        raise ConstructorError(
            None, None, "the number of an escape (\\x, \\u, \\U) or a directive is too large", mark
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _said(error: yaml.YAMLError, text: str) -> tuple[str, int | None]:
    """What PyYAML found wrong, in a line, and at which line of the text."""
    if isinstance(error, ReaderError):
        said = f"not valid YAML: the character {chr(error.character)!a} is none of a text: leave it out"
        return said, text.count("\n", 0, error.position) + 1
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"not valid YAML: {' '.join(str(error).split())}", None
    line = None if error.problem_mark is None else error.problem_mark.line + 1
    problem = " ".join(str(error.problem or error.context).split())
    if problem == "but found another document":
        return "a second document begins here (---): a study file holds one", line
    return problem if isinstance(error, _NoStudyError) else f"not valid YAML: {problem}", line


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
