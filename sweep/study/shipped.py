"""The studies that come with this program: `studies/` of a checkout, `sweep/shipped` where it is installed."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from slr_models.errors import SettingError
from sweep import yaml_source

SUFFIX = ".yaml"
_TIME = re.compile(r"\b(seconds?|minutes?|hours?)\b")


@dataclass(frozen=True)
class ShippedStudy:
    """A study that comes with this program."""

    name: str
    """What a command takes: `smoke`, `own/digits`."""
    path: Path

    @property
    def question(self) -> str:
        """What it asks, the first sentence of the comment at its top."""
        return _sentences(self.path)[0]

    @property
    def time(self) -> str:
        """How long it takes, as that comment says."""
        parts = [part.strip() for sentence in _sentences(self.path)[1:] for part in re.split(r"[;,.]", sentence)]
        told = next(part for part in parts if _TIME.search(part))
        return told[0].lower() + told[1:]

    def files(self) -> Iterator[Path]:
        """The study file, and what its trainings run that lies beside it."""
        yield self.path
        content = yaml_source.load(self.path).content
        trial = content.get("trial", {})
        named = [f"{str(trial.get('target', '')).partition(':')[0]}.py", *str(trial.get("run", "")).split()]
        yield from (beside for name in named if (beside := self.path.parent / name).is_file())


def shipped() -> dict[str, ShippedStudy]:
    """All of them by name, those of the user's own kind last."""
    package = Path(__file__).parents[1]
    folder = next(one for one in (package / "shipped", package.parent / "studies") if one.is_dir())
    paths = [*sorted(folder.glob(f"*{SUFFIX}")), *sorted(folder.glob(f"own/*{SUFFIX}"))]
    names = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    return {name: ShippedStudy(name, path) for name, path in zip(names, paths, strict=True)}


def study_file(given: Path) -> Path:
    """The study file that a command was given: a path of one, or the name of a study.

    A file of that path wins; then one here of that name and the ending .yaml, as `slr-sweep init` writes it; then the
    study of that name that comes with this program.

    Raises:
        SettingError: it is a name, and there is no such study.
    """
    if not given.name or given.suffix in (SUFFIX, ".yml") or given.is_file():
        return given
    if (here := given.with_name(f"{given.name}{SUFFIX}")).is_file():
        return here
    every = shipped()
    if (known := every.get(given.as_posix())) is not None:
        return known.path
    if given.exists() or given.is_absolute():
        # What is no file is told of where it is read.
        return given
    meant = meant_by(given.as_posix())
    raise SettingError(
        f"{given} is neither a file nor a study that comes with slr-sweep: {meant}slr-sweep init --list shows all"
    )


def meant_by(name: str) -> str:
    """`did you mean smoke? `, of a name that no study has; empty where none has a similar one."""
    near = difflib.get_close_matches(name, list(shipped()), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}? " if near else ""


def _sentences(path: Path) -> list[str]:
    """Those of the comment at the top of a file."""
    # Its first line is an editor's.
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.lstrip("# ") for line in lines[:end])
    return re.split(r"(?<=[.?]) ", comment)
