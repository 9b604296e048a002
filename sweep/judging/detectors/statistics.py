"""Running statistics of the loss: medians over short windows, never touched by a non-finite value.

Levels are losses as they were logged; rises, falls and noise are in ln loss, so that a factor means the same at every
level. A loss below zero has no logarithm: see `LossLevel.is_signed`.
"""

import functools
import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LEVEL_STEPS = 20
"""w: window of the level."""
LEVEL_DELAY = LEVEL_STEPS // 2 - 1
"""Losses for which one that jumps leaves the level as it was."""
NOISE_STEPS = 50
"""W: window of the noise."""
START_LOSSES = 5
"""Finite losses whose median is where a run began."""
SMALLEST_NOISE = 0.05
SMALLEST_LOSS, LARGEST_LOSS = 1e-12, 1e300
"""What is below is as good as zero, and what is above as good as infinite but has a logarithm."""
_MAX_BLOCKS = 32


def log_loss(loss: float) -> float:
    """Its logarithm, also of a loss that has none."""
    return math.log(min(max(loss, SMALLEST_LOSS), LARGEST_LOSS))


def factor(rise: float) -> float:
    """How many times as high a rise in ln loss leads; finite, however large the noise that it was taken from."""
    return math.exp(min(rise, 700.0))


def median(values: Sequence[float]) -> float:
    """Of at least one finite value; also where the sum of two would be infinite."""
    return _middle(sorted(values))


def _middle(ordered: Sequence[float]) -> float:
    half = len(ordered) // 2
    # Halved first: the sum of two values may be too large for a float.
    return ordered[half] if len(ordered) % 2 else ordered[half - 1] / 2 + ordered[half] / 2


def spread(values: Sequence[float]) -> float:
    """From the 10 % quantile to the 90 % quantile, of at least one value."""
    return _width(sorted(values))


def _width(ordered: Sequence[float]) -> float:
    tenth = len(ordered) // 10
    # Of the largest numbers of both signs the distance is infinite, and a checkpoint holds no such number.
    return min(ordered[-1 - tenth] - ordered[tenth], LARGEST_LOSS)


def _deviation(values: Sequence[float]) -> float:
    """Standard deviation as the median distance from the median tells it, of at least one value: 1.4826 MAD."""
    middle = median(values)
    return 1.4826 * median([abs(value - middle) for value in values])


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
        self.median = median(self.values)

    @property
    def is_full(self) -> bool:
        """Whether `size` values have come."""
        return len(self.values) == self.size


@dataclass(slots=True)
class Swings:
    """How wide the losses swing, over the whole run: blocks of w losses, merged two by two as they become many."""

    losses_a_block: int = LEVEL_STEPS
    levels: list[float] = field(default_factory=list)
    """Median of each block, oldest first."""
    spreads: list[float] = field(default_factory=list)
    """Spread of each block (from its 10 % to its 90 % quantile); of a merged one the mean."""
    pending: list[tuple[float, float]] = field(default_factory=list)
    """Level and spread of the w-blocks that make the next block."""

    def update(self, window: Sequence[float]) -> None:
        """Takes the next w losses, in ascending order."""
        self.pending.append((_middle(window), _width(window)))
        if len(self.pending) * LEVEL_STEPS < self.losses_a_block:
            return
        self.levels.append(median([level for level, _ in self.pending]))
        self.spreads.append(sum(one for _, one in self.pending) / len(self.pending))
        self.pending.clear()
        if len(self.levels) == _MAX_BLOCKS:
            self.losses_a_block *= 2
            self.levels = [_middle(sorted(pair)) for pair in zip(self.levels[::2], self.levels[1::2], strict=True)]
            self.spreads = [sum(pair) / 2 for pair in zip(self.spreads[::2], self.spreads[1::2], strict=True)]

    @property
    def falls(self) -> bool:
        """Whether the level fell by a quarter or more over the last quarter of the run."""
        quarter = len(self.levels) // 4
        return quarter > 0 and median(self.levels[-2:]) < 0.75 * median(self.levels[-2 - quarter : -quarter])

    def has_fallen(self, smallest_fall: float) -> bool:
        """Whether the levels of eight blocks or more fell by more than so much, and than chance allows, ln loss.

        Where single losses are wild (batches of one sample), the levels of many tell what two of them do not.
        """
        if len(self.levels) < 8:
            return False
        logs = [log_loss(level) for level in self.levels]
        fall = median(logs[:2]) - median(logs[-2:])
        return fall > smallest_fall and fall > 5 * noise(logs)

    def wavering(self) -> float:
        """By how much the level wavers in the second half of the run, ln loss: 1.4826 MAD; 0 for fewer than four."""
        logs = [log_loss(level) for level in self.levels[len(self.levels) // 2 :]]
        return _deviation(logs) if len(logs) >= 4 else 0.0

    def has_risen(self, rise: float) -> bool:
        """Whether the latest level is above the lowest by more than so much, ln loss; True for fewer than four."""
        return len(self.levels) < 4 or log_loss(self.levels[-1]) - log_loss(min(self.levels)) > rise

    def quiet_spread(self, level: float) -> float | None:
        """Lower quartile of the spreads of the blocks whose level was not much higher, in the first two thirds of the
        run; None for fewer than four."""
        earlier = list(zip(self.levels, self.spreads, strict=True))[: 2 * len(self.levels) // 3]
        near = sorted(one for at, one in earlier if 0.8 * at <= level)
        return near[len(near) // 4] if len(near) >= 4 else None


@dataclass(slots=True)
class LossLevel:
    """Beginning, level, best level and noise of the finite losses."""

    recent: list[float] = field(default_factory=list)
    """The last W + 1 losses, oldest first."""
    steps: list[int] = field(default_factory=list)
    """Of these, and of the loss before them; oldest first."""
    ordered: list[float] = field(default_factory=list)
    """The last w losses, ascending."""
    early: list[float] = field(default_factory=list)
    """The first w losses."""
    early_steps: list[int] = field(default_factory=list)
    count: int = 0
    num_negative: int = 0
    level: float = 0.0
    """m: median of the last w losses; 0 before the first."""
    best: float | None = None
    """b: lowest level of a full window so far; None before the first."""
    start: float | None = None
    """Where the run began, before any damage: the median of its first five losses; its first loss where the next ones
    blew up. None before the first."""
    blew_up_first: bool = False
    """Whether it is that first loss: the median is twice as high, or clearly above it beside a threefold one."""
    lowest: float = 0.0
    """The lower of `best` and `start`; 0 before the first."""
    num_same: int = 0
    """Losses in a row that are the same number, up to the latest."""
    before_same: int | None = None
    """Step of the loss before these; None if there was none."""
    last_change: float = 0.0
    """How far that loss was from them, as a share; 1 at most."""
    swings: Swings = field(default_factory=Swings)

    def update(self, loss: float, step: int) -> None:
        """Takes the finite loss of the next step that has one."""
        recent, ordered = self.recent, self.ordered
        if recent and recent[-1] == loss:
            self.num_same += 1
        else:
            self.num_same = 1
            if recent:
                self.before_same, self.last_change = self.steps[-1], _share_changed(recent[-1], loss)
        self.count += 1
        self.num_negative += loss < 0
        recent.append(loss)
        self.steps.append(step)
        insort(ordered, loss)
        if self.count > LEVEL_STEPS:
            del ordered[bisect_left(ordered, recent[-1 - LEVEL_STEPS])]
            if len(recent) > NOISE_STEPS + 1:
                del recent[0]
                if len(self.steps) > NOISE_STEPS + 2:
                    del self.steps[0]
        else:
            self.early.append(loss)
            self.early_steps.append(step)
            if self.count <= START_LOSSES:
                first, middle = self.early[0], median(self.early)
                self.blew_up_first = first > 0 and (
                    middle > 2 * first or (middle > 1.2 * first and max(self.early) > 3 * first)
                )
                self.start = self.lowest = self.early[0] if self.blew_up_first else middle
        self.level = _middle(ordered)
        if self.count >= LEVEL_STEPS:
            if self.best is None or self.level < self.best:
                self.best = self.level
                self.lowest = min(self.lowest, self.best)
            if self.count % LEVEL_STEPS == 0:
                self.swings.update(ordered)

    def extend(self, losses: Floats, steps: Ints, levels: Floats) -> None:
        """Takes many finite losses at once, each with the level that it leads to, [N]; after a full window."""
        known = np.concatenate([self.recent, losses])
        changes = np.flatnonzero(known[1:] != known[:-1])
        if len(changes) and changes[-1] >= len(self.recent) - 1:
            index = int(changes[-1])
            self.num_same = len(known) - 1 - index
            self.before_same = int(steps[index - len(self.recent)]) if index >= len(self.recent) else self.steps[-1]
            self.last_change = _share_changed(float(known[index]), float(known[index + 1]))
        else:
            self.num_same += len(losses)
        first = LEVEL_STEPS - self.count % LEVEL_STEPS
        for end in range(first, len(losses) + 1, LEVEL_STEPS):
            stop = len(self.recent) + end
            self.swings.update(sorted(known[stop - LEVEL_STEPS : stop].tolist()))
        self.count += len(losses)
        self.recent = known[-NOISE_STEPS - 1 :].tolist()
        self.steps = np.concatenate([np.asarray(self.steps, dtype=np.int64), steps])[-NOISE_STEPS - 2 :].tolist()
        self.ordered = sorted(self.recent[-LEVEL_STEPS:])
        self.level = float(levels[-1])
        lowest = float(levels.min())
        if self.best is None or lowest < self.best:
            self.best = lowest
            self.lowest = min(self.lowest, lowest)

    @property
    def is_signed(self) -> bool:
        """Whether a loss was below zero, so that factors between losses mean nothing."""
        return self.num_negative > 0

    @property
    def rise(self) -> float:
        """Of the level above the lowest one, ln loss; 0 before the first full window."""
        return 0.0 if self.best is None else log_loss(self.level) - log_loss(self.lowest)

    def logs(self) -> list[float]:
        """The logarithms of the last W + 1 losses, oldest first."""
        return [log_loss(loss) for loss in self.recent]

    def sigma(self, smallest: float = SMALLEST_NOISE) -> float:
        """Noise of one log loss: 1.4826 MAD of the differences / sqrt 2."""
        return max(noise(self.logs()), smallest)

    def standard_error(self) -> float:
        """Of the level: 1.25 sigma / sqrt w."""
        return 1.25 * self.sigma() / math.sqrt(LEVEL_STEPS)

    def has_risen(self, smallest_rise: float, smallest_rise_errors: float) -> bool:
        """Whether `rise` exceeds both bounds: ln loss, and standard errors of the level."""
        # Cheap question first: the noise costs a sort.
        return self.rise > smallest_rise and self.rise > smallest_rise_errors * self.standard_error()

    def is_below(self, bound: float, l_const: float) -> bool:
        """Whether the level is below a bound and clearly below the zero-information loss: by two standard errors, or
        because nine in ten of its losses are."""
        if self.level >= bound:
            return False
        if log_loss(self.level) + 2 * self.standard_error() < math.log(l_const):
            return True
        return self.count >= LEVEL_STEPS and bisect_left(self.ordered, l_const) >= 0.9 * LEVEL_STEPS

    @property
    def end_losses(self) -> int:
        """Latest losses that tell where the run is: w, or a third of a run shorter than 2 w."""
        return LEVEL_STEPS if self.count >= 2 * LEVEL_STEPS else max(self.count // 3, 1)

    def end(self) -> float:
        """Where the run is: the median of `end_losses`, of at least one."""
        return median(self.recent[-self.end_losses :])

    def change_error(self) -> float:
        """Standard error of ln end - ln start, of at least one loss."""
        known = 1 / min(self.count, START_LOSSES) + 1 / self.end_losses
        return 1.25 * max(self._settled_noise(), 0.005) * math.sqrt(known)

    def _settled_noise(self) -> float:
        """Noise of one log loss, as its differences tell, or its distances from the level where these are much smaller.

        Losses that take turns (micro-batches, data sources) differ from each other by more than from their level.
        """
        logs = self.logs()
        around, sigma = _deviation(logs), noise(logs)
        return around if len(logs) > LEVEL_STEPS and around < 0.75 * sigma else sigma

    def has_fallen(self, smallest_fall: float, smallest_fall_errors: float) -> bool:
        """Whether the run ended below its beginning by both: ln loss, and standard errors of the change."""
        if self.start is None:
            return False
        fall = log_loss(self.start) - log_loss(self.end())
        if fall <= smallest_fall:
            return False
        if fall > smallest_fall_errors * self.change_error():
            return True
        if self._has_fallen_since_early(smallest_fall, smallest_fall_errors):
            return True
        return self.swings.has_fallen(smallest_fall)

    def _has_fallen_since_early(self, smallest_fall: float, smallest_fall_errors: float) -> bool:
        """The same of the first w losses and the last W + 1, for wild losses, if the run is long enough."""
        if self.count < len(self.early) + len(self.recent):
            return False
        fall = log_loss(median(self.early)) - log_loss(median(self.recent))
        error = 1.25 * max(self._settled_noise(), 0.005) * math.sqrt(1 / len(self.early) + 1 / len(self.recent))
        return fall > smallest_fall and fall > max(smallest_fall_errors * error, 3 * self.swings.wavering())

    def slope(self) -> float:
        """Theil-Sen slope of the last W + 1 log losses, a loss; 0 where it is no longer than chance allows."""
        if len(self.recent) < 2 * LEVEL_STEPS:
            return 0.0
        return theil_sen(np.asarray(self.logs()), self.sigma())

    def last_step_below(self, bound: float) -> int | None:
        """The step before the losses rose above a bound, as far as it is remembered: among the last W + 1 and first w.

        Four in five of the losses from there on lie above it; None if so did the very first.
        """
        for losses, steps in ((self.recent, self.steps[-len(self.recent) :]), (self.early, self.early_steps)):
            above = np.asarray(losses) > bound
            shares = np.cumsum(above[::-1])[::-1] / np.arange(len(above), 0, -1)
            risen = np.flatnonzero(above & (shares >= 0.8))
            if not len(risen):
                return steps[-1] if steps else None
            if risen[0] > 0:
                return steps[int(risen[0]) - 1]
        return None

    def step_after(self, step: int) -> int:
        """The next step that logged a loss; by the usual distance between two, where that is not remembered."""
        for steps in (self.steps, self.early_steps):
            if steps and steps[0] <= step < steps[-1]:
                return next(one for one in steps if one > step)
        if not self.steps:
            return step + 1
        return step + max(round((self.steps[-1] - self.early_steps[0]) / max(self.count - 1, 1)), 1)


def _share_changed(before: float, after: float) -> float:
    return 1.0 if abs(after - before) >= abs(after) else abs(after - before) / abs(after)


def noise(logs: Sequence[float]) -> float:
    """1.4826 MAD of the differences / sqrt 2; 0 for fewer than three values."""
    if len(logs) < 3:
        return 0.0
    # Lists of fifty values are sorted sooner than numpy is called.
    return _deviation([later - earlier for earlier, later in pairwise(logs)]) / math.sqrt(2)


@dataclass(slots=True)
class SpikeCounter:
    """Counts loss spikes that came back by themselves.

    A spike is a loss more than 6 sigma above the level before it; it came back if a later loss, within W steps,
    is within 2 sigma of that level.
    """

    num_recovered: int = 0
    level: float | None = None
    """Level before the open spike; None if none is open."""
    sigma: float = 0.0
    """Noise before the open spike, ln loss."""
    num_steps: int = 0
    """Finite losses since the open spike began."""

    def update(self, loss: float, before: LossLevel) -> None:
        """Takes the finite loss of the next step that has one, and the statistics from before it."""
        if self.level is not None:
            self.num_steps += 1
            if log_loss(loss) <= log_loss(self.level) + 2 * self.sigma:
                self.num_recovered += 1
                self.level = None
            elif self.num_steps >= NOISE_STEPS:
                self.level = None
        elif before.best is not None and loss > before.level * SMALLEST_SPIKE and not before.is_signed:
            if is_spike(loss, before.level, before.recent):
                self.level, self.sigma, self.num_steps = before.level, before.sigma(), 0


SMALLEST_SPIKE = math.exp(6 * SMALLEST_NOISE)
"""Multiple of the level without which a loss is no spike, however quiet it was."""


def is_spike(loss: float, level: float, before: Sequence[float]) -> bool:
    """Whether a loss lies more than 6 sigma above the level before it, by the noise of the W + 1 losses before it."""
    sigma = max(noise([log_loss(one) for one in before]), SMALLEST_NOISE)
    return log_loss(loss) - log_loss(level) > 6 * sigma


@dataclass(slots=True)
class Validation:
    """The validation losses, as far as the end has to know them."""

    count: int = 0
    """Finite ones."""
    num_nonfinite: int = 0
    first: float = 0.0
    best: float = 0.0
    best_step: int = 0
    last: list[float] = field(default_factory=list)
    """The last three, oldest first."""

    def update(self, step: int, loss: float) -> None:
        """Takes the next evaluation; one that is not finite says nothing here."""
        if not math.isfinite(loss):
            self.num_nonfinite += 1
            return
        self.first = self.first if self.count else loss
        self.count += 1
        if self.count == 1 or loss < self.best:
            self.best, self.best_step = loss, step
        self.last.append(loss)
        if len(self.last) > 3:
            del self.last[0]


@dataclass(slots=True)
class DependenceTrend:
    """Whether the sampled input dependence I grows: the earliest sign that a plateau will end."""

    num_samples: int = 0
    """Since the last reset."""
    reference: float | None = None
    """Lowest median of three samples since the last reset."""
    recent: RollingMedian = field(default_factory=lambda: RollingMedian(size=3))

    def update(self, input_dependence: float) -> None:
        """Takes the finite value of a step at which it was sampled."""
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
