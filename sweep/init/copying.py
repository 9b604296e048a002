"""The studies that come with this program: their list, and a copy of one to edit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep import yaml_source
from sweep.init.writing import write_files
from sweep.study.shipped import ShippedStudy, shipped


def list_lines() -> Iterator[str]:
    """A line a study: its name, how long it takes, and what it asks."""
    every = shipped()
    name_width = max(map(len, every))
    time_width = max(len(study.time) for study in every.values())
    for study in every.values():
        yield f"{study.name:{name_width}}  {study.time:{time_width}}  {study.question}"


def copy(study: ShippedStudy, out: Path, *, force: bool) -> Sequence[Path]:
    """Copies a study with what its trainings run; gives the files that were written, as `write_files`.

    Raises:
        UserError: one is there already, and must not be replaced.
    """
    texts = {out.parent / file.name: file.read_text(encoding="utf-8") for file in study.files()}
    # The study comes first; the schema lies beside the copy.
    original, *beside = texts.items()
    copied = yaml_source.SCHEMA_LINE + original[1].partition("\n")[2]
    return write_files({out: copied, **dict(beside)}, force=force)
