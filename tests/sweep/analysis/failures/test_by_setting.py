from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.failures.by_setting import compared, failures_by_setting, inner_edges
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.dimensions import dimensions
from sweep.analysis.trials.tried import space_of
from sweep.records import Cause, Explanation, Outcome

Table = Callable[..., pd.DataFrame]

LR, KIND, SCALE = "training.optimizer.lr", "training.precision.kind", "training.precision.initial_scale"
SPACE: dict[str, Any] = {
    KIND: {"choice": ["fp32", "fp16"]},
    LR: {"loguniform": [3e-5, 1.0]},
    SCALE: {"grid": [256, 65536], "when": {KIND: ["fp16"]}},
    "model.kind": {"choice": ["teacher"]},
}


def rows(**first: Any) -> list[dict[str, Any]]:
    """Eight trials, learning rates rising; the first one as given."""
    found: list[dict[str, Any]] = []
    for index, lr in enumerate((5e-5, 1e-4, 5e-3, 2e-2, 0.1, 0.2, 0.5, 1.0)):
        half = index % 2 == 1
        verdict = "diverged-loss" if lr > 0.05 else "stable"
        own = {KIND: "fp16" if half else "fp32", LR: lr, SCALE: 256.0 if half else None, "model.kind": "teacher"}
        found.append({"verdict": verdict, **own, **(first if index == 0 else {})})
    return found


def parts(trials: pd.DataFrame, explanations: dict[str, Explanation] | None = None) -> dict[str, list[tuple[Any, ...]]]:
    found = failures_by_setting(Evidence(trials, space_of(SPACE)), dimensions(space_of(SPACE)), explanations or {})
    return {one.dim.path: [(p.text, p.num_failed, p.outcomes.num_trials) for p in one.parts] for one in found}


def test_every_trial_is_in_one_part_and_a_bin_holds_its_lower_end(table: Table) -> None:
    found = parts(table(rows()))
    assert found[LR] == [
        ("3e-5 to 0.0001", 0, 1),
        ("0.0001 to 0.001", 0, 1),
        ("0.001 to 0.01", 0, 1),
        ("0.01 to 0.1", 0, 1),
        ("0.1 to 1", 4, 4),
    ]
    assert found[KIND] == [("fp32", 2, 4), ("fp16", 2, 4)]


def test_a_grid_has_its_values_an_inactive_setting_no_part_and_a_single_level_no_entry(table: Table) -> None:
    found = parts(table(rows()))
    assert found[SCALE] == [("256", 2, 4), ("65536", 0, 0)]
    assert "model.kind" not in found


@pytest.mark.parametrize(
    "other",
    [{"phase": "confirm"}, {"phase": "full_size"}, {"verdict": "pruned"}, {"settings_changed_at_step": 40}],
    ids=["confirming", "at full size", "pruned", "settings changed"],
)
def test_trials_that_say_nothing_of_the_searched_settings_are_left_out(table: Table, other: dict[str, Any]) -> None:
    trials = table(rows(**other))
    assert list(compared(trials)["trial_id"]) == [f"t{i:03d}" for i in range(1, 8)]
    assert parts(trials)[KIND] == [("fp32", 2, 3), ("fp16", 2, 4)]


def test_causes_stand_where_their_trials_are(table: Table) -> None:
    trials = table(rows())
    hot, unknown = Explanation(Cause.LR_TOO_HIGH, "too high"), Explanation(Cause.UNKNOWN, "unknown")
    explanations = {"t005": hot, "t006": unknown, "t007": hot, "t000": hot}
    _, lr, *_ = failures_by_setting(Evidence(trials, space_of(SPACE)), dimensions(space_of(SPACE)), explanations)
    assert lr.parts[-1].causes == ((Cause.LR_TOO_HIGH, 2), (Cause.UNKNOWN, 1))
    assert lr.parts[0].causes == (), "a stable trial has no cause of failure"
    assert lr.parts[-1].outcomes.counts == {Outcome.DIVERGED_LOSS: 4}


@pytest.mark.parametrize(
    ("low", "high", "log", "edges"),
    [
        (3e-5, 1.0, True, [1e-4, 1e-3, 1e-2, 1e-1]),
        (0.1, 100, True, [1, 10]),
        (1e-4, 1e3, True, [1e-3, 1e-2, 1e-1, 1, 10, 100]),
        (1e-12, 1e3, True, [1e-9, 1e-6, 1e-3, 1]),
        (0.0, 1.0, False, [0.25, 0.5, 0.75]),
        (-0.3, 0.3, False, [-0.2, 0.0, 0.2]),
        (5.0, 5.0, False, []),
        (2.0, 2.0, True, []),
    ],
)
def test_ranges_are_cut_at_round_values(low: float, high: float, log: bool, edges: list[float]) -> None:
    assert inner_edges(low, high, log) == pytest.approx(edges, abs=1e-12)


def test_no_range_has_more_than_seven_bins_and_all_edges_lie_within() -> None:
    for decades in range(1, 20):
        for low in (1e-9, 2.5e-9, 7e-9):
            edges = inner_edges(low, low * 10**decades, log=True)
            assert 1 <= len(edges) <= 6
            assert all(a < b for a, b in pairwise([low, *edges, low * 10**decades]))


def test_a_range_of_more_numbers_than_memory_holds_is_cut_into_bins(table: Table) -> None:
    space = space_of({LR: {"int": [1, 2**53]}})
    trials = table([{"verdict": "stable" if i else "diverged-loss", LR: 2**i * 1000} for i in range(8)])
    (found,) = failures_by_setting(Evidence(trials, space), dimensions(space), {})
    assert 2 <= len(found.parts) <= 8 and sum(part.outcomes.num_trials for part in found.parts) == 8
