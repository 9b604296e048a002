"""What the answer says of the next best setting, and of the result from fresh seeds alone."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep import yaml_source
from sweep.analysis.answer.recommend import Recommendation, recommend
from sweep.analysis.answer.safe_setting import Rule
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.groups import mean_interval, setting_groups
from sweep.analysis.trials.tried import space_of
from sweep.study import Study, validate

LR = "training.optimizer.lr"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-4, 1.0]}}
Table = Callable[..., pd.DataFrame]


def study(confirm: str = "{settings: 1, seeds: 3}") -> Study:
    text = f"""
name: s
model: {{kind: baseline}}
data: {{kind: synthetic}}
space: {{{LR}: {{loguniform: [1e-4, 1]}}}}
budget: {{trials: 6, steps: 10}}
confirm: {confirm}
"""
    return validate(yaml_source.parse(text, "s.yaml")).study


def fresh(group: int, lr: float, wers: list[float], losses: list[float] | None = None) -> list[dict[str, Any]]:
    return [
        {
            LR: lr,
            "group": group,
            "phase": "confirm",
            "seed": 10_000 + n,
            "wer": wer,
            "val_loss": losses[n] if losses else 1,
        }
        for n, wer in enumerate(wers)
    ]


def answer(table: Table, rows: list[dict[str, Any]], safety: Rule | None = None, **more: Any) -> Recommendation:
    rows = [{"margin": -0.3, "seed": 0, **row} for row in rows]
    return recommend(Evidence(table(rows), space_of(SPACE)), "wer", safety, more.get("study", study()))


def explored(*pairs: tuple[int, float, float]) -> list[dict[str, Any]]:
    return [{LR: lr, "group": group, "wer": wer} for group, lr, wer in pairs]


def test_it_is_ahead_of_the_one_behind_by_a_paired_interval(table: Table) -> None:
    # Every seed is harder or easier for both.
    rows = explored((0, 1e-3, 0.2), (1, 2e-3, 0.2))
    rows += fresh(0, 1e-3, [0.10, 0.20, 0.30]) + fresh(1, 2e-3, [0.118, 0.221, 0.321])
    found = answer(table, rows)
    assert found.setting[LR] == 1e-3
    told = "It is ahead of learning rate 0.002 (trial t001), by 2.0 points of WER (1.4 to 2.6 over 3 paired seeds)."
    assert found.runner_up == told


def test_what_cannot_be_told_apart_says_so(table: Table) -> None:
    rows = explored((0, 1e-3, 0.2), (1, 2e-3, 0.2))
    rows += fresh(0, 1e-3, [0.10, 0.20, 0.30]) + fresh(1, 2e-3, [0.15, 0.19, 0.35])
    found = answer(table, rows).runner_up
    assert (
        found.startswith("It cannot be told apart from learning rate 0.002") and "3.0 points of WER ahead (-" in found
    )


def test_equal_ones_may_both_be_taken_unless_the_loss_tells_them_apart(table: Table) -> None:
    rows = explored((0, 1e-3, 0.2), (1, 2e-3, 0.2))
    wers = [0.20, 0.21, 0.22]
    even = answer(table, rows + fresh(0, 1e-3, wers, [1.0, 1.1, 1.2]) + fresh(1, 2e-3, wers, [1.1, 1.0, 1.3]))
    assert even.runner_up.startswith("It is equal within what matters to learning rate 0.002")
    assert even.runner_up.endswith(": take either.")
    lower = answer(table, rows + fresh(0, 1e-3, wers, [1.0, 1.1, 1.2]) + fresh(1, 2e-3, wers, [0.6, 0.7, 0.8]))
    assert lower.setting[LR] == 2e-3 and lower.runner_up.endswith("; its validation loss is lower.")


def test_a_better_one_that_is_not_safe_is_named_with_the_reason(table: Table) -> None:
    edge = [
        {LR: 1e-4 * 10 ** (k / 8), "group": k, "wer": 0.5, "verdict": "stable" if k < 20 else "diverged-loss"}
        for k in range(32)
    ]
    edge = [row | {"margin": -0.5 if row["verdict"] == "stable" else 0.5} for row in edge]
    rows = edge + fresh(2, edge[2][LR], [0.40, 0.41, 0.42]) + fresh(19, edge[19][LR], [0.20, 0.212, 0.22])
    found = answer(table, rows, Rule(3.0, 0.9))
    assert found.safety is not None and found.safety.meets and found.setting[LR] == edge[2][LR]
    assert "Better by 19.9 points of WER" in found.runner_up
    assert found.runner_up.endswith(
        "over 3 paired seeds) was learning rate 0.0237 (trial t019), but it does not keep the safety rule."
    )


def test_one_that_was_not_confirmed_is_named_too(table: Table) -> None:
    rows = explored((0, 1e-3, 0.3), (1, 2e-3, 0.2)) + fresh(0, 1e-3, [0.3, 0.31, 0.3])
    told = "Next best is learning rate 0.002 (trial t001); what separates them was not tried with fresh seeds."
    assert answer(table, rows).runner_up == told
    assert answer(table, rows[:1]).runner_up == ""


def test_the_expected_result_is_that_of_fresh_seeds_with_the_choice_allowed_for(table: Table) -> None:
    lucky = explored((0, 1e-3, 0.01), (1, 2e-3, 0.2))
    ours = [0.20, 0.22, 0.27]
    rows = lucky + fresh(0, 1e-3, ours) + fresh(1, 2e-3, [0.3, 0.4, 0.33])
    found = answer(table, rows)
    group = found.chosen.group
    low, high = mean_interval(pd.Series(ours).to_numpy(), 0.975)
    assert (group.wer.mean, group.wer.ci_low, group.wer.ci_high) == pytest.approx((0.23, low, high))
    assert found.num_picked_from == 2 and "23.0 % on average (20.0 % to 27.0 %)" in found.expected
    assert f"{100 * low:.1f} % to {100 * high:.1f} %, corrected for the choice among 2" in found.expected
    alone = answer(table, lucky + fresh(0, 1e-3, ours))
    assert alone.chosen.group.wer == setting_groups(table(rows), Evidence(table(rows), space_of(SPACE)).dims)[0].wer
    assert "corrected" not in alone.expected


def test_confirmed_settings_are_ranked_by_their_fresh_seeds_where_nothing_failed(table: Table) -> None:
    # Many neighbours make the first one look safer, although nothing failed anywhere.
    crowd = explored(*((n, 1e-3 * 1.01**n, 0.3) for n in range(8)), (8, 0.5, 0.3))
    rows = crowd + fresh(0, 1e-3, [0.30, 0.31, 0.30]) + fresh(8, 0.5, [0.28, 0.29, 0.28])
    assert answer(table, rows).setting[LR] == 0.5


def test_more_looks_make_an_interval_wider(table: Table) -> None:
    rows = explored((0, 1e-3, 0.2), (1, 2e-3, 0.2))
    rows += fresh(0, 1e-3, [0.10, 0.20, 0.30]) + fresh(1, 2e-3, [0.118, 0.221, 0.321])
    told = answer(table, rows, study=study("{settings: 1, seeds: 3, max_trainings: 20}")).runner_up
    assert "(0.2 to 3.8 over 3 paired seeds)" in told
