"""Which settings, data and software differ between two studies, by dotted path."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.study.reading import StoredStudy

ABSENT = "(not there)"

_FACTS = ("versions", "host", "data", "model", "l_const", "l_unif")
"""Of the provenance: what a result may depend on."""
_SKIPPED = ("name", "description", "space", "claims", "provenance")
_TITLES = {
    "data": "data",
    "provenance.data": "data",
    "provenance.l_const": "data",
    "provenance.l_unif": "data",
    "model": "model",
    "provenance.model": "model",
    "training": "training",
    "monitor": "detectors",
    "provenance.versions": "versions",
    "provenance.host": "machine",
    "resources": "machine",
}
TITLES = ("data", "model", "training", "detectors", "search", "versions", "machine")


@dataclass(frozen=True)
class Difference:
    """A setting or fact that differs."""

    title: str
    """One of TITLES."""
    path: str
    before: Any
    """ABSENT where A does not have it."""
    after: Any

    @property
    def in_both(self) -> bool:
        """Whether both studies have it; else it may be a field that another version added."""
        return ABSENT not in (self.before, self.after)


def differences(a: StoredStudy, b: StoredStudy) -> tuple[Difference, ...]:
    """What differs between two study.yaml, title by title.

    Left out are names, claims, the space (which `shared_part` tells) and the fixed values of what either searches.
    """
    searched = {*a.study.searched, *b.study.searched}
    first, second = _facts(a), _facts(b)
    paths = [path for path in dict.fromkeys([*first, *second]) if path not in searched]
    found = [
        Difference(_title(path), path, first.get(path, ABSENT), second.get(path, ABSENT))
        for path in paths
        if first.get(path, ABSENT) != second.get(path, ABSENT)
    ]
    return tuple(sorted(found, key=lambda one: TITLES.index(one.title)))


def other_data(found: Sequence[Difference]) -> str:
    """Why results cannot be compared, since they are of other data; empty where nothing is known to differ."""
    data = [one.path for one in found if one.title == "data" and one.in_both]
    others = f" and {len(data) - 1} more" if len(data) > 1 else ""
    return f"the data are not the same ({data[0]}{others})" if data else ""


def _facts(stored: StoredStudy) -> dict[str, Any]:
    facts = {key: stored.made[key] for key in _FACTS if key in stored.made}
    content = {key: value for key, value in stored.content.items() if key not in _SKIPPED}
    return dict(_flat({**content, "provenance": facts}))


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of dotted path and value; members of a list of kinds stand under their kind."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) and "kind" in item for item in value):
        for item in value:
            yield from _flat({k: v for k, v in item.items() if k != "kind"}, f"{prefix}.{item['kind']}")
    else:
        yield prefix, value


def _title(path: str) -> str:
    parts = path.split(".")
    return _TITLES.get(".".join(parts[:2])) or _TITLES.get(parts[0], "search")
