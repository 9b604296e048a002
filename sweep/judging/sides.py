"""On which side of the settings that work a failed training lies, by its outcome and its losses.

| what is known                                                                  | side     |
|--------------------------------------------------------------------------------|----------|
| it diverged, or lost what it had learned                                       | too hot  |
| its losses rose clearly above their beginning, whatever came after             | too hot  |
| its losses never came near the zero-information level                          | too cold |
| its losses were still falling at the end, above that level and below the first | too cold |
| they rest at another level                                                     | untold   |

A training that learned nothing at either side may rest at the zero-information level. Its cause says more
(`TrialResult.with_cause`), and so do its neighbours (`sweep.analysis.region.sides`).
"""

from collections.abc import Sequence
from statistics import median

from sweep.records import Learning, Outcome, Side, StepRecord, is_finite

_NO_SIDE = (Outcome.INFEASIBLE_DATA, Outcome.MEMORISED)
"""Ends of a training that nothing broke off and that larger or smaller steps have no part in."""
LEVEL_STEPS = 20
"""Losses whose median is a level."""
PEAK_STEPS = 5
"""Losses whose median is a height that was reached, and not that of one batch."""
RISEN_FACTOR = 2.0
"""A height above this multiple of the first loss, which no update has touched, has clearly risen; batches alone, of
large initial weights, scatter by 1.3."""
FAR_FACTOR = 1.3
"""A last level above this multiple of the zero-information loss is that of a training that hardly moved."""
FINITE_RATE = 0.9
"""So many of the losses have to be finite."""
FALLING_FACTOR = 0.97
"""A last level below this multiple of that in the middle was still falling."""
ABOVE_FACTOR = 1.02
"""Multiple of the zero-information loss above which a training has not come down to it yet."""


def side(outcome: Outcome, learning: Learning, steps: Sequence[StepRecord], l_const: float) -> Side | None:
    """The side of a training that failed; None for other ends.

    Args:
        outcome: how it ended.
        learning: what became of what was to be learned.
        steps: its records.
        l_const: its zero-information loss, nats a label; NaN if unknown.
    """
    if outcome.is_stable or outcome.is_open or outcome.is_broken_off or outcome in _NO_SIDE:
        return None
    if outcome.is_diverged or learning is Learning.LOST:
        return Side.TOO_HOT
    losses = [r.loss for r in steps if is_finite(r.loss)]
    # Where many are not finite, the others do not tell its course.
    return _by_losses(losses, l_const) if len(losses) > FINITE_RATE * len(steps) else Side.UNTOLD


def _by_losses(losses: Sequence[float], l_const: float) -> Side:
    if len(losses) < 2 * LEVEL_STEPS:
        return Side.UNTOLD
    start, end = losses[0], median(losses[-LEVEL_STEPS:])
    peaks = (median(losses[i : i + PEAK_STEPS]) for i in range(1, len(losses) - PEAK_STEPS + 1))
    if start > 0 and max(peaks) > RISEN_FACTOR * start:
        return Side.TOO_HOT
    middle = median(losses[len(losses) // 2 - LEVEL_STEPS :][:LEVEL_STEPS])
    # Where the level of knowing nothing is unknown, a loss that falls is all that there is to go by.
    is_above = not end <= ABOVE_FACTOR * l_const
    # One that comes back from above its beginning had risen.
    is_falling = is_above and end < min(FALLING_FACTOR * middle, start)
    return Side.TOO_COLD if is_falling or end > FAR_FACTOR * l_const else Side.UNTOLD
