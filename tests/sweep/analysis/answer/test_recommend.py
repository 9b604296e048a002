import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.analysis.answer.recommend import recommend
from sweep.analysis.answer.safe_setting import Rule
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.tried import space_of
from sweep.records import Outcome

LR = "training.optimizer.lr"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-4, 1e-1]}}
Table = Callable[..., pd.DataFrame]


def evidence(trials: pd.DataFrame, space: dict[str, Any] = SPACE) -> Evidence:
    return Evidence(trials, space_of(space))


def test_no_trials(table: Table) -> None:
    answer = recommend(evidence(table([])))
    assert answer.status == "none" and answer.setting == {} and "No trial has finished" in answer.headline


def test_a_fragile_setting_loses_against_a_slightly_worse_one_in_a_stable_region(table: Table) -> None:
    fragile = [
        {LR: 1e-2, "wer": 0.40},
        {LR: 1.2e-2, "verdict": "diverged-loss"},
        {LR: 1.4e-2, "verdict": "diverged-loss"},
        {LR: 0.9e-2, "verdict": "diverged-nonfinite"},
    ]
    calm = [{LR: lr, "wer": 0.45} for lr in (0.8e-3, 1e-3, 1.2e-3)]
    answer = recommend(evidence(table(fragile + calm)))
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
    answer = recommend(evidence(table(rows)))
    assert answer.status == "confirmed" and answer.setting[LR] == 2e-3
    chosen = answer.chosen
    assert chosen is not None and chosen.group.wer is not None
    assert chosen.group.wer.mean == pytest.approx(0.36) and chosen.group.wer.num == 3
    assert "3 of 3 fresh seeds" in answer.headline
    assert "29 % to 100 %" in answer.sureness[0], "Clopper-Pearson of 3 of 3"


def test_where_no_setting_was_stable_in_every_seed_the_best_one_is_told(table: Table) -> None:
    rows = [{LR: 1e-3, "group": 1, "verdict": v} for v in ("stable", "stable", "stable", "stalled")]
    answer = recommend(evidence(table([*rows, {LR: 1e-2, "group": 2, "verdict": "stalled"}])))
    assert answer.status == "none" and answer.headline.endswith("The best one was stable in 3 of 4 seeds.")


def test_one_unstable_seed_rules_a_setting_out(table: Table) -> None:
    rows = [
        {LR: 1e-3, "wer": 0.1, "group": 1},
        {LR: 1e-3, "group": 1, "phase": "confirm", "verdict": "diverged-loss"},
        {LR: 5e-4, "wer": 0.6, "group": 2},
    ]
    answer = recommend(evidence(table(rows)))
    assert answer.setting[LR] == 5e-4 and answer.num_candidates == 1
    only = recommend(evidence(table(rows[:2])))
    assert only.status == "none" and "none was stable in every one of its seeds" in only.headline


def test_one_trial(table: Table) -> None:
    answer = recommend(evidence(table([{LR: 1e-3}])))
    assert answer.status == "unconfirmed" and answer.setting == {LR: 1e-3}
    assert any("No other setting was tried" in line for line in answer.sureness)


def test_all_stable_says_that_no_edge_was_found(table: Table) -> None:
    answer = recommend(evidence(table([{LR: lr} for lr in (3e-4, 1e-3, 3e-3)])))
    assert any("did not find the edge" in note for note in answer.notes)


@pytest.mark.parametrize("outcome", [o for o in Outcome if not o.is_stable and not o.is_open])
def test_a_common_failure_is_named_with_advice(table: Table, outcome: Outcome) -> None:
    answer = recommend(evidence(table([{LR: lr, "verdict": outcome.value} for lr in (1e-3, 1e-2)])))
    assert answer.status == "none"
    assert f"All 2 trials ended as {outcome.value}." in answer.headline
    assert len(answer.headline.split(". ")) > 2, "advice follows"


@pytest.mark.parametrize(
    ("verdicts", "why"),
    [
        (["too-short"] * 2, "none of 2 trials was judged (2 too short to tell). Train for more steps."),
        (["pruned"] * 2, "none of 2 trials was judged (2 ended by a scheduler or by hand)."),
        (["unjudged"], "none of 1 trial was judged (1 without what it takes to judge them)."),
        (["calibrating"], "was judged (1 still calibrating the loss scale). The loss scale never settled: train"),
        (["too-short", "pruned"], "(1 too short to tell, 1 ended by a scheduler or by hand)."),
    ],
)
def test_where_nothing_could_be_judged_the_answer_says_why(table: Table, verdicts: list[str], why: str) -> None:
    answer = recommend(evidence(table([{LR: 1e-3, "verdict": verdict} for verdict in verdicts])))
    assert answer.status == "none" and answer.headline.startswith("No setting can be recommended: none of ")
    assert why in answer.headline


def test_what_most_trials_need_is_said_also_where_that_is_more_steps(table: Table) -> None:
    rows = [{LR: 1e-3, "verdict": verdict} for verdict in ("diverged-loss", "too-short", "too-short")]
    answer = recommend(evidence(table(rows)))
    assert answer.headline.endswith(
        "none of 1 judged trial was stable (1 diverged-loss; 2 too short to tell). Train for more steps."
    )
    assert answer.sureness[1] == "Of the others nobody can tell: 2 too short to tell."
    memorised = [{LR: 1e-3, "verdict": verdict} for verdict in ("memorised", "memorised", "stalled")]
    headline = recommend(evidence(table(memorised))).headline
    assert "none of 3 trials was stable (2 memorised, 1 stalled). Only the training data were learned." in headline


def test_a_setting_of_which_a_seed_is_open_says_so(table: Table) -> None:
    rows = [{LR: 1e-3, "group": 1, "verdict": verdict} for verdict in ("stable", "stable", "too-short")]
    answer = recommend(evidence(table(rows)))
    assert answer.chosen is not None and answer.chosen.group.stable.total == 2
    assert "Of its other trainings nobody can tell: 1 too short to tell." in answer.notes


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ({"final_train_loss": 0.4, "val_loss": 1.8, "best_val_loss": 1.2}, "after 1.2 at its lowest"),
        ({"final_train_loss": 1.0, "val_loss": 1.8, "best_val_loss": 1.75}, ""),
        ({"final_train_loss": 2.99, "val_loss": 3.1, "best_val_loss": 3.1}, ""),
        ({"final_train_loss": None, "val_loss": 1.8, "best_val_loss": 1.2}, ""),
    ],
)
def test_a_setting_that_memorises_is_not_told_to_train_longer(table: Table, losses: dict[str, Any], told: str) -> None:
    notes = " ".join(recommend(evidence(table([{LR: 1e-3, **losses}]))).notes)
    assert ("It memorises its training data" in notes and "take more data" in notes) == bool(told) and told in notes
    assert ("Train it for longer" in notes) != bool(told)


ONLY_MEMORISED = {"final_train_loss": 0.4, "val_loss": 3.3, "best_val_loss": 2.9, "wer": 0.1}


def test_what_learned_its_training_data_alone_is_never_recommended(table: Table) -> None:
    answer = recommend(evidence(table([{LR: 1e-3, **ONLY_MEMORISED}, {LR: 3e-3, "wer": 0.4, "val_loss": 1.0}])))
    assert answer.setting[LR] == 3e-3 and not answer.alternatives
    for num, what in ((1, "The one setting that was"), (2, "All 2 settings that were")):
        rows = [{LR: 1e-3 * (1 + k), "group": k, **ONLY_MEMORISED} for k in range(num)]
        none = recommend(evidence(table([*rows, {LR: 9e-2, "group": 9, "verdict": "diverged-loss"}])))
        assert none.status == "none" and none.chosen is None
        assert what in none.headline and "training data alone" in none.headline and "Take more data" in none.headline


def test_of_equal_wers_the_validation_loss_decides(table: Table) -> None:
    rows = [{LR: 1e-3, "wer": 0.0, "val_loss": 0.2}, {LR: 1.1e-3, "wer": 0.0, "val_loss": 0.05}]
    assert recommend(evidence(table(rows))).setting[LR] == 1.1e-3
    rows = [{LR: 1e-3, "wer": 0.0, "val_loss": 0.2}, {LR: 1.1e-3, "wer": 0.002, "val_loss": 0.05}]
    assert recommend(evidence(table(rows))).setting[LR] == 1.1e-3, "a label of hundreds is no difference"
    rows = [{LR: 1e-3, "wer": 0.0, "val_loss": 0.2}, {LR: 1.1e-3, "wer": 0.1, "val_loss": 0.05}]
    assert recommend(evidence(table(rows))).setting[LR] == 1e-3


def test_validation_loss_stands_in_for_a_missing_wer(table: Table) -> None:
    rows = [{LR: 1e-3, "wer": None, "val_loss": 2.0}, {LR: 3e-3, "wer": None, "val_loss": 1.0}]
    answer = recommend(evidence(table(rows)))
    assert answer.setting[LR] == 3e-3 and "validation loss 1 nats a label" in answer.headline


def test_a_value_at_the_end_of_its_range_is_pointed_out(table: Table) -> None:
    answer = recommend(evidence(table([{LR: 1e-1, "wer": 0.2}, {LR: 1e-3, "wer": 0.9}])))
    assert any("upper end" in note for note in answer.notes)


def with_edge(num: int = 24) -> list[dict[str, Any]]:
    """Stable below 1e-2, and the better the nearer to it."""
    rows = []
    for place in range(num):
        lr = 1e-4 * 10 ** (3 * place / (num - 1))
        decades = math.log10(lr / 1e-2)
        bad = decades >= 0
        rows.append(
            {LR: lr, "wer": None if bad else 0.1 - 0.1 * decades, "margin": max(min(decades, 1), -1) or 0.01}
            | ({"verdict": "diverged-loss"} if bad else {})
        )
    return rows


def test_the_best_setting_with_a_margin_goes_before_the_best(table: Table) -> None:
    trials = table(with_edge())
    best, safe = recommend(evidence(trials)), recommend(evidence(trials), safety=Rule(6.0, 0.95))
    assert best.safety is None and best.setting[LR] > 1e-2 / 5
    assert safe.safety is not None and safe.safety.meets and safe.safety.setting == safe.setting
    assert 1e-2 / 15 < safe.setting[LR] < 1e-2 / 5 and safe.safety.edge == pytest.approx(1e-2, rel=0.3)
    assert "keep the safety rule, and of equals these come first." in safe.method
    assert safe.chosen is not None and safe.safety.tried_group == safe.chosen.group.group
    assert "safety" not in best.method


def test_confirmed_and_safe_goes_before_confirmed_before_safe(table: Table) -> None:
    rows = with_edge()
    hot = next(i for i in range(24) if rows[i][LR] > 6e-3)
    cold = next(i for i in range(24) if rows[i][LR] > 4e-4)

    def seeds(group: int) -> list[dict[str, Any]]:
        return [{**rows[group], "group": group, "phase": "confirm"} for _ in range(3)]

    one = recommend(evidence(table([*rows, *seeds(hot)])), safety=Rule(3.0, 0.95))
    assert one.setting[LR] == rows[hot][LR] and one.status == "confirmed"
    assert one.safety is not None and not one.safety.meets and "Safety rule not met" in one.safety.why
    assert one.headline.startswith("Best found, but the safety rule is not met: learning rate")
    both = recommend(evidence(table([*rows, *seeds(hot), *seeds(cold)])), safety=Rule(3.0, 0.95))
    assert both.setting[LR] == rows[cold][LR] and both.safety is not None and both.safety.meets
    failed = [{**rows[cold], "group": cold, "phase": "confirm", "verdict": "diverged-loss", "margin": 0.5}]
    out = recommend(evidence(table([*rows, *seeds(hot), *seeds(cold), *failed])), safety=Rule(3.0, 0.95))
    assert out.setting[LR] == rows[hot][LR], "one unstable fresh seed rules a setting out"


def test_a_setting_that_was_only_confirmed_can_be_chosen(table: Table) -> None:
    fresh = [{LR: 1.5e-3, "wer": 0.2, "margin": -0.6, "group": 99, "phase": "confirm"} for _ in range(3)]
    answer = recommend(evidence(table([*with_edge(), *fresh])), safety=Rule(3.0, 0.95))
    assert answer.setting[LR] == 1.5e-3 and answer.status == "confirmed"
    assert "3 of 3 fresh seeds" in answer.headline


def test_a_rule_without_a_model_changes_nothing(table: Table) -> None:
    trials = table([{LR: lr, "wer": wer} for lr, wer in ((1e-3, 0.2), (1e-2, 0.1))])
    assert recommend(evidence(trials), safety=Rule(3.0, 0.95)) == recommend(evidence(trials))


def test_pruned_and_full_size_trials_are_neither_chosen_nor_counted(table: Table) -> None:
    rows = [{LR: 1e-3, "wer": 0.5}, {LR: 2e-3, "wer": 0.1, "phase": "full_size"}]
    pruned = {LR: 3e-3, "verdict": "pruned", "margin": math.nan}
    answer = recommend(evidence(table([*rows, pruned])))
    assert answer.setting[LR] == 1e-3 and answer.num_candidates == 1 and answer.method.startswith("One setting")
    none = recommend(evidence(table([pruned, pruned])))
    assert none.status == "none" and "2 ended by a scheduler" in none.headline


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
    answer = recommend(evidence(trials))
    known = trials[[not Outcome(verdict).is_open for verdict in trials["verdict"]]] if rows else trials
    ended = known.assign(ran=known["stable"] & (known["verdict"] != "foregone")) if rows else known
    some_good = bool(len(known)) and bool(ended.groupby("group").agg({"stable": "all", "ran": "any"}).all(axis=1).any())
    assert (answer.status != "none") == some_good
    if answer.chosen is not None:
        assert trials[trials["trial_id"].isin(answer.chosen.group.trial_ids)]["stable"].all()
