"""The three answers of a verdict, also of tables that an earlier version wrote."""

from collections.abc import Callable

import pandas as pd
import pytest

from sweep.analysis.trials.answers import OutcomeAnswers, answers, answers_by_outcome, basis_text
from sweep.records import Learning, Numbers, Outcome

Table = Callable[..., pd.DataFrame]


def said(verdict: str, numbers: str, learning: str, judged_with: str) -> dict[str, str]:
    return {"verdict": verdict, "numbers": numbers, "learning": learning, "judged_with": judged_with}


def test_they_are_counted_by_outcome(table: Table) -> None:
    trials = table(
        [
            said("stable", "sound", "learned", "300 losses, the budget, gradient norms"),
            said("diverged-loss", "sound", "lost", "20 losses, the budget, gradient norms"),
            said("diverged-loss", "sound", "nothing", "1,200 losses, the budget"),
            said("diverged-loss", "broken", "lost", "30 losses, the budget, gradient norms"),
            said("too-short", "sound", "unknown", "5 losses alone"),
        ]
    )
    assert answers_by_outcome(trials) == [
        OutcomeAnswers(Outcome.STABLE, 1, "sound", "learned", "300", (("the budget", 1), ("gradient norms", 1))),
        OutcomeAnswers(Outcome.TOO_SHORT, 1, "sound", "unknown", "5", ()),
        OutcomeAnswers(
            Outcome.DIVERGED_LOSS,
            3,
            "2 sound, 1 broken",
            "2 lost, 1 nothing",
            "20 to 1,200",
            (("the budget", 3), ("gradient norms", 2)),
        ),
    ]


@pytest.mark.parametrize(
    ("verdict", "numbers", "learning"),
    [
        ("stable", Numbers.SOUND, Learning.LEARNED),
        ("scaler-collapse", Numbers.BROKEN, None),
        ("diverged-loss", Numbers.SOUND, None),
        ("stalled", Numbers.SOUND, Learning.NOTHING),
        ("crashed", None, None),
    ],
)
@pytest.mark.parametrize("earlier", [{}, said("", "unknown", "unknown", "")], ids=["no column", "an old ledger"])
def test_of_an_earlier_version_there_is_what_the_outcome_says(
    table: Table, verdict: str, numbers: Numbers | None, learning: Learning | None, earlier: dict[str, str]
) -> None:
    (found,) = answers(table([{**earlier, "verdict": verdict}]))
    assert (found.numbers, found.learning, found.judged_with) == (numbers, learning, "")


def test_what_all_were_judged_with_is_told_apart_from_what_some_were(table: Table) -> None:
    bases = ("300 losses, the budget, gradient norms", "1 loss, the budget", "20 losses, the budget, the loss scale")
    trials = table([said("stable", "sound", "learned", basis) for basis in bases])
    assert [one.basis_in_short for one in answers(trials)] == [
        "300 losses and 2 others",
        "1 loss and 1 other",
        "20 losses and 2 others",
    ]
    text = basis_text(answers_by_outcome(trials))
    assert text == (
        "Besides its losses each was judged with the budget; of 3 trials 1 with gradient norms, 1 with the loss scale."
    )
    assert basis_text(answers_by_outcome(table([{}]))) == ""


def test_no_trial_has_no_answer(table: Table) -> None:
    assert answers_by_outcome(table([])) == []
