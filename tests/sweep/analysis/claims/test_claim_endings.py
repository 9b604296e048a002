"""What became of the trainings behind a claim."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from sweep.analysis.claims.verdict import judge

Make = Callable[..., dict[str, Any]]
Table = Callable[..., pd.DataFrame]
Evals = Callable[[str], pd.DataFrame]

LOSSES = {
    "falling": [2.0, 1.0, 0.9, 0.6],
    "flat": [2.0, 0.62, 0.61, 0.6],
    "early": [0.6],
}


def losses_of(kinds: dict[int, str]) -> Evals:
    def evals(trial_id: str) -> pd.DataFrame:
        values = LOSSES[kinds[int(trial_id)]]
        return pd.DataFrame({"step": range(25, 25 * len(values) + 1, 25), "val_loss": values})

    return evals


def test_outcomes_are_counted_at_each_level(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    rows: list[tuple[int, str, dict[str, Any]]] = []
    for block in range(8):
        rows.append((block, "precision=fp32", {}))
        rows.append((block, "precision=fp16", {"stable": block > 2, **({"verdict": "stalled"} if block == 0 else {})}))
    (found,) = judge(trials(rows), study(design={"blocks": 8, "looks": 1}, claims=[claim()]), no_evals)
    assert found.endings == "fp32: 8 stable; fp16: 5 stable, 2 diverged-loss, 1 stalled."


def test_blocks_that_are_left_out_are_not_counted(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    rows: list[tuple[int, str, dict[str, Any]]] = [
        (block, f"precision={level}", {"verdict": "crashed", "stable": False} if (block, level) == (1, "fp16") else {})
        for block in range(4)
        for level in ("fp32", "fp16")
    ]
    (found,) = judge(trials(rows), study(design={"blocks": 4, "looks": 1}, claims=[claim()]), no_evals)
    assert found.endings == "fp32: 3 stable; fp16: 3 stable."


def test_a_mean_that_is_missed_says_what_kept_trainings_from_it(trials: Table, study: Make, claim: Make) -> None:
    short: dict[int, dict[str, Any]] = {
        0: {"wer": 0.3},
        1: {"wer": 0.3},
        2: {"wer": 0.4},
        3: {"wer": 0.9, "verdict": "blank-collapse", "stable": False},
    }
    rows = [(block, "precision=fp32", short.get(block, {"wer": 0.0})) for block in range(6)]
    rows += [(block, "precision=fp16", {}) for block in range(6)]
    wanted = claim(response="wer", effect="mean", levels=["fp32"], expected="equal", value=0.0, smallest_effect=0.05)
    made = study(design={"blocks": 6, "looks": 1}, claims=[wanted])
    (found,) = judge(trials(rows), made, losses_of({0: "falling", 1: "flat", 2: "early"}))
    assert found.endings == (
        "fp32: 5 stable, 1 blank-collapse. Of the 4 trainings that did not get there: 1 with a loss still falling over "
        "the last quarter of the steps, so more steps may do; 2 with a loss no longer falling, so more of the same "
        "will not do; 1 blank-collapse."
    )
    rows = [(block, cell, {**changes, "wer": 0.0, "stable": True}) for block, cell, changes in rows]
    (found,) = judge(trials(rows), made, losses_of({}))
    assert found.endings.endswith("All of them got there.")
