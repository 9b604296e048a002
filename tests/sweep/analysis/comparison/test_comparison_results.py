"""Losses and WER of the settings that two studies trained, from tables as the store holds them."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.comparison.changes import Incomparable, StudyChange, corrected
from sweep.analysis.comparison.results import SharedResults, shared_results
from sweep.analysis.comparison.settings import Difference
from sweep.analysis.comparison.shared import StudyRun, shared_part
from sweep.analysis.comparison.signed_ranks import signed_ranks
from sweep.study.reading import of_content

LR = "training.optimizer.lr"
SPACE = {LR: {"loguniform": [1e-6, 1e3]}}
Table = Callable[..., pd.DataFrame]
Losses = Sequence[float | None]
LEAST: dict[str, Any] = {
    "name": "made-up", "model": {"kind": "teacher"}, "data": {"kind": "synthetic"}, "budget": {"steps": 100},
    "space": SPACE, "search": {"kind": "random"},
}  # fmt: skip
"""Of a study, what has no default, and a search."""
DESIGN = {key: value for key, value in LEAST.items() if key != "search"} | {
    "design": {"kind": "paired", "blocks": 10, "factors": {"norm": {n: {"model.norm": n} for n in ("group", "batch")}}}
}
WORSE = [2.3, 2.4, 1.7, 1.5, 2.0, 1.9, 2.2, 1.4, 1.8, 2.1]
BETTER = [0.09, 0.36, 0.41, 0.68, 0.2, 0.15, 0.3, 0.5, 0.25, 0.45]


def study(table: Table, rows: Sequence[dict[str, Any]], **content: Any) -> StudyRun:
    """A training for each row, at learning rates of their own unless a row has one."""
    return StudyRun(of_content({**LEAST, **content}), table([{LR: 1e-3 * 1.5**i, **row} for i, row in enumerate(rows)]))


def losses(values: Losses, **also: Any) -> list[dict[str, Any]]:
    return [{"val_loss": value, "wer": None, **also} for value in values]


def results(a: StudyRun, b: StudyRun, *settings: Difference) -> SharedResults:
    return shared_results(a, b, shared_part(a, b), settings)


def changes(a: StudyRun, b: StudyRun) -> dict[str, StudyChange]:
    found = corrected([one for one in results(a, b).found if isinstance(one, StudyChange)])
    return {one.subject.removesuffix(" at the same settings"): one for one in found}


def whys(a: StudyRun, b: StudyRun, *settings: Difference) -> dict[str, str]:
    return {one.subject: one.why for one in results(a, b, *settings).found if isinstance(one, Incomparable)}


def test_what_is_plain_is_told(table: Table) -> None:
    a = study(table, [{"val_loss": v, "wer": 0.8 - 0.01 * i} for i, v in enumerate(WORSE)])
    b = study(table, [{"val_loss": v, "wer": 0.2 + 0.01 * i} for i, v in enumerate(BETTER)])
    found = changes(a, b)
    assert {one.verdict for one in found.values()} == {"improvement"} and list(found) == ["validation loss", "WER"]
    loss, wer = found.values()
    ratios = np.array(BETTER) / WORSE
    assert ratios.min() < math.exp(loss.low) < math.exp(loss.estimate) < math.exp(loss.high) < ratios.max()
    assert loss.p == wer.p == 2 * 0.5**10 and loss.p_corrected == 2 * loss.p
    assert loss.difference == "0.15 times (0.092 to 0.25)" and loss.before == "geometric mean 1.9"
    assert loss.test == "exact Wilcoxon test of 10 settings: 10 lower, 0 higher"
    assert wer.difference.startswith("-51.0 points (-56.0 to -46.0)") and wer.before == "mean 75.5 %"
    back = changes(b, a)
    assert {one.verdict for one in back.values()} == {"regression"}
    assert [one.estimate for one in back.values()] == pytest.approx([-one.estimate for one in found.values()])


def test_so_few_settings_are_called_nothing_and_the_power_line_says_why(table: Table) -> None:
    four = changes(study(table, losses(WORSE[:4])), study(table, losses(BETTER[:4])))["validation loss"]
    assert four.verdict == "open" and four.num_tests == 0 and four.difference == "0.17 times (no interval)"
    assert four.power is not None
    assert four.power.text == "so few settings cannot show anything: it takes at least 7, all of which go one way"
    one = changes(study(table, losses(WORSE[:1])), study(table, losses(BETTER[:1])))["validation loss"]
    assert one.verdict == "open" and "of 1 setting: 1 lower" in one.test
    assert math.isnan(one.p) and math.isnan(four.p), "as no test was possible"
    six = changes(study(table, losses(WORSE[:6])), study(table, losses(BETTER[:6])))["validation loss"]
    assert six.p == six.p_corrected == 2 * 0.5**6 and six.verdict == "improvement"


def test_a_difference_beyond_chance_that_does_not_matter_is_neither(table: Table) -> None:
    a = study(table, losses(WORSE))
    slight = changes(a, study(table, losses([0.9 * v * 1.001**i for i, v in enumerate(WORSE)])))["validation loss"]
    assert slight.p_corrected < 0.05 and slight.verdict == "too_small"
    assert changes(a, study(table, losses([0.79 * v for v in WORSE])))["validation loss"].verdict == "improvement"


def test_what_matters_is_what_the_studies_claims_say(table: Table) -> None:
    claim = {"text": "said", "factor": "norm", "expected": "lower"}
    claims = [
        {**claim, "name": "a", "response": "val_loss", "effect": "ratio", "smallest_effect": 1.05},
        {**claim, "name": "b", "response": "wer", "smallest_effect": 0.3},
    ]
    rows = [{"block": i, "cell": "norm=group", "model.norm": "group"} for i in range(10)]

    def designed(values: Losses, wer: float) -> StudyRun:
        own = [{**row, LR: 1e-3 * 1.5**i, "val_loss": v, "wer": wer + i / 100}
               for i, (row, v) in enumerate(zip(rows, values, strict=True))]  # fmt: skip
        return StudyRun(of_content({**DESIGN, "claims": claims}), table(own))

    found = changes(designed(WORSE, 0.5), designed([0.9 * v for v in WORSE], 0.3))
    assert [one.verdict for one in found.values()] == ["improvement", "too_small"]
    assert "of 10 blocks" in found["WER"].test


def test_equal_studies_say_nothing_of_how_results_scatter(table: Table) -> None:
    a = study(table, losses(WORSE))
    same = changes(a, study(table, losses(WORSE)))["validation loss"]
    assert (same.verdict, same.p, same.estimate, same.difference) == ("open", 1.0, 0.0, "1 times (1 to 1)")
    assert "0 lower, 0 higher, 10 equal" in same.test
    assert same.power is not None and "too many settings gave the same" in same.power.text


def test_settings_that_only_one_study_learned_with_count_and_a_failure_counts_as_one(table: Table) -> None:
    a = study(table, losses(WORSE[:8]) + losses([None] * 3, verdict="stalled"))
    b = study(table, losses([None, math.inf, math.nan, 1e6, 2.9, 50.0, 3.5, 9.0], verdict="diverged-nonfinite")
              + losses([None] * 3, verdict="stalled"))  # fmt: skip
    (loss,) = changes(a, b).values()
    assert loss.verdict == "regression" and "of 8 settings: 0 lower, 8 higher" in loss.test
    assert "8 settings that both trained and A or B learned with (3 more with which neither did)" in results(a, b).basis
    ends = [9.0, 9.0, 9.0, 9.0, 3.0, 9.0, 3.5, 9.0]  # at least l_const = 3, at most l_unif = 9
    assert loss.after == f"geometric mean {math.exp(np.log(ends).mean()):.3g}"
    assert "WER at the same settings" in whys(a, b), "nobody knows that of A"


def test_trainings_that_neither_study_learned_with_are_not_compared(table: Table) -> None:
    a, b = (study(table, losses(values, verdict="stalled")) for values in (WORSE, BETTER))
    assert "neither learned anything" in whys(a, b)["loss and WER at the same settings"]


def test_nan_losses_of_good_trainings_are_left_out_and_counted(table: Table) -> None:
    a = study(table, losses(WORSE))
    b = study(table, losses([math.nan, None, *BETTER[2:]]))
    loss = changes(a, b)["validation loss"]
    assert "of 8 settings, 2 pairs not known: 8 lower" in loss.test and loss.verdict == "improvement"


def test_without_validation_losses_the_training_losses_are_compared(table: Table) -> None:
    a, b = (
        study(table, [{"val_loss": None, "wer": None, "final_train_loss": v} for v in values])
        for values in (WORSE, BETTER)
    )
    assert changes(a, b)["training loss"].verdict == "improvement"
    assert whys(a, b) == {"WER at the same settings": "not known of both trainings of any setting"}


def test_next_to_no_loss_is_as_good_as_none(table: Table) -> None:
    a, b = study(table, losses([0.0, 1e-9, 1e-5, 1e-3] * 3)), study(table, losses([1e-4] * 9 + [1e-3, 0.0, 0.0]))
    assert changes(a, b)["validation loss"].estimate == 0


def test_what_rounding_leaves_is_no_difference(table: Table) -> None:
    before = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1]
    after = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.3]
    a, b = (study(table, [{"val_loss": None, "wer": w} for w in values]) for values in (before, after))
    assert changes(a, b)["WER"].p == signed_ranks(np.array([-1.0] * 7 + [1.0]), 0.05).p


def test_seeds_of_a_setting_are_averaged_and_one_pair(table: Table) -> None:
    """Three seeds in A, two in B, one of which nobody could judge."""
    a = study(table, [{"val_loss": v * f, "wer": None, LR: 1e-3 * (i + 1)} for i, v in enumerate(WORSE)
                      for f in (0.8, 1.0, 1.2)])  # fmt: skip
    b = study(table, [{"val_loss": v * 0.5, "wer": None, LR: 1e-3 * (i + 1), "verdict": end}
                      for i, v in enumerate(WORSE) for end in ("stable", "crashed")])  # fmt: skip
    loss = changes(a, b)["validation loss"]
    assert "of 10 settings: 10 lower" in loss.test and math.exp(loss.estimate) == pytest.approx(0.5)


def test_trainings_of_a_block_are_one_pair(table: Table) -> None:
    def designed(values: Losses) -> StudyRun:
        rows = [{"block": i, "cell": f"norm={norm}", "model.norm": norm, "val_loss": v, "wer": None, LR: 1e-3 * (i + 1)}
                for i, v in enumerate(values) for norm in ("group", "batch")]  # fmt: skip
        return StudyRun(of_content(DESIGN), table(rows))

    loss = changes(designed(WORSE), designed(BETTER))["validation loss"]
    assert "of 10 blocks: 10 lower" in loss.test and loss.p == 2 * 0.5**10


def test_what_cannot_be_compared_says_why(table: Table) -> None:
    a, b = study(table, losses(WORSE)), study(table, losses(BETTER))
    other = study(table, [{"val_loss": v, LR: 1e-2 * 1.7**i} for i, v in enumerate(BETTER)])
    subject = "loss and WER at the same settings"
    assert whys(a, other)[subject].startswith("no setting was trained in both")
    assert whys(a, b, Difference("data", "data.noise", 0.1, 0.2))[subject] == "the data are not the same (data.noise)"


def test_what_such_studies_could_have_shown_follows_from_how_their_pairs_scatter(table: Table) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 12)
    tight, loose = (
        changes(study(table, losses([1.0] * 12)), study(table, losses(list(np.exp(scale * noise)))))["validation loss"]
        for scale in (1, 3)
    )
    assert tight.power is not None and loose.power is not None
    assert tight.power.rise == -tight.power.fall < 0.4 < loose.power.rise
    assert tight.power.text.startswith("with 12 settings a median loss under 0.7")
    assert tight.verdict == "open"
