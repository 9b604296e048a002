"""The models that can be trained: a typed union over `kind`.

configs.py   their settings, read without torch; a file beside it holds each network, and is imported to build it
base.py      what every network offers (`CtcModel`)
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

__all__ = [
    "CnnBiLstmConfig",
    "CtcModel",
    "CustomModelConfig",
    "MobileNetConfig",
    "MobileNetTeacherConfig",
    "ModelConfig",
    "TeacherConfig",
]


def __getattr__(name: str) -> Any:
    """`CtcModel` brings torch, which nobody waits for who only reads settings."""
    if name == "CtcModel":
        from slr_models.models.base import CtcModel

        return CtcModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
