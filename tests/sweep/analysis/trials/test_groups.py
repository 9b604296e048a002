import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sweep.analysis.trials.dimensions import dimensions
from sweep.analysis.trials.groups import BOOTSTRAP_FROM, mean_interval, setting_groups, spread
from sweep.analysis.trials.tried import space_of

LR = "training.optimizer.lr"
SPACE: dict[str, Any] = {LR: {"loguniform": [1e-4, 1e-1]}}
Table = Callable[..., pd.DataFrame]


def test_three_seeds_have_students_interval() -> None:
    """By hand: mean 0.3, standard deviation 0.1, t(0.975, 2) = 4.3027."""
    low, high = mean_interval(np.array([0.2, 0.3, 0.4]))
    assert (low, high) == pytest.approx((0.3 - 4.302653 * 0.1 / math.sqrt(3), 0.3 + 4.302653 * 0.1 / math.sqrt(3)))
    assert mean_interval(np.array([0.0, 0.1]))[0] == 0.0, "no error rate is below 0"
    assert all(math.isnan(end) for end in mean_interval(np.array([0.2])))
    assert mean_interval(np.array([0.2, 0.2, 0.2])) == (0.2, 0.2)


def test_many_seeds_are_resampled_and_always_alike() -> None:
    values = np.random.default_rng(0).lognormal(0.0, 0.5, BOOTSTRAP_FROM)
    low, high = mean_interval(values)
    assert (low, high) == mean_interval(values)
    reach = 1.96 * values.std(ddof=1) / math.sqrt(len(values))
    assert low < values.mean() < high and high - low == pytest.approx(2 * reach, rel=0.15)


@pytest.mark.parametrize("num", [3, BOOTSTRAP_FROM])
def test_the_interval_holds_the_true_mean_as_often_as_it_says(num: int) -> None:
    samples = np.random.default_rng(1).normal(1.0, 0.2, (200, num))
    held = [low <= 1.0 <= high for low, high in map(mean_interval, samples)]
    assert np.mean(held) >= 0.89, "three standard errors below 95 %, and a little for the bootstrap"


def test_results_are_those_of_the_fresh_seeds_with_their_interval(table: Table) -> None:
    rows: list[dict[str, Any]] = [{LR: 1e-3, "wer": 0.01, "val_loss": 0.1, "group": 1}]
    rows += [{LR: 1e-3, "wer": w, "val_loss": 2 * w, "group": 1, "phase": "confirm"} for w in (0.2, 0.3, 0.4)]
    trials = table(rows)
    (group,) = setting_groups(trials, dimensions(space_of(SPACE)))
    assert group.wer is not None and group.val_loss is not None
    assert (group.wer.ci_low, group.wer.ci_high) == mean_interval(np.array([0.2, 0.3, 0.4]))
    assert group.val_loss.ci_high == pytest.approx(2 * group.wer.ci_high)
    alone = spread([0.5, None, math.nan])
    assert alone is not None and math.isnan(alone.ci_low) and math.isnan(alone.ci_high)


def test_pruned_trials_are_no_seeds_of_a_setting(table: Table) -> None:
    trials = table(
        [
            {LR: 1e-3, "group": 1},
            {LR: 1e-3, "group": 1, "verdict": "pruned"},
            {LR: 2e-3, "group": 2, "verdict": "pruned"},
        ]
    )
    (group,) = setting_groups(trials, dimensions(space_of(SPACE)))
    assert group.all_stable and group.stable.total == 1 and group.group == 1


def test_one_diverged_seed_of_two_is_not_clean(table: Table) -> None:
    trials = table([{LR: 1e-3, "group": 1}, {LR: 1e-3, "group": 1, "verdict": "diverged-loss"}])
    (group,) = setting_groups(trials, dimensions(space_of(SPACE)))
    assert not group.all_stable and not group.confirmed and group.stable.rate == 0.5
