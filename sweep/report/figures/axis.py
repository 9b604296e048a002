"""A numeric axis that is drawn without Plotly: a place for every value, and few, plainly written ticks."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sweep.report.figures.panel import log_axis, widened

_NARROW = 4
"""A logarithmic range below this factor has equally spaced ticks: powers of ten would leave it bare."""


@dataclass(frozen=True)
class FigureAxis:
    """A range of values, linear or logarithmic."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high end; what lies outside is held at the end."""
        if value <= self.low:
            return 0.0
        if value >= self.high:
            return 1.0
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, text: Callable[[float], str], count: int) -> list[tuple[float, str]]:
        """At most about `count` round values within the range, as (place, text)."""
        values = _log_ticks(self.low, self.high, count) if self.log else _linear_ticks(self.low, self.high, count)
        return [(self.place(value), text(value)) for value in values]


def axis_of(values: Iterable[float], log: bool = False, share: float = 0.06) -> FigureAxis:
    """An axis that holds all finite values, with a margin of `share` of their range on both sides."""
    return FigureAxis(*widened(values, log, share), log)


def _linear_ticks(low: float, high: float, count: int) -> list[float]:
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded to the step's own digits, so that 3 x 0.1 reads 0.3 and the middle reads 0, not -0.
    digits = 2 - math.floor(math.log10(step))
    return [round(index * step, digits) + 0.0 for index in range(first, last + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    if high < _NARROW * low:
        return _linear_ticks(low, high, count)
    ticks: list[float] = log_axis(low, high)["tickvals"]
    return ticks[:: math.ceil(len(ticks) / (count + 1))]
