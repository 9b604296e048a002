"""Whether every end of every dimension, under every choice of the others, is a valid configuration."""

from collections.abc import Iterator, Mapping

from slr_models.errors import SettingError, SettingProblem
from sweep.space import Scalar, Settings
from sweep.study.fields import field_named, spec_at
from sweep.study.loaded import LoadedStudy
from sweep.training.config import TrialConfig
from sweep.yaml_source import KeyPath


def problems_of(loaded: LoadedStudy, settings: Mapping[str, Scalar]) -> tuple[SettingProblem, ...]:
    """What is wrong with the configuration that settings make."""
    try:
        loaded.job_config(settings)
    except SettingError as error:
        return error.problems
    return ()


def corner_problems(loaded: LoadedStudy) -> Iterator[SettingProblem]:
    """What is wrong at the corners of the space; with a design, under each of its cells.

    A mistake shows at many corners, and is told of at the first of them.
    """
    told: set[tuple[object, ...]] = set()
    for tested, settings in loaded.corners():
        for inner in problems_of(loaded, settings):
            place = _owner(loaded, inner)
            # Of what several settings do together, each corner would tell with other numbers.
            mistake = (inner.path,) if place is None else (place, inner.path, inner.problem)
            if mistake not in told:
                told.add(mistake)
                yield _at_corner(loaded, place or _tested(tested), settings, inner)


def _owner(loaded: LoadedStudy, inner: SettingProblem) -> KeyPath | None:
    """Where the setting that is wrong gets its value: from a factor or a dimension, which may be another one than the
    corner is about. None where it is set by neither, or is a section."""
    culprit = ".".join(map(str, inner.path))
    study = loaded.study
    for factor, levels in study.design.factors.items() if study.design is not None else ():
        if any(culprit in settings for settings in levels.values()):
            return ("design", "factors", factor)
    return ("space", culprit) if culprit in study.space else None


def _tested(path: str) -> KeyPath:
    """Where a corner stands: at the dimension whose end it takes, or, in a design without any, at the factors."""
    return ("space", path) if path else ("design", "factors")


def _at_corner(loaded: LoadedStudy, place: KeyPath, settings: Settings, inner: SettingProblem) -> SettingProblem:
    name = ".".join(map(str, place))
    shown = ", ".join(f"{path} = {value}" for path, value in settings.items())
    advice = ""
    if _does_not_exist(loaded, settings, inner.path):
        varied = loaded.study.design is not None
        advice = "Set it in the levels where it has an effect" if varied else "It has no effect there: add `when`"
    return SettingProblem(place, f"{name} cannot be used with {shown}: {inner.sentence}.", advice)


def _does_not_exist(loaded: LoadedStudy, settings: Settings, path: KeyPath) -> bool:
    """Whether the section that a path leads into is of a kind without such a setting."""
    spec = spec_at(TrialConfig, path[:-1], loaded.content(settings)) if path else None
    return spec is not None and field_named(spec, str(path[-1])) is None
