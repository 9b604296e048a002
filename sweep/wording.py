"""Numbers and names as a reader wants to see them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_KNOWN_NAMES = {
    "training.precision.kind": "precision",
    "training.optimizer.lr": "learning rate",
    "training.clip.max_norm": "clip norm",
    "training.optimizer.kind": "optimizer",
    "model.kind": "model",
}


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """A short, unique name for each dotted path: `model.init_scale` -> `init scale`."""
    keys = short_keys(paths)
    names = {path: _KNOWN_NAMES.get(path, key.replace(".", " ").replace("_", " ")) for path, key in keys.items()}
    return names if len(set(names.values())) == len(names) else {path: path for path in keys}


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits: 0.0012, 3.1e-5, 1200, inf, n/a for NaN."""
    if math.isnan(value):
        return "n/a"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value != 0 and not 1e-4 <= abs(value) < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{float(text):.0f}"
    return text


def end_text(loss: float) -> str:
    """Where a training's loss ended: `loss 3.2`, or `no finite loss` for NaN."""
    return "no finite loss" if math.isnan(loss) else f"loss {number(loss)}"


def percent(rate: float, digits: int = 0) -> str:
    """A rate as a percentage: 0.125 -> `12 %` (or `12.5 %` with one digit); n/a for NaN."""
    return "n/a" if math.isnan(rate) else f"{100 * rate:.{digits}f} %"


def value_text(value: Any) -> str:
    """A setting's value; `off` where a conditional setting was inactive."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(float(value))
    return str(value)


def setting_text(setting: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """A setting in one line: `precision fp16, learning rate 0.0012`; inactive settings are left out."""
    parts = [f"{names[p]} {value_text(v)}" for p, v in setting.items() if v is not None]
    return ", ".join(parts) if parts else "the study's fixed settings"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """`1 trial`, `2 trials`; `nouns` where the plural takes more than an s."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def duration(seconds: float) -> str:
    """`42 s`, `3.5 min` or `1.2 h`; n/a for NaN."""
    if math.isnan(seconds):
        return "n/a"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def short_keys(paths: Iterable[str]) -> dict[str, str]:
    """The shortest ends of dotted paths that tell them apart: `training.optimizer.lr` -> `lr`.

    A `kind` is named by what it is the kind of: `training.precision.kind` -> `precision`.
    """
    every = list(dict.fromkeys(paths))
    keys: dict[str, str] = {}
    for path in every:
        parts = path.split(".")
        depth = 2 if parts[-1] == "kind" and len(parts) > 1 else 1
        while depth < len(parts) and any(
            other != path and other.split(".")[-depth:] == parts[-depth:] for other in every
        ):
            depth += 1
        keys[path] = ".".join(parts[-depth:-1] if parts[-1] == "kind" and depth > 1 else parts[-depth:])
    if len(set(keys.values())) < len(keys):
        return {path: path for path in every}
    return keys


def settings_line(settings: Mapping[str, bool | int | float | str]) -> str:
    """The settings by the shortest names that tell them apart: `precision=fp16 lr=0.0012`."""
    keys = short_keys(settings)
    return " ".join(
        f"{keys[path]}={number(value)}" if isinstance(value, float) else f"{keys[path]}={value}"
        for path, value in settings.items()
    )


MAX_LISTED = 3
"""Items that `listed` names."""


def listed(items: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return "; ".join(items[:MAX_LISTED]) + more


def clipped(text: str) -> str:
    """A text that a user gave, as a message has room for it."""
    return text if len(text) <= 40 else f"{text[:30]} ..."


def first_line(error: BaseException) -> str:
    """The first line that an exception says, or its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
