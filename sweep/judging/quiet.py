"""Passes over long stretches of a log in which nothing happens, with numpy instead of step by step.

The result is the same as that of the single steps: a stretch ends where any rule might begin to notice something. A
million steps of a quiet training take a second this way, instead of five.
"""

import math
from collections.abc import Sequence

import numpy as np

from sweep.judging.detectors.base import PlainSteps, QuietDetector, RunStatistics
from sweep.judging.detectors.statistics import (
    LARGEST_LOSS,
    LEVEL_DELAY,
    LEVEL_STEPS,
    NOISE_STEPS,
    SMALLEST_LOSS,
    SMALLEST_NOISE,
    SMALLEST_SPIKE,
    Floats,
    LossLevel,
    is_spike,
)
from sweep.judging.end_verdict import NORMS_MASK, EndMemory


def num_quiet(
    plain: PlainSteps, run: RunStatistics, memory: EndMemory, detectors: Sequence[QuietDetector]
) -> tuple[int, Floats]:
    """How many of the first steps can be passed over, and the level at each step, [N]."""
    loss, gradient = run.loss, run.gradient
    is_plain = loss.best is not None and not loss.is_signed and gradient.calibrated and memory.spikes.level is None
    if not len(plain.steps) or not is_plain or plain.loss_scale not in (None, gradient.last_scale):
        return 0, np.empty(0)
    levels = _levels(loss, plain.losses)
    lowest = np.minimum(np.minimum.accumulate(levels), loss.lowest)
    noisy = np.zeros(len(levels), dtype=bool)
    for detector in detectors:
        highest = detector.highest_quiet_level(plain, lowest, run)
        if highest is None:
            return 0, levels
        noisy |= levels > highest
    first = int(np.argmax(noisy)) if noisy.any() else len(levels)
    return min(first, _first_spike(loss, levels, plain.losses)), levels


def _levels(loss: LossLevel, losses: Floats) -> Floats:
    known = np.concatenate([loss.recent[-LEVEL_STEPS + 1 :], losses])
    ordered = np.sort(np.lib.stride_tricks.sliding_window_view(known, LEVEL_STEPS), axis=1)
    middle: Floats = ordered[:, LEVEL_STEPS // 2 - 1] / 2 + ordered[:, LEVEL_STEPS // 2] / 2
    return middle


def _first_spike(loss: LossLevel, levels: Floats, losses: Floats) -> int:
    """Position of the first loss that begins a spike; their number if none does."""
    before = np.concatenate([[loss.level], levels[:-1]])
    logs = np.log(np.clip(np.concatenate([loss.recent, losses]), SMALLEST_LOSS, LARGEST_LOSS))
    positions = np.flatnonzero(losses > before * SMALLEST_SPIKE)
    # The first ones of a run have shorter windows.
    num_early = int(np.searchsorted(positions, NOISE_STEPS + 1 - len(loss.recent)))
    for position in positions[:num_early].tolist():
        if is_spike(losses[position], before[position], [*loss.recent, *losses[:position].tolist()]):
            return int(position)
    positions = positions[num_early:]
    if not len(positions):
        return len(losses)
    windows = np.lib.stride_tricks.sliding_window_view(np.diff(logs), NOISE_STEPS)
    differences = windows[positions + len(loss.recent) - NOISE_STEPS - 1]
    deviations = np.abs(differences - np.median(differences, axis=1, keepdims=True))
    sigmas = np.maximum(1.4826 * np.median(deviations, axis=1) / math.sqrt(2), SMALLEST_NOISE)
    levels_before = np.log(np.clip(before[positions], SMALLEST_LOSS, LARGEST_LOSS))
    spikes = positions[logs[positions + len(loss.recent)] - levels_before > 6 * sigmas]
    return int(spikes[0]) if len(spikes) else len(losses)


def pass_over(plain: PlainSteps, levels: Floats, run: RunStatistics, memory: EndMemory, low_factor: float) -> None:
    """Takes steps of which all are quiet, and the level at each, [N]."""
    loss, gradient, num = run.loss, run.gradient, len(levels)
    lowest = np.minimum(np.minimum.accumulate(levels), loss.lowest)
    low = np.flatnonzero(levels <= lowest * low_factor)
    if len(low):
        all_steps = np.concatenate([np.asarray(loss.steps, dtype=np.int64), plain.steps])
        memory.last_low_step = int(all_steps[len(loss.steps) + low[-1] - LEVEL_DELAY])
    loss.extend(plain.losses, plain.steps, levels)
    gradient.finite = True if plain.has_norms or gradient.has_scaler else None
    gradient.ever_finite |= gradient.finite is True
    gradient.halving = gradient.fell_to_zero = False
    memory.skips.extend(plain.steps)
    memory.num_steps += num
    memory.num_losses += num
    memory.last_step = memory.last_sound_step = int(plain.steps[-1])
    memory.last_was_applied = memory.params_finite = True
    memory.nonfinite_in_row, memory.nonfinite_since = 0, None
    if plain.has_norms:
        memory.nan_norms_in_row = 0
        memory.broken_norms = memory.broken_norms << num & NORMS_MASK
