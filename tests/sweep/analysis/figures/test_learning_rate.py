import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.figures.learning_rate import LR_BINS, LrSensitivity, lr_sensitivity
from sweep.analysis.trials.dimensions import dimensions, learning_rate, panel_dimension
from sweep.analysis.trials.tried import space_of

LR, P = "training.optimizer.lr", "training.precision.kind"
SPACE: dict[str, Any] = {P: {"choice": ["fp32", "fp16"]}, LR: {"loguniform": [1e-4, 1e-1]}}
Table = Callable[..., pd.DataFrame]


def found_in(trials: pd.DataFrame) -> tuple[LrSensitivity, ...]:
    dims = dimensions(space_of(SPACE))
    lr = learning_rate(dims)
    assert lr is not None
    return lr_sensitivity(trials, lr, panel_dimension(dims))


def rates() -> list[float]:
    """One in the middle of each stretch of the range."""
    return [1e-4 * 10 ** (3 * (k + 0.5) / LR_BINS) for k in range(LR_BINS)]


def test_the_mean_of_the_capped_curve_less_its_lowest_point(table: Table) -> None:
    """L_unif is 9, L_const 3 in these tables. Half of the range is lost: (1 x 6 + 9 x 6) / 12 - 1 = 4."""
    losses = [1.0] * 6 + [50.0, math.inf, math.nan, None, -math.inf, 1e30]
    rows = [
        {P: "fp32", LR: lr, "val_loss": loss, "verdict": "stable" if loss == 1.0 else "diverged-loss"}
        for lr, loss in zip(rates(), losses, strict=True)
    ]
    flat = [{P: "fp16", LR: lr, "val_loss": 2.0} for lr in rates()]
    fp32, fp16 = found_in(table(rows + flat))
    assert fp32.level == "fp32" and fp32.value == pytest.approx(4.0) and fp32.relative == pytest.approx(4 / 3)
    assert fp32.best_loss == 1.0 and fp32.best_lr == pytest.approx(rates()[0]) and fp32.reason is None
    assert (fp32.num_trials, fp32.num_filled, fp32.num_bins) == (12, 12, 12)
    assert (fp16.level, fp16.value, fp16.best_loss) == ("fp16", 0.0, 2.0)
    assert [loss for _, loss, _ in fp32.curve] == [1.0] * 6 + [9.0] * 6, "lost trainings count with L_unif"
    assert [lr for lr, _, _ in fp32.curve] == pytest.approx(rates())


def test_gaps_are_interpolated_and_seeds_count_as_one_setting(table: Table) -> None:
    places = rates()
    rows = [{P: "fp32", LR: places[0], "val_loss": 1.0}, {P: "fp32", LR: places[-1], "val_loss": 3.0}]
    middle = [{P: "fp32", LR: places[6], "val_loss": loss, "group": 77} for loss in (2.0, 2.0, 2.0, 2.0)]
    other = [{P: "fp32", LR: places[6], "val_loss": 4.0, "group": 78}]
    (found,) = found_in(table([*rows, *middle, *other]))
    curve = np.interp(np.arange(12), [0, 6, 11], [1.0, 3.0, 3.0])
    assert found.value == pytest.approx(curve.mean() - 1.0) and found.num_filled == 3 and found.num_trials == 7
    (at_the_end,) = found_in(table([{P: "fp32", LR: places[k], "val_loss": 5.0 - k} for k in (2, 3, 4)]))
    assert at_the_end.best_lr == pytest.approx(places[4]), "where a trial was, not where the curve goes on"


def test_the_curve_has_a_point_for_each_stretch_with_a_trial(table: Table) -> None:
    rows = [{P: "fp32", LR: rates()[k], "val_loss": 2.0, "wer": wer} for k, wer in ((1, 0.5), (1, None), (4, 1.7))]
    (found,) = found_in(table(rows))
    assert found.curve == (
        (pytest.approx(rates()[1]), 2.0, pytest.approx(0.75)),
        (pytest.approx(rates()[4]), 2.0, 1.0),
    ), "a training without a WER counts as 1, and so does one above"


def test_where_nothing_was_learned_no_rate_is_better(table: Table) -> None:
    (found,) = found_in(table([{P: "fp32", LR: lr, "val_loss": 2.95, "verdict": "stalled"} for lr in rates()]))
    assert math.isnan(found.value) and found.reason is not None and found.reason.startswith("Nothing was learned")
    assert len(found.curve) == 12


def test_what_cannot_be_told_is_said_and_never_raises(table: Table) -> None:
    few = table([{P: "fp32", LR: lr} for lr in (1e-3, 1.1e-3)])
    (found,) = found_in(few)
    assert math.isnan(found.value) and math.isnan(found.relative) and math.isnan(found.best_lr)
    assert found.reason == "The trials lie in 1 of 12 stretches of the range; 3 are needed."
    (unknown,) = found_in(table([{P: "fp32", LR: lr, "l_unif": None} for lr in rates()]))
    assert math.isnan(unknown.value) and "uniform output is not known" in str(unknown.reason)
    assert found_in(table([])) == ()
    silent = [{P: "fp32", LR: 1e-3, "verdict": "pruned"}, {P: "fp32", LR: 1e-3, "phase": "full_size"}]
    assert found_in(table(silent)) == ()
