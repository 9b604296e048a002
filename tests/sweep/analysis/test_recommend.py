import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.analysis.recommend import recommend
from sweep.records import Outcome

LR = "training.optimizer.lr"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-4, 1e-1]}}
Table = Callable[..., pd.DataFrame]


def test_no_trials(table: Table) -> None:
    answer = recommend(table([]), SPACE)
    assert answer.status == "none" and answer.setting == {} and "No trial has finished" in answer.headline


def test_a_fragile_setting_loses_against_a_slightly_worse_one_in_a_stable_region(table: Table) -> None:
    fragile = [
        {LR: 1e-2, "wer": 0.40},
        {LR: 1.2e-2, "verdict": "diverged-loss"},
        {LR: 1.4e-2, "verdict": "diverged-loss"},
        {LR: 0.9e-2, "verdict": "diverged-nonfinite"},
    ]
    calm = [{LR: lr, "wer": 0.45} for lr in (0.8e-3, 1e-3, 1.2e-3)]
    answer = recommend(table(fragile + calm), SPACE)
    assert answer.setting[LR] == 1e-3
    assert answer.status == "unconfirmed"
    fragile_score = next(c.score for c in answer.alternatives if c.group.setting[LR] == 1e-2)
    assert answer.chosen is not None and fragile_score > answer.chosen.score


def test_a_setting_confirmed_with_fresh_seeds_goes_first_and_reports_only_those(table: Table) -> None:
    rows = [
        {LR: 1e-3, "wer": 0.30, "group": 1},
        {LR: 2e-3, "wer": 0.31, "group": 2},
        *({LR: 2e-3, "wer": wer, "group": 2, "phase": "confirm"} for wer in (0.34, 0.36, 0.38)),
    ]
    answer = recommend(table(rows), SPACE)
    assert answer.status == "confirmed" and answer.setting[LR] == 2e-3
    chosen = answer.chosen
    assert chosen is not None and chosen.group.wer is not None
    assert chosen.group.wer.mean == pytest.approx(0.36) and chosen.group.wer.num == 3
    assert "3 of 3 fresh seeds" in answer.headline
    assert "29 % to 100 %" in answer.sureness[0], "Clopper-Pearson of 3 of 3"


def test_one_unstable_seed_rules_a_setting_out(table: Table) -> None:
    rows = [
        {LR: 1e-3, "wer": 0.1, "group": 1},
        {LR: 1e-3, "group": 1, "phase": "confirm", "verdict": "diverged-loss"},
        {LR: 5e-4, "wer": 0.6, "group": 2},
    ]
    answer = recommend(table(rows), SPACE)
    assert answer.setting[LR] == 5e-4 and answer.num_candidates == 1
    only = recommend(table(rows[:2]), SPACE)
    assert only.status == "none" and "none was stable in every one of its seeds" in only.headline


def test_one_trial(table: Table) -> None:
    answer = recommend(table([{LR: 1e-3}]), SPACE)
    assert answer.status == "unconfirmed" and answer.setting == {LR: 1e-3}
    assert any("No other setting was tried" in line for line in answer.sureness)


def test_all_stable_says_that_no_edge_was_found(table: Table) -> None:
    answer = recommend(table([{LR: lr} for lr in (3e-4, 1e-3, 3e-3)]), SPACE)
    assert any("did not find the edge" in note for note in answer.notes)


@pytest.mark.parametrize("outcome", [o for o in Outcome if not o.is_stable])
def test_a_common_failure_is_named_with_advice(table: Table, outcome: Outcome) -> None:
    answer = recommend(table([{LR: lr, "verdict": outcome.value} for lr in (1e-3, 1e-2)]), SPACE)
    assert answer.status == "none"
    assert f"All 2 trials ended as {outcome.value}." in answer.headline
    assert len(answer.headline.split(". ")) > 2, "advice follows"


def test_validation_loss_stands_in_for_a_missing_wer(table: Table) -> None:
    rows = [{LR: 1e-3, "wer": None, "val_loss": 2.0}, {LR: 3e-3, "wer": None, "val_loss": 1.0}]
    answer = recommend(table(rows), SPACE)
    assert answer.setting[LR] == 3e-3 and "validation loss 1 nats a label" in answer.headline


def test_a_value_at_the_end_of_its_range_is_pointed_out(table: Table) -> None:
    answer = recommend(table([{LR: 1e-1, "wer": 0.2}, {LR: 1e-3, "wer": 0.9}]), SPACE)
    assert any("upper end" in note for note in answer.notes)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(1e-4, 1e-1),
            st.sampled_from(list(Outcome)),
            st.sampled_from([0.2, 0.5, None, math.nan]),
            st.integers(0, 3),
            st.sampled_from(["explore", "confirm"]),
        ),
        max_size=8,
    )
)
def test_whatever_the_trials_a_recommended_setting_was_stable_in_every_seed(table: Table, rows: list[Any]) -> None:
    lrs = {group: lr for lr, _, _, group, _ in rows}
    trials = table([{LR: lrs[g], "verdict": o.value, "wer": w, "group": g, "phase": p} for _, o, w, g, p in rows])
    answer = recommend(trials, SPACE)
    some_good = bool(rows) and bool(trials.groupby("group")["stable"].all().any())
    assert (answer.status != "none") == some_good
    if answer.chosen is not None:
        assert trials[trials["trial_id"].isin(answer.chosen.group.trial_ids)]["stable"].all()
