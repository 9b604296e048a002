"""The label of a training that was ended as good as stable is audited as alarms are."""

from collections.abc import Callable

import pandas as pd
import pytest

from sweep.analysis.cost.foregone import foregone_labels, foregone_text

Table = Callable[..., pd.DataFrame]


def test_those_that_ran_on_say_how_often_the_label_was_wrong(table: Table) -> None:
    ended = {"verdict": "foregone", "num_steps": 30, "max_steps": 100, "foregone_step": 30}
    rows = [ended, ended, {"foregone_step": 40}, {"foregone_step": 40, "verdict": "diverged-loss"}, {}]
    found = foregone_labels(table(rows))
    assert (found.num_ended, found.steps_saved, found.saved_rate) == (2, 140, pytest.approx(0.7))
    assert (found.wrong.count, found.wrong.total) == (1, 2)
    assert foregone_text(found) == (
        "2 trainings were ended where they were as good as stable, which saved 140 steps, 70 % of theirs. Of 2 "
        "trainings that ran on from there, 1 ended stable: the label was wrong in 50 % (exact 95 % interval 1 % to "
        "99 %)."
    )


def test_without_one_that_ran_on_nothing_is_claimed(table: Table) -> None:
    ended = {"verdict": "foregone", "num_steps": 30, "max_steps": 100, "foregone_step": 30}
    assert "how often that is wrong was not measured" in foregone_text(foregone_labels(table([ended, {}])))
    assert foregone_text(foregone_labels(table([{}, {"verdict": "stalled"}]))) == ""
