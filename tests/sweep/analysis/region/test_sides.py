"""Failed trainings that do not tell on which side they failed: their neighbours do."""

import math
from collections.abc import Callable
from typing import Any

import pandas as pd

from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.tried import space_of
from sweep.records import Side

LR, MODEL = "training.optimizer.lr", "model.kind"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-5, 1e-1]}}
Table = Callable[..., pd.DataFrame]


def band(num: int = 30) -> list[dict[str, Any]]:
    """Stable from 1e-4 to 1e-2; what fails says nothing of its side."""
    rows = []
    for place in range(num):
        lr = 1e-5 * 10 ** (4 * place / (num - 1))
        outside = abs(math.log10(lr) + 3) - 1
        bad = outside > 0
        rows.append(
            {LR: lr, "margin": max(min(outside, 1), -1), "side": "untold" if bad else None}
            | ({"verdict": "stalled"} if bad else {})
        )
    return rows


def sides(rows: list[dict[str, Any]], table: Table, space: dict[str, Any] = SPACE) -> dict[float, Side]:
    trials = table(rows)
    found = Evidence(trials, space_of(space)).sides
    return {row[LR]: found[i] for row, i in zip(rows, trials["trial_id"], strict=True) if i in found}


def test_the_stable_ones_beside_it_tell_where_a_training_failed(table: Table) -> None:
    found = sides(band(), table)
    assert found and all(side is (Side.TOO_COLD if lr < 1e-3 else Side.TOO_HOT) for lr, side in found.items())


def test_a_failure_amid_what_works_lies_at_the_edge_that_is_nearer_by_far(table: Table) -> None:
    rows = band(40)
    within = [{LR: lr, "margin": 0.01, "side": "untold", "verdict": "stalled"} for lr in (7e-3, 1e-3, 1.4e-4)]
    found = sides([*rows, *within], table)
    assert [found[row[LR]] for row in within] == [Side.TOO_HOT, Side.UNTOLD, Side.TOO_COLD]


def test_what_a_training_says_itself_holds(table: Table) -> None:
    rows = band()
    rows[0]["side"], rows[-1]["side"] = "too-hot", "too-cold"
    found = sides(rows, table)
    assert found[rows[0][LR]] is Side.TOO_HOT and found[rows[-1][LR]] is Side.TOO_COLD


def test_without_a_map_or_a_learning_rate_they_stay_open(table: Table) -> None:
    assert set(sides(band()[:4], table).values()) == {Side.UNTOLD}
    width = {"model.width": {"uniform": [1e-5, 1e-1]}}
    rows = [{**row, "model.width": row[LR]} for row in band()]
    assert set(sides(rows, table, width).values()) == {Side.UNTOLD}


def test_tables_without_sides_know_those_that_diverged(table: Table) -> None:
    rows = [{**row, "side": None} for row in band()]
    rows[-1]["verdict"] = "diverged-loss"
    rows[0]["verdict"] = "crashed"
    found = sides(rows, table)
    assert found[rows[-1][LR]] is Side.TOO_HOT and rows[0][LR] not in found
    assert found[rows[1][LR]] is Side.TOO_COLD
