"""What a claim measures of trainings that ended open."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from slr_models.errors import SettingError
from sweep.analysis.claims.pairs import pairs
from sweep.analysis.claims.responses import response
from sweep.study import load
from sweep.study.claim import in_words

Make = Callable[..., Any]
ENDS = ("stable", "stalled", "too-short", "unjudged", "calibrating", "pruned", "crashed", "memorised")
BROKEN_OFF = ("crashed", "out-of-memory", "hung", "timed-out", "pruned")
OWN = """
name: mine
trial: {kind: function, target: "my_train:train"}
objective: {maximize: accuracy}
design: {kind: paired, blocks: 8, looks: 1, factors: {precision: {precision: [fp32, fp16]}}}
budget: {}
claims:
  - {name: c, text: half costs, factor: precision, response: score, expected: lower, smallest_effect: 0.01}
"""


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


@pytest.mark.parametrize("end", BROKEN_OFF)
@pytest.mark.parametrize("name", ["stable", "val_loss", "step_time_s", "skipped_rate"])
def test_what_was_broken_off_says_nothing_of_its_setting(
    trials: Make, claim: Make, study: Make, no_evals: Make, name, end
) -> None:
    table = trials([(0, "precision=fp32", {"verdict": end, "stable": False})])
    assert response(table, no_evals, claim(response=name), study()).isna().all()


def test_a_score_of_ones_own_counts_as_it_was_reported(trials: Make, no_evals: Make, tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    own = load(tmp_path / "mine.yaml").study
    scores = [(0.9, True), (0.8, True), (0.3, False), (0.95, True)]
    rows = [
        (
            k // 2,
            f"precision={('fp32', 'fp16')[k % 2]}",
            {"verdict": "stable" if ok else "stalled", "stable": ok, "score": -s},
        )
        for k, (s, ok) in enumerate(scores)
    ]
    found = response(trials(rows), no_evals, own.claims[0], own)
    assert found.tolist() == pytest.approx([0.9, 0.8, 0.8, 0.95]), "a failure counts as the worst of a stable one"
    seen = pairs(trials(rows), own.claims[0], own, no_evals)
    assert seen.effects.tolist() == pytest.approx([-0.1, 0.15])
    told = in_words(own.claims[0], own.design)
    assert (
        told
        == "difference of the score, precision=fp16 against fp32: lower by 0.01 of the score against 0 (alpha 0.05)"
    )


def test_our_own_loop_has_no_score_of_ones_own(tmp_path) -> None:
    text = OWN.replace(
        'trial: {kind: function, target: "my_train:train"}', "model: {kind: baseline}\ndata: {kind: synthetic}"
    )
    text = text.replace("objective: {maximize: accuracy}\n", "").replace("budget: {}", "budget: {steps: 10}")
    (tmp_path / "mine.yaml").write_text(text.replace("{precision: [", "{training.precision.kind: ["))
    with pytest.raises(SettingError, match="response score is of trainings of the user's own"):
        load(tmp_path / "mine.yaml")
