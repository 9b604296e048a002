from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from scipy.stats import ttest_ind

from sweep.analysis.comparison.best import best_change, best_facts, claim_facts, recommended
from sweep.analysis.comparison.changes import Incomparable, StudyChange
from sweep.analysis.comparison.settings import Difference
from sweep.analysis.comparison.shared import StudyRun
from sweep.study.reading import of_content

LR = "training.optimizer.lr"
DESIGN = {"kind": "paired", "blocks": 4, "factors": {"lr": {LR: [1e-3, 1e-1]}}}
Table = Callable[..., pd.DataFrame]
LEAST: dict[str, Any] = {
    "name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100},
}  # fmt: skip
"""Of a study, what has no default."""


def run_of(content: dict[str, Any], trials: pd.DataFrame, *claims: Any) -> StudyRun:
    return StudyRun(of_content({**LEAST, **content}), trials, *claims)


def study(table: Table, fresh: list[float], **fields: Any) -> StudyRun:
    """A setting that was confirmed with fresh seeds, and one that failed."""
    rows: list[dict[str, Any]] = [{LR: 1e-3, "group": 0}, {LR: 1e-1, "group": 1, "verdict": "stalled"}]
    rows += [{LR: 1e-3, "group": 0, "phase": "confirm", "wer": wer} for wer in fresh]
    return run_of({"space": {LR: {"loguniform": [1e-4, 1.0]}}, "objective": "wer", **fields}, table(rows))


def change(a: StudyRun, b: StudyRun, settings: tuple[Difference, ...] = ()) -> StudyChange | Incomparable | None:
    return best_change(a, b, recommended(a), recommended(b), settings)


def test_results_are_compared_over_fresh_seeds(table: Table) -> None:
    before, after = [0.20, 0.22, 0.21], [0.40, 0.42, 0.45]
    found = change(study(table, before), study(table, after))
    assert isinstance(found, StudyChange) and found.verdict == "regression"
    assert found.p == pytest.approx(ttest_ind(after, before, equal_var=False).pvalue)
    assert 0 < found.low < found.estimate < found.high and found.difference.startswith("+21.3 points (+")
    assert found.before == "21.0 % (18.5 to 23.5 %, 3 fresh seeds)"


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [([0.2, 0.3], [0.2], "A 2 and B 1"), ([0.2, 0.3], [], "A 2 and B 0"), ([0.2, 0.2], [0.3, 0.3], "the same result")],
)
def test_too_few_or_too_equal_seeds_tell_nothing(
    table: Table, before: list[float], after: list[float], why: str
) -> None:
    found = change(study(table, before), study(table, after))
    assert isinstance(found, Incomparable) and why in found.why


def test_equal_seeds_of_one_study_are_compared_without_a_warning(table: Table) -> None:
    """Warnings are errors here."""
    found = change(study(table, [0.6621, 0.64]), study(table, [0.6217, 0.6217]))
    assert isinstance(found, StudyChange) and found.low < found.estimate < found.high


def test_results_on_other_data_are_not_compared(table: Table) -> None:
    one = study(table, [0.2, 0.3])
    found = change(one, one, (Difference("data", "data.alphabet_size", 6, 10),))
    assert isinstance(found, Incomparable) and "data.alphabet_size" in found.why


def test_a_study_that_recommends_nothing_is_said_so(table: Table) -> None:
    one, design = study(table, [0.2, 0.3]), study(table, [0.2, 0.3], design=DESIGN)
    found = change(one, design)
    assert isinstance(found, Incomparable) and found.why == "B recommends no setting"
    assert change(design, design) is None
    assert list(best_facts(design, design, recommended(design), recommended(design))) == []
    facts = {fact.subject: fact for fact in best_facts(one, design, recommended(one), recommended(design))}
    assert (facts["setting"].before, facts["setting"].after) == ("learning rate 0.001", "none")


def finding(name: str, verdict: str, low: float | None = -0.2, **claim: Any) -> dict[str, Any]:
    return {"claim": {"name": name, "smallest_effect": 0.1, **claim}, "verdict": verdict, "estimate": -0.1,
            "low": low, "high": 0.05, "num_pairs": 1}  # fmt: skip


def test_claims_whose_verdict_changed_are_told_with_their_effects(table: Table) -> None:
    a = run_of({}, table([]), (finding("one", "supported"), finding("two", "refuted"), finding("old", "refuted")))
    b = run_of({}, table([]), (finding("one", "undecided", None, smallest_effect=0.2), finding("two", "refuted")))
    (changed,), (alone,), same = claim_facts(a, b)
    assert changed.before == "supported, effect -0.1 (-0.2 to 0.05), 1 pair"
    assert changed.after == "undecided, effect -0.1 (no limit to 0.05), 1 pair"
    assert changed.note == "stated otherwise in B"
    assert (alone.subject, alone.why, same) == ("claim old", "only A judged it", 1)
