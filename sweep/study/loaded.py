"""A validated study with its source: makes the configuration of any trial."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from slr_models.errors import SettingError, SettingProblem
from sweep.own.program import OwnConfig
from sweep.space import Scalar, Settings, contains, corner_settings, is_active, ordered
from sweep.study.design import Cell, cells
from sweep.study.fields import deep_copy, default_section, spec_at
from sweep.study.messages import explained
from sweep.study.settings import Study
from sweep.training.config import TrialConfig, steps_per_epoch
from sweep.yaml_source import YamlSource

TRIAL_SECTIONS = ("model", "data", "training")


class LoadedStudy:
    """A validated study with its source, able to make the configuration of any trial."""

    def __init__(self, study: Study, source: YamlSource) -> None:
        self.study = study
        self.source = source
        self._searched = study.searched
        self._base = {key: source.content[key] for key in TRIAL_SECTIONS if key in source.content}
        self._own_base = {} if study.own is None else study.own.config

    def trial_config(self, settings: Mapping[str, Scalar]) -> TrialConfig:
        """The configuration with the settings put in at their dotted paths.

        Raises:
            SettingError: a setting cannot be used.
        """
        content = self.content(settings)
        try:
            return TrialConfig.model_validate(content)
        except ValidationError as error:
            raise SettingError(*map(self.source.placed, explained(error, TrialConfig, content))) from error

    def own_config(self, settings: Mapping[str, Scalar]) -> OwnConfig:
        """What a program of the user's own is given: the study's values with the settings put in.

        Raises:
            SettingError: a setting is to be a part of one that is no section.
        """
        values: dict[str, Any] = deep_copy(self._own_base)
        for path, value in settings.items():
            *sections, name = path.split(".")
            here = values
            for section in sections:
                inner = here.setdefault(section, {})
                if not isinstance(inner, dict):
                    problem = f"space.{path} is to be a part of {section}, which is one value"
                    raise SettingError(self.source.placed(SettingProblem(("space", path), problem)))
                here = inner
            if isinstance(here.get(name), dict):
                problem = f"space.{path} is one value, but trial.config has a section of that name"
                raise SettingError(self.source.placed(SettingProblem(("space", path), problem)))
            here[name] = value
        return OwnConfig(values=values)

    def job_config(self, settings: Mapping[str, Scalar]) -> TrialConfig | OwnConfig:
        """What a training depends on, whatever trains it.

        Raises:
            SettingError: a setting cannot be used.
        """
        return self.own_config(settings) if self.study.is_own else self.trial_config(settings)

    def check_stored(self, settings: Mapping[str, Scalar]) -> None:
        """Whether settings that stand in a results folder may be trained with: the folder may have come from anywhere,
        and what a model is built of can be code.

        Raises:
            SettingError: the study does not search a setting of the model, or a text is none that it offers.
        """
        for path, value in settings.items():
            if path.partition(".")[0] == "training" and not self.study.is_own:
                continue
            dimension = self._searched.get(path)
            if dimension is None or (isinstance(value, str) and not contains(dimension, value)):
                problem = f"a training in the results has {path} = {value!r}, and the space of the study has not"
                advice = "bring the files back as they were, or move the results away"
                raise SettingError(self.source.placed(SettingProblem(("space", path), problem, advice)))

    def content(self, settings: Mapping[str, Scalar]) -> dict[str, Any]:
        """What `trial_config` validates: the study's sections of a trial with the settings put in."""
        return apply_settings(self._base, settings)

    def first_settings(self, cell: Cell | None = None) -> Settings:
        """Some settings of the space: the first to try if any are named, else the low end of each dimension.

        With a design those of a cell, the first one where none is given.
        """
        first: Settings = {}
        for path in ordered(self.study.space):
            dimension = self.study.space[path]
            if is_active(dimension, first):
                known = self.study.search.try_first[0] if self.study.search.try_first else {}
                first[path] = known.get(path, dimension.ends[0])
        if self.study.design is None:
            return first
        return {**first, **(cell or cells(self.study.design)[0]).settings}

    def corners(self) -> Iterator[tuple[str, Settings]]:
        """Settings at the ends of every dimension, see `corner_settings`; with a design those of each of its cells.

        Yields pairs of the path under test, "" where there is none, and the settings.
        """
        if self.study.design is None:
            yield from corner_settings(self.study.space)
            return
        for cell in cells(self.study.design):
            for path, settings in corner_settings(self.study.space) if self.study.space else [("", {})]:
                yield path, {**settings, **cell.settings}

    def length(self, config: TrialConfig | OwnConfig, num_train: int) -> int | None:
        """As `max_steps`; None where a program of the user's own decides it."""
        if isinstance(config, OwnConfig):
            return self.study.budget.steps
        return self.max_steps(config, num_train)

    def max_steps(self, config: TrialConfig, num_train: int) -> int:
        """Updates of a training in our own loop, for a training split of that many utterances."""
        budget = self.study.budget
        if budget.steps is not None:
            return budget.steps
        assert budget.epochs is not None, "validated when loaded"
        return max(1, math.ceil(budget.epochs * steps_per_epoch(config.training, num_train)))


def apply_settings(base: Mapping[str, Any], settings: Mapping[str, Scalar]) -> dict[str, Any]:
    """Puts settings in at their dotted paths of a nested mapping; the base is left as it is.

    Where a setting changes a `kind`, the fields beside it that the new kind does not have are left out: they
    were written for the other kind.
    """
    result: dict[str, Any] = deep_copy(base)
    # Kinds first: they decide which other fields exist.
    for path, value in sorted(settings.items(), key=lambda item: not item[0].endswith(".kind")):
        keys = path.split(".")
        target = result
        for depth, key in enumerate(keys[:-1]):
            if not isinstance(target.get(key), dict):
                target[key] = default_section(TrialConfig, tuple(keys[: depth + 1]), result)
            target = target[key]
        if keys[-1] == "kind" and target.get("kind") != value:
            spec = spec_at(TrialConfig, tuple(keys[:-1]), result, kind=value)
            if spec is not None:
                for key in [k for k in target if k not in spec.model_fields]:
                    del target[key]
        target[keys[-1]] = value
    return result
