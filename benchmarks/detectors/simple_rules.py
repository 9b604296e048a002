"""What somebody writes in an afternoon who knows the same of a training as our monitor: the peer to beat.

Written from common sense, not from our rules, and short. One rule for each level; each knows what those before it know.
"""

import math
import statistics
from collections import deque
from dataclasses import replace

from benchmarks.detectors.levels import Level
from benchmarks.detectors.rules import End, Heard, Rule, Setting, grid
from benchmarks.detectors.trace_set import Trace
from sweep.records import StepRecord

_WINDOW = 20


class OfLosses:
    """Stops where `share` of the last 20 losses or norms and more are not finite, or the median of the last 20 losses
    lies above the lowest such median by `factor` and by `sigmas` standard errors, for `patience` steps in a row. At the
    end it says failed of what is still so, and of what ends no lower than it began.
    """

    def __init__(
        self, trace: Trace, factor: float = 1.5, patience: float = 10, share: float = 0.5, sigmas: float = 4.0
    ) -> None:
        self._factor, self._patience, self._share, self._sigmas = factor, patience, share, sigmas
        self._num_risen = 0
        self._last: deque[float] = deque(maxlen=_WINDOW)
        self._sound: deque[bool] = deque(maxlen=_WINDOW)
        self._first: float | None = None
        self._lowest = math.inf
        self.level = math.nan
        """Median of the last finite losses."""

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        loss, norm = record.loss, record.grad_norm
        loss = math.nan if loss is None else loss
        self._sound.append(math.isfinite(loss) and (norm is None or math.isfinite(norm)))
        if math.isfinite(loss):
            self._last.append(loss)
            self.level = statistics.median(self._last)
        if len(self._last) == _WINDOW:
            self._first = self.level if self._first is None else self._first
            self._lowest = min(self._lowest, self.level)
        self._num_risen = self._num_risen + 1 if self._is_above() else 0
        return self.is_broken or self.has_risen

    @property
    def is_broken(self) -> bool:
        """Whether too many of the last steps are not finite."""
        return len(self._sound) == _WINDOW and _WINDOW - sum(self._sound) >= _WINDOW * self._share

    @property
    def has_risen(self) -> bool:
        """Whether the losses have lain clearly above the lowest that they were for long enough."""
        return self._num_risen > self._patience

    def _is_above(self) -> bool:
        if len(self._last) < _WINDOW or not math.isfinite(self._lowest):
            return False
        rise = self.level - self._lowest
        if rise <= (self._factor - 1) * abs(self._lowest):
            return False
        mean = sum(self._last) / _WINDOW
        spread = math.sqrt(sum((loss - mean) ** 2 for loss in self._last)) / _WINDOW
        return rise > self._sigmas * spread

    def ends_badly(self) -> bool:
        """What it says at the end."""
        return self.is_broken or self.has_risen or (self._first is not None and self.level >= self._first)


class OfBounds(OfLosses):
    """Knows the zero-information loss L and the planned steps too: a rise counts only above L, and from `wait` of the
    steps on it stops what has not come below `learned` times L. At the end it says failed of what lies above that.
    """

    def __init__(self, trace: Trace, wait: float = 0.6, learned: float = 0.95, **options: float) -> None:
        super().__init__(trace, **options)
        self._l_const, self._budget = trace.context.l_const, trace.context.budget_steps
        self._wait, self._learned = wait, learned

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        stop = super().stops(record)
        if math.isnan(self._l_const):
            return stop
        late = self._budget is not None and record.step >= self._wait * self._budget
        return self.is_broken or (self.has_risen and self.level > self._l_const) or (late and self.knows_nothing)

    @property
    def knows_nothing(self) -> bool:
        """Whether the losses lie no lower than without any information."""
        return self._lowest > self._learned * self._l_const

    def ends_badly(self) -> bool:
        """What it says at the end."""
        if math.isnan(self._l_const):
            return super().ends_badly()
        return self.is_broken or self.level > self._learned * self._l_const


class OfTelemetry(OfBounds):
    """Knows the telemetry too: it stops at weights that are not finite, where most of the last 20 updates were skipped
    after a first one was applied, and where the loss scale was halved `halvings` times since.
    """

    def __init__(self, trace: Trace, halvings: float = 8.0, **options: float) -> None:
        super().__init__(trace, **options)
        self._halvings = halvings
        self._applied: deque[bool] = deque(maxlen=_WINDOW)
        self._highest_scale = 0.0
        self._scale_fell = self._weights_broke = False

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        # Until the first update the norms are those of a loss scale that looks for its first usable value.
        has_begun = record.applied or bool(self._applied)
        stop = super().stops(record if has_begun else replace(record, grad_norm=None))
        self._weights_broke |= not record.params_finite
        scale = record.loss_scale
        if has_begun:
            self._applied.append(record.applied)
            if scale is not None and math.isfinite(scale):
                self._highest_scale = max(self._highest_scale, scale)
                self._scale_fell = 0 <= scale < self._highest_scale / 2.0**self._halvings
        return stop or self.is_failing

    @property
    def is_failing(self) -> bool:
        """Whether the telemetry shows a failure."""
        is_starved = len(self._applied) == _WINDOW and sum(self._applied) < _WINDOW / 2
        return self._weights_broke or self._scale_fell or is_starved

    def ends_badly(self) -> bool:
        """What it says at the end."""
        return self.is_failing or super().ends_badly()


def _hear(rule: OfLosses, trace: Trace) -> Heard:
    step = None
    for record in trace.records:
        if rule.stops(record) and step is None:
            step = record.step
    return Heard(step, End.FAILED if rule.ends_badly() else End.FINE)


def _hear_losses(trace: Trace, setting: Setting) -> Heard:
    return _hear(OfLosses(trace, **setting), trace)


def _hear_bounds(trace: Trace, setting: Setting) -> Heard:
    return _hear(OfBounds(trace, **setting), trace)


def _hear_telemetry(trace: Trace, setting: Setting) -> Heard:
    return _hear(OfTelemetry(trace, **setting), trace)


_OF_LOSSES = grid(factor=(1.5, 2.0, 4.0), patience=(10, 30), share=(0.5, 0.9))
_OF_BOUNDS = grid(wait=(0.6, 0.95), factor=(1.5, 3.0), patience=(10, 30), share=(0.5, 0.9))
_OF_TELEMETRY = grid(wait=(0.6, 0.8, 0.95), factor=(1.5, 3.0), patience=(10, 30))

SIMPLE = {
    Level.LOSSES: Rule("simple rule", _hear_losses, _OF_LOSSES),
    Level.BOUNDS: Rule("simple rule", _hear_bounds, _OF_BOUNDS, Level.BOUNDS),
    Level.TELEMETRY: Rule("simple rule", _hear_telemetry, _OF_TELEMETRY, Level.TELEMETRY),
}
"""The simple rule of each level."""
