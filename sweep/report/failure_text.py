"""Sentences and sizes of the section on failed trainings."""

import math
import statistics
from collections.abc import Callable, Sequence

from sweep.analysis.by_setting import SettingFailures, SettingPart
from sweep.analysis.wording import number, percent, plural
from sweep.report.failures import HalfPrecision

_THICKEST, _THINNEST = 26, 4
"""Height of a bar, in pixels."""


def thickness(settings: Sequence[SettingFailures]) -> Callable[[SettingPart], int]:
    """How thick a bar is for its number of trials; all settings share the measure, so that equal areas are equal counts."""
    most = max((part.outcomes.num_trials for one in settings for part in one.parts), default=1)

    def height(part: SettingPart) -> int:
        count = part.outcomes.num_trials
        return max(round(_THICKEST * count / max(most, 1)), _THINNEST) if count else 0

    return height


def of_limit(value: float, limit: float) -> str:
    """A size against the largest number of its format: `6.19e4, 94 % of it`; n/a where it is not known."""
    if math.isnan(value):
        return "n/a"
    share = value / limit
    if not share >= 0.01:
        return number(value)
    return f"{number(value)} ({percent(share)})" if share < 2 else f"{number(value)} ({number(share, 2)} times)"


def calibrations(half: HalfPrecision) -> str:
    """How the loss scale found its level, over all trainings that have one; empty without any."""
    if not half.num_scaled:
        return ""
    needed = [count for count in half.calibrations if count]
    if not needed:
        return f"None of the {plural(half.num_scaled, 'training')} with a loss scaler had to lower its first scale."
    least, most = min(needed), max(needed)
    steps = plural(most, "update") if least == most else f"{least} to {most} updates"
    return (
        f"{len(needed)} of {plural(half.num_scaled, 'training')} with a loss scaler left out {steps} (median "
        f"{number(statistics.median(needed))}) while the scale found its level: calibration, not failure."
    )
