"""A study: YAML -> validated settings. What a user writes is validated here, before any trial starts."""

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slr_models.errors import SettingError, SettingProblem
from sweep import yaml_source
from sweep.study.checks import failed_checks
from sweep.study.claim import resolved
from sweep.study.design import dimensions as design_dimensions
from sweep.study.fields import deep_copy, default_section
from sweep.study.loaded import LoadedStudy
from sweep.study.messages import explained
from sweep.study.settings import Confirm, Study
from sweep.yaml_source import YamlSource


def load(path: Path, overrides: Sequence[str] = ()) -> LoadedStudy:
    """Reads and validates a study file.

    Args:
        path: the YAML file.
        overrides: `dotted.path=value` each, applied before validation.

    Raises:
        SettingError: with one line for each mistake: where it is, what is wrong, what to do.
    """
    source = _beside(path, yaml_source.load(path))
    unread: list[SettingProblem] = []
    for override in overrides:
        try:
            source = _override(source, override)
        except SettingError as error:
            unread += error.problems
    try:
        loaded = validate(source)
    except SettingError as error:
        others = [p for p in error.problems if not any(u.path and u.path == p.path[: len(u.path)] for u in unread)]
        raise SettingError(*unread, *others) from error.__cause__
    if unread:
        raise SettingError(*unread)
    return loaded


def load_stored(path: Path) -> LoadedStudy:
    """Reads study.yaml of a results folder, whose trainings are to be run again.

    The rules of the judge come and go between versions, and none of them changes a training: where this version does
    not know one that stands there, its usual rules take their place. Any other setting must be one.

    Raises:
        SettingError: as `load`.
    """
    source = yaml_source.load(path)
    try:
        return validate(source)
    except SettingError as error:
        if any(problem.path[:1] != ("monitor",) for problem in error.problems):
            raise
    content = {key: value for key, value in source.content.items() if key != "monitor"}
    return validate(YamlSource(source.name, content, source.lines))


def validate(source: YamlSource) -> LoadedStudy:
    """Validates a parsed study, both ends of every dimension included.

    Raises:
        SettingError: with one line for each mistake, all of them: those of the types of settings; else, once these
            are right, those of settings that do not fit each other.
    """
    try:
        study = Study.model_validate(source.content)
    except ValidationError as error:
        raise SettingError(*map(source.placed, explained(error, Study, source.content))) from error
    loaded = LoadedStudy(complete(study), source)
    if failed := failed_checks(loaded):
        in_file_order = sorted(failed, key=lambda problem: source.line(problem.path) or 0)
        raise SettingError(*map(source.placed, in_file_order))
    return loaded


def complete(study: Study) -> Study:
    """The study with what follows from its design: claims without gaps, and no confirmation where none was asked for.

    What a results folder holds of the factors in `space` is left out: the design says it.
    """
    design = study.design
    if design is None:
        return study
    varied = design_dimensions(design)
    return study.model_copy(
        update={
            "space": {path: dimension for path, dimension in study.space.items() if varied.get(path) != dimension},
            "claims": tuple(resolved(claim, design) for claim in study.claims),
            "confirm": study.confirm if "confirm" in study.model_fields_set else Confirm(settings=0),
        }
    )


def stored(study: Study) -> dict[str, Any]:
    """The study as study.yaml of a results folder holds it, all defaults written out; it can be run again.

    `space` holds the paths that the factors of a design vary, too, since trials have columns of them.
    """
    content = study.model_dump(mode="json", by_alias=True)
    content["space"] = {path: dim.model_dump(mode="json", by_alias=True) for path, dim in study.searched.items()}
    if study.design is not None:
        del content["search"], content["budget"]["trials"]
    if not study.is_own:
        content["objective"] = study.metric
    else:
        del content["model"], content["data"], content["training"]
    return content


def _beside(path: Path, source: YamlSource) -> YamlSource:
    """The study with absolute paths of what is found beside the study file alone: its data's folder, a command's files.

    Whoever starts a study from another folder means the same ones; what is found from there stays as it is.
    """
    content = deep_copy(source.content)
    data, trial = content.get("data"), content.get("trial")
    while isinstance(data, dict) and isinstance(data.get("source"), dict):
        data = data["source"]
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        data["path"] = _found(path, data["path"])
    if isinstance(trial, dict) and isinstance(trial.get("run"), str) and trial.get("cwd") is None:
        with contextlib.suppress(ValueError):
            # A quotation without end is told of with the other mistakes.
            words = shlex.split(trial["run"])
            found = [_found(path, word, is_file=True) for word in words]
            if found != words:
                trial["run"] = found
    return replace(source, content=content)


def _found(study: Path, given: str, *, is_file: bool = False) -> str:
    """A path as it is, or the absolute one of what lies beside the study file alone."""
    try:
        found = study.absolute().parent / given
        is_there = found.is_file() if is_file else found.exists()
        return str(found) if given and is_there and not Path(given).exists() else given
    except (OSError, ValueError):
        return given


def _override(source: YamlSource, override: str) -> YamlSource:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    where = f"--set {override}"
    if not equals or not all(keys):
        raise SettingError(SettingProblem((), "write it as dotted.path=value, such as budget.trials=8", where=where))
    if len(keys) > yaml_source.MAX_DEPTH:
        raise SettingError(SettingProblem((), f"a path of {len(keys)} keys: no setting lies so deep", where=where))
    content = deep_copy(source.content)
    # A dimension's key in `space` is itself a dotted path.
    if keys[0] == "space" and len(keys) > 1:
        keys = ["space", ".".join(keys[1:])]
    try:
        value = yaml_source.parse_scalar(text)
    except SettingError as error:
        raise SettingError(*(replace(p, path=tuple(keys), where=where) for p in error.problems)) from error
    target = content
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(target.get(key), dict):
            target[key] = default_section(Study, tuple(keys[: depth + 1]), content)
        target = target[key]
    target[keys[-1]] = value
    lines = {p: line for p, line in source.lines.items() if p[: len(keys)] != tuple(keys)}
    return YamlSource(source.name, content, lines)
