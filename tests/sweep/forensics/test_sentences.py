"""What is said of replays is what they did."""

import math

import pytest

from sweep.forensics.sentences import outcomes
from sweep.records import Counterfactual

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
