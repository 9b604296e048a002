"""A user's own model, named by an import string."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from slr_models.data.batch import FeatureGroup
from slr_models.errors import SettingError
from slr_models.models.base import CtcModel, build_seeded, check_inputs
from slr_models.models.configs import CustomModelConfig
from slr_models.user_code import imported, raised_text

PROBED_LENGTHS = 64
"""Lengths from 1 on for which the declared stride is compared with the model's own answer."""


def build_custom(
    config: CustomModelConfig, num_features: int, groups: Sequence[FeatureGroup], vocabulary_size: int, seed: int
) -> CtcModel:
    """As `CustomModelConfig.build`."""
    check_inputs(num_features, groups, vocabulary_size)
    factory = imported(config.factory, "model.factory")
    arguments: dict[str, Any] = {
        "num_features": num_features,
        "groups": groups,
        "vocabulary_size": vocabulary_size,
    }
    if taken := sorted(arguments.keys() & config.options.keys()):
        raise SettingError(f"model.options must not set {taken[0]!r}: the data decide it; remove the option")
    try:
        inspect.signature(factory).bind(**arguments, **config.options)
    except TypeError as error:
        raise SettingError(
            f"model.factory {config.factory!r} cannot be called with num_features, groups, vocabulary_size "
            f"and the options {sorted(config.options)}: {error}; change the function or model.options"
        ) from error
    try:
        model = build_seeded(lambda: factory(**arguments, **config.options), seed)
    except Exception as error:
        raise SettingError(f"model.factory {config.factory!r} failed: {raised_text(error)}") from error
    if not isinstance(model, CtcModel):
        raise SettingError(
            f"model.factory {config.factory!r} returned a {type(model).__name__}; it must return a "
            "slr_models.models.base.CtcModel"
        )
    lengths = torch.arange(1, PROBED_LENGTHS + 1)
    for num_frames, found in enumerate(model.output_lengths(lengths).tolist(), start=1):
        if found != config.output_length(num_frames):
            raise SettingError(
                f"model.factory {config.factory!r} made a model that gives {found} outputs for {num_frames} "
                f"frames, but model.output_stride {config.output_stride} says "
                f"{config.output_length(num_frames)}; correct model.output_stride"
            )
    return model
