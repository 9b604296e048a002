"""What is said of replays is what they did."""

import math

import pytest

from sweep.forensics.sentences import outcomes
from sweep.records import NAN, Counterfactual, told_cause

RAISED = "LR x 10"


@pytest.mark.parametrize(
    ("end_loss", "l_const", "told"),
    [
        (1.9, 2.6, "LR x 10 from the start makes it begin to learn"),
        (4.4, 2.6, "LR x 10 from the start makes the loss fall faster, to 4.4, while learning nothing costs 2.6"),
        (4.4, math.nan, "LR x 10 from the start makes it begin to learn"),
    ],
)
def test_a_loss_that_falls_faster_has_not_begun_to_learn(end_loss, l_const, told) -> None:
    results = [Counterfactual("same", 0, 1, 5.8), Counterfactual("LR x 10", 2, 2, end_loss)]
    assert outcomes(results, RAISED, 0, learns_nothing=True, l_const=l_const) == f"{told} (2 of 2)"


def test_a_training_that_went_bad_is_rescued() -> None:
    results = [Counterfactual("LR / 10", 0, 2, 9.0), Counterfactual("LR x 10", 2, 2, 4.4)]
    told = outcomes(results, RAISED, 40, learns_nothing=False, l_const=2.6)
    assert told == "LR x 10 from step 40 rescues it (2 of 2), LR / 10 (0 of 2) does not"


def test_an_unknown_cause_says_what_each_replay_gave_also_in_a_line_of_the_terminal() -> None:
    results = [
        Counterfactual("same", 0, 1, 5.8),
        Counterfactual("LR / 10", 0, 2, 9.0),
        Counterfactual("fp32", 0, 1, NAN),
    ]
    tried = outcomes(results, None, 40, learns_nothing=False, l_const=2.6)
    assert tried == "tried from step 40, in vain: LR / 10 (0 of 2, loss 9), fp32 (0 of 1, no finite loss)"
    assert told_cause(f"unknown: the loss rose from 2 to 9 from step 41 on; {tried}") == f"unknown; {tried}"
    assert told_cause(f"learning rate too high: with 0.5 it broke; {tried}") == "learning rate too high"
    assert told_cause("unknown: there is no record of any step (crashed)") == "unknown"
