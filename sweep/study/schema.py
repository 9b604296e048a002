"""The JSON schema of a study file: what an editor completes and explains while it is written, and what it refuses.

It says what `Study`'s types say, all short forms included, and which dotted paths our own loop has. What only shows in
several settings together, `slr-sweep check` tells.
"""

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from slr_models.spec import Spec
from sweep.study.fields import is_open, specs_in
from sweep.study.settings import Study
from sweep.training.config import TrialConfig

SEARCHED = ("model", "training")
"""Sections of our own loop whose settings may vary."""
_DIMENSION, _PATH = "#/$defs/Dimension", "#/$defs/SettingPath"
_WORD = r"\w\u0080-\uffff"
"""A letter of a Python name, for editors whose `\\w` ends with ASCII."""


def study_schema() -> dict[str, Any]:
    """The schema of a study file, of JSON Schema's draft 2020-12."""
    made = Study.model_json_schema(schema_generator=_Generator)
    _describe(made, made["$defs"])
    paths = dict(_paths(TrialConfig, SEARCHED))
    made["$defs"]["Dimension"] = made["properties"]["space"].pop("additionalProperties")
    made["properties"]["space"]["additionalProperties"] = {"$ref": _DIMENSION}
    opened = "|".join(re.escape(path) for path, field in paths.items() if is_open(field.annotation))
    made["$defs"]["SettingPath"] = {"anyOf": [{"enum": list(paths)}, {"pattern": rf"^({opened})\."}]}
    own_program = {"properties": {"kind": {"enum": ["function", "command"]}}, "required": ["kind"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "A study of slr-sweep",
        "if": {"properties": {"trial": own_program}, "required": ["trial"]},
        "then": {"properties": dict.fromkeys(TrialConfig.model_fields, {"not": {}})},
        "else": _of_our_loop(paths),
    }


def study_schema_text() -> str:
    """`study_schema` as JSON."""
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Pydantic's own, without titles that only repeat names, and with the key that tells kinds apart required."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        made = super().tagged_union_schema(schema)
        told_by = made.pop("discriminator", None)
        return made if told_by is None else {**made, "required": [told_by["propertyName"]]}

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        made = super().dict_schema(schema)
        if "patternProperties" not in made:
            return made
        patterns = {_of_any_letters(pattern): value for pattern, value in made["patternProperties"].items()}
        return {**made, "patternProperties": patterns, "additionalProperties": False}

    def str_schema(self, schema: core_schema.StringSchema) -> JsonSchemaValue:
        made = super().str_schema(schema)
        return {**made, "pattern": _of_any_letters(made["pattern"])} if "pattern" in made else made


def _of_any_letters(pattern: str) -> str:
    """A pattern in which `\\w` is any letter, as Python has it, wherever it is read."""
    in_brackets = re.sub(r"\[[^]]*\]", lambda found: found[0].replace(r"\w", _WORD), pattern)
    return re.sub(r"(\[[^]]*\])|\\w", lambda found: found[1] or f"[{_WORD}]", in_brackets)


def _of_our_loop(paths: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """What a study has to have, and may, where no program of the user's trains."""
    named = {"propertyNames": {"$ref": _PATH}}
    searched = {
        path: {"$ref": _DIMENSION, "description": _sentence(field)}
        for path, field in paths.items()
        if not is_open(field.annotation)
    }
    return {
        "required": ["model", "data"],
        "properties": {
            **{name: {"type": "object"} for name in ("model", "data")},
            "objective": {"enum": ["wer", "val_loss", None]},
            "space": {"properties": searched, **named},
            "search": {"properties": {"try_first": {"items": named}}},
            "design": {
                "properties": {
                    "factors": {
                        "additionalProperties": {
                            "anyOf": [named, {"additionalProperties": {"type": "object", **named}}]
                        }
                    },
                }
            },
        },
    }


def _paths(spec: type[Spec], names: tuple[str, ...] | None = None, before: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """The dotted path of every setting that is no section, of any kind of each section, and its field."""
    for name, field in spec.model_fields.items():
        if names is not None and name not in names:
            continue
        path, inner = f"{before}{field.alias or name}", specs_in(field.annotation)
        if not inner:
            yield path, field
        for section in inner:
            yield from _paths(section, before=f"{path}.")


def _sentence(field: FieldInfo) -> str:
    return _line(field.description or "Which kind.")


def _line(text: str) -> str:
    """The first paragraph of a docstring, as a line."""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def _describe(here: Any, specs: Mapping[str, Any]) -> None:
    """Gives every setting below a line that tells its meaning and its default, which editors show."""
    if isinstance(here, list):
        for item in here:
            _describe(item, specs)
    if not isinstance(here, dict):
        return
    if "description" in here and "properties" in here:
        here["description"] = _line(here["description"])
    for name, field in here["properties"].items() if isinstance(here.get("properties"), dict) else ():
        section = specs.get(str(field.get("$ref")).rpartition("/")[2], {})
        # A kind is told by what the section is then.
        said = field.get("description") or (here if name == "kind" else section).get("description", "")
        if default := _default_text(field):
            said = f"{_line(said)} Default: {default}."
        field["description"] = _line(said)
        if isinstance(field.get("default"), dict | list):
            del field["default"]
    for value in here.values():
        _describe(value, specs)


def _default_text(field: Mapping[str, Any]) -> str:
    """The default as YAML has it, of a section its kind; empty where there is none, or it goes without saying."""
    if "default" not in field or "const" in field:
        return ""
    value = field["default"]
    if isinstance(value, dict):
        return f"{{kind: {value['kind']}}}" if "kind" in value else ""
    if value == [] or value == "" or (value is None and "null" in field.get("description", "").lower()):
        return ""
    return json.dumps(value) if not isinstance(value, str) else value
