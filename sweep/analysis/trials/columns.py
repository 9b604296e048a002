"""Columns of the table of trials: levels of a setting, values that all trials share, numbers that may be missing."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweep.analysis.trials.dimensions import Dimension, plain


def levels_of(panel: Dimension, trials: pd.DataFrame) -> Sequence[Any]:
    """The levels in the study's order, and `None` where some trials had the setting inactive."""
    inactive = panel.path in trials and bool(trials[panel.path].isna().any())
    return [*(v for v in panel.levels if v is not None), *([None] if inactive else [])]


def common_value(trials: pd.DataFrame, column: str) -> float:
    """The value that all trials share (within 0.1 %); NaN if they do not share one."""
    known = trials[column].dropna()
    if known.empty or float(known.max() - known.min()) > 1e-3 * abs(float(known.mean())):
        return math.nan
    return float(known.mean())


def finite_or_nan(value: Any) -> float:
    """The value as a float; NaN where it is missing or infinite."""
    return float(value) if plain(value) is not None and math.isfinite(float(value)) else math.nan
