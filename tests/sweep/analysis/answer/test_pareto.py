"""Which stable settings none beats in both result and cost."""

import itertools
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.answer.pareto import pareto_front, stable_settings
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.tried import space_of

SPACE = {"lr": {"loguniform": [1e-4, 1.0]}}


def evidence(trials: pd.DataFrame, space: dict[str, Any] = SPACE) -> Evidence:
    return Evidence(trials, space_of(space))


def row(group: int, wer: float, step_time_s: float | None, **more) -> dict:
    return {
        "group": group,
        "lr": (group + 1) / 100,
        "wer": wer,
        "step_time_s": step_time_s,
        "peak_memory_mib": 100.0,
        **more,
    }


def front(table, rows, **more) -> list[int]:
    arguments = {"metric": "wer", "cost": "step_time_s", **more}
    return [r.group for r in pareto_front(evidence(table(rows)), **arguments)]


def test_what_another_beats_in_both_is_left_out_and_the_cheapest_comes_first(table) -> None:
    rows = [row(0, 0.1, 0.9), row(1, 0.5, 0.2), row(2, 0.6, 0.3), row(3, 0.3, 0.5), row(4, 0.3, 0.6)]
    assert front(table, rows) == [1, 3, 0]
    every = stable_settings(evidence(table(rows)), "wer", "step_time_s")
    assert [(r.group, r.dominated) for r in every] == [(1, False), (2, True), (3, False), (4, True), (0, False)]
    assert every[0].setting == {"lr": 0.02} and (every[0].result, every[0].cost) == (0.5, 0.2)


def test_a_fast_divergence_is_never_on_the_front(table) -> None:
    rows = [row(0, 0.5, 0.5), row(1, 0.0, 0.001, verdict="diverged-loss")]
    assert front(table, rows) == [0]


def test_one_unstable_seed_of_two_takes_a_setting_away_and_seeds_are_averaged(table) -> None:
    rows = [row(0, 0.2, 0.4), row(0, 0.4, 0.6), row(1, 0.1, 0.1), row(1, 0.1, 0.1, verdict="stalled")]
    found = pareto_front(evidence(table(rows)), "wer", "step_time_s")
    assert [(r.group, r.result, r.cost) for r in found] == [(0, pytest.approx(0.3), pytest.approx(0.5))]


def test_pruned_and_changed_trainings_and_unknown_costs_do_not_count(table) -> None:
    rows = [
        row(0, 0.5, 0.5),
        row(1, 0.1, 0.1, verdict="pruned"),
        row(2, 0.1, 0.1, settings_changed_at_step=10),
        row(3, 0.1, None),
        row(4, 0.1, 0.1, phase="full_size"),
    ]
    assert front(table, rows) == [0]
    assert front(table, rows, cost="peak_memory_mib") == [3], "its memory is known"


def test_equal_settings_are_both_on_the_front_and_nothing_gives_nothing(table) -> None:
    assert sorted(front(table, [row(0, 0.5, 0.5), row(1, 0.5, 0.5)])) == [0, 1]
    assert front(table, [row(0, 0.5, 0.5), row(1, 0.4, 0.5)]) == [1]
    assert front(table, []) == []


def test_the_front_is_that_of_the_definition(table) -> None:
    values = [(0.1 * (7 * k % 10), 0.1 * (3 * k % 7)) for k in range(20)]
    found = set(front(table, [row(k, wer, cost) for k, (wer, cost) in enumerate(values)]))

    def dominates(a, b) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    beaten = {j for i, j in itertools.permutations(range(20), 2) if dominates(values[i], values[j])}
    assert found == set(range(20)) - beaten
