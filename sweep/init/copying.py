"""The studies that come with this program: their list, and a copy of one to edit."""

from collections.abc import Iterator
from pathlib import Path

from sweep import store, yaml_source
from sweep.init.writing import check_free
from sweep.study.shipped import ShippedStudy, shipped


def list_lines() -> Iterator[str]:
    """A line a study: its name, how long it takes, and what it asks."""
    every = shipped()
    name_width = max(map(len, every))
    time_width = max(len(study.time) for study in every.values())
    for study in every.values():
        yield f"{study.name:{name_width}}  {study.time:{time_width}}  {study.question}"


def copy(study: ShippedStudy, out: Path, *, force: bool) -> list[Path]:
    """Copies a study with what its trainings run; gives the files that were written.

    Raises:
        UserError: one is there already, and must not be replaced.
    """
    places = {file: out if file == study.path else out.parent / file.name for file in study.files()}
    for place in places.values():
        check_free(place, force=force)
    for file, place in places.items():
        text = file.read_text(encoding="utf-8")
        # The schema lies beside the copy.
        store.write_text(place, yaml_source.SCHEMA_LINE + text.partition("\n")[2] if file == study.path else text)
    return list(places.values())
