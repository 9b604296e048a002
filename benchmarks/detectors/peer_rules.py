"""Divergence rules of other frameworks, written anew from their published definitions.

A rule reads one record after the other and says whether it would stop the training there. Constants are the published
defaults. Rules that would only skip a batch or write a warning count as a stop as their docstring says.
"""

import math
from collections import deque
from typing import Protocol

import numpy as np

from sweep.records import StepRecord


class PeerRule(Protocol):
    """A rule at work on one training."""

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step; whether the training would be stopped there."""
        ...


class SkipStep:
    """OLMo-core `SkipStepOptimizer` (allenai/OLMo-core, src/olmo_core/optim/skip_step_optimizer.py); Levanter's
    `SkipStepConfig` (src/levanter/optim/skipstep.py) has the same constants.

    Skips a step whose loss or gradient norm is not finite or lies more than 6 standard deviations above the mean of
    the last 128, from 64 steps on; every finite value enters the statistics, also that of a skipped step. This is the
    present version; an earlier one let NaN in and was blind for 128 steps after it. Counted as a stop: the first step
    from which it has skipped more than half of the last 50.
    """

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=128)
        self._norms: deque[float] = deque(maxlen=128)
        self._skipped: deque[bool] = deque(maxlen=50)

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        enough = len(self._losses) + 1 >= 64
        norm_known = any(math.isfinite(norm) for norm in self._norms) or not math.isnan(record.grad_norm)
        is_skipped = enough and (
            self._is_outlier(record.loss, self._losses)
            or (norm_known and self._is_outlier(record.grad_norm, self._norms))
        )
        self._losses.append(record.loss)
        self._norms.append(record.grad_norm)
        self._skipped.append(is_skipped)
        return sum(self._skipped) > 25

    @staticmethod
    def _is_outlier(value: float, earlier: deque[float]) -> bool:
        if not math.isfinite(value):
            return True
        known = [one for one in earlier if math.isfinite(one)]
        if len(known) < 2:
            return True  # Its standard deviation is NaN, so that no comparison holds and the step is skipped.
        return value - float(np.mean(known)) > 6 * float(np.std(known, ddof=1))


class KillLossSpike:
    """LLM-Foundry `KillLossSpike` (mosaicml/llm-foundry, llmfoundry/callbacks/kill_loss_spike_callback.py).

    A window of 100 losses (1/20 of the planned steps if that is more). Stops when more than 4 losses in a row are at
    least twice the window's mean; and, from two windows on, when half of the window lies above the highest loss of
    the first window (10 at most). Its default only logs; counted is `log_only=False`.
    """

    def __init__(self, budget_steps: int | None = None) -> None:
        self._size = max(100, round((budget_steps or 0) / 20))
        self._window: deque[float] = deque(maxlen=self._size)
        self._cap: float | None = None
        self._num_outliers = 0
        self._num_steps = 0

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        self._num_steps += 1
        stop = len(self._window) == self._size and self._judges(record.loss)
        self._window.append(record.loss)
        return stop

    def _judges(self, loss: float) -> bool:
        self._cap = min(max(self._window), 10.0) if self._cap is None else self._cap
        # A NaN makes both comparisons False, as it does there.
        self._num_outliers = self._num_outliers + 1 if loss >= 2 * sum(self._window) / self._size else 0
        if self._num_outliers > 4:
            return True
        return self._num_steps >= 2 * self._size and sum(one > self._cap for one in self._window) >= self._size / 2


class SpikeDetection:
    """Lightning Fabric `SpikeDetection` (Lightning-AI/pytorch-lightning, src/lightning/fabric/utilities/spike.py).

    Ends the training at a loss that is not finite, or that is higher than the one before and differs from the mean of
    the last 10 by twice that mean or more; from the second step on.
    """

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=10)
        self._last = 0.0

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        loss = record.loss
        if self._window:
            mean = sum(self._window) / len(self._window)
            if not math.isfinite(loss) or (loss > self._last and abs(loss - mean) >= abs(2 * mean)):
                return True
        self._window.append(loss)
        self._last = loss
        return False


class EarlyStopping:
    """Lightning `EarlyStopping` on the training loss (src/lightning/pytorch/callbacks/early_stopping.py).

    Stops at a value that is not finite (`check_finite`), or after `patience` checks without a new lowest one; here it
    checks the mean of every 25 steps, as of a short epoch, with the default patience of 3.
    """

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._best = math.inf
        self._num_without = 0

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        self._losses.append(record.loss)
        if len(self._losses) < 25:
            return False
        mean = sum(self._losses) / len(self._losses)
        self._losses.clear()
        if not math.isfinite(mean):
            return True
        self._num_without = 0 if mean < self._best else self._num_without + 1
        self._best = min(self._best, mean)
        return self._num_without >= 3


class SpikyLoss:
    """Megatron-LM `RerunStateMachine.is_unexpectedly_large` (megatron/core/rerun_state_machine.py).

    A finite loss of 10 times the highest of the first 100 finite ones, or more. It reruns the step and goes on;
    counted as a stop is the first such loss.
    """

    def __init__(self) -> None:
        self._num_samples = 0
        self._highest = 0.0

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        loss = abs(record.loss)
        if not math.isfinite(loss):
            return False
        if self._num_samples < 100:
            self._num_samples += 1
            self._highest = max(self._highest, loss)
            return False
        return loss >= 10 * self._highest


class MegatronChecks:
    """Megatron-LM with all its checks: `SpikyLoss`, and a fatal error at a loss that is NaN or infinite
    (`check_for_nan_in_loss_and_grad`, the default) in the first place.
    """

    def __init__(self) -> None:
        self._spiky = SpikyLoss()

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        return self._spiky.stops(record) or not math.isfinite(record.loss)


class NanMonitor:
    """Composer `NaNMonitor` (mosaicml/composer, composer/callbacks/nan_monitor.py): an error at a NaN loss."""

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        return math.isnan(record.loss)


class NotFinite:
    """What hand-written loops do: stop at a loss or gradient norm that is NaN or infinite.

    A NaN norm counts only once a norm was seen, because it stands for "not recorded" as well.
    """

    def __init__(self) -> None:
        self._norms_recorded = False

    def stops(self, record: StepRecord) -> bool:
        """Reads the next step."""
        norm = record.grad_norm
        self._norms_recorded |= not math.isnan(norm)
        return not math.isfinite(record.loss) or (self._norms_recorded and not math.isfinite(norm))


def peer_rules(budget_steps: int | None) -> dict[str, PeerRule]:
    """A fresh instance of every rule, by its name in tables."""
    return {
        "OLMo-core skip step": SkipStep(),
        "LLM-Foundry KillLossSpike": KillLossSpike(budget_steps),
        "Lightning SpikeDetection": SpikeDetection(),
        "Lightning EarlyStopping": EarlyStopping(),
        "Megatron spiky loss": SpikyLoss(),
        "Megatron, all checks": MegatronChecks(),
        "Composer NaNMonitor": NanMonitor(),
        "loss or gradient not finite": NotFinite(),
    }
