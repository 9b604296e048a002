"""The record of when claims were stated."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.claims.stated import exploratory_lines, note_of, record, removed_note
from sweep.analysis.claims.verdict import judge
from sweep.study.claim import Claim

Make = Callable[..., Claim]


@pytest.fixture
def first(claim: Make) -> Claim:
    return claim(name="first", stated_after=0)


def changed(claim: Claim, **fields: Any) -> Claim:
    return Claim.model_validate({**claim.model_dump(), **fields})


def test_claims_of_a_new_study_are_stated_before_any_training(first) -> None:
    assert record((), {}, [first], 0).stated_after == {"first": 0}
    assert record((), {}, [first], 5).stated_after == {"first": 5}, "trainings whose study.yaml is lost"


def test_claims_that_stay_keep_their_numbers_in_any_order(first, claim: Make) -> None:
    late = claim(name="late", response="wer", stated_after=24)
    found = record([first, late], {"gone": 8}, [late, first], 48)
    assert found.stated_after == {"first": 0, "late": 24} and found.withdrawn_after == {"gone": 8}


def test_an_added_claim_is_stated_now(first, claim: Make) -> None:
    found = record([first], {}, [first, claim(name="more", response="wer")], 24)
    assert found.stated_after == {"first": 0, "more": 24} and not found.withdrawn_after
    copy = claim(name="copy")
    assert record([first], {}, [first, copy], 24).stated_after["copy"] == 24, "the first one stands already"


@pytest.mark.parametrize(
    "change",
    [{"expected": "higher"}, {"smallest_effect": 0.3}, {"alpha": 0.1}, {"where": {"model": "a"}}, {"response": "wer"}],
)
def test_a_claim_that_tests_another_thing_is_stated_now(first, change) -> None:
    other = changed(first, **change)
    assert record([first], {}, [other], 0) == record((), {}, [other], 0), "nobody had seen a result"
    found = record([first], {}, [other], 24)
    assert found.stated_after == {"first": 24} and found.withdrawn_after == {"first": 24}
    again = record([changed(other, stated_after=24)], {"first": 24}, [first], 48)
    assert again.stated_after == {"first": 48} and again.withdrawn_after == {"first": 24}


@pytest.mark.parametrize("change", [{"text": "other words"}, {"source": "a paper"}, {"stated_after": 7}])
def test_other_words_do_not_make_a_claim_younger(first, change) -> None:
    assert record([first], {}, [changed(first, **change)], 24).stated_after == {"first": 0}


def test_a_claim_keeps_its_number_under_another_name(first, claim: Make) -> None:
    late = claim(name="late", response="wer", stated_after=24)
    renamed = [changed(late, name="first"), changed(first, name="late")]
    found = record([first, late], {}, renamed, 48)
    assert found.stated_after == {"first": 24, "late": 0} and not found.withdrawn_after


def test_a_removed_claim_stays_on_record(first, claim: Make) -> None:
    late = claim(name="late", response="wer", stated_after=24)
    found = record([first, late], {"gone": 8}, [first], 48)
    assert found.stated_after == {"first": 0} and found.withdrawn_after == {"gone": 8, "late": 48}
    assert not record([first, late], {}, [], 0).withdrawn_after, "nobody had seen a result"
    back = record([first], {"late": 48}, [first, late], 72)
    assert back.stated_after["late"] == 72 and back.withdrawn_after == {"late": 48}


def test_it_is_told_in_words(first, claim: Make) -> None:
    late = [
        claim(name="late", stated_after=24),
        claim(name="later", stated_after=24),
        claim(name="soon", stated_after=1),
    ]
    assert note_of(first) == ""
    assert note_of(late[0]) == "Stated after 24 trainings: exploratory, its error rate is not assured."
    assert list(exploratory_lines([first, *late])) == [
        "claims changed after 1 training: soon; they are marked as exploratory",
        "claims changed after 24 trainings: late, later; they are marked as exploratory",
    ]
    assert removed_note({"one": 24}) == "1 claim was removed or changed after trainings began: one."
    assert removed_note({"a": 1, "b": 2}) == "2 claims were removed or changed after trainings began: a, b."
    assert removed_note({}) == "" and not list(exploratory_lines([first]))


def test_a_finding_says_so(
    first, study: Make, claim: Make, paired: Callable[..., pd.DataFrame], no_evals: Callable[[str], pd.DataFrame]
) -> None:
    late = claim(name="late", response="wer", stated_after=12)
    one, other = judge(paired("stable", [(True, False)] * 6), study(claims=[first, late]), no_evals)
    assert "exploratory" not in one.note
    assert other.note.endswith("Stated after 12 trainings: exploratory, its error rate is not assured.")
