"""Running statistics of the loss: medians over short windows, never touched by a non-finite value.

The unit is `y = ln loss`, so that a factor means the same at every level.
"""

import bisect
import math
from typing import Self

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from sweep.detectors.base import State

LEVEL_STEPS = 20
"""w: window of the level."""
NOISE_STEPS = 50
"""W: window of the noise."""
_SMALLEST_NOISE = 0.05
_SMALLEST_LOSS, _LARGEST_LOSS = 1e-6, 1e300
"""Nats a label; what is below is as good as zero, and what is above as good as infinite but has a logarithm."""
_PAIRS = np.triu_indices(2 * LEVEL_STEPS, k=1)


class RollingMedian(State):
    """Median of the last `size` values."""

    size: int
    values: list[float] = []
    """Oldest first."""
    _sorted: list[float] = PrivateAttr(default_factory=list)

    @model_validator(mode="after")
    def _sort(self) -> Self:
        self._sorted = sorted(self.values)
        return self

    def push(self, value: float) -> None:
        """Takes a finite value; the oldest one leaves a full window."""
        assert math.isfinite(value)
        self.values.append(value)
        bisect.insort(self._sorted, value)
        if len(self.values) > self.size:
            oldest = self.values.pop(0)
            del self._sorted[bisect.bisect_left(self._sorted, oldest)]

    @property
    def is_full(self) -> bool:
        """Whether `size` values have come."""
        return len(self.values) == self.size

    @property
    def median(self) -> float:
        """NaN while empty."""
        half, odd = divmod(len(self._sorted), 2)
        if not self._sorted:
            return math.nan
        return self._sorted[half] if odd else (self._sorted[half - 1] + self._sorted[half]) / 2


class LossLevel(State):
    """Level, best level and noise of the log loss."""

    window: RollingMedian = Field(default_factory=lambda: RollingMedian(size=LEVEL_STEPS))
    history: list[float] = []
    """The last W + 1 finite log losses, oldest first."""
    best: float | None = None
    """b: lowest level (m) of a full window so far; None before the first."""

    def update(self, loss: float) -> None:
        """Takes the loss of the next step; a non-finite one changes nothing."""
        if not math.isfinite(loss):
            return
        log_loss = math.log(min(max(loss, _SMALLEST_LOSS), _LARGEST_LOSS))
        self.window.push(log_loss)
        self.history.append(log_loss)
        if len(self.history) > NOISE_STEPS + 1:
            del self.history[0]
        if self.window.is_full:
            self.best = self.level if self.best is None else min(self.best, self.level)

    @property
    def level(self) -> float:
        """m: median of the last w log losses; NaN before the first."""
        return self.window.median

    @property
    def rise(self) -> float:
        """m - b, 0 before the first full window."""
        return 0.0 if self.best is None else self.level - self.best

    def sigma(self) -> float:
        """Noise of one log loss: 1.4826 MAD of the differences / sqrt 2, at least 0.05."""
        if len(self.history) < 3:
            return _SMALLEST_NOISE
        differences = np.diff(self.history)
        deviation = float(np.median(np.abs(differences - np.median(differences))))
        return max(1.4826 * deviation / math.sqrt(2), _SMALLEST_NOISE)

    def standard_error(self) -> float:
        """Of the level: 1.25 sigma / sqrt w."""
        return 1.25 * self.sigma() / math.sqrt(LEVEL_STEPS)

    def is_falling(self) -> bool:
        """Whether the Theil-Sen slope over the last 2 w finite log losses is below -0.5 sigma / w a step."""
        recent = np.asarray(self.history[-2 * LEVEL_STEPS :])
        if len(recent) < 2 * LEVEL_STEPS:
            return False
        left, right = _PAIRS
        slope = float(np.median((recent[right] - recent[left]) / (right - left)))
        return slope < -0.5 * self.sigma() / LEVEL_STEPS


class SpikeCounter(State):
    """Counts loss spikes that came back by themselves.

    A spike is a loss more than 6 sigma above the level before it; it came back if a later loss, within W steps,
    is within 2 sigma of that level.
    """

    num_recovered: int = 0
    level: float | None = None
    """Level before the open spike, ln loss; None if none is open."""
    sigma: float = 0.0
    """Noise before the open spike."""
    num_steps: int = 0
    """Finite losses since the open spike began."""

    def update(self, loss: float, before: LossLevel) -> None:
        """Takes the loss of the next step, and the statistics from before it."""
        if not math.isfinite(loss):
            return
        log_loss = math.log(min(max(loss, _SMALLEST_LOSS), _LARGEST_LOSS))
        if self.level is not None:
            self.num_steps += 1
            if log_loss <= self.level + 2 * self.sigma:
                self.num_recovered += 1
                self.level = None
            elif self.num_steps >= NOISE_STEPS:
                self.level = None
        elif before.best is not None and log_loss - before.level > 6 * _SMALLEST_NOISE:
            sigma = before.sigma()
            if log_loss - before.level > 6 * sigma:
                self.level, self.sigma, self.num_steps = before.level, sigma, 0


class DependenceTrend(State):
    """Whether the sampled input dependence I grows: the earliest sign that a plateau will end."""

    reference: float | None = None
    """Median of the first three samples since the last reset."""
    recent: RollingMedian = Field(default_factory=lambda: RollingMedian(size=3))

    def update(self, input_dependence: float) -> None:
        """Takes the value of the next step; a non-finite one was not sampled."""
        if not math.isfinite(input_dependence):
            return
        self.recent.push(input_dependence)
        if self.reference is None and self.recent.is_full:
            self.reference = self.recent.median

    def is_growing(self, floor: float) -> bool:
        """Whether I has doubled since the last reset; values below the floor are noise."""
        return self.reference is not None and self.recent.median > 2 * max(self.reference, floor / 2)

    def reset(self) -> None:
        """Starts to compare with the present."""
        self.reference = self.recent.median if self.recent.is_full else None
