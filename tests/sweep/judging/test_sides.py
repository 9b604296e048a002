"""On which side of what works a failed training lies."""

import dataclasses
import math

import pytest

from sweep.judging.sides import side
from sweep.records import Learning, Outcome, Side, StepRecord, TrialResult

L_CONST = 2.9


def steps(*losses: float) -> list[StepRecord]:
    return [StepRecord(number, loss) for number, loss in enumerate(losses, 1)]


def falling(start: float, end: float, num: int = 100) -> list[float]:
    """In a straight line."""
    return [start + (end - start) * k / (num - 1) for k in range(num)]


@pytest.mark.parametrize(
    ("outcome", "learning", "losses", "where"),
    [
        (Outcome.DIVERGED_NONFINITE, Learning.NOTHING, [5.0] * 60, Side.TOO_HOT),
        (Outcome.DIVERGED_LOSS, Learning.LOST, [5.0] * 60, Side.TOO_HOT),
        (Outcome.BLANK_COLLAPSE, Learning.LOST, [5.0] * 60, Side.TOO_HOT),
        (Outcome.STALLED, Learning.NOTHING, falling(6.0, 4.0), Side.TOO_COLD),
        (Outcome.BLANK_COLLAPSE, Learning.NOTHING, falling(6.0, 3.3), Side.TOO_COLD),
        (Outcome.STALLED, Learning.NOTHING, [5.0] * 10 + falling(40.0, 3.0), Side.TOO_HOT),
        (Outcome.STALLED, Learning.NOTHING, [5.0] * 10 + [2.9] * 90, Side.UNTOLD),
        (Outcome.STALLED, Learning.NOTHING, falling(6.0, 5.95), Side.TOO_COLD),
        (Outcome.STALLED, Learning.NOTHING, [5.7, *falling(90.0, 3.1)], Side.TOO_HOT),
        (Outcome.STALLED, Learning.NOTHING, [2.9] * 100, Side.UNTOLD),
        # A learning rate of 6e-5 with four times the usual weights: the first batch happened to be an easy one.
        (
            Outcome.STALLED,
            Learning.NOTHING,
            [4.3, *[5.7, 4.8, 5.7, 5.6, 4.9] * 2, *falling(4.9, 2.9, 60), *[2.9] * 30],
            Side.UNTOLD,
        ),
        # A rate ten times too high: it has risen by less than twice, and comes back without coming below its beginning.
        (
            Outcome.STALLED,
            Learning.NOTHING,
            [2.91, 2.9, 4.9, 4.8, 4.7, 3.3, 2.7, *falling(3.6, 3.0, 90)],
            Side.UNTOLD,
        ),
        (Outcome.STALLED, Learning.NOTHING, falling(6.0, 4.0, 30), Side.UNTOLD),
        (Outcome.STALLED, Learning.NOTHING, [5.0, math.nan] * 60, Side.UNTOLD),
        (Outcome.STABLE, Learning.LEARNED, falling(6.0, 0.1), None),
        (Outcome.TOO_SHORT, Learning.UNKNOWN, [5.0] * 10, None),
        (Outcome.CRASHED, Learning.UNKNOWN, falling(6.0, 4.0), None),
        (Outcome.MEMORISED, Learning.MEMORISED, falling(6.0, 0.1), None),
    ],
)
def test_the_outcome_and_the_losses_tell_it(outcome, learning, losses, where) -> None:
    assert side(outcome, learning, steps(*losses), L_CONST) is where


def test_where_the_level_of_knowing_nothing_is_unknown_a_fall_is_all_there_is() -> None:
    losses = [*falling(6.0, 2.9, 90), *[2.9] * 10]
    assert side(Outcome.STALLED, Learning.NOTHING, steps(*losses), math.nan) is Side.TOO_COLD
    assert side(Outcome.STALLED, Learning.NOTHING, steps(*losses), L_CONST) is Side.UNTOLD, "it has come down to it"


def test_a_cause_says_more() -> None:
    row = TrialResult(
        trial_id="0",
        number=0,
        group=0,
        seed=0,
        phase="explore",
        settings={},
        verdict=Outcome.STALLED,
        reason="",
        num_steps=9,
        max_steps=9,
        objective=3.0,
        margin=0.1,
        side=Side.UNTOLD,
    )
    assert row.with_cause("learning rate too low: with 1e-5 the loss is at 4", 1.0).side is Side.TOO_COLD
    assert row.with_cause("fp16 overflow in attention scores (encoder.0, QK^T)", 1.0).side is Side.TOO_HOT
    hot = dataclasses.replace(row, side=Side.TOO_HOT)
    assert hot.with_cause("unknown: tried in vain", 2.0).side is Side.TOO_HOT
    assert hot.with_cause("NaN or infinite features: train-3", 2.0).side is Side.UNTOLD
    assert hot.with_cause(None, 2.0) == dataclasses.replace(hot, forensics_s=2.0)
    good = dataclasses.replace(row, verdict=Outcome.STABLE, side=None)
    assert good.with_cause("loss-scale calibration, not a divergence", 0.0).side is None
