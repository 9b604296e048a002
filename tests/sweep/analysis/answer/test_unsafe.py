from collections.abc import Callable
from typing import Any

import pandas as pd

from sweep.analysis.answer.unsafe import claims, common_failure, fisher_p, lr_brackets
from sweep.analysis.trials.dimensions import dimensions, learning_rate, panel_dimension
from sweep.analysis.trials.tried import space_of
from sweep.records import Outcome

LR, P, CLIP = "training.optimizer.lr", "training.precision.kind", "training.clip.max_norm"
SPACE: dict[str, Any] = {
    P: {"choice": ["fp32", "fp16"]},
    LR: {"loguniform": [1e-4, 1e-1]},
    CLIP: {"loguniform": [0.1, 10]},
}
Table = Callable[..., pd.DataFrame]


def rows_of(precision: str, good: list[float], bad: list[float], **more: Any) -> list[dict[str, Any]]:
    rows = [{P: precision, LR: lr, CLIP: 1.0, **more} for lr in good]
    return rows + [{P: precision, LR: lr, CLIP: 1.0, "verdict": "diverged-loss", **more} for lr in bad]


def test_a_tail_is_stated_with_its_counts_and_never_beyond_them(table: Table) -> None:
    trials = table(rows_of("fp16", [1e-4, 1e-3], [3e-3, 1e-2, 5e-2]) + rows_of("fp32", [1e-3], [2e-2, 3e-2]))
    texts = [c.text for c in claims(trials, dimensions(space_of(SPACE))) if c.kind == "tail"]
    assert len(texts) == 1, "two unstable fp32 trials are too few for a statement"
    assert texts[0].startswith(
        "Learning rate 0.003 or more with precision fp16: 3 of 3 trials unstable (3 diverged-loss"
    )


def test_levels_with_too_few_trials_each_make_one_statement_together(table: Table) -> None:
    trials = table(rows_of("fp16", [1e-4, 1e-3], [3e-3, 5e-2]) + rows_of("fp32", [1e-3, 2e-3], [2e-2, 3e-2]))
    (claim,) = [c for c in claims(trials, dimensions(space_of(SPACE))) if c.kind == "tail"]
    assert claim.text.startswith("Learning rate 0.003 or more: 4 of 4 trials unstable")


def test_a_stable_trial_in_the_middle_ends_the_tail(table: Table) -> None:
    trials = table(rows_of("fp16", [1e-4, 2e-2], [3e-3, 1e-2, 3e-2, 4e-2, 5e-2]))
    (claim,) = [c for c in claims(trials, dimensions(space_of(SPACE))) if c.kind == "tail"]
    assert claim.num_trials == 3 and "0.03 or more" in claim.text


def test_a_level_that_always_failed_is_stated_only_where_others_did_not_beyond_chance(table: Table) -> None:
    bad = rows_of("fp16", [], [1e-3, 2e-3, 3e-3])
    trials = table(bad + rows_of("fp32", [1e-3, 2e-3, 3e-3, 4e-3], []))
    kinds = [c.kind for c in claims(trials, dimensions(space_of(SPACE)))]
    assert kinds.count("level") == 1
    by_chance = table(bad + rows_of("fp32", [1e-3], []))
    assert "level" not in [c.kind for c in claims(by_chance, dimensions(space_of(SPACE)))]
    all_bad = table(rows_of("fp16", [], [1e-3, 2e-3, 3e-3]))
    assert claims(all_bad, dimensions(space_of(SPACE))) == []


def test_levels_are_compared_by_settings_and_without_confirming_trials(table: Table) -> None:
    rates = [1e-4 * 1.5**i for i in range(8)]
    trials = table(rows_of("fp32", rates, []) + rows_of("fp16", [], rates))
    (claim,) = [c for c in claims(trials, dimensions(space_of(SPACE))) if c.kind == "difference"]
    assert "a difference beyond chance" in claim.text and "8 of 8 settings" in claim.text
    few = table(
        rows_of("fp32", rates[:2], []) + rows_of("fp16", [1e-3], [1e-2]) + rows_of("fp32", rates, [], phase="confirm")
    )
    (claim,) = [c for c in claims(few, dimensions(space_of(SPACE))) if c.kind == "difference"]
    assert "do not differ beyond chance" in claim.text and claim.num_trials == 4


def test_fishers_test_on_the_tea_lady() -> None:
    assert abs(fisher_p([[3, 1], [1, 3]]) - 34 / 70) < 1e-9


def test_brackets_see_the_upper_edge_and_not_stalled_trials(table: Table) -> None:
    stalled = [{P: "fp32", LR: 1e-4, CLIP: 1.0, "verdict": "stalled"}]
    trials = table(rows_of("fp32", [1e-3, 4e-3], [8e-3]) + stalled + rows_of("fp16", [1e-3, 6e-3], [5e-3]))
    dims = dimensions(space_of(SPACE))
    lr, panel = learning_rate(dims), panel_dimension(dims)
    assert lr is not None
    fp32, fp16 = lr_brackets(trials, lr, panel)
    assert (fp32.highest_stable, fp32.lowest_unstable, fp32.mixed) == (4e-3, 8e-3, False)
    assert (fp16.highest_stable, fp16.lowest_unstable, fp16.mixed) == (6e-3, 5e-3, True)
    assert (fp16.num_stable_at_or_below, fp16.num_at_or_below) == (2, 3)


def test_a_setting_of_which_a_seed_diverged_is_not_the_highest_stable_one(table: Table) -> None:
    rows = [{P: "fp32", LR: lr, CLIP: 1.0, "group": g} for g, lr in enumerate((1e-3, 4e-3))]
    rows += [{**rows[1], "verdict": "diverged-loss"}, {P: "fp32", LR: 8e-3, CLIP: 1.0, "verdict": "pruned"}]
    trials = table(rows)
    dims = dimensions(space_of(SPACE))
    lr = learning_rate(dims)
    assert lr is not None
    (bracket,) = lr_brackets(trials, lr, panel_dimension(dims))
    assert (bracket.highest_stable, bracket.lowest_unstable, bracket.num_trials) == (1e-3, 4e-3, 3)


def test_a_common_failure_needs_all_trials_to_fail_alike(table: Table) -> None:
    assert common_failure(table([{"verdict": "stalled"}, {"verdict": "stalled"}])) is Outcome.STALLED
    assert common_failure(table([{"verdict": "stalled"}, {"verdict": "crashed"}])) is None
    assert common_failure(table([{}, {}])) is None
