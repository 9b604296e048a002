"""The pages of the reference that are made of the code: settings, commands, Python. Nothing is written twice."""

import argparse
import dataclasses
import enum
import inspect
import json
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

import sweep
from slr_models.spec import Spec
from sweep.__main__ import COMMANDS
from sweep.study import Study
from sweep.study.fields import kinds_of, specs_in

MADE = {"reference/study.md": "study", "reference/commands.md": "commands", "reference/python.md": "python"}
"""Page -> the function of this file that makes it."""
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_LINE = 76
"""Characters of a signature in one line."""
_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", NoneType: "null", Any: "any value"}


def study() -> str:
    """Every setting of a study file: name, type, default, meaning."""
    parts = [
        "# All settings of a study file\n",
        "Made of the settings' own definitions. A path such as `training.optimizer.lr` is what `space`, `--set` and a "
        "design name.\n",
        _table(Study, ""),
    ]
    parts += _sections(Study, "", set())
    return "\n".join(parts)


def _sections(spec: type[Spec], path: str, seen: set[type[Spec]]) -> Iterator[str]:
    """What the settings of a mapping hold in their turn: all kinds of each, then what these hold."""
    for name, field in spec.model_fields.items():
        if options := specs_in(field.annotation):
            yield from _section(f"{path}{field.alias or name}", field, options, seen)


def _section(path: str, field: FieldInfo, options: list[type[Spec]], seen: set[type[Spec]]) -> Iterator[str]:
    yield f"\n## `{path}` {{ #{_anchor(path)} }}\n"
    if field.description:
        yield f"{_text(field.description)}\n"
    below: dict[tuple[str, ...], list[str]] = {}
    for option in options:
        if len(options) > 1:
            kinds = kinds_of(option)
            heading = f"kind: {kinds[0]}" if kinds else _first_key(option)
            yield f"\n### `{heading}` {{ #{_anchor(path)}-{_anchor(heading)} }}\n"
        if option in seen:
            yield f"As above ({option.__name__}).\n"
            continue
        yield f"{_text(inspect.getdoc(option) or '')}\n"
        yield _table(option, f"{path}.")
        # What several kinds hold alike is told once.
        parts = tuple(_sections(option, f"{path}.", seen | set(options)))
        below.setdefault(parts, []).extend(f"`{kind}`" for kind in kinds_of(option))
    for (heading, *rest), owners in ((parts, owners) for parts, owners in below.items() if parts):
        yield heading
        if len(options) > 1:
            yield f"Of {', '.join(owners)}.\n"
        yield from rest


def _first_key(spec: type[Spec]) -> str:
    name, field = next((n, f) for n, f in spec.model_fields.items() if f.is_required())
    return field.alias or name


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _table(spec: type[Spec], path: str) -> str:
    rows = ["| setting | type | default | meaning |", "|---|---|---|---|"]
    for name, field in spec.model_fields.items():
        key = field.alias or name
        if key == "kind" or field.exclude:
            continue
        made_of = specs_in(field.annotation)
        type_ = f"[see below](#{_anchor(path + key)})" if made_of else _cell(_type(field.annotation, field.metadata))
        meaning = field.description or ""
        if not meaning and len(made_of) == 1:
            meaning = (inspect.getdoc(made_of[0]) or "").partition("\n")[0]
        rows.append(f"| `{key}` | {type_} | {_default(field)} | {_cell(_text(meaning))} |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else "It has no settings.\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return ""
    if isinstance(default, BaseModel):
        return f"`{kinds[0]}`" if (kinds := kinds_of(type(default))) else "its defaults"
    if isinstance(default, tuple) and any(isinstance(one, BaseModel) for one in default):
        return "all kinds"
    return f"`{json.dumps(default)}`"


def _type(annotation: Any, metadata: list[Any] | tuple[Any, ...] = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(parts[0], [*metadata, *parts[1:]])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        told = list(dict.fromkeys(_type(part) for part in parts))
        return " or ".join(told) + _bounds(metadata)
    if origin is tuple:
        if len(parts) == 2 and parts[1] is not Ellipsis:
            return f"[{_type(parts[0])}, {_type(parts[1])}]"
        return f"list of {_type(parts[0])}" + _bounds(metadata)
    if origin is dict:
        return f"mapping of {_type(parts[0])} to {_type(parts[1])}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return " or ".join(f"`{one.value}`" for one in annotation)
    return _PLAIN.get(annotation, "value") + _bounds(metadata)


def _bounds(metadata: list[Any] | tuple[Any, ...]) -> str:
    told = []
    for one in metadata:
        # pydantic keeps the bounds of a Field as annotated_types, those within an Annotated as a Field.
        for part in one.metadata if isinstance(one, FieldInfo) else [one]:
            told += [f"{word} {_number(getattr(part, key))}" for key, word in _BOUNDS.items() if hasattr(part, key)]
    return f", {', '.join(told)}" if told else ""


def _number(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) or abs(value) < 100_000 else f"{value:,}"


def commands() -> str:
    """Every command with its arguments, as its parser has them."""
    parts = ["# All commands\n", "Made of the parsers of the commands: `slr-sweep COMMAND --help` says the same.\n"]
    parts += ["| command | does |", "|---|---|"]
    parts += [f"| [`{command.name}`](#{command.name}) | {_cell(command.summary)} |" for command in COMMANDS]
    for command in COMMANDS:
        parser = argparse.ArgumentParser(prog=f"slr-sweep {command.name}")
        command.prepare(parser)
        usage = parser.format_usage().removeprefix("usage: ")
        parts += [
            f"\n## {command.name} {{ #{command.name} }}\n",
            _text(command.description),
            "",
            "```text",
            usage.strip(),
            "```",
        ]
        parts += ["", "| argument | meaning |", "|---|---|"]
        for action in parser._actions:
            if action.dest != "help" and action.help != argparse.SUPPRESS and "--version" not in action.option_strings:
                parts.append(f"| {_cell(_argument(action))} | {_cell(_meaning(action))} |")
    return "\n".join(parts) + "\n"


def _argument(action: argparse.Action) -> str:
    value = action.metavar if action.metavar is not None else None
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    elif value is None and action.nargs != 0:
        value = action.dest.upper()
    if isinstance(value, tuple):
        value = " ".join(value)
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{option} {value}`" if action.nargs != 0 else f"`{option}`" for option in action.option_strings)


def _meaning(action: argparse.Action) -> str:
    return str(action.help) % {**vars(action), "prog": "slr-sweep"}


def python() -> str:
    """What `import sweep` offers, as its docstrings have it."""
    parts = ["# Python\n", _text((inspect.getdoc(sweep) or "").partition("\n")[0]), ""]
    parts.append(
        "Made of the docstrings: `help(sweep.StabilityMonitor)` and so on say the same. Importing `sweep` takes "
        "next to no time.\n"
    )
    for name in sweep.__all__:
        if not name.startswith("__"):
            parts += _public(f"sweep.{name}", getattr(sweep, name))
    from sweep.report.notebook import Results
    from sweep.search import StabilitySampler

    parts += _public("sweep.search.StabilitySampler", StabilitySampler)
    parts += _public("sweep.load(...): Results", Results)
    return "\n".join(parts) + "\n"


def _public(name: str, thing: Any) -> Iterator[str]:
    yield f"\n## {name} {{ #{_anchor(name)} }}\n"
    if inspect.isfunction(thing):
        yield f"```text\n{name.rpartition('.')[2]}{_signature(thing)}\n```\n"
    yield _docstring(thing)
    if not isinstance(thing, type):
        return
    if issubclass(thing, Spec):
        yield _table(thing, "monitor.").replace("](#monitor-", "](study.md#monitor-")
        return
    if issubclass(thing, enum.Enum):
        yield "\n".join(f"- `{member.value}`" for member in thing) + "\n"
        return
    if dataclasses.is_dataclass(thing):
        yield "| field | type |\n|---|---|"
        for field in dataclasses.fields(thing):
            yield f"| `{field.name}` | {_cell(str(field.type).replace('typing.', ''))} |"
        return
    for key, member in vars(thing).items():
        told = member.fget if isinstance(member, property) else member
        if key.startswith("_") or not callable(told) or not inspect.getdoc(told):
            continue
        signature = "" if isinstance(member, property) else _signature(told)
        yield f"\n### {key} {{ #{_anchor(f'{name}-{key}')} }}\n\n```text\n{key}{signature}\n```\n"
        yield _docstring(told)


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    kept = [one for name, one in signature.parameters.items() if name != "self"]
    text = _short(str(signature.replace(parameters=kept)))
    if len(text) < _LINE:
        return text
    # One argument a line, as they stand in the code.
    given = [f"    {_short(str(one))}," for one in kept]
    first = next((k for k, one in enumerate(kept) if one.kind is one.KEYWORD_ONLY), None)
    if first is not None:
        given.insert(first, "    *,")
    return "(\n" + "\n".join(given) + "\n)" + text.rpartition(")")[2]


def _short(text: str) -> str:
    """A signature without where its types come from."""
    return re.sub(r"\b(?:collections\.abc|typing|pathlib|sweep(?:\.\w+)*|slr_models(?:\.\w+)*)\.", "", text).replace(
        "'", ""
    )


def _docstring(thing: Any) -> str:
    """A docstring in Google's style as Markdown: its sections become lists, drawings stay as they are."""
    told: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.getdoc(thing) or ""):
        head, _, rest = paragraph.partition("\n")
        if head in ("Args:", "Raises:", "Returns:", "Yields:"):
            items = re.sub(r"\n {8,}", " ", f"\n{rest}")
            told.append(f"**{head}**\n\n" + re.sub(r"\n {4}(\*{0,2}\w[\w ,*]*): ", r"\n- `\1`: ", items).strip() + "\n")
        elif paragraph.startswith("    ") or "\n    " in paragraph and "|" not in head:
            told.append(f"```text\n{paragraph}\n```\n")
        elif head.startswith("|"):
            told.append(paragraph + "\n")
        else:
            told.append(_text(paragraph) + "\n")
    return "\n".join(told)


def _text(text: str) -> str:
    """Words of the code as Markdown: what looks like a tag or a link is none."""
    spans = re.split(r"(`[^`]*`)", inspect.cleandoc(text))
    return "".join(span if span.startswith("`") else re.sub(r"([<\[*])", r"\\\1", span) for span in spans)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
