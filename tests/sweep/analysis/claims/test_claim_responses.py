"""What a claim measures of trainings that ended open."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.claims.responses import response

Make = Callable[..., Any]
ENDS = ("stable", "stalled", "too-short", "unjudged", "calibrating", "pruned", "crashed", "memorised")


def ended(trials: Make, **columns: Any) -> pd.DataFrame:
    return trials([(0, "precision=fp32", {"verdict": end, "stable": end == "stable", **columns}) for end in ENDS])


@pytest.mark.parametrize(("name", "failed"), [("stable", 0.0), ("wer", 1.0), ("val_loss", 3.0)])
def test_how_well_an_open_end_went_nobody_knows(
    trials: Make, claim: Make, study: Make, no_evals: Make, name, failed
) -> None:
    found = response(ended(trials), no_evals, claim(response=name), study())
    good = {"stable": 1.0, "wer": 0.2, "val_loss": 1.0}[name]
    assert [None if value != value else value for value in found] == [good, failed, *[None] * 5, failed]


def test_what_was_measured_counts_whatever_the_end(trials: Make, claim: Make, study: Make, no_evals: Make) -> None:
    found = response(ended(trials, skipped_calibration=7), no_evals, claim(response="leading_infs"), study())
    assert [None if value != value else value for value in found] == [7.0] * 5 + [None, None, 7.0]
