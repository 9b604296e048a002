"""On which side of the settings that work a failed training lies, by its outcome and its losses.

| what is known                                                            | side     |
|--------------------------------------------------------------------------|----------|
| it diverged, or lost what it had learned                                 | too hot  |
| its losses rose clearly above their beginning, whatever came after       | too hot  |
| its losses were still falling at the end, above the zero-information level | too cold |
| they rest at one level                                                   | untold   |

A training that learned nothing at either side may rest at the zero-information level. Its cause says more
(`TrialResult.with_cause`), and so do its neighbours (`sweep.analysis.failures.sides`).
"""

from collections.abc import Sequence
from statistics import median

from sweep.records import Learning, Outcome, Side, StepRecord, is_finite

_NO_SIDE = (Outcome.CRASHED, Outcome.OUT_OF_MEMORY, Outcome.INFEASIBLE_DATA, Outcome.MEMORISED)
"""Ends that larger or smaller steps have no part in."""
LEVEL_STEPS = 20
"""Losses whose median is a level."""
START_STEPS = 5
"""First losses whose median is the beginning: later ones may have moved."""
RISEN_FACTOR = 1.3
"""A level above this multiple of the beginning has clearly risen; other draws of the weights lie within a tenth."""
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
    if outcome.is_stable or outcome.is_open or outcome in _NO_SIDE:
        return None
    if outcome.is_diverged or learning is Learning.LOST:
        return Side.TOO_HOT
    return _by_losses([r.loss for r in steps if is_finite(r.loss)], l_const)


def _by_losses(losses: Sequence[float], l_const: float) -> Side:
    if len(losses) < 2 * LEVEL_STEPS:
        return Side.UNTOLD
    start = median(losses[:START_STEPS])
    levels = [median(losses[i : i + START_STEPS]) for i in range(START_STEPS, len(losses) - START_STEPS + 1)]
    if start > 0 and max(levels) > RISEN_FACTOR * start:
        return Side.TOO_HOT
    end, middle = median(losses[-LEVEL_STEPS:]), median(losses[len(losses) // 2 - LEVEL_STEPS :][:LEVEL_STEPS])
    # Where the level is not known, a loss that falls is all that there is to go by.
    is_above = not end <= ABOVE_FACTOR * l_const
    return Side.TOO_COLD if is_above and end < FALLING_FACTOR * middle else Side.UNTOLD
