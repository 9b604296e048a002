"""Findings from trials: verdicts, looks, Holm and what is said of them."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.claims.effects import Effect
from sweep.analysis.claims.pairs import Pairs
from sweep.analysis.claims.sentences import power_sentence, sentence
from sweep.analysis.claims.verdict import judge, settled, to_json, verdict_of

Make = Callable[..., dict[str, Any]]
Table = Callable[..., pd.DataFrame]
Evals = Callable[[str], pd.DataFrame]


@pytest.mark.parametrize(
    ("expected", "low", "high", "verdict"),
    [
        ("higher", 0.01, 0.3, "supported"),
        ("higher", 0.01, 0.09, "equivalent"),
        ("higher", -0.09, 0.09, "equivalent"),
        ("higher", -0.2, 0.09, "refuted"),
        ("higher", -0.4, -0.2, "refuted"),
        ("higher", -0.2, 0.2, "undecided"),
        ("higher", 0.0, 0.2, "undecided"),
        ("lower", -0.3, -0.01, "supported"),
        ("lower", -0.09, 0.2, "refuted"),
        ("lower", 0.2, 0.4, "refuted"),
        ("lower", -0.2, 0.2, "undecided"),
        ("equal", -0.09, 0.09, "supported"),
        ("equal", 0.01, 0.09, "supported"),
        ("equal", 0.11, 0.3, "refuted"),
        ("equal", 0.02, 0.3, "refuted"),
        ("equal", 0.01, 0.15, "undecided"),
        ("equal", -0.2, 0.2, "undecided"),
        ("equal", -math.inf, math.inf, "undecided"),
    ],
)
def test_the_verdict_follows_from_the_interval(
    claim: Make, expected: str, low: float, high: float, verdict: str
) -> None:
    middle = (low + high) / 2 if math.isfinite(low) else 0.0
    effect = Effect(middle, low, high, 0.0, 1.0, "", "")
    assert verdict_of(claim(expected=expected), effect, 0.05) == verdict
    shifted = Effect(middle + 2, low + 2, high + 2, 0.0, 1.0, "", "")
    assert verdict_of(claim(expected=expected, response="wer", value=2.0), shifted, 0.05) == verdict


def test_a_precaution_that_slows_down_is_no_precaution_refuted(
    trials: Callable[..., pd.DataFrame], study: Make, claim: Make, no_evals: Evals
) -> None:
    hot = {"verdict": "diverged-loss", "stable": False, "side": "too-hot"}
    cold = {"verdict": "stalled", "stable": False, "side": "too-cold"}
    rows = [(block, f"precision={level}", end) for block in range(24) for level, end in (("fp32", hot), ("fp16", cold))]
    frame, stated = trials(rows), {"expected": "lower", "smallest_effect": 0.1}
    (broken,) = judge(frame, study(claims=[claim(response="broken", **stated)]), no_evals)
    assert broken.verdict == "supported" and broken.num_pairs in (12, 24)
    (learned,) = judge(frame, study(claims=[claim(response="learned", expected="higher")]), no_evals)
    assert learned.verdict == "undecided", "nothing learned at either level"
    assert broken.test == learned.test, "both are shares of paired trainings"


def test_an_early_verdict_comes_with_what_all_pairs_say(
    paired: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    frame = paired("stable", [(True, False)] * 18 + [(True, True)] * 6)
    (found,) = judge(frame, study(claims=[claim()]), no_evals)
    assert (found.verdict, found.num_pairs) == ("supported", 12)
    assert "With all 24 pairs trained: -75 points, -90 to -51 (95 % interval" in found.note


def test_a_ratio_is_judged_on_its_logarithm(claim: Make) -> None:
    wanted = claim(response="samples_per_s", effect="ratio", expected="higher", value=1.0, smallest_effect=1.5)
    assert verdict_of(wanted, Effect(0.5, 0.3, 0.7, 0.0, 1.0, "", ""), 0.05) == "supported"
    assert verdict_of(wanted, Effect(0.2, 0.1, 0.3, 0.0, 1.0, "", ""), 0.05) == "equivalent"


def test_pairs_that_nobody_runs_are_not_counted_one_by_one(claim: Make) -> None:
    wanted = claim(response="wer", smallest_effect=0.1)
    assert power_sentence(wanted, Effect(0.0, -0.1, 0.1, 1.0, 0.2, "", ""), 0.05, 24) == (
        "About 33 pairs would detect an effect of 10 points with 80 % power, scattering as so far; 24 are planned."
    )
    assert power_sentence(wanted, Effect(0.0, -1.0, 1.0, 1.0, 4.0, "", ""), 0.05, 24).startswith(
        "Far more pairs than the 24 planned, some 13000, would detect an effect of 10 points"
    )


def test_a_claim_is_refuted_in_plain_words(paired: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    values = [(0.2 + 0.01 * (b % 5), 0.2 + 0.01 * (b % 3)) for b in range(24)]
    wanted = claim(response="wer", expected="higher", smallest_effect=0.25, text="fp16 costs accuracy")
    (found,) = judge(paired("wer", values), study(claims=[wanted]), no_evals)
    assert found.verdict == "equivalent"
    assert found.settled_at == found.look == 3, "at 12 pairs too many failures may be unseen"
    assert found.sentence.startswith(
        "No difference that matters: fp16 changes the WER by less than 25 points either way ("
    )
    assert "fp32: 22 %, fp16: 21 %; difference -0." in found.sentence
    assert "95 % interval over all looks and claims" in found.sentence
    assert "18 pairs)." in found.sentence


def test_a_clear_claim_settles_at_an_early_look_and_stays(
    trials: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    def blocks(num: int, late: bool) -> pd.DataFrame:
        return trials(
            [
                (b, f"precision={p}", {"stable": p == "fp32" or (late and b >= 12)})
                for b in range(num)
                for p in ("fp32", "fp16")
            ]
        )

    before = judge(blocks(11, False), study(), no_evals)[0]
    assert (before.verdict, before.look, before.settled_at) == ("undecided", 1, None)
    assert settled(blocks(11, False), study(), no_evals) is None
    at = judge(blocks(12, False), study(), no_evals)[0]
    assert (at.verdict, at.look, at.settled_at, at.num_pairs) == ("supported", 2, 2, 12)
    assert settled(blocks(12, False), study(), no_evals) == "the claim is settled after 12 of 24 blocks"
    later = judge(blocks(24, True), study(), no_evals)[0]
    assert (later.verdict, later.settled_at, later.num_pairs, later.estimate) == ("supported", 2, 12, -1.0)


def test_before_the_first_look_nothing_is_judged(paired: Table, study: Make, no_evals: Evals) -> None:
    (found,) = judge(paired("stable", [(True, False)] * 5), study(), no_evals)
    assert (found.verdict, found.look, found.num_pairs, found.num_planned) == ("undecided", 0, 5, 24)
    assert "No look has been reached" in found.note
    (none,) = judge(paired("stable", [(True, False)]).iloc[:0], study(), no_evals)
    assert none.sentence == "Undecided: no pair is complete yet."
    assert math.isnan(none.estimate)


def test_a_settled_claim_passes_its_alpha_on(paired: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    rng = np.random.default_rng(0)
    frame = paired("wer", [(0.2, 0.2 + x) for x in rng.normal(0.1, 0.05, 24)])
    frame["peak_memory_mib"] = rng.normal(100, 10, 48)
    sure = claim(response="wer", expected="higher", smallest_effect=0.05)
    open_ = claim(response="peak_memory_mib", expected="higher", smallest_effect=0.5)
    together = judge(frame, study(claims=[open_, sure], design={"looks": 1}), no_evals)
    assert [f.verdict for f in together] == ["undecided", "supported"]
    assert [f.level for f in together] == pytest.approx([0.05, 0.025])


def test_identical_pairs_settle_only_once_there_are_enough(
    paired: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    wanted = claim(response="leading_infs", expected="higher", smallest_effect=1.0)
    frame = paired("skipped_calibration", [(2, 6)] * 24)
    for num, verdict in ((4, "undecided"), (8, "supported")):
        one_look = study(claims=[wanted], design={"looks": 1, "blocks": num})
        (found,) = judge(frame[frame["block"] < num], one_look, no_evals)
        assert found.verdict == verdict
    assert "All pairs gave the same" in found.power


def test_a_loss_that_nobody_reached_decides_nothing(paired: Table, study: Make, claim: Make) -> None:
    wanted = claim(response="steps_to_loss", expected="equal", smallest_effect=20.0)
    frame = paired("stable", [(True, True)] * 24)

    def evals(trial_id: str) -> pd.DataFrame:
        return pd.DataFrame({"step": [50, 100], "val_loss": [2.9, 2.8]})

    (found,) = judge(frame, study(claims=[wanted]), evals)
    assert found.verdict == "undecided"
    assert "In 24 of 24 pairs no training reached the loss" in found.note


def test_missing_evaluations_are_said(paired: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    (found,) = judge(paired("stable", [(True, True)] * 6), study(claims=[claim(response="steps_to_loss")]), no_evals)
    assert (found.num_pairs, found.verdict) == (0, "undecided")
    assert "6 blocks left out: the response of a training is not known, or its end is open." in found.note


def test_an_interaction_tells_its_odds_ratio(trials: Table, study: Make, claim: Make, no_evals: Evals) -> None:
    factors = {
        "model": {m: {"model.kind": m} for m in ("teacher", "baseline")},
        "precision": {p: {"training.precision.kind": p} for p in ("fp32", "fp16")},
    }
    frame = trials(
        [
            (b, f"model={m}, precision={p}", {"stable": (m, p) != ("teacher", "fp16") or b % 4 == 0})
            for b in range(24)
            for m in factors["model"]
            for p in factors["precision"]
        ]
    )
    wanted = claim(by="model", by_levels=["teacher", "baseline"], expected="higher")
    (found,) = judge(frame, study(claims=[wanted], design={"factors": factors}), no_evals)
    assert found.verdict == "supported"
    assert "odds ratio of the interaction" in found.note
    told = "the effect of fp16 on the share of stable trainings is higher with baseline than with teacher ("
    assert told in found.sentence


def test_findings_are_json(paired: Table, study: Make, no_evals: Evals) -> None:
    rows = to_json(judge(paired("stable", [(True, False)]), study(), no_evals))
    (row,) = json.loads(json.dumps(rows, allow_nan=False))
    assert row["low"] is None
    assert row["claim"]["name"] == "c"
    assert "pairs" not in row


def test_a_study_without_claims_has_no_findings(paired: Table, study: Make, no_evals: Evals) -> None:
    frame = paired("stable", [(True, True)])
    assert judge(frame, study(claims=[]), no_evals) == []
    assert settled(frame, study(claims=[]), no_evals) is None


@pytest.mark.parametrize(
    ("expected", "low", "high", "told"),
    [
        ("lower", -0.3, -0.02, "Supported: the effect of b on the WER is lower with y than with x ("),
        (
            "lower",
            -0.05,
            0.3,
            "Refuted: the effect of b on the WER is not lower by 10 points or more with y than with x (",
        ),
        ("lower", 0.05, 0.3, "Refuted: the effect of b on the WER is higher with y than with x ("),
        (
            "lower",
            -0.3,
            0.3,
            "Undecided: whether the effect of b on the WER is lower by 10 points with y than with x is",
        ),
        ("lower", -0.05, 0.05, "No difference that matters: the effect of b on the WER differs by less than 10 points"),
        (
            "equal",
            -0.05,
            0.05,
            "Supported: the effect of b on the WER differs by less than 10 points between x and y (",
        ),
        (
            "equal",
            -0.3,
            0.3,
            "Undecided: whether the effect of b on the WER differs by 10 points between x and y is open",
        ),
        (
            "equal",
            0.15,
            0.3,
            "Refuted: the effect of b on the WER is higher with y than with x by more than 10 points (",
        ),
    ],
)
def test_an_interaction_in_plain_words(claim: Make, expected: str, low: float, high: float, told: str) -> None:
    wanted = claim(
        factor="f", levels=["a", "b"], by="g", by_levels=["x", "y"], response="wer", expected=expected
    )  # fmt: skip
    effect = Effect((low + high) / 2, low, high, 0.0, 1.0, "", "")
    values = np.zeros((6, 4))
    seen = Pairs(
        blocks=np.arange(6), values=values, labels=("x a", "x b", "y a", "y b"), censored=values > 0,
        effects=values[:, 0], weights=np.array([1.0, -1.0, -1.0, 1.0]), cells=1, low=values, high=values,
    )  # fmt: skip
    assert sentence(wanted, verdict_of(wanted, effect, 0.05), effect, seen, corrected=False).startswith(told)


def test_a_ratio_of_which_two_pairs_know_nothing_is_unbounded(
    trials: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    times = [(0.1, 0.1), (0.1, 900.0)]
    rows: list[tuple[int, str, dict[str, Any]]] = [
        (block, f"precision={level}", {"step_time_s": value})
        for block, both in enumerate(times)
        for level, value in zip(("fp32", "fp16"), both, strict=True)
    ]
    wanted = claim(response="step_time_s", effect="ratio", value=1.0, smallest_effect=1.5)
    (found,) = judge(trials(rows), study(claims=[wanted]), no_evals)
    assert (found.verdict, found.low, found.high) == ("undecided", 0.0, math.inf)
    assert "interval" in found.sentence


def test_an_interval_of_shares_holds_no_impossible_ones(
    paired: Table, study: Make, claim: Make, no_evals: Evals
) -> None:
    values = paired("wer", [(0.2, 0.9), (0.5, 0.1), (0.3, 0.4)])
    (found,) = judge(values, study(claims=[claim(response="wer")]), no_evals)
    assert (found.low, found.high) == (-1.0, 1.0)
    mean = claim(response="wer", effect="mean", levels=["fp16"], value=0.5, expected="equal")
    (found,) = judge(values, study(claims=[mean]), no_evals)
    assert (found.low, found.high) == (0.0, 1.0)
