"""A user's own model, named by an import string."""

import importlib
import inspect
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pydantic import Field, JsonValue

from slr_models.data.batch import FeatureGroup
from slr_models.errors import SettingError
from slr_models.models.base import CtcModel, build_seeded, check_inputs
from slr_models.spec import Spec

PROBED_LENGTHS = 64
"""Lengths from 1 on for which the declared stride is compared with the model's own answer."""


def raised_text(error: Exception) -> str:
    """An exception of a user's code with the place that raised it: `ValueError: my bug (my_model.py:12)`."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"


class CustomModelConfig(Spec):
    """A model made by the user's function `factory(num_features=, groups=, vocabulary_size=, **options)`."""

    kind: Literal["custom"] = "custom"
    factory: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """Where the function is: `package.module:function`. It returns a `slr_models.models.base.CtcModel`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Further keyword arguments of the function."""
    output_stride: int = Field(ge=1)
    """Input frames an output frame: an utterance of T frames gives ceil(T / output_stride) outputs."""

    def output_length(self, num_frames: int) -> int:
        """Output frames for so many input frames: ceil(T / output_stride)."""
        return -(-num_frames // self.output_stride)

    def build(self, num_features: int, groups: Sequence[FeatureGroup], vocabulary_size: int, seed: int) -> CtcModel:
        """Calls the factory under an own random stream; the same seed gives the same weights.

        Raises:
            SettingError: the groups do not partition the features, the factory cannot be imported or called
                so, or it returns something else than a CtcModel with the declared output lengths.
        """
        check_inputs(num_features, groups, vocabulary_size)
        factory = self._import_factory()
        arguments: dict[str, Any] = {
            "num_features": num_features,
            "groups": groups,
            "vocabulary_size": vocabulary_size,
        }
        if taken := sorted(arguments.keys() & self.options.keys()):
            raise SettingError(f"model.options must not set {taken[0]!r}: the data decide it; remove the option")
        try:
            inspect.signature(factory).bind(**arguments, **self.options)
        except TypeError as error:
            raise SettingError(
                f"model.factory {self.factory!r} cannot be called with num_features, groups, vocabulary_size "
                f"and the options {sorted(self.options)}: {error}; change the function or model.options"
            ) from error
        try:
            model = build_seeded(lambda: factory(**arguments, **self.options), seed)
        except Exception as error:
            raise SettingError(f"model.factory {self.factory!r} failed: {raised_text(error)}") from error
        if not isinstance(model, CtcModel):
            raise SettingError(
                f"model.factory {self.factory!r} returned a {type(model).__name__}; it must return a "
                "slr_models.models.base.CtcModel"
            )
        lengths = torch.arange(1, PROBED_LENGTHS + 1)
        for num_frames, found in enumerate(model.output_lengths(lengths).tolist(), start=1):
            if found != self.output_length(num_frames):
                raise SettingError(
                    f"model.factory {self.factory!r} made a model that gives {found} outputs for {num_frames} "
                    f"frames, but model.output_stride {self.output_stride} says "
                    f"{self.output_length(num_frames)}; correct model.output_stride"
                )
        return model

    def _import_factory(self) -> Callable[..., Any]:
        """The function that `factory` names."""
        module_name, function_name = self.factory.split(":")
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise SettingError(
                f"model.factory {self.factory!r} cannot be imported: {error}; "
                "check the name, and that the module is installed or on PYTHONPATH"
            ) from error
        factory = vars(module).get(function_name)
        if not callable(factory):
            raise SettingError(
                f"model.factory {self.factory!r} names no function of the module {module_name}; "
                "write it as package.module:function"
            )
        checked: Callable[..., Any] = factory
        return checked
