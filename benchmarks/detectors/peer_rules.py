"""Divergence rules of other frameworks, written anew from their published definitions.

A rule reads one record after the other and says whether it would stop the training there. Default arguments are the
published ones; the settings beside them are tried on the tuning half. Rules that would only skip a batch or write a
warning count as a stop as their docstring says.
"""

import math
from collections import deque

import numpy as np

from benchmarks.detectors.levels import Level
from benchmarks.detectors.rules import Logged, PeerRule, Rule, Setting, grid, stepwise
from benchmarks.detectors.trace_set import Trace


class SkipStep:
    """OLMo-core `SkipStepOptimizer` (allenai/OLMo-core, src/olmo_core/optim/skip_step_optimizer.py); Levanter's
    `SkipStepConfig` (src/levanter/optim/skipstep.py) has the same constants.

    Skips a step whose loss or gradient norm is not finite or lies more than 6 standard deviations above the mean of
    the last 128, from 64 steps on; every finite value enters the statistics, also that of a skipped step. This is the
    present version; an earlier one let NaN in and was blind for 128 steps after it. Counted as a stop: the first step
    from which it has skipped more than half of the last 50.
    """

    def __init__(self, sigmas: float = 6.0, share: float = 0.5) -> None:
        self._sigmas, self._share = sigmas, share
        self._losses: deque[float] = deque(maxlen=128)
        self._norms: deque[float] = deque(maxlen=128)
        self._skipped: deque[bool] = deque(maxlen=50)

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        enough = len(self._losses) + 1 >= 64
        norm = math.nan if record.grad_norm is None else record.grad_norm
        norm_known = any(math.isfinite(one) for one in self._norms) or not math.isnan(norm)
        is_skipped = enough and (
            self._is_outlier(record.loss, self._losses) or (norm_known and self._is_outlier(norm, self._norms))
        )
        self._losses.append(record.loss)
        self._norms.append(norm)
        self._skipped.append(is_skipped)
        return sum(self._skipped) > 50 * self._share

    def _is_outlier(self, value: float, earlier: deque[float]) -> bool:
        if not math.isfinite(value):
            return True
        known = [one for one in earlier if math.isfinite(one)]
        if len(known) < 2:
            return True  # Its standard deviation is NaN, so that no comparison holds and the step is skipped.
        return value - float(np.mean(known)) > self._sigmas * float(np.std(known, ddof=1))


class KillLossSpike:
    """LLM-Foundry `KillLossSpike` (mosaicml/llm-foundry, llmfoundry/callbacks/kill_loss_spike_callback.py).

    A window of 100 losses (1/20 of the planned steps if that is more). Stops when more than 4 losses in a row are at
    least twice the window's mean; and, from two windows on, when half of the window lies above the highest loss of
    the first window (10 at most). Its default only logs; counted is `log_only=False`.
    """

    def __init__(self, budget_steps: int | None = None, factor: float = 2.0, patience: float = 4) -> None:
        self._factor, self._patience = factor, patience
        self._size = max(100, round((budget_steps or 0) / 20))
        self._window: deque[float] = deque(maxlen=self._size)
        self._cap: float | None = None
        self._num_outliers = 0
        self._num_steps = 0

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        self._num_steps += 1
        stop = len(self._window) == self._size and self._judges(record.loss)
        self._window.append(record.loss)
        return stop

    def _judges(self, loss: float) -> bool:
        self._cap = min(max(self._window), 10.0) if self._cap is None else self._cap
        # A NaN makes both comparisons False, as it does there.
        self._num_outliers = self._num_outliers + 1 if loss >= self._factor * sum(self._window) / self._size else 0
        if self._num_outliers > self._patience:
            return True
        return self._num_steps >= 2 * self._size and sum(one > self._cap for one in self._window) >= self._size / 2


class SpikeDetection:
    """Lightning Fabric `SpikeDetection` (Lightning-AI/pytorch-lightning, src/lightning/fabric/utilities/spike.py).

    Ends the training at a loss that is not finite, or that is higher than the one before and differs from the mean of
    the last 10 by twice that mean or more; from the second step on.
    """

    def __init__(self, rtol: float = 2.0, finite_only: float = True) -> None:
        self._rtol, self._finite_only = rtol, finite_only
        self._window: deque[float] = deque(maxlen=10)
        self._last = 0.0

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        loss = record.loss
        if self._window:
            mean = sum(self._window) / len(self._window)
            if not math.isfinite(loss):
                if self._finite_only:
                    return True
            elif loss > self._last and abs(loss - mean) >= abs(self._rtol * mean):
                return True
        self._window.append(loss)
        self._last = loss
        return False


class EarlyStopping:
    """Lightning `EarlyStopping` on the training loss (src/lightning/pytorch/callbacks/early_stopping.py).

    Stops at a value that is not finite (`check_finite`), or after `patience` checks without a new lowest one; here it
    checks the mean of every 25 steps, as of a short epoch, with the default patience of 3.
    """

    def __init__(self, patience: float = 3, check_finite: float = True) -> None:
        self._patience, self._check_finite = patience, check_finite
        self._losses: list[float] = []
        self._best = math.inf
        self._num_without = 0

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        self._losses.append(record.loss)
        if len(self._losses) < 25:
            return False
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        if not math.isfinite(mean) and self._check_finite:
            return True
        self._num_without = 0 if mean < self._best else self._num_without + 1
        self._best = min(self._best, mean)
        return self._num_without >= self._patience


class SpikyLoss:
    """Megatron-LM `RerunStateMachine.is_unexpectedly_large` (megatron/core/rerun_state_machine.py).

    A finite loss of 10 times the highest of the first 100 finite ones, or more. It reruns the step and goes on;
    counted as a stop is the first such loss.
    """

    def __init__(self, factor: float = 10.0) -> None:
        self._factor = factor
        self._num_samples = 0
        self._highest = 0.0

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        loss = abs(record.loss)
        if not math.isfinite(loss):
            return False
        if self._num_samples < 100:
            self._num_samples += 1
            self._highest = max(self._highest, loss)
            return False
        return loss >= self._factor * self._highest


class MegatronChecks:
    """Megatron-LM with all its checks: `SpikyLoss`, and a fatal error at a loss that is NaN or infinite
    (`check_for_nan_in_loss_and_grad`, the default) in the first place.
    """

    def __init__(self, factor: float = 10.0) -> None:
        self._spiky = SpikyLoss(factor)

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        return self._spiky.stops(record) or not math.isfinite(record.loss)


class NanMonitor:
    """Composer `NaNMonitor` (mosaicml/composer, composer/callbacks/nan_monitor.py): an error at a NaN loss."""

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        return math.isnan(record.loss)


class NotFinite:
    """What hand-written loops do: stop at a loss or gradient norm that is NaN or infinite, at the first of them or
    after so many in a row.
    """

    def __init__(self, patience: float = 1) -> None:
        self._patience = patience
        self._in_row = 0

    def stops(self, record: Logged) -> bool:
        """Reads the next step."""
        norm = 0.0 if record.grad_norm is None else record.grad_norm
        is_finite = math.isfinite(record.loss) and math.isfinite(norm)
        self._in_row = 0 if is_finite else self._in_row + 1
        return self._in_row >= self._patience


def _skip_step(trace: Trace, setting: Setting) -> PeerRule:
    return SkipStep(**setting)


def _kill_loss_spike(trace: Trace, setting: Setting) -> PeerRule:
    return KillLossSpike(trace.context.budget_steps, **setting)


def _spike_detection(trace: Trace, setting: Setting) -> PeerRule:
    return SpikeDetection(**setting)


def _early_stopping(trace: Trace, setting: Setting) -> PeerRule:
    return EarlyStopping(**setting)


def _spiky_loss(trace: Trace, setting: Setting) -> PeerRule:
    return SpikyLoss(**setting)


def _megatron_checks(trace: Trace, setting: Setting) -> PeerRule:
    return MegatronChecks(**setting)


def _nan_monitor(trace: Trace, setting: Setting) -> PeerRule:
    return NanMonitor()


def _not_finite(trace: Trace, setting: Setting) -> PeerRule:
    return NotFinite(**setting)


_FACTORS = (10.0, 2.0, 3.0, 5.0, 30.0, 100.0, 300.0)

PUBLISHED = (
    Rule("OLMo-core skip step", stepwise(_skip_step), grid(sigmas=(6.0, 3.0), share=(0.5, 0.2))),
    Rule(
        "LLM-Foundry KillLossSpike",
        stepwise(_kill_loss_spike),
        grid(factor=(2.0, 1.5, 4.0, 8.0, 16.0), patience=(4, 10, 25, 40)),
        Level.BOUNDS,
    ),
    Rule(
        "Lightning SpikeDetection",
        stepwise(_spike_detection),
        grid(rtol=(2.0, 1.0, 4.0, 10.0, 30.0, 100.0, 1000.0), finite_only=(True, False)),
    ),
    Rule(
        "Lightning EarlyStopping",
        stepwise(_early_stopping),
        grid(patience=(3, 2, 5, 8, 12, 16, 24), check_finite=(True, False)),
    ),
    Rule("Megatron spiky loss", stepwise(_spiky_loss), grid(factor=_FACTORS)),
    Rule("Megatron, all checks", stepwise(_megatron_checks), grid(factor=_FACTORS)),
    Rule("Composer NaNMonitor", stepwise(_nan_monitor)),
    Rule("loss or gradient not finite", stepwise(_not_finite), grid(patience=(1, 2, 3, 5, 10, 20, 40))),
)
"""The rules of other frameworks, with what is tried of each."""
