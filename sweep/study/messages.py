"""What pydantic found wrong with a study, in words for a person: what, and what to do."""

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from slr_models.errors import SettingProblem
from slr_models.spec import Spec
from sweep.space import KINDS as DIMENSION_KINDS
from sweep.study.fields import field_at, kinds_at, spec_at, specs_in
from sweep.yaml_source import KeyPath

_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text (in quotes if it looks like a number)",
}
"""What is to be written, by what pydantic says of a value."""


_SCALAR_TAGS = ("bool", "int", "float", "str")
"""How pydantic tells the kinds of a Scalar apart."""


def explained(error: ValidationError, root: type[Spec], content: Mapping[str, Any]) -> list[SettingProblem]:
    """The mistakes that pydantic found in what `root` was to be made of, each once."""
    # A misspelled key comes before what it left missing.
    errors = sorted(_once(error.errors(include_url=False)), key=lambda item: item["type"] != "extra_forbidden")
    return [_explain(item, _yaml_path(item["loc"], content), root, content) for item in errors]


def _once(errors: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The errors with one for each value that is no Scalar, where pydantic has one for each kind of Scalar."""
    wrong = {i["loc"][:-1]: i["input"] for i in errors if i["type"] == "string_type" and i["loc"][-1] == "str"}
    kept = [i for i in errors if i["loc"][:-1] not in wrong or i["loc"][-1] not in _SCALAR_TAGS]
    return [*kept, *({"type": "no_scalar", "loc": loc, "input": value} for loc, value in wrong.items())]


def _explain(item: Mapping[str, Any], path: KeyPath, root: type[Spec], content: Mapping[str, Any]) -> SettingProblem:
    name = ".".join(str(key) for key in path) or "the study"
    match item["type"]:
        case "extra_forbidden":
            spec = spec_at(root, path[:-1], content)
            known = [field.alias or key for key, field in spec.model_fields.items()] if spec else []
            return SettingProblem(path, f"{name} is not a setting.", suggest(str(path[-1]), known))
        case "missing":
            return SettingProblem(path, f"{name} is missing: it has no default")
        case "union_tag_not_found":
            return SettingProblem(path, f"{name} needs a kind", f"one of {_listed(kinds_at(root, path, content))}")
        case "union_tag_invalid":
            given = str(item["ctx"]["tag"])
            advice = suggest(given, kinds_at(root, path, content))
            return SettingProblem((*path, "kind"), f"{name}.kind is {given!r}, which does not exist.", advice)
        case "dimension_kind":
            keys = [str(key) for key in item["input"]] if isinstance(item["input"], Mapping) else []
            advice = suggest(keys[0], DIMENSION_KINDS) if keys else f"Known here: {_listed(DIMENSION_KINDS)}"
            return SettingProblem(path, f"{name} {item['msg']}.", advice)
        case "model_attributes_type" | "model_type" | "dict_type" | "dict_attributes_type":
            wanted = "is a section with settings of its own, such as {kind: ...}"
            return SettingProblem(path, f"{name} {wanted}", got=_shown(item.get("input")))
        case "tuple_type":
            return SettingProblem(path, f"{name} is a list", _as_list(item["input"], field_at(root, path, content)))
        case "no_scalar":
            advice = "write one value, such as a number or a word"
            return SettingProblem(path, f"{name} is {_shown(item['input'])}", advice)
        case kind if kind in _WANTED:
            return SettingProblem(path, f"{name} is {_shown(item['input'])}", f"write {_WANTED[kind]}")
        case "too_long" | "string_too_long":
            most = item["ctx"]["max_length"]
            return SettingProblem(path, f"{name} is too long: at most {most}", got=_shown(item["input"]))
        case "too_short":
            least = item["ctx"]["min_length"]
            return SettingProblem(path, f"{name} is too short: it needs at least {least}", got=_shown(item["input"]))
        case "value_error":
            return SettingProblem(path, f"{name}: {item['ctx']['error']}")
        case _:
            got = item.get("input")
            shown = "" if isinstance(got, Mapping | Spec) else _shown(got)
            return SettingProblem(path, f"{name}: {item['msg'][0].lower()}{item['msg'][1:]}", got=shown)


def _as_list(given: Any, field: FieldInfo | None) -> str:
    """How what was given in place of a list is to be written."""
    specs = specs_in(field.annotation) if field is not None else []
    if specs:
        return f'start each entry with "- {next(iter(specs[0].model_fields))}: ...", got {_shown(given)}'
    example = "value, value" if isinstance(given, Mapping) else given
    return f"write it in brackets, as [{example}], got {_shown(given)}"


def _shown(value: Any) -> str:
    """A value as the file has it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else repr(value)


def suggest(given: str, known: Sequence[str]) -> str:
    """Advice on what does not exist: its neighbours, and all that is known here; empty where nothing is."""
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{hint}Known here: {_listed(known)}" if known else ""


def may_mean(name: str, misspelled: Collection[str]) -> bool:
    """Whether something that does not exist may be there all the same, under one of the misspelled names."""
    return bool(difflib.get_close_matches(name, misspelled))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _yaml_path(loc: Sequence[str | int], content: Any) -> KeyPath:
    """pydantic's location without the tags of unions, which stand in no file."""
    path: list[str | int] = []
    here = content
    for index, key in enumerate(loc):
        if loc[0] == "space" and index == 2:
            continue  # the kind of a dimension, which is one of its keys too
        if isinstance(here, Mapping):
            if key in here:
                path.append(key)
                here = here[key]
            elif index == len(loc) - 1:
                path.append(key)
        elif isinstance(here, list) and isinstance(key, int) and key < len(here):
            path.append(key)
            here = here[key]
    return tuple(path)
