import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.figures.course import MAX_POINTS, MIN_POINTS, examples, points_kept, trace, traced_trials


def steps(num: int) -> dict[str, Any]:
    return {
        "step": np.arange(1, num + 1),
        "loss": np.linspace(8, 1, num),
        "grad_norm": np.ones(num),
        "loss_scale": np.full(num, np.nan),
        "skip_reason": np.full(num, None, dtype=object),
    }


def test_few_steps_are_kept_as_they_are() -> None:
    made = trace("t", steps(7), None)
    assert made.step.tolist() == list(range(1, 8)) and not len(made.scale) and made.events == {}


def test_many_steps_become_few_points_but_peaks_and_non_finite_values_stay() -> None:
    frame = steps(5000)
    frame["loss"][1234] = 99.0
    frame["grad_norm"][3210] = 1e6
    frame["loss"][4321] = math.nan
    made = trace("t", frame, None)
    assert len(made.step) <= MAX_POINTS and made.num_steps == 5000 and made.step[-1] == 5000
    assert made.loss[made.step == 1235] == 99.0
    assert made.grad_norm[made.step == 3211] == 1e6
    assert np.isnan(made.loss[made.step == 4322])
    assert {name: at.tolist() for name, at in made.events.items()} == {"loss not finite": [4322]}


def test_skips_are_listed_by_reason_and_counted_before_thinning() -> None:
    frame = steps(1000)
    frame["skip_reason"][:4] = "calibration"
    frame["skip_reason"][200:] = "threshold"
    made = trace("t", frame, None)
    assert made.events["skipped: calibration"].tolist() == [1, 2, 3, 4]
    assert made.event_counts == {"skipped: calibration": 4, "skipped: threshold": 800}
    thinned = made.events["skipped: threshold"]
    assert len(thinned) == MAX_POINTS and thinned[0] == 201 and thinned[-1] == 1000


def test_a_loss_scale_keeps_its_changes() -> None:
    frame = steps(100)
    frame["loss_scale"] = np.array([1024.0] * 40 + [512.0] * 60)
    made = trace("t", frame, None)
    assert list(zip(made.scale_step, made.scale, strict=True)) == [(1, 1024.0), (41, 512.0), (100, 512.0)]


def test_examples_are_the_best_trial_and_a_typical_one_of_each_outcome(table: Callable[..., pd.DataFrame]) -> None:
    rows = [{}, {"verdict": "stalled", "num_steps": 10}, {"verdict": "stalled", "num_steps": 30}]
    rows += [{"verdict": "stalled", "num_steps": 90}]
    trials = table(rows)
    assert examples(trials, "t000") == [("Recommended", "t000"), ("Typical stalled", "t002")]
    assert traced_trials(trials, ["t002"]) == ["t002", "t000", "t001", "t003"]


def test_the_more_trials_the_fewer_points_a_curve() -> None:
    assert points_kept(1) == points_kept(4000) == MAX_POINTS
    assert points_kept(10_000) == 120 and points_kept(1_000_000) == MIN_POINTS
    assert len(trace("t", steps(5000), None, 120).step) <= 120
