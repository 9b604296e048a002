"""What pairs cannot show, whatever the interval says."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sweep.analysis.claims.blind import unseen_failures
from sweep.analysis.claims.verdict import ClaimFinding, judge

Make = Callable[..., dict[str, Any]]
Table = Callable[..., pd.DataFrame]
Evals = Callable[[str], pd.DataFrame]


@pytest.fixture
def judged(study: Make, claim: Make, no_evals: Evals) -> Callable[..., ClaimFinding]:
    """Judges one claim, with changes, by all of some trials."""

    def find(frame: pd.DataFrame, **changes: Any) -> ClaimFinding:
        blocks = int(frame["block"].max()) + 1
        (found,) = judge(frame, study(claims=[claim(**changes)], design={"blocks": blocks, "looks": 1}), no_evals)
        return found

    return find


Judge = Callable[..., ClaimFinding]


def test_where_half_of_the_pairs_failed_at_every_level_nothing_is_called_equal(paired: Table, judged: Judge) -> None:
    frame = paired("val_loss", [(3.1 + 0.001 * (b % 3), 3.1 + 0.001 * (b % 5)) for b in range(24)])
    equal = {"response": "val_loss", "expected": "equal"}
    assert judged(frame, **equal).verdict == "supported"
    frame["stable"] = frame["block"] >= 11
    less = judged(frame, **equal)
    assert less.verdict == "supported"
    assert "In 11 of 24 pairs no training was stable: they count as equal." in less.note
    for direction in ("equal", "higher", "lower"):
        frame["stable"] = frame["block"] >= 12
        half = judged(frame, response="val_loss", expected=direction)
        assert half.verdict == "undecided"
        assert half.sentence.endswith(
            "In 12 of 24 pairs no training was stable: where nothing learns, nothing can be compared."
        )
        assert "no training was stable" not in half.note


def test_what_is_seen_is_seen_also_if_most_pairs_say_nothing(paired: Table, judged: Judge) -> None:
    found = judged(paired("stable", [(b < 10, False) for b in range(24)]))
    assert found.verdict == "supported"
    assert "In 14 of 24 pairs no training was stable" in found.note


def test_the_very_same_training_twice_tests_nothing(paired: Table, judged: Judge) -> None:
    wanted = {"response": "val_loss", "expected": "equal", "smallest_effect": 0.3}
    same = paired("val_loss", [(1.0 + 0.1 * b, 1.0 + 0.1 * b) for b in range(24)])
    assert judged(same, **wanted).verdict == "supported"
    same["final_train_loss"] = same["val_loss"]
    found = judged(same, **wanted)
    assert found.verdict == "undecided"
    assert "In all 24 pairs the levels gave the very same training" in found.sentence


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ("higher", [(True, True)] * 24),
        ("higher", [(True, b > 11) for b in range(24)]),  # it falls, which refutes nothing that could have been
        ("higher", [(b > 3, True) for b in range(24)]),
        ("lower", [(False, b > 11) for b in range(24)]),
        ("lower", [(False, False)] * 24),
    ],
)
def test_a_reference_without_room_settles_no_claim(
    paired: Table, judged: Judge, expected: str, values: list[tuple[bool, bool]]
) -> None:
    found = judged(paired("stable", values), expected=expected, smallest_effect=0.2)
    assert (found.verdict, found.settled_at, found.power) == ("undecided", None, "")
    assert found.sentence.startswith("Not testable: whether fp16 ")
    assert "No room: with fp32 " in found.sentence


def test_a_reference_with_just_enough_room_is_judged(paired: Table, judged: Judge) -> None:
    values = [(b > 4, b > 4) for b in range(25)]  # stable in 80 %
    assert judged(paired("stable", values), expected="higher", smallest_effect=0.2).verdict == "equivalent"
    # A claim of equality names no direction.
    assert judged(paired("stable", [(True, True)] * 24), expected="equal", smallest_effect=0.2).verdict == "supported"


def test_a_wer_of_nothing_cannot_fall(paired: Table, judged: Judge) -> None:
    frame = paired("wer", [(0.01, 0.01 + 0.0001 * b) for b in range(24)])
    found = judged(frame, response="wer", expected="lower", smallest_effect=0.05)
    assert found.sentence.startswith("Not testable: whether fp16 lowers the WER by 5 points is open (fp32: 1 %")
    assert "No room: with fp32 1 % it cannot fall by 5 points any more." in found.sentence


def test_an_interaction_has_no_room_where_its_other_level_cannot_move(
    trials: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    factors = {
        "model": {m: {"model.kind": m} for m in ("teacher", "baseline")},
        "precision": {p: {"training.precision.kind": p} for p in ("fp32", "fp16")},
    }
    frame = trials(
        [
            (b, f"model={m}, precision={p}", {"stable": (m, p) != ("baseline", "fp16") or b % 4 == 0})
            for b in range(24)
            for m in factors["model"]
            for p in factors["precision"]
        ]
    )
    wanted = claim(by="model", by_levels=["teacher", "baseline"], expected="higher")
    (found,) = judge(frame, study(claims=[wanted], design={"factors": factors, "looks": 1}), no_evals)
    assert found.sentence.startswith("Not testable")
    (found,) = judge(
        frame, study(claims=[wanted.model_copy(update={"expected": "lower"})], design={"factors": factors}), no_evals
    )
    assert found.verdict == "supported"


def spread(num: int) -> list[tuple[float, float]]:
    return [(0.2 + 0.01 * (b % 5), 0.2 + 0.01 * (b % 3)) for b in range(num)]


def test_few_pairs_without_a_failure_do_not_show_an_equal_wer(paired: Table, judged: Judge) -> None:
    equal = {"response": "wer", "expected": "equal", "smallest_effect": 0.1}
    few = judged(paired("wer", spread(24)), **equal)
    assert few.verdict == "undecided"
    assert -0.02 < few.low < few.high < 0.02, "the trainings that learned are equal"
    assert few.sentence.endswith(
        "None of 24 pairs failed at one level alone, so up to 14 % may: an effect of 11 points, not less than "
        "10 points. 28 pairs without one would do."
    )
    assert few.power == "", "more pairs that learn would not do"
    assert judged(paired("wer", spread(27)), **equal).verdict == "undecided"
    assert judged(paired("wer", spread(28)), **equal).verdict == "supported"
    assert judged(paired("wer", spread(32)), **equal).verdict == "supported"


@pytest.mark.parametrize("expected", ["higher", "lower"])
def test_nor_do_they_refute_a_difference(paired: Table, judged: Judge, expected: str) -> None:
    wanted = {"response": "wer", "expected": expected, "smallest_effect": 0.1}
    assert judged(paired("wer", spread(24)), **wanted).verdict == "undecided"
    assert judged(paired("wer", spread(32)), **wanted).verdict == "equivalent"
    # A difference that is seen stands.
    apart = paired("wer", [(0.3 + 0.01 * (b % 5), 0.5 + 0.01 * (b % 3)) for b in range(24)])
    assert judged(apart, **wanted).verdict == {"higher": "supported", "lower": "refuted"}[expected]


def test_a_failure_that_is_seen_is_in_the_interval(paired: Table, judged: Judge) -> None:
    frame = paired("wer", spread(24))
    frame.loc[frame["block"] == 3, "stable"] = False  # at both levels: the pair says nothing of one alone
    equal = {"response": "wer", "expected": "equal", "smallest_effect": 0.1}
    assert "failed at one level alone" in judged(frame, **equal).sentence
    frame.loc[(frame["block"] == 5) & (frame["cell"] == "precision=fp16"), "stable"] = False
    found = judged(frame, **equal)
    assert "failed at one level alone" not in found.sentence
    assert found.high - found.low > 0.1


def test_what_a_failure_costs_decides(paired: Table, judged: Judge) -> None:
    equal = {"response": "val_loss", "expected": "equal", "smallest_effect": 0.2}
    frame = paired("val_loss", [(1.0 + 0.1 * (b % 5), 1.0 + 0.1 * (b % 3)) for b in range(24)])
    frame["l_const"] = 3.0
    assert "an effect of 0.27 nats/label, not less than 0.2 nats/label." in judged(frame, **equal).sentence
    frame["l_const"] = 2.0
    assert judged(frame, **equal).verdict == "supported"


def test_a_mean_is_not_small_while_failures_may_go_unseen(paired: Table, judged: Judge) -> None:
    wanted = {"response": "wer", "effect": "mean", "levels": ["fp32"], "expected": "equal", "smallest_effect": 0.2}
    few = judged(paired("wer", [(0.0, 0.3)] * 12), **wanted)
    assert few.verdict == "undecided"
    assert few.sentence.endswith(
        "None of 12 trainings failed, so up to 26 % may: an effect of 26 %, not less than 20 points. "
        "17 trainings without one would do."
    )
    assert judged(paired("wer", [(0.0, 0.3)] * 17), **wanted).verdict == "supported"


def test_speed_does_not_ask_for_failures(paired: Table, judged: Judge) -> None:
    frame = paired("peak_memory_mib", [(100.0 + b % 3, 100.0 + b % 5) for b in range(8)])
    assert judged(frame, response="peak_memory_mib", expected="equal", smallest_effect=20.0).verdict == "supported"


def test_the_largest_share_of_failures_that_were_not_seen() -> None:
    assert unseen_failures(12, 0.05) == pytest.approx(1 - 0.025 ** (1 / 12))
