"""Which field of which settings class a dotted path names."""

from collections.abc import Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from slr_models.spec import Spec
from sweep.space import Scalar
from sweep.yaml_source import KeyPath


def spec_at(
    root: type[Spec], path: KeyPath, content: Mapping[str, Any], kind: Scalar | None = None
) -> type[Spec] | None:
    """The Spec class that describes the mapping at `path`, chosen by the `kind` that stands there (or given).

    None where the path leads to no Spec, or to one of several that cannot be told apart.
    """
    spec: type[Spec] | None = root
    field: FieldInfo | None = None
    here: Any = content
    for depth, key in enumerate(path):
        if isinstance(key, int):  # an entry of the list that the field holds
            here = here[key] if isinstance(here, list) and key < len(here) else None
        else:
            field = field_named(spec, key) if spec is not None else None
            here = here.get(key) if isinstance(here, Mapping) else None
        if field is None:
            return None
        wanted = kind if depth == len(path) - 1 else None
        if wanted is None and isinstance(here, Mapping):
            wanted = here.get("kind")
        if wanted is None:
            wanted = _default_kind(field)
        candidates = specs_in(field.annotation)
        spec = candidates[0] if len(candidates) == 1 else next((c for c in candidates if wanted in kinds_of(c)), None)
    return spec


def default_section(root: type[Spec], path: KeyPath, content: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for a section that the study leaves out: the kind of its default, if it has kinds."""
    field = field_at(root, path, content)
    kind = _default_kind(field) if field is not None else None
    return {"kind": kind} if kind is not None else {}


def _default_kind(field: FieldInfo) -> Any:
    kinds = kinds_of(type(field.default)) if isinstance(field.default, Spec) else ()
    return kinds[0] if kinds else None


def field_at(root: type[Spec], path: KeyPath, content: Mapping[str, Any]) -> FieldInfo | None:
    """The field that a path ends in, or that holds the list whose entry it ends in; None where it leads to none."""
    if path and isinstance(path[-1], int):
        return field_at(root, path[:-1], content)
    parent = spec_at(root, path[:-1], content)
    return field_named(parent, str(path[-1])) if parent is not None else None


def field_named(spec: type[Spec], name: str) -> FieldInfo | None:
    """The field of that name or alias; None where there is none."""
    for key, field in spec.model_fields.items():
        if name in (key, field.alias):
            return field
    return None


def kinds_of(spec: type[Spec]) -> tuple[Any, ...]:
    """The values of its `kind`; none where it has no kinds."""
    field = spec.model_fields.get("kind")
    return get_args(field.annotation) if field is not None else ()


def specs_in(annotation: Any) -> list[type[Spec]]:
    """The settings classes among the types of an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        return [annotation]
    return [spec for part in get_args(annotation) for spec in specs_in(part)]


def deep_copy(value: Any) -> Any:
    """A copy of nested mappings; what they hold besides is shared."""
    if isinstance(value, Mapping):
        return {key: deep_copy(item) for key, item in value.items()}
    return value


def kinds_at(root: type[Spec], path: KeyPath, content: Mapping[str, Any]) -> list[str]:
    """The kinds to choose from at a path."""
    field = field_at(root, path, content)
    return [] if field is None else [str(k) for spec in specs_in(field.annotation) for k in kinds_of(spec)]


def is_open(annotation: Any) -> bool:
    """Whether a field holds free-form options, such as those of a user's own model."""
    return annotation is dict or getattr(annotation, "__origin__", None) is dict
