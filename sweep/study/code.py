"""The code that a study names: functions that make its data or its models. Naming it runs nothing."""

from collections.abc import Iterable, Iterator

from slr_models import user_code
from slr_models.data import CustomDataConfig
from slr_models.errors import SettingProblem
from slr_models.models import CustomModelConfig
from slr_models.spec import Spec
from sweep.own.program import FunctionProgram
from sweep.study.settings import Study
from sweep.yaml_source import KeyPath

MODEL_FACTORY = "model.factory"
"""The only setting that can be searched and names code."""


def named_in(*sections: Spec) -> tuple[str, ...]:
    """What sections of settings name, as `package.module:function`, each once."""
    return tuple(dict.fromkeys(name for section in sections for _, name in _named(section, ())))


def named_by(study: Study) -> dict[str, KeyPath]:
    """What a study can run in any of its trainings, with the first place that names it."""
    if study.own is not None:
        target = study.own.target if isinstance(study.own, FunctionProgram) else None
        return {} if target is None else {target: ("trial", "target")}
    model, data = study.made
    found = [*_named(data, ("data",)), *_named(model, ("model",))]
    if MODEL_FACTORY in study.searched:
        place: KeyPath = ("space", MODEL_FACTORY) if MODEL_FACTORY in study.space else ("design", "factors")
        found += [(place, str(value)) for value in study.searched[MODEL_FACTORY].ends]
    return {name: place for place, name in reversed(found)}


def code_problems(study: Study) -> Iterator[SettingProblem]:
    """Names that must not lead to code."""
    for name, place in named_by(study).items():
        if (problem := user_code.refusal(name)) is not None:
            said = ".".join(map(str, place))
            yield SettingProblem(place, f"{said}: {name!r} must not be used: {problem}", user_code.ADVICE)


def told(names: Iterable[str]) -> str:
    """`my_package.data (/home/me/my_package/data.py)`: modules with their files, as far as these are found."""
    return ", ".join(dict.fromkeys(_told(name) for name in names))


def _told(name: str) -> str:
    files = user_code.files_of(name)
    return user_code.module_of(name) + (f" ({files[-1]})" if files else "")


def _named(settings: Spec, place: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(settings, CustomDataConfig | CustomModelConfig):
        yield (*place, "factory"), settings.factory
    for key, part in vars(settings).items():
        if isinstance(part, Spec):
            yield from _named(part, (*place, key))
