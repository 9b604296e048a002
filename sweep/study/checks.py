"""What types cannot say of a study: settings that do not fit each other, or a budget that cannot be spent."""

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager

from slr_models.errors import SettingError
from slr_models.spec import Spec
from sweep.search import CmaEsSearch, GridSearch, RandomSearch
from sweep.space import Integer, LogUniform, Space, Uniform, contains, grid_settings, ordered
from sweep.study.claim import problems
from sweep.study.fields import field_named, is_open, specs_in
from sweep.study.full_size import at_full_size, problem
from sweep.study.loaded import LoadedStudy
from sweep.study.messages import suggest
from sweep.study.scheduler import Pbt, mutable_dimensions
from sweep.study.settings import Study
from sweep.study.yaml_source import KeyPath, YamlSource
from sweep.training.config import TrialConfig


def check_budget(study: Study, where: str) -> None:
    """Raises SettingError where the budget cannot be spent; `where` begins the message."""
    budget = study.budget
    if (budget.steps is None) == (budget.epochs is None):
        raise SettingError(f"{where}: budget needs either steps or epochs (one of the two)")
    if budget.trials < study.repeats:
        raise SettingError(
            f"{where}: budget.trials is {budget.trials}, too few for one setting with repeats: {study.repeats}"
        )


def check_name(study: Study, source: YamlSource) -> None:
    if study.name in (".", "..") or re.search(r"[/\\\x00-\x1f]", study.name):
        raise SettingError(
            f"{source.where(('name',))}: name is {study.name!r}, but it names a folder: leave out / and \\"
        )


def check_space(loaded: LoadedStudy, source: YamlSource) -> None:
    space = loaded.study.space
    for path in space:
        _check_known_path(path, f"space.{path}", source.where(("space", path)))
    with _at(source, space):
        ordered(space)


@contextmanager
def _at(source: YamlSource, space: Space) -> Iterator[None]:
    """Puts file and line before an error that names a dimension as `space.<path>`."""
    try:
        yield
    except SettingError as error:
        path = next((p for p in sorted(space, key=len, reverse=True) if f"space.{p}" in str(error)), "")
        raise SettingError(f"{source.where(('space', path))}: {error}") from None


def _check_known_path(path: str, name: str, where: str) -> None:
    """A dotted path must name a field that some kind of a trial's sections has; `name` stands for it in messages."""
    keys = path.split(".")
    if keys[0] not in ("model", "training"):
        hint = " (data is built once and shared by all trials)" if keys[0] == "data" else ""
        raise SettingError(f"{where}: {name} cannot be searched; what can be is model.*, training.*{hint}")
    candidates: list[type[Spec]] = [TrialConfig]
    for depth, key in enumerate(keys):
        fields = [field for spec in candidates if (field := field_named(spec, key)) is not None]
        if not fields:
            known = sorted({field for spec in candidates for field in spec.model_fields})
            prefix = ".".join(keys[:depth])
            raise SettingError(f"{where}: {name}: {prefix or 'a trial'} has no setting {key!r}.{suggest(key, known)}")
        candidates = [spec for field in fields for spec in specs_in(field.annotation)]
        if not candidates and depth < len(keys) - 1 and not any(is_open(f.annotation) for f in fields):
            raise SettingError(f"{where}: {name}: {'.'.join(keys[: depth + 1])} is one value, without parts")
        if not candidates and any(is_open(f.annotation) for f in fields):
            return
    if candidates:
        raise SettingError(
            f"{where}: {name} is a section, not one value: search one of its settings, such as {path}.kind"
        )


def check_beside_design(study: Study, source: YamlSource) -> None:
    """What a study with a design cannot have, as the file has it."""
    if study.design is None:
        if study.claims:
            raise SettingError(
                f"{source.where(('claims',))}: claims need a design that settles them: add one, such as design: "
                f"{{kind: paired, blocks: 24, factors: {{precision: {{training.precision.kind: [fp32, fp16]}}}}}}"
            )
        return
    given: list[tuple[KeyPath, bool, str]] = [
        (("budget", "trials"), "trials" in study.budget.model_fields_set, "blocks x cells decide how many there are"),
        (("search",), "search" in study.model_fields_set, "blocks draw their settings by themselves"),
        (("repeats",), study.repeats > 1, "every block has a seed of its own: ask for more blocks"),
        (("scheduler",), study.scheduler is not None, "a training that is not judged leaves its block incomplete"),
        (("full_size",), study.full_size is not None, "it predicts from a search: make it a study of its own"),
    ]
    for path, is_given, why in given:
        if is_given:
            name = ".".join(map(str, path))
            raise SettingError(f"{source.where(path)}: {name} cannot be used beside design: {why}. Leave it out")


def check_factors(study: Study, source: YamlSource) -> None:
    for factor, levels in study.design.factors.items() if study.design is not None else ():
        for level, settings in levels.items():
            for path in settings:
                name = f"design.factors.{factor}.{level}.{path}"
                where = source.where(_place_in_design(factor, level, path, source))
                _check_known_path(path, name, where)
                if path in study.space:
                    raise SettingError(
                        f"{source.where(('space', path))}: space.{path} is set by the factor {factor} of the design: "
                        f"leave it out of one of them"
                    )


def check_corners(loaded: LoadedStudy, source: YamlSource) -> None:
    """Every end of every dimension must be a valid configuration; with a design, under each of its cells."""
    space, design = loaded.study.space, loaded.study.design
    factors = design.factors if design is not None else {}
    for tested, settings in loaded.corners():
        try:
            loaded.trial_config(settings)
        except SettingError as error:
            shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
            detail = re.sub(r"^\S+: ", "", str(error).splitlines()[0])
            # The message begins with the setting that is wrong; that may be another dimension than the one under test.
            culprit = detail.split(" ")[0].rstrip(":")
            owner = next((f for f, levels in factors.items() if any(culprit in s for s in levels.values())), None)
            place: KeyPath
            if owner is not None:
                place = ("design", "factors", owner)
            elif culprit in space or tested:
                place = ("space", culprit if culprit in space else tested)
            else:
                place = ("design", "factors")
            advice = "Set it in the levels where it has an effect" if factors else "It has no effect there: add `when`"
            hint = f" {advice}" if "is not a setting" in detail else ""
            name = ".".join(map(str, place))
            raise SettingError(f"{source.where(place)}: {name} cannot be used with {shown}: {detail}.{hint}") from None


def check_claims(study: Study, source: YamlSource) -> None:
    if study.design is None:
        return
    for index, claim in enumerate(study.claims):
        place: KeyPath = ("claims", index)
        if claim.name in [other.name for other in study.claims[:index]]:
            raise SettingError(
                f"{source.where((*place, 'name'))}: two claims are named {claim.name!r}: give each a name of its own"
            )
        for wrong, message in problems(claim, study.design):
            raise SettingError(f"{source.where((*place, *wrong))}: claim {claim.name}: {message}")


def _place_in_design(factor: str, level: str, path: str, source: YamlSource) -> KeyPath:
    """Where a setting of a level stands: under the level, or directly under the factor in the short form."""
    place: KeyPath = ("design", "factors", factor)
    return (*place, path) if (*place, path) in source.lines else (*place, level, path)


def check_search(study: Study, source: YamlSource) -> None:
    if isinstance(study.search, GridSearch):
        with _at(source, study.space):
            next(grid_settings(study.space))
    if isinstance(study.search, CmaEsSearch):
        _check_cmaes(study, source.where(("search",)))
    for index, known in enumerate(study.search.try_first):
        for path, value in known.items():
            where = source.where(("search", "try_first", index, path))
            if path not in study.space:
                raise SettingError(
                    f"{where}: search.try_first names {path!r}, which is no dimension of space."
                    f"{suggest(path, list(study.space))}"
                )
            if not contains(study.space[path], value):
                raise SettingError(f"{where}: search.try_first sets {path} to {value!r}, outside its dimension")


def check_full_size(loaded: LoadedStudy, source: YamlSource) -> None:
    full_size, space = loaded.study.full_size, loaded.study.space
    if full_size is None:
        return
    path = full_size.path
    where = source.where(("full_size", "path"))
    if path not in space:
        raise SettingError(
            f"{where}: full_size.path names {path!r}, which is no dimension of space.{suggest(path, list(space))}"
        )
    if (wrong := problem(full_size, space)) is not None:
        raise SettingError(f"{where}: {wrong}")
    try:
        loaded.trial_config(at_full_size(full_size, space, loaded.first_settings()))
    except SettingError as error:
        detail = re.sub(r"^\S+: ", "", str(error).splitlines()[0])
        target = source.where(("full_size", "target"))
        raise SettingError(f"{target}: full_size.target is {full_size.target:g}: {detail}") from None


def _check_cmaes(study: Study, where: str) -> None:
    if importlib.util.find_spec("cmaes") is None:
        raise SettingError(
            f"{where}: search.kind: cmaes needs the package cmaes: pip install 'slr-stability-sweep[cmaes]', or pip "
            f"install cmaes"
        )
    together = [
        path
        for path, dimension in study.space.items()
        if isinstance(dimension, Uniform | LogUniform | Integer) and not dimension.when
    ]
    if len(together) < 2:
        raise SettingError(
            f"{where}: search.kind: cmaes moves numeric dimensions without `when` together and needs two of them; "
            f"space has {len(together)}: use tpe or stability"
        )


def check_scheduler(study: Study, source: YamlSource) -> None:
    if not isinstance(study.scheduler, Pbt):
        return
    where = f"{source.where(('scheduler',))}: scheduler.kind: pbt"
    if not isinstance(study.search, RandomSearch | GridSearch):
        raise SettingError(
            f"{where} changes settings in the middle of trainings, so a search cannot learn from their results: use "
            f"search.kind: random or grid with it, got {study.search.kind}"
        )
    if study.repeats > 1:
        raise SettingError(
            f"{where} changes the settings of each training by itself, so seeds of one setting do not stay one: use "
            f"repeats: 1 with it, got {study.repeats}"
        )
    if study.checkpoints != "none":
        raise SettingError(
            f"{where} gives a training other weights and settings on the way, so that its own checkpoints do not fit "
            f"it: use checkpoints: none with it, got {study.checkpoints}"
        )
    if not mutable_dimensions(study.space):
        raise SettingError(
            f"{where} has nothing to change: space needs a number under training.optimizer, training.clip or "
            f"training.bad_batch, such as training.optimizer.lr"
        )
