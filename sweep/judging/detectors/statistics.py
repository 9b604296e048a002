"""Running statistics of the loss: medians over short windows, never touched by a non-finite value.

The unit is `y = ln loss`, so that a factor means the same at every level.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

LEVEL_STEPS = 20
"""w: window of the level."""
LEVEL_DELAY = LEVEL_STEPS // 2 - 1
"""Steps for which a loss that jumps leaves the level as it was."""
NOISE_STEPS = 50
"""W: window of the noise."""
_SMALLEST_NOISE = 0.05
_SMALLEST_LOSS, _LARGEST_LOSS = 1e-6, 1e300
"""Nats a label; what is below is as good as zero, and what is above as good as infinite but has a logarithm."""


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    # Halved first: the sum of two values may be too large for a float.
    return ordered[half] if len(ordered) % 2 else ordered[half - 1] / 2 + ordered[half] / 2


def theil_sen(values: npt.NDArray[np.float64], sigma: float) -> float:
    """Theil-Sen slope of at least two values with noise `sigma`, a step; 0 where chance alone allows as much."""
    left, right = _pairs(len(values))
    slope = float(np.median((values[right] - values[left]) / (right - left)))
    standard_error = sigma * math.sqrt(12 / len(values) ** 3)
    return slope if abs(slope) > 1.75 * standard_error else 0.0


@functools.cache
def _pairs(count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """All pairs of positions, the earlier one first; the counts in use are few (up to W + 1)."""
    left, right = np.triu_indices(count, k=1)
    return left, right


@dataclass(slots=True)
class RollingMedian:
    """Median of the last `size` values."""

    size: int
    values: list[float] = field(default_factory=list)
    """Oldest first."""
    median: float = 0.0
    """0 before the first value."""

    def push(self, value: float) -> None:
        """Takes a finite value; the oldest one leaves a full window."""
        assert math.isfinite(value)
        self.values.append(value)
        if len(self.values) > self.size:
            del self.values[0]
        self.median = _median(self.values)

    @property
    def is_full(self) -> bool:
        """Whether `size` values have come."""
        return len(self.values) == self.size


@dataclass(frozen=True, slots=True)
class Ends:
    """Two levels of a run, ln loss."""

    first: float
    last: float
    error: float
    """Standard error of either."""


@dataclass(slots=True)
class LossLevel:
    """Level, best level and noise of the log loss."""

    window: RollingMedian = field(default_factory=lambda: RollingMedian(size=LEVEL_STEPS))
    history: list[float] = field(default_factory=list)
    """The last W + 1 finite log losses, oldest first."""
    first: float | None = None
    """Level (m) of the first full window: where the run began; None before."""
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
            self.first = self.level if self.first is None else self.first
            self.best = self.level if self.best is None else min(self.best, self.level)

    @property
    def level(self) -> float:
        """m: median of the last w log losses; 0 before the first."""
        return self.window.median

    @property
    def rise(self) -> float:
        """m - b, 0 before the first full window."""
        return 0.0 if self.best is None else self.level - self.best

    def sigma(self) -> float:
        """Noise of one log loss: 1.4826 MAD of the differences / sqrt 2, at least 0.05."""
        if len(self.history) < 3:
            return _SMALLEST_NOISE
        # Lists of fifty values are sorted sooner than numpy is called.
        differences = [later - earlier for earlier, later in pairwise(self.history)]
        middle = _median(differences)
        deviation = _median([abs(difference - middle) for difference in differences])
        return max(1.4826 * deviation / math.sqrt(2), _SMALLEST_NOISE)

    def standard_error(self) -> float:
        """Of the level: 1.25 sigma / sqrt w."""
        return 1.25 * self.sigma() / math.sqrt(LEVEL_STEPS)

    def has_risen(self, smallest_rise: float, smallest_rise_errors: float) -> bool:
        """Whether m - b exceeds both bounds: ln loss, and standard errors of the level."""
        # Cheap question first: the noise costs a sort.
        return self.rise > smallest_rise and self.rise > smallest_rise_errors * self.standard_error()

    def is_below(self, bound: float, l_const: float) -> bool:
        """Whether the level is below a bound (nats) and, by two standard errors, below the zero-information loss."""
        return self.level < math.log(bound) and self.level + 2 * self.standard_error() < math.log(l_const)

    def ends(self) -> "Ends | None":
        """Where the run began and where it is; None for fewer than 6 losses.

        Its first and its last window; of a run shorter than both together, its first and its last third.
        """
        if self.first is not None and len(self.history) >= 2 * LEVEL_STEPS:
            return Ends(self.first, self.level, self.standard_error())
        third = len(self.history) // 3
        if third < 2:
            return None
        error = 1.25 * self.sigma() / math.sqrt(third)
        return Ends(_median(self.history[:third]), _median(self.history[-third:]), error)

    def has_fallen(self, smallest_fall: float, smallest_fall_errors: float) -> bool:
        """Whether the run ended below its beginning by both: ln loss, and standard errors of the level."""
        ends = self.ends()
        if ends is None:
            return False
        fall = ends.first - ends.last
        return fall > smallest_fall and fall > smallest_fall_errors * ends.error

    def slope(self) -> float:
        """Theil-Sen slope of the last W + 1 finite log losses, a step; 0 where it is no longer than chance allows."""
        if len(self.history) < 2 * LEVEL_STEPS:
            return 0.0
        return theil_sen(np.asarray(self.history), self.sigma())


@dataclass(slots=True)
class SpikeCounter:
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


@dataclass(slots=True)
class DependenceTrend:
    """Whether the sampled input dependence I grows: the earliest sign that a plateau will end."""

    num_samples: int = 0
    """Since the last reset."""
    reference: float | None = None
    """Lowest median of three samples since the last reset."""
    recent: RollingMedian = field(default_factory=lambda: RollingMedian(size=3))

    def update(self, input_dependence: float) -> None:
        """Takes the value of the next step; a non-finite one was not sampled."""
        if not math.isfinite(input_dependence):
            return
        self.num_samples += 1
        self.recent.push(input_dependence)
        if self.recent.is_full:
            median = self.recent.median
            self.reference = median if self.reference is None else min(self.reference, median)

    def is_growing(self, noise: float) -> bool:
        """Whether I is twice its lowest since the last reset; below `noise` four times, and never below a fifth of it.

        Late learners of which no loss tells yet grow from 2e-5 to 4e-4 nats; a dead output wavers by a factor of two.
        """
        if self.reference is None:
            return False
        median = self.recent.median
        if median > noise:
            return median > 2 * max(self.reference, noise / 2)
        return median > 4 * max(self.reference, noise / 20)

    def reset(self) -> None:
        """Starts to compare with the present."""
        self.num_samples = 0
        self.reference = self.recent.median if self.recent.is_full else None
