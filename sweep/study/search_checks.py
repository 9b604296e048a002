"""What types cannot say of the parts of a study that go by its space: search, scheduler and prediction at full size.

What only follows from a mistake in the space is left out. So each takes what is wrong there:

unknown   dimensions that are misspelled
wrong     dimensions whose values are not what they will be
"""

import importlib.util
from collections.abc import Collection, Iterator

from slr_models.errors import SettingProblem
from sweep.search import CmaEsSearch, GridSearch, RandomSearch
from sweep.space import Integer, LogUniform, Space, Uniform, contains, listing_problems
from sweep.study.corners import problems_of
from sweep.study.full_size import MIN_SIZES, at_full_size, has_edge, has_enough_sizes
from sweep.study.loaded import LoadedStudy
from sweep.study.messages import may_mean, suggest
from sweep.study.scheduler import Pbt, mutable_dimensions
from sweep.study.settings import Study


def search_problems(study: Study, unknown: Collection[str], wrong: Collection[str | int]) -> Iterator[SettingProblem]:
    """What is wrong with the search."""
    space = study.space
    told: set[str] = set()
    if isinstance(study.search, GridSearch):
        yield from listing_problems(space)
    if isinstance(study.search, CmaEsSearch):
        yield from _cmaes_problems(space)
    for index, known in enumerate(study.search.try_first):
        for path, value in known.items():
            key = ("search", "try_first", index, path)
            if path in space:
                if path not in wrong and not contains(space[path], value):
                    yield SettingProblem(key, f"search.try_first sets {path} to {value!r}, outside its dimension")
            elif path not in told and not may_mean(path, unknown):
                told.add(path)
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


def scheduler_problems(study: Study, unknown: Collection[str]) -> Iterator[SettingProblem]:
    """What does not go with the scheduler."""
    if study.scheduler is not None and study.resources.stacked > 1:
        yield SettingProblem(
            ("resources", "stacked"),
            "a scheduler pauses and ends trainings one by one, and those of one process go on together",
            "leave out resources.stacked or scheduler",
        )
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


def full_size_problems(
    loaded: LoadedStudy, unknown: Collection[str], wrong: Collection[str | int], sound: bool
) -> Iterator[SettingProblem]:
    """What is wrong with predicting at another size; `sound`: all dimensions exist and their conditions can be met."""
    full_size, space = loaded.study.full_size, loaded.study.space
    if full_size is None:
        return
    key, path = ("full_size", "path"), full_size.path
    if path not in space:
        if not may_mean(path, unknown):
            yield SettingProblem(
                key, f"full_size.path names {path!r}, which is no dimension of space.", suggest(path, list(space))
            )
        return
    if path not in wrong and not has_enough_sizes(space[path]):
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
