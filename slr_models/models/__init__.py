"""The models that can be trained: a typed union over `kind`."""

from typing import Annotated

from pydantic import Field

from slr_models.models.base import CtcModel
from slr_models.models.custom import CustomModelConfig
from slr_models.models.mobilenet import MobileNetConfig, MobileNetTeacherConfig
from slr_models.models.teacher import TeacherConfig

ModelConfig = Annotated[
    TeacherConfig | MobileNetConfig | MobileNetTeacherConfig | CustomModelConfig, Field(discriminator="kind")
]
"""Any model configuration; `kind` says which."""

__all__ = [
    "CtcModel",
    "CustomModelConfig",
    "MobileNetConfig",
    "MobileNetTeacherConfig",
    "ModelConfig",
    "TeacherConfig",
]
