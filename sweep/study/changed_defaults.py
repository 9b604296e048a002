"""Defaults that are others than in earlier versions: an unfinished study goes on with those that it began with."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.study.fields import deep_copy
from sweep.study.loaded import LoadedStudy
from sweep.study.loading import validate
from sweep.yaml_source import YamlSource


@dataclass(frozen=True)
class ChangedDefault:
    """A setting of a study that is another one where the file does not say it."""

    section: str
    key: str
    kinds: tuple[str, ...]
    """Kinds of the section that have it."""
    before: Any
    now: Any

    @property
    def note(self) -> str:
        """What to know before a new study of an old file."""
        return (
            f"the default of {self.section}.{self.key} is {self.now} now, {self.before} in earlier versions: write it "
            f"into the study to have either"
        )


CHANGED = (ChangedDefault("model", "norm", ("teacher", "mobilenet_teacher", "baseline"), "group", "batch"),)
"""Those that change a training; docs/LOG.md says why."""


def left_open(loaded: LoadedStudy) -> list[ChangedDefault]:
    """The changed defaults that a study takes."""
    return [changed for changed in CHANGED if _is_taken(changed, loaded)]


def with_defaults_of(loaded: LoadedStudy, stored: Mapping[str, Any]) -> LoadedStudy:
    """The study with the former defaults that it was begun with.

    Args:
        loaded: as its file and this version have it.
        stored: its study.yaml.
    """
    content = deep_copy(loaded.source.content)
    for changed in left_open(loaded):
        section = stored.get(changed.section)
        if isinstance(section, Mapping) and section.get(changed.key) == changed.before:
            content.setdefault(changed.section, {})[changed.key] = changed.before
    if content == loaded.source.content:
        return loaded
    return validate(YamlSource(loaded.source.name, content, loaded.source.lines))


def _is_taken(changed: ChangedDefault, loaded: LoadedStudy) -> bool:
    given = loaded.source.content.get(changed.section)
    kind = getattr(getattr(loaded.study, changed.section), "kind", None)
    is_said = isinstance(given, Mapping) and changed.key in given
    return kind in changed.kinds and not is_said and f"{changed.section}.{changed.key}" not in loaded.study.searched
