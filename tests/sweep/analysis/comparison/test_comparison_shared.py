from collections.abc import Callable
from typing import Any

import pandas as pd

from sweep.analysis.comparison.shared import StudyRun, in_part, matched, shared_part, unguided
from sweep.study.reading import of_content

LR, KIND = "training.optimizer.lr", "training.precision.kind"
Table = Callable[..., pd.DataFrame]
LEAST: dict[str, Any] = {
    "name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100},
}  # fmt: skip
"""Of a study, what has no default."""


def run_of(content: dict[str, Any], trials: pd.DataFrame, *claims: Any) -> StudyRun:
    return StudyRun(of_content({**LEAST, **content}), trials, *claims)


def run(table: Table, rows: list[dict[str, Any]], space: dict[str, Any], **study: Any) -> StudyRun:
    return run_of({"space": space, **study}, table(rows))


def test_the_shared_part_is_where_ranges_overlap_and_a_fixed_value_is_a_range_of_one(table: Table) -> None:
    a = run(table, [{LR: 1e-4, KIND: "fp32"}, {LR: 1e-2, KIND: "fp32"}, {LR: 1e-2, KIND: "fp16"}],
            {LR: {"loguniform": [1e-5, 1e-1]}, KIND: {"choice": ["fp32", "fp16"]}})  # fmt: skip
    b = run(table, [{LR: 1e-3}, {LR: 0.5}], {LR: {"loguniform": [1e-3, 1.0]}},
            training={"precision": {"kind": "fp32"}})  # fmt: skip
    shared = shared_part(a, b)
    assert not shared.empty and not shared.one_sided
    assert list(in_part(a, shared)["number"]) == [1]
    assert list(in_part(b, shared)["number"]) == [0]
    assert any("learning rate: 0.001 to 0.1 (A 1e-5 to 0.1; B 0.001 to 1)" in text for text in shared.narrowed)


def test_ranges_that_do_not_overlap_and_settings_that_one_study_lacks_are_named(table: Table) -> None:
    a = run(table, [{LR: 1e-4}], {LR: {"loguniform": [1e-5, 1e-3]}, "model.new": {"choice": [1, 2]}})
    b = run(table, [{LR: 1e-1}], {LR: {"loguniform": [1e-2, 1.0]}})
    assert shared_part(a, b).empty == (LR,)
    assert shared_part(a, b).one_sided == ("model.new",)


def test_only_settings_that_were_chosen_without_regard_to_outcomes_are_a_fair_sample(table: Table) -> None:
    rows = [{LR: 1e-3, "group": 0}, {LR: 1e-3, "group": 0}, {LR: 1e-3, "group": 1}, {LR: 1e-2, "group": 2}]
    space = {LR: {"loguniform": [1e-4, 1e-1]}}
    searched = run(table, rows, space, search={"kind": "tpe", "num_startup": 2})
    drawn = run(table, rows, space, search={"kind": "random"})
    assert list(unguided(searched, searched.trials)["number"]) == [0, 2]
    assert list(unguided(drawn, drawn.trials)["number"]) == [0, 2, 3]


def test_the_same_setting_is_paired_also_where_one_study_fixes_it(table: Table) -> None:
    a = run(table, [{LR: 1e-3, KIND: "fp16"}, {LR: 1e-3, KIND: "fp32"}, {LR: 2e-3, KIND: "fp32"}],
            {LR: {"loguniform": [1e-4, 1e-1]}, KIND: {"choice": ["fp32", "fp16"]}})  # fmt: skip
    b = run(
        table, [{LR: 5e-3}, {LR: 1e-3}], {LR: {"loguniform": [1e-4, 1e-1]}}, training={"precision": {"kind": "fp32"}}
    )
    (pair,) = matched(a, b, a.trials, b.trials)
    assert (pair.before["number"], pair.after["number"]) == (1, 1)


def test_confirming_trials_are_left_out_since_they_were_chosen_as_stable(table: Table) -> None:
    rows = [{LR: 1e-3}, {LR: 1e-3, "phase": "confirm"}, {LR: 1e-3, "verdict": "pruned"}]
    one = run(table, rows, {LR: {"loguniform": [1e-4, 1e-1]}})
    assert list(in_part(one, shared_part(one, one))["number"]) == [0]
