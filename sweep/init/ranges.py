"""Which range a setting is proposed, from its name and default."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.init.ramps import rounded_down, rounded_up
from sweep.space import is_learning_rate

_SCALES = re.compile(r"(clip|max_norm|scale|std|temperature|weight_decay|decay|eps|alpha|tau|step_size)", re.IGNORECASE)
_SHARES = re.compile(r"(dropout|momentum|smoothing|ratio|prob|share|subsample)", re.IGNORECASE)
_SIZES = re.compile(r"(batch|width|hidden|channels|dim|units|warmup)", re.IGNORECASE)
_RATES = re.compile(r"(^|[_.])(lr|eta)([_.\d]|$)|learning_?rate|step_size", re.IGNORECASE)
_PRECISIONS = (("fp32", "bf16", "fp16"), ("float32", "bfloat16", "float16"), ("32", "bf16", "16"))
_PRECISION = re.compile(r"(precision|dtype)", re.IGNORECASE)
NOT_SETTINGS = ("seed", "steps", "dir", "epochs", "num_epochs", "max_steps", "device", "num_workers", "workers")
"""What the study itself says, or the machine."""
_LEAST, _MOST = 1e-90, 1e90
"""Between which a default tells a range: those of a study end at 1e-100 and 1e100."""


@dataclass(frozen=True)
class Proposal:
    """What is proposed of one setting."""

    name: str
    dimension: Mapping[str, Any]
    """As a study file has it."""
    why: str
    is_central: bool
    """Whether it decides on stability, so that it is varied from the beginning."""


def proposed(name: str, default: Any) -> Proposal | None:
    """The range of a setting; None where its name and default tell nothing.

    Args:
        name: dotted path.
        default: its default; None where it has none.
    """
    if isinstance(default, int | float) and default and not _LEAST <= abs(default) <= _MOST:
        # Neither do NaN and infinity.
        default = None
    last = name.rpartition(".")[2]
    if last in NOT_SETTINGS or not isinstance(default, bool | int | float | str | None):
        return None
    is_rate = is_learning_rate(name) or _RATES.search(name) is not None
    if isinstance(default, bool):
        return Proposal(name, {"choice": [True, False]}, "on and off", False)
    if isinstance(default, str) or (default is None and _PRECISION.search(last)):
        return _precision(name, default) if _PRECISION.search(last) else None
    if is_rate and (default is None or default > 0):
        if default is None:
            return Proposal(name, {"loguniform": [1e-5, 1.0]}, "no default was found: five decades", True)
        return Proposal(name, _log(default, 100), f"two decades on each side of the default {default:g}", True)
    if isinstance(default, int) and default > 1 and _SIZES.search(last):
        size = {"int": [max(1, default // 4), default * 4], "log": True}
        return Proposal(name, size, f"a quarter to four times the default {default}", False)
    if _SHARES.search(last) and (default is None or 0 <= default < 1):
        high = 0.5 if "dropout" in last.lower() or "smooth" in last.lower() else 0.95
        return Proposal(name, {"uniform": [0.0, high]}, "evenly, as it is a share", "momentum" in last.lower())
    if isinstance(default, int | float) and default > 0 and _SCALES.search(last):
        is_central = re.search("clip|norm|scale", last, re.IGNORECASE) is not None
        return Proposal(name, _log(default, 10), f"a decade on each side of the default {default:g}", is_central)
    if isinstance(default, float) and 0 < default < 0.1:
        return Proposal(name, _log(default, 10), f"a decade on each side of the default {default:g}", False)
    return None


def _log(default: float, factor: float) -> dict[str, list[float]]:
    return {"loguniform": [rounded_down(default / factor), rounded_up(default * factor)]}


def _precision(name: str, default: str | None) -> Proposal | None:
    spelling = next((one for one in _PRECISIONS if default is None or default in one), None)
    if spelling is None:
        return None
    return Proposal(name, {"choice": list(spelling)}, "full precision, and the two halves", True)
