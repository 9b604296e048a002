"""The models that can be trained: a typed union over `kind`.

configs.py   their settings, read without torch; a file beside it holds each network, and is imported to build it
base.py      what every network offers (`CtcModel`)
saved.py     a trained one in a file: `load_model` builds it again
"""

from typing import TYPE_CHECKING, Any

from slr_models.models.configs import (
    CnnBiLstmConfig,
    CustomModelConfig,
    MobileNetConfig,
    MobileNetTeacherConfig,
    ModelConfig,
    TeacherConfig,
)

if TYPE_CHECKING:
    from slr_models.models.base import CtcModel
    from slr_models.models.saved import load_model

__all__ = [
    "CnnBiLstmConfig",
    "CtcModel",
    "CustomModelConfig",
    "MobileNetConfig",
    "MobileNetTeacherConfig",
    "ModelConfig",
    "TeacherConfig",
    "load_model",
]


def __getattr__(name: str) -> Any:
    """`CtcModel` and `load_model` bring torch, which nobody waits for who only reads settings."""
    if name == "CtcModel":
        from slr_models.models.base import CtcModel

        return CtcModel
    if name == "load_model":
        from slr_models.models.saved import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
