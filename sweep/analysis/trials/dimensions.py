"""The searched settings, as the study's `space` and the trials' columns describe them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from sweep.space import Choice, Grid, Integer, LogUniform, Space, is_learning_rate
from sweep.space import Dimension as SearchedDimension
from sweep.wording import short_names


@dataclass(frozen=True)
class Dimension:
    """One searched setting."""

    path: str
    """Dotted path in the study; also its column in the table of trials."""
    name: str
    """Short name for a reader."""
    kind: Literal["number", "category"]
    log: bool = False
    """Whether distances are ratios (numbers only)."""
    low: float = math.nan
    high: float = math.nan
    """Ends of the searched range (numbers only)."""
    levels: tuple[Any, ...] = ()
    """The possible values (categories only)."""

    @property
    def beginning(self) -> str:
        """Its name at the beginning of a sentence; one that a program of the user's has stays as it is."""
        return self.name if self.name == self.path else self.name[:1].upper() + self.name[1:]

    def scale(self, value: float | None) -> float | None:
        """A number's place in the searched range: 0 at its low end, 1 at its high end; None if missing."""
        if value is None or not math.isfinite(value) or (self.log and value <= 0):
            return None
        if self.high <= self.low:
            return 0.0
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def dimensions(space: Space) -> tuple[Dimension, ...]:
    """The searched settings in the study's order.

    A choice or grid of numbers counts as numeric; it is logarithmic where it is positive and spans a factor
    of ten or more.
    """
    names = short_names(space)
    return tuple(_dimension(path, names[path], searched) for path, searched in space.items())


def _dimension(path: str, name: str, searched: SearchedDimension) -> Dimension:
    if not isinstance(searched, Choice | Grid):
        low, high = (float(end) for end in searched.ends)
        log = isinstance(searched, LogUniform) or (isinstance(searched, Integer) and searched.log)
        return Dimension(path, name, "number", log, low, high)
    numbers = [float(v) for v in searched.ends if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(searched.ends):
        low, high = min(numbers), max(numbers)
        return Dimension(path, name, "number", low > 0 and high / low >= 10, low, high)
    return Dimension(path, name, "category", levels=searched.ends)


def learning_rate(dims: Sequence[Dimension]) -> Dimension | None:
    """The searched learning rate, if there is one."""
    return next((d for d in dims if d.kind == "number" and is_learning_rate(d.path)), None)


def panel_dimension(dims: Sequence[Dimension]) -> Dimension | None:
    """The category that panels are split by: the precision, else the first category."""
    categories = [d for d in dims if d.kind == "category"]
    return next((d for d in categories if "precision" in d.path), categories[0] if categories else None)


def map_axes(dims: Sequence[Dimension], trials: pd.DataFrame) -> tuple[Dimension, Dimension] | None:
    """The two numeric settings that a map is drawn over: learning rate, then clip norm.

    Where one is absent, the numeric setting takes its place that separates stable from unstable trials best.
    """
    numeric = [d for d in dims if d.kind == "number"]
    if len(numeric) < 2:
        return None
    lr = learning_rate(numeric)
    clip = next((d for d in numeric if d.path.endswith("clip.max_norm")), None)
    first = [d for d in (lr, clip) if d is not None]
    others = sorted((d for d in numeric if d not in first), key=lambda d: -separation(d, trials))
    x, y = (first + others)[:2]
    return x, y


def separation(dim: Dimension, trials: pd.DataFrame) -> float:
    """How well a numeric setting alone separates stable from unstable trials: |2 AUC - 1|, 0 to 1."""
    if dim.path not in trials:
        return 0.0
    known = trials[trials[dim.path].notna()]
    ranks = pd.to_numeric(known[dim.path]).rank()
    stable = known["stable"].astype(bool)
    num_good, num_bad = int(stable.sum()), int((~stable).sum())
    if not num_good or not num_bad:
        return 0.0
    auc = (float(ranks[stable].sum()) - num_good * (num_good + 1) / 2) / (num_good * num_bad)
    return abs(2 * auc - 1)


def plain(value: Any) -> Any:
    """A cell of a table as a plain Python value; None for a missing one."""
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    return value.item() if hasattr(value, "item") else value
