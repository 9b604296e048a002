from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.answer.unsafe import fisher_p
from sweep.analysis.claims.paired_shares import share_interval
from sweep.analysis.comparison.changes import StudyChange
from sweep.analysis.comparison.power import independent_power, paired_power
from sweep.analysis.comparison.shared import StudyRun, shared_part
from sweep.analysis.comparison.stability import (
    FairSample,
    fair_sample,
    new_outcomes,
    outcome_changes,
    share_changes,
    shared_panel,
)
from sweep.analysis.trials.outcomes import share
from sweep.records import NotKnown
from sweep.study.reading import of_content

LR, KIND = "training.optimizer.lr", "training.precision.kind"
SPACE = {LR: {"loguniform": [1e-4, 1e-1]}, KIND: {"choice": ["fp32", "fp16"]}}
Table = Callable[..., pd.DataFrame]
LEAST: dict[str, Any] = {
    "name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100},
}  # fmt: skip
"""Of a study, what has no default."""


def run_of(content: dict[str, Any], trials: pd.DataFrame, *claims: Any) -> StudyRun:
    return StudyRun(of_content({**LEAST, **content}), trials, *claims)


def study(table: Table, verdicts: list[str], start: float = 1e-3, **fields: Any) -> StudyRun:
    """One training for each verdict, precisions in turn."""
    rows = [{"verdict": v, LR: start * 1.01**i, KIND: ("fp32", "fp16")[i % 2]} for i, v in enumerate(verdicts)]
    return run_of({"space": SPACE, "search": {"kind": "random"}, **fields}, table(rows))


def found(a: StudyRun, b: StudyRun) -> tuple[FairSample, list[StudyChange]]:
    shared = shared_part(a, b)
    fair = fair_sample(a, b, shared)
    assert isinstance(fair, FairSample), fair
    every = [*share_changes(a, b, shared, fair), *outcome_changes(fair)]
    return fair, [one for one in every if isinstance(one, StudyChange)]


def test_independent_trainings_are_compared_by_fishers_test_overall_and_by_precision(table: Table) -> None:
    a = study(table, ["stable"] * 18 + ["stalled"] * 2)
    b = study(table, ["stable"] * 8 + ["diverged-nonfinite"] * 12, start=2e-3)
    fair, (overall, fp32, fp16, nonfinite, stalled) = found(a, b)
    assert not fair.pairs
    assert overall.p == pytest.approx(fisher_p([[18, 2], [8, 12]])) and overall.verdict == "regression"
    assert overall.before.startswith("18 of 20 (90 %, 68 to 99 %)") and overall.difference.startswith("-50 points (")
    assert fp32.subject == "stable share, precision fp32" and fp16.before.startswith("9 of 10")
    assert nonfinite.subject == "share of diverged-nonfinite" and nonfinite.verdict == "regression"
    assert stalled.verdict == "open"


def test_trainings_of_the_same_settings_are_compared_pair_by_pair(table: Table) -> None:
    a = study(table, ["stable"] * 9 + ["stalled"] * 3)
    b = study(table, ["stable"] * 1 + ["stalled"] * 11)
    fair, (overall, *_) = found(a, b)
    assert len(fair.pairs) == 12
    assert overall.p == pytest.approx(2 * 0.5**8) and overall.verdict == "regression"
    assert "12 pairs: 0 more and 8 less often" in overall.test
    assert overall.low <= -8 / 12 <= overall.high < 0


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (0, 3), (1, 8), (0, 12), (5, 4)])
def test_the_interval_of_pairs_is_exact_and_holds_no_difference_where_its_test_does(
    table: Table, better: int, worse: int
) -> None:
    rest = 12 - better - worse
    a = study(table, ["stalled"] * better + ["stable"] * (worse + rest))
    b = study(table, ["stable"] * better + ["stalled"] * worse + ["stable"] * rest)
    overall = found(a, b)[1][0]
    low, high = share_interval(12, better, worse, 0.05)
    assert (overall.low, overall.high) == ((low, high) if overall.p <= 0.05 else (min(low, 0), max(high, 0)))


def test_the_power_of_shares_is_that_of_the_test_they_are_held_to(table: Table) -> None:
    a, b = study(table, ["stable"] * 18 + ["stalled"] * 2), study(table, ["stable"] * 12 + ["stalled"] * 8)
    other = study(table, ["stable"] * 12 + ["stalled"] * 8, start=2e-3)
    paired, independent = (found(a, after)[1][0].power_at for after in (b, other))
    assert paired is not None and independent is not None
    assert paired(0.05) == paired_power(20, 6, 0.9, 0.05)
    assert independent(0.05) == independent_power(share([True] * 18 + [False] * 2), 20, 0.05)
    assert found(a, b)[1][-1].subject == "share of stalled" and found(a, b)[1][-1].power_at is None


def test_repeated_seeds_of_a_setting_are_one_unit(table: Table) -> None:
    rows = [{LR: 1e-3 * (1 + i // 2), KIND: "fp32", "group": i // 2} for i in range(12)]
    bad = [{**row, "verdict": "stalled"} for row in rows]
    a, b = (run_of({"space": SPACE, "search": {"kind": "random"}}, table(r)) for r in (rows, bad))
    _, (overall, *_) = found(a, b)
    assert overall.p == pytest.approx(2 * 0.5**6), "six settings, not twelve trainings"
    assert overall.power_at is not None and "6 groups of pairs of one study" in overall.power_at(0.05).text


def test_blocks_of_designs_with_other_settings_are_the_units(table: Table) -> None:
    def design(good: int, start: float) -> StudyRun:
        rows = [
            {"block": i // 2, "cell": KIND + "=" + kind, KIND: kind, LR: start * 1.01 ** (i // 2),
             "verdict": "stable" if i // 2 < good else "stalled"}
            for i, kind in enumerate(["fp32", "fp16"] * 10)
        ]  # fmt: skip
        return run_of(
            {
                "space": SPACE,
                "design": {
                    "kind": "paired",
                    "blocks": 10,
                    "factors": {KIND: {kind: {KIND: kind} for kind in ("fp32", "fp16")}},
                },
            },
            table(rows),
        )

    fair, (overall, *_) = found(design(9, 1e-3), design(2, 2e-3))
    assert fair.by_block and "10 and 10 blocks" in overall.test
    assert fisher_p([[18, 2], [4, 16]]) < 1e-4 < overall.p < 0.02, "twenty trainings of ten blocks are not twenty"
    assert overall.verdict == "regression"
    assert overall.power_at is not None
    assert "with 10 and 10 blocks a fall of 50 points would be told" in overall.power_at(0.05).text
    _, (same, *_) = found(design(10, 1e-3), design(10, 2e-3))
    assert same.verdict == "open" and (same.low, same.high) == (-1, 1)


def test_one_block_alone_is_too_few(table: Table) -> None:
    def design(blocks: int, start: float) -> StudyRun:
        rows = [{"block": i // 6, "cell": f"seed={i % 6}", LR: start * 1.01 ** (i // 6)} for i in range(6 * blocks)]
        factors = {"seed": {str(i): {"training.seed": i} for i in range(6)}}
        content = {"space": {LR: SPACE[LR]}, "design": {"kind": "paired", "blocks": 4, "factors": factors}}
        return run_of(content, table(rows))

    a, b = design(1, 1e-3), design(3, 2e-3)
    why = fair_sample(a, b, shared_part(a, b))
    assert isinstance(why, NotKnown) and "(A 1, B 3 blocks; 2 are needed)" in why.reason


def test_what_a_search_found_by_its_outcomes_is_not_compared(table: Table) -> None:
    a = study(table, ["stable"] * 20)
    b = study(table, ["stable"] * 20, start=2e-3, search={"kind": "tpe", "num_startup": 3})
    why = fair_sample(a, b, shared_part(a, b))
    assert isinstance(why, NotKnown) and "B 3" in why.reason


def test_outcomes_of_one_study_alone_are_told(table: Table) -> None:
    a, b = table([{}] * 4), table([{}] * 3 + [{"verdict": "crashed"}])
    (new,) = new_outcomes(a, b)
    assert (new.subject, new.note) == ("crashed", "new in B") and new.before.startswith("0 of 4 (0 %, 0 to 60 %)")
    assert next(iter(new_outcomes(b, a))).note == "gone in B"


def test_studies_are_split_by_a_category_that_both_search(table: Table) -> None:
    a = study(table, ["stable"] * 6)
    fixed = run_of({"space": {LR: SPACE[LR]}, "training": {"precision": {"kind": "fp32"}}}, a.trials)
    panel = shared_panel(a, a, shared_part(a, a))
    assert panel is not None and panel.path == KIND
    assert shared_panel(a, fixed, shared_part(a, fixed)) is None
