import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd

from sweep.analysis.failures.causes import causes_by_outcome, failing_operations, worked_example
from sweep.records import Cause, Counterfactual, Explanation, FirstNonfinite, Outcome, Place

Table = Callable[..., pd.DataFrame]

FIRST = FirstNonfinite(Place.FORWARD, 3, "matmul", "encoder.0", "float16", 1.0, 2.0, 0, 1)
BARE = Explanation(Cause.SKIP_THRESHOLD, "a threshold")
TRACED = Explanation(Cause.HALF_OVERFLOW, "an overflow", first_nonfinite=FIRST)
LOST = Explanation(Cause.UNKNOWN, "unknown", counterfactuals=(Counterfactual("same", 0, 2, 1.0),))
RESCUED = Explanation(Cause.LR_TOO_HIGH, "too high", counterfactuals=(Counterfactual("LR / 10", 2, 2, 1.0),))


def test_causes_are_counted_by_outcome_and_what_nobody_looked_into_is_told(table: Table) -> None:
    trials = table(
        [{"verdict": "stable"}, *({"verdict": "diverged-loss"},) * 4, {"verdict": "stalled"}, {"verdict": "stalled"}]
    )
    explanations = {"t001": LOST, "t002": RESCUED, "t003": RESCUED, "t005": BARE}
    loss, stalled = causes_by_outcome(trials, explanations)
    assert loss.outcome is Outcome.DIVERGED_LOSS and (loss.num_trials, loss.num_unexplained) == (4, 1)
    assert loss.causes == ((Cause.LR_TOO_HIGH, 2), (Cause.UNKNOWN, 1))
    assert stalled.causes == ((Cause.SKIP_THRESHOLD, 1),) and stalled.num_unexplained == 1
    assert causes_by_outcome(trials, {}) == []


def test_trials_that_broke_at_the_same_operation_are_one_row_with_their_largest_values(table: Table) -> None:
    trials = table([{"verdict": "diverged-nonfinite"}, {"verdict": "scaler-collapse"}, {"verdict": "stalled"}] * 2)
    larger = replace(FIRST, step=9, input_absmax=5e4, output_absmax=math.nan)
    backward = replace(FIRST, place=Place.BACKWARD, dtype="bfloat16")
    found = failing_operations(
        trials,
        {
            "t000": replace(TRACED, first_nonfinite=backward),
            "t001": TRACED,
            "t003": replace(TRACED, first_nonfinite=larger),
            "t004": LOST,
        },
    )
    matmul, gradient = found
    assert matmul.trials == (("t001", 1, 3), ("t003", 3, 9))
    assert matmul.outcomes == (Outcome.DIVERGED_NONFINITE, Outcome.SCALER_COLLAPSE)
    assert (matmul.input_absmax, matmul.output_absmax, matmul.limit) == (5e4, 2.0, 65504.0)
    assert gradient.place is Place.BACKWARD and 3.38e38 < gradient.limit < 3.4e38
    assert failing_operations(trials, {}) == []


def test_the_limits_of_the_formats_are_torchs() -> None:
    import torch

    for name in ("float16", "bfloat16", "float32"):
        first = replace(FIRST, dtype=name)
        (row,) = failing_operations(
            pd.DataFrame([{"trial_id": "a", "number": 0, "verdict": "crashed"}]),
            {"a": replace(TRACED, first_nonfinite=first)},
        )
        assert row.limit == torch.finfo(getattr(torch, name)).max


def test_the_example_is_the_explanation_that_shows_most(table: Table) -> None:
    trials = table([{"verdict": "diverged-loss"}] * 5)
    found = {"t000": BARE, "t001": TRACED, "t002": LOST, "t003": RESCUED, "t004": RESCUED}
    assert worked_example(trials, found) == "t003"
    del found["t003"], found["t004"]
    assert worked_example(trials, found) == "t002"
    del found["t002"]
    assert worked_example(trials, found) == "t001"


def test_without_such_an_explanation_the_example_is_typical_of_the_most_frequent_failure(table: Table) -> None:
    lengths = [10, 30, 32, 90, 5]
    trials = table(
        [{"verdict": "stable"}, {"verdict": "stalled"}, *({"verdict": "crashed", "num_steps": n} for n in lengths)]
    )
    assert worked_example(trials, {}) == "t003", "30 steps are the median"
    assert worked_example(trials, {"t001": BARE, "t005": BARE}) == "t005", "one of them was looked into"
    assert worked_example(table([{"verdict": "stable"}]), {"t000": RESCUED}) is None
