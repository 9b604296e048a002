"""What types cannot say of a study: settings that do not fit each other, or a budget that cannot be spent.

Each check tells all that it finds. What only follows from another mistake is left out: nobody can say what a study
lacks as long as a name in it is misspelled.
"""

import difflib
import importlib.util
import re
from collections.abc import Collection, Iterator

from slr_models.errors import SettingProblem
from slr_models.spec import Spec
from sweep.search import CmaEsSearch, GridSearch, RandomSearch
from sweep.space import Integer, LogUniform, Space, Uniform, condition_problems, contains, listing_problems
from sweep.study.claim import LR_FACTOR
from sweep.study.claim import problems as problems_of_claim
from sweep.study.corners import corner_problems, problems_of
from sweep.study.fields import field_named, is_open, specs_in
from sweep.study.full_size import MIN_SIZES, at_full_size, has_edge, has_enough_sizes
from sweep.study.loaded import LoadedStudy
from sweep.study.messages import suggest
from sweep.study.scheduler import Pbt, mutable_dimensions
from sweep.study.settings import Study
from sweep.study.yaml_source import KeyPath
from sweep.training.config import TrialConfig


def failed_checks(loaded: LoadedStudy) -> list[SettingProblem]:
    """All that is wrong with a study whose settings have the right types, each once."""
    study = loaded.study
    misspelled = [problem for path in study.space for problem in _unknown_path(path, ("space", path), f"space.{path}")]
    unknown = {str(problem.path[1]) for problem in misspelled}
    conditions = [p for p in condition_problems(study.space) if not _names_misspelled(p, study.space, unknown)]
    factors = list(_factor_problems(loaded))
    found = [*_beside_design(study), *_budget_and_name(study), *misspelled, *conditions, *factors]
    sound = not (misspelled or conditions or factors)
    if sound:
        found += corner_problems(loaded)
    if study.design is not None:
        found += _claim_problems(study, factors)
    else:
        found += _search_problems(study, unknown)
        found += _scheduler_problems(study, unknown)
        found += _full_size_problems(loaded, unknown, sound)
    return list(dict.fromkeys(found))


def budget_problems(study: Study) -> Iterator[SettingProblem]:
    """Why the budget cannot be spent."""
    budget = study.budget
    if (budget.steps is None) == (budget.epochs is None):
        yield SettingProblem(("budget",), "budget needs either steps or epochs (one of the two)")
    if study.design is None and budget.trials < study.repeats:
        yield SettingProblem(
            ("budget", "trials"),
            f"budget.trials is {budget.trials}, too few for one setting with repeats: {study.repeats}",
        )


def _budget_and_name(study: Study) -> Iterator[SettingProblem]:
    yield from budget_problems(study)
    if study.name in (".", "..") or re.search(r"[/\\\x00-\x1f]", study.name):
        yield SettingProblem(("name",), f"name is {study.name!r}, but it names a folder", "leave out / and \\")


def _unknown_path(path: str, key: KeyPath, name: str) -> Iterator[SettingProblem]:
    """Whether a dotted path names a field that some kind of a trial's sections has.

    Args:
        path: counts from the sections of a trial.
        key: where it stands.
        name: stands for it in messages.
    """
    keys = path.split(".")
    if keys[0] not in ("model", "training"):
        hint = " (data is built once and shared by all trials)" if keys[0] == "data" else ""
        yield SettingProblem(key, f"{name} cannot be searched; what can be is model.*, training.*{hint}")
        return
    candidates: list[type[Spec]] = [TrialConfig]
    for depth, part in enumerate(keys):
        fields = [field for spec in candidates if (field := field_named(spec, part)) is not None]
        if not fields:
            known = sorted({field for spec in candidates for field in spec.model_fields})
            owner = ".".join(keys[:depth]) or "a trial"
            yield SettingProblem(key, f"{name}: {owner} has no setting {part!r}.", suggest(part, known))
            return
        candidates = [spec for field in fields for spec in specs_in(field.annotation)]
        opens = any(is_open(field.annotation) for field in fields)
        if not candidates and depth < len(keys) - 1 and not opens:
            yield SettingProblem(key, f"{name}: {'.'.join(keys[: depth + 1])} is one value, without parts")
            return
        if not candidates and opens:
            return
    if candidates:
        yield SettingProblem(
            key, f"{name} is a section, not one value", f"search one of its settings, such as {path}.kind"
        )


def _may_mean(path: str, unknown: Collection[str]) -> bool:
    """Whether a dimension that `space` lacks may be there all the same, misspelled."""
    return bool(difflib.get_close_matches(path, unknown))


def _names_misspelled(condition: SettingProblem, space: Space, unknown: Collection[str]) -> bool:
    """Whether a condition is wrong just because the dimension that it names is misspelled where it stands."""
    named = str(condition.path[-1])
    return named not in space and _may_mean(named, unknown)


def _beside_design(study: Study) -> Iterator[SettingProblem]:
    """What a study with a design cannot have, or one without."""
    if study.design is None:
        if study.claims:
            yield SettingProblem(
                ("claims",),
                "claims need a design that settles them",
                "add one, such as design: {kind: paired, blocks: 24, factors: {precision: {training.precision.kind: "
                "[fp32, fp16]}}}",
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
            yield SettingProblem(path, f"{name} cannot be used beside design: {why}.", "Leave it out")


def _factor_problems(loaded: LoadedStudy) -> Iterator[SettingProblem]:
    """Paths that the levels of factors should not set; one that stands once for all levels is told of once."""
    space, design = loaded.study.space, loaded.study.design
    told: set[KeyPath] = set()
    for factor, levels in design.factors.items() if design is not None else ():
        for level, settings in levels.items():
            for path in settings:
                key = _key_in_design(factor, level, path, loaded)
                if key in told:
                    continue
                told.add(key)
                unknown = list(_unknown_path(path, key, f"design.factors.{factor}.{level}.{path}"))
                yield from unknown
                if path in space and not unknown:
                    yield SettingProblem(
                        ("space", path),
                        f"space.{path} is set by the factor {factor} of the design",
                        "leave it out of one of them",
                    )


def _key_in_design(factor: str, level: str, path: str, loaded: LoadedStudy) -> KeyPath:
    """Where a setting of a level stands: under the level, or directly under the factor in the short form."""
    place: KeyPath = ("design", "factors", factor)
    short = path in loaded.source.content["design"]["factors"][factor]
    return (*place, path) if short else (*place, level, path)


def _claim_problems(study: Study, factors: Collection[SettingProblem]) -> Iterator[SettingProblem]:
    assert study.design is not None, "claims are settled by a design"
    wrong_rungs = any(problem.path[:3] == ("design", "factors", LR_FACTOR) for problem in factors)
    names = [claim.name for claim in study.claims]
    for index, claim in enumerate(study.claims):
        if claim.name in names[:index]:
            yield SettingProblem(
                ("claims", index, "name"), f"two claims are named {claim.name!r}", "give each a name of its own"
            )
        told: set[KeyPath] = set()
        for problem in problems_of_claim(claim, study.design):
            # Of several mistakes at one place the first decides what the others are about.
            if problem.path in told or (problem.path == ("response",) and wrong_rungs):
                continue
            told.add(problem.path)
            yield problem.within(("claims", index), f"claim {claim.name}")


def _search_problems(study: Study, unknown: Collection[str]) -> Iterator[SettingProblem]:
    space = study.space
    if isinstance(study.search, GridSearch):
        yield from listing_problems(space)
    if isinstance(study.search, CmaEsSearch):
        yield from _cmaes_problems(space)
    for index, known in enumerate(study.search.try_first):
        for path, value in known.items():
            key = ("search", "try_first", index, path)
            if path in space:
                if not contains(space[path], value):
                    yield SettingProblem(key, f"search.try_first sets {path} to {value!r}, outside its dimension")
            elif not _may_mean(path, unknown):
                yield SettingProblem(
                    key, f"search.try_first names {path!r}, which is no dimension of space.", suggest(path, list(space))
                )


def _cmaes_problems(space: Space) -> Iterator[SettingProblem]:
    if importlib.util.find_spec("cmaes") is None:
        yield SettingProblem(
            ("search",),
            "search.kind: cmaes needs the package cmaes",
            "pip install 'slr-stability-sweep[cmaes]', or pip install cmaes",
        )
    together = [
        path
        for path, dimension in space.items()
        if isinstance(dimension, Uniform | LogUniform | Integer) and not dimension.when
    ]
    if len(together) < 2:
        yield SettingProblem(
            ("search",),
            f"search.kind: cmaes moves numeric dimensions without `when` together and needs two of them; space has "
            f"{len(together)}",
            "use tpe or stability",
        )


def _scheduler_problems(study: Study, unknown: Collection[str]) -> Iterator[SettingProblem]:
    if not isinstance(study.scheduler, Pbt):
        return
    key, kind = ("scheduler",), "scheduler.kind: pbt"
    if not isinstance(study.search, RandomSearch | GridSearch):
        yield SettingProblem(
            key,
            f"{kind} changes settings in the middle of trainings, so a search cannot learn from their results",
            f"use search.kind: random or grid with it, got {study.search.kind}",
        )
    if study.repeats > 1:
        yield SettingProblem(
            key,
            f"{kind} changes the settings of each training by itself, so seeds of one setting do not stay one",
            f"use repeats: 1 with it, got {study.repeats}",
        )
    if study.checkpoints != "none":
        yield SettingProblem(
            key,
            f"{kind} gives a training other weights and settings on the way, so that its own checkpoints do not fit it",
            f"use checkpoints: none with it, got {study.checkpoints}",
        )
    if not unknown and not mutable_dimensions(study.space):
        yield SettingProblem(
            key,
            f"{kind} has nothing to change",
            "space needs a number under training.optimizer, training.clip or training.bad_batch, such as "
            "training.optimizer.lr",
        )


def _full_size_problems(loaded: LoadedStudy, unknown: Collection[str], sound: bool) -> Iterator[SettingProblem]:
    """What is wrong with predicting at another size; `sound`: the space and its conditions have no mistake."""
    full_size, space = loaded.study.full_size, loaded.study.space
    if full_size is None:
        return
    key, path = ("full_size", "path"), full_size.path
    if path not in space:
        if not _may_mean(path, unknown):
            yield SettingProblem(
                key, f"full_size.path names {path!r}, which is no dimension of space.", suggest(path, list(space))
            )
        return
    if not has_enough_sizes(space[path]):
        yield SettingProblem(
            key,
            f"space.{path} needs at least {MIN_SIZES} different positive numbers: from fewer nobody can tell how the "
            f"edge of stability moves with the size",
        )
    if not sound:
        return
    if not has_edge(full_size, space):
        yield SettingProblem(
            key,
            "full_size needs a second numeric dimension in space, such as training.optimizer.lr, to have an edge in",
        )
    first = loaded.first_settings()
    otherwise = problems_of(loaded, first)
    for inner in problems_of(loaded, at_full_size(full_size, space, first)):
        if inner not in otherwise:
            yield SettingProblem(("full_size", "target"), f"full_size.target is {full_size.target:g}: {inner.sentence}")
