from collections.abc import Callable

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from sweep.analysis.trials.outcomes import (
    OPEN_ENDS,
    at_level,
    clopper_pearson,
    failed,
    judged,
    mapped,
    open_ends_text,
    outcome_counts,
    share,
)
from sweep.records import Outcome


@given(st.integers(0, 60), st.integers(1, 60))
def test_clopper_pearson_agrees_with_scipys_exact_interval(count: int, total: int) -> None:
    count = min(count, total)
    reference = binomtest(count, total).proportion_ci(0.95, method="exact")
    assert clopper_pearson(count, total) == pytest.approx((reference.low, reference.high), abs=1e-9)


def test_nothing_counted_means_nothing_known() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    assert share([]).rate != share([]).rate


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="4 of 3"):
        clopper_pearson(4, 3)


def test_outcomes_are_counted_at_a_level(table: Callable[..., pd.DataFrame]) -> None:
    trials = table(
        [
            {"p": "fp32"},
            {"p": "fp32", "verdict": "diverged-loss"},
            {"p": None, "verdict": "crashed"},
        ]
    )
    fp32, fp16, inactive = (outcome_counts(at_level(trials, "p", level)) for level in ("fp32", "fp16", None))
    assert fp32.counts == {Outcome.STABLE: 1, Outcome.DIVERGED_LOSS: 1}
    assert (fp32.stable.count, fp32.stable.total) == (1, 2)
    assert fp16.num_trials == 0 and fp16.counts == {}
    assert inactive.counts == {Outcome.CRASHED: 1}
    assert outcome_counts(trials).num_trials == 3


def test_levels_of_a_column_of_mixed_types_are_found_by_their_text(table: Callable[..., pd.DataFrame]) -> None:
    trials = table([{"w": "1.5"}, {"w": "auto"}])
    assert [len(at_level(trials, "w", level)) for level in (1.5, "auto")] == [1, 1]


def test_open_ends_are_neither_stable_nor_failed_and_it_is_said_why(table: Callable[..., pd.DataFrame]) -> None:
    ends = ["stable", "too-short", "unjudged", "too-short", "calibrating", "pruned", "memorised", "stalled"]
    trials = table([{"verdict": end} for end in ends])
    assert list(judged(trials)["verdict"]) == ["stable", "memorised", "stalled"]
    assert list(failed(trials)["verdict"]) == ["memorised", "stalled"]
    counts = outcome_counts(trials)
    assert (counts.stable.count, counts.stable.total, counts.num_trials) == (1, 3, 8)
    assert open_ends_text(trials) == (
        "1 still calibrating the loss scale, 1 without what it takes to judge them, 2 too short to tell, "
        "1 ended by a scheduler or by hand"
    )
    assert open_ends_text(judged(trials)) == ""
    assert set(OPEN_ENDS) == {outcome.value for outcome in Outcome if outcome.is_open}


def test_a_pruned_trial_is_counted_but_not_judged(table) -> None:
    trials = table([{}, {"verdict": "pruned"}, {"verdict": "stalled"}, {"settings_changed_at_step": 10}])
    counts = outcome_counts(trials)
    assert counts.num_trials == 4 and counts.counts[Outcome.PRUNED] == 1
    assert (counts.stable.count, counts.stable.total) == (2, 3)
    assert list(judged(trials)["number"]) == [0, 2, 3]
    assert list(mapped(trials)["number"]) == [0, 2], "the last one ran at other settings first"
    old = trials.drop(columns="settings_changed_at_step")
    assert list(mapped(old)["number"]) == [0, 2, 3]
