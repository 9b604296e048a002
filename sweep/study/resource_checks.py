"""What types cannot say of resources: what a trial may not use together, and settings that no training has."""

from collections.abc import Collection, Iterator

from slr_models.errors import SettingProblem
from sweep.space import Choice, Dimension, Grid, Integer, LogUniform, Uniform, contains
from sweep.study.messages import may_mean, suggest
from sweep.study.resources import Condition, Within
from sweep.study.settings import Study
from sweep.yaml_source import KeyPath


def resource_problems(study: Study) -> Iterator[SettingProblem]:
    """What a trial may not use together."""
    if study.resources.gpus == "auto" and study.resources.stacked > 1:
        yield SettingProblem(
            ("resources", "stacked"),
            "resources.gpus: auto finds out how many processes share a GPU by the memory of a single training",
            "say how much of a GPU one process takes, such as gpus: 1, or leave out resources.stacked",
        )
    yield from _gpus_without_use(study)
    if study.resources.where:
        yield from _beside_where(study)


def where_problems(study: Study, unknown: Collection[str], wrong: Collection[str | int]) -> Iterator[SettingProblem]:
    """Entries of `resources.where` that are of no training.

    Args:
        study: the study.
        unknown: dimensions that are misspelled.
        wrong: dimensions whose values are not what they will be.
    """
    told = []
    for index, demand in enumerate(study.resources.where):
        key: KeyPath = ("resources", "where", index)
        name = f"resources.where.{index}"
        if not demand.asked:
            yield SettingProblem(key, f"{name} asks for nothing", "give cpus, gpus or node_with")
        if demand.when in told:
            yield SettingProblem(key, f"resources.where has two entries for where {demand}", "leave one of them out")
        told.append(demand.when)
        for path, condition in demand.when.items():
            if path not in study.searched:
                if not may_mean(path, unknown):
                    yield _not_searched(study, path, (*key, "when", path), name)
            elif path not in wrong:
                sizes = [study.full_size.target] if study.full_size and study.full_size.path == path else []
                for problem, advice in _never(path, condition, study.searched[path], sizes):
                    yield SettingProblem((*key, "when", path), f"{name}.when {problem}", advice)


def _not_searched(study: Study, path: str, key: KeyPath, name: str) -> SettingProblem:
    said = f"{name}.when names {path!r}, which does not vary between the trainings of this study."
    if study.design is not None and path in study.design.factors:
        set_by = dict.fromkeys(one for settings in study.design.factors[path].values() for one in settings)
        return SettingProblem(key, f"{said} It is a factor", f"name what its levels set: {', '.join(set_by)}")
    return SettingProblem(key, said, suggest(path, list(study.searched)) or "What all of them ask for stands above it")


def _never(path: str, condition: Condition, dimension: Dimension, sizes: list[float]) -> Iterator[tuple[str, str]]:
    """What of a condition no training meets, and what to do; sizes: what the setting is at full size besides."""
    if isinstance(condition, Within):
        if not any(map(condition.holds, sizes)) and not _some_within(condition, dimension):
            yield f"asks for {path} {condition}, which no training of this study has", "give bounds that some have"
    elif isinstance(dimension, Uniform | LogUniform):
        bounds = "such as {at_least: number} or {below: number}"
        yield f"lists values of {path}, which lies anywhere between two bounds", f"give bounds of it, {bounds}"
    else:
        for value in condition:
            if not contains(dimension, value) and value not in sizes:
                some = f"between {' and '.join(map(str, dimension.ends))}"
                of = some if isinstance(dimension, Integer) else f"one of its values {list(dimension.ends)}"
                yield f"asks for {path} = {value!r}, which is not {of}", ""


def _some_within(bounds: Within, dimension: Dimension) -> bool:
    if isinstance(dimension, Choice | Grid):
        return any(map(bounds.holds, dimension.ends))
    low, high = (float(end) for end in dimension.ends)
    above = bounds.at_least is None or bounds.at_least <= high
    return above and (bounds.below is None or bounds.below > low)


def _beside_where(study: Study) -> Iterator[SettingProblem]:
    """What goes by one demand that all trainings have in common."""
    resources, key = study.resources, ("resources", "where")
    if resources.gpus == "auto":
        yield SettingProblem(
            ("resources", "gpus"),
            "resources.gpus: auto measures one training for all of them, and those of resources.where ask for "
            "something else",
            "say how much of a GPU a training takes, such as gpus: 0.5",
        )
    elif len({bool(one.gpus) for one in resources.by_settings.values()}) > 1:
        yield SettingProblem(
            key,
            "resources asks for GPUs for some trainings and for none for others, which would train on CPUs",
            "let all of them have a GPU, or a part of one",
        )
    if resources.stacked > 1:
        yield SettingProblem(
            ("resources", "stacked"),
            "trainings of one process take the same, and by resources.where they do not",
            "leave out resources.stacked or resources.where",
        )
    if study.scheduler is not None and study.scheduler.kind in ("hyperband", "pbt"):
        yield SettingProblem(
            key,
            f"scheduler.kind: {study.scheduler.kind} pauses trainings, and gives what one took to another, which may "
            f"ask for something else",
            "use scheduler.kind: asha or median, or leave out resources.where",
        )


def _gpus_without_use(study: Study) -> Iterator[SettingProblem]:
    """Several GPUs a training, of which a model can use one alone."""
    if study.model is None or study.model.kind == "custom":
        return
    asked: list[tuple[KeyPath, float | str | None]] = [(("resources", "gpus"), study.resources.gpus)]
    asked += [(("resources", "where", index, "gpus"), one.gpus) for index, one in enumerate(study.resources.where)]
    for key, gpus in asked:
        if isinstance(gpus, float) and gpus > 1:
            name = "resources.gpus" if len(key) == 2 else "gpus of resources.where"
            yield SettingProblem(
                key,
                f"{name} is {gpus:g}, but a training of model.kind {study.model.kind} uses one GPU",
                "give 1: several GPUs then run several trials at once (a model of your own, model.kind custom, may "
                "have several)",
            )
