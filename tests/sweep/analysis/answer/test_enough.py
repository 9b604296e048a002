"""Too few trainings for the safety rule, and studies whose settings are all alike."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.answer.enough import alike_text, too_few_text, trainings_needed
from sweep.analysis.answer.recommend import recommend
from sweep.analysis.answer.safe_setting import Rule
from sweep.analysis.region.evidence import Evidence
from sweep.analysis.trials.tried import space_of
from sweep.boundary.model import MarginModel

LR = "training.optimizer.lr"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-4, 1.0]}}
RULE = Rule(3.0, 0.95)
Table = Callable[..., pd.DataFrame]


def rows(num: int, edge: float = 2.0, spread: float = 0.002) -> list[dict[str, Any]]:
    luck = np.random.default_rng(0).uniform(-spread, spread, num)
    return [
        {LR: float(lr), "wer": 0.3 + luck[n], "val_loss": 1.0, "margin": -0.5}
        if lr < edge
        else {LR: float(lr), "verdict": "diverged-loss", "margin": 0.5}
        for n, lr in enumerate(np.geomspace(1e-4, 1.0, num))
    ]


def evidence(table: Table, found: list[dict[str, Any]], space: dict[str, Any] = SPACE) -> Evidence:
    return Evidence(table(found), space_of(space))


@pytest.mark.parametrize("p_stable", [0.9, 0.95, 0.98])
def test_so_many_trainings_let_a_model_keep_the_rule_and_no_fewer(table: Table, p_stable: float) -> None:
    needed = trainings_needed(Rule(3.0, p_stable))

    def surest(num: int) -> float:
        places = np.geomspace(1e-4, 1.0, num)
        settings, margins = [{LR: float(lr)} for lr in places], [-1.0 if lr < 0.1 else 1.0 for lr in places]
        return float(MarginModel.fit(space_of(SPACE), settings, margins).p_stable([{LR: 1e-3}])[0])

    assert surest(needed) >= p_stable - 1e-9 > surest(needed - 1)


def test_the_answer_says_how_many_more_the_safety_rule_takes(table: Table) -> None:
    few = recommend(evidence(table, rows(12, 0.1)), "wer", RULE)
    assert few.safety is not None and not few.safety.meets
    told = "takes 18 judged trainings of 6 settings or more, and there are 12 of 12. 6 more may do: --trials +6."
    assert few.too_few.endswith(told)
    assert recommend(evidence(table, rows(18, 0.1)), "wer", RULE).too_few == ""
    assert recommend(evidence(table, rows(12, 0.1)), "wer").too_few == "", "without a rule"


def test_seeds_of_few_settings_are_too_few_as_well(table: Table) -> None:
    many = [{**row, "group": n % 4, LR: 10.0 ** -(n % 4)} for n, row in enumerate(rows(20))]
    assert too_few_text(evidence(table, many), RULE).endswith("there are 20 of 4. 2 more may do: --trials +2.")


def test_no_number_of_trainings_makes_a_map_of_categories(table: Table) -> None:
    path = "training.precision.kind"
    found = [{path: "fp32", "margin": -0.5}, {path: "fp16", "margin": -0.5}]
    assert too_few_text(evidence(table, found, {path: {"choice": ["fp32", "fp16"]}}), RULE) == ""


def test_settings_that_are_all_alike_are_told(table: Table) -> None:
    told = recommend(evidence(table, rows(20)), "wer", RULE).alike
    assert told.startswith("All settings are alike: no searched setting matters beyond noise.")
    assert "all 20 settings" in told and "within 0.4 points of WER" in told


def test_a_small_but_sure_effect_is_not_called_noise(table: Table) -> None:
    tilted = [{**row, "wer": 0.3 + 1e-3 * math.log10(row[LR])} for row in rows(20)]
    told = alike_text(evidence(table, tilted))
    assert told.startswith("All settings are alike: no searched setting makes a difference that matters.")


@pytest.mark.parametrize(
    "changed",
    [{"wer": 0.33}, {"val_loss": 1.2}, {"verdict": "diverged-loss", "margin": 0.5, "wer": None, "val_loss": None}],
    ids=["another WER", "another loss", "a failure"],
)
def test_one_that_differs_is_enough_to_say_nothing(table: Table, changed: dict[str, Any]) -> None:
    found = rows(20)
    found[7] |= changed
    assert alike_text(evidence(table, found)) == ""


def test_models_that_have_hardly_begun_are_not_called_alike(table: Table) -> None:
    assert alike_text(evidence(table, [{**row, "wer": 1.0} for row in rows(20)])) == ""
    assert alike_text(evidence(table, rows(5))) == "", "too few settings"
