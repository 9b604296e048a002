from collections.abc import Callable

import pandas as pd

from sweep.analysis.causes import causes_by_outcome, worked_example
from sweep.explanation import Cause, Counterfactual, Explanation, FirstNonfinite, Place
from sweep.records import Outcome

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


def test_the_example_is_the_explanation_that_shows_most(table: Table) -> None:
    trials = table([{"verdict": "diverged-loss"}] * 5)
    found = {"t000": BARE, "t001": TRACED, "t002": LOST, "t003": RESCUED, "t004": RESCUED}
    assert worked_example(trials, found) == "t003"
    del found["t003"], found["t004"]
    assert worked_example(trials, found) == "t002"
    del found["t002"]
    assert worked_example(trials, found) == "t001"
    assert worked_example(trials, {"t000": BARE}) is None
    assert worked_example(table([{"verdict": "stable"}]), {"t000": RESCUED}) is None
