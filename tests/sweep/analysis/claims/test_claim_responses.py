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


def test_broken_is_not_the_same_as_not_learned(trials: Make, claim: Make, study: Make, no_evals: Make) -> None:
    ends = [
        ("stable", None, "learned", 0.0, 1.0),
        ("diverged-loss", "too-hot", "lost", 1.0, 0.0),
        ("stalled", "too-hot", "nothing", 1.0, 0.0),
        ("stalled", "too-cold", "nothing", 0.0, 0.0),
        ("blank-collapse", "untold", "nothing", 0.0, 0.0),
        ("skip-starved", "untold", "learned", 0.0, 1.0),
        ("memorised", None, "memorised", 0.0, 0.0),
        ("too-short", None, "unknown", None, None),
        ("crashed", None, "unknown", None, None),
    ]
    judged = {"numbers": "sound", "judged_with": "300 losses alone"}
    rows = [
        (0, "precision=fp32", {"verdict": end, "stable": end == "stable", "side": side, "learning": learning, **judged})
        for end, side, learning, _, _ in ends
    ]
    for name, place in (("broken", 3), ("learned", 4)):
        found = response(trials(rows), no_evals, claim(response=name), study())
        assert [None if value != value else value for value in found] == [row[place] for row in ends]


def test_what_was_measured_counts_whatever_the_end(trials: Make, claim: Make, study: Make, no_evals: Make) -> None:
    found = response(ended(trials, skipped_calibration=7), no_evals, claim(response="leading_infs"), study())
    assert [None if value != value else value for value in found] == [7.0] * 5 + [None, None, 7.0]
