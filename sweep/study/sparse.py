"""A study without what goes without saying: the settings that a person would write."""

from collections.abc import Collection, Mapping
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from slr_models.spec import Spec
from sweep.study.fields import field_named, kinds_of, specs_in
from sweep.study.settings import Study


def without_defaults(content: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
    """The settings of a study that differ from their defaults; a section that stays begins with its kind.

    Args:
        content: of a study file, or of a part of one.
        keep: dotted paths that stay in any case.
    """
    return _without_defaults(Study, content, "", keep)


def _without_defaults(
    spec: type[Spec], content: Mapping[str, Any], before: str, keep: Collection[str]
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in content.items():
        path, field = f"{before}{key}", field_named(spec, key)
        if field is None:
            kept[key] = value
            continue
        said = _said(field, value, path, keep)
        is_kept = key == "kind" or any(f"{one}.".startswith(f"{path}.") for one in keep)
        if is_kept or field.is_required() or said != _said(field, _default(field), path, ()):
            kept[key] = said
    return {"kind": kept.pop("kind"), **kept} if "kind" in kept else kept


def _said(field: FieldInfo, value: Any, path: str, keep: Collection[str]) -> Any:
    """What has to be said of a value of the field."""
    if isinstance(value, list):
        return [_said(field, item, path, ()) for item in value]
    if not isinstance(value, Mapping):
        return value
    specs = specs_in(field.annotation)
    kind = value.get("kind")
    spec = specs[0] if len(specs) == 1 else next((one for one in specs if kind in kinds_of(one)), None)
    return value if spec is None else _without_defaults(spec, value, f"{path}.", keep)


def _default(field: FieldInfo) -> Any:
    return to_jsonable_python(field.get_default(call_default_factory=True), by_alias=True)
