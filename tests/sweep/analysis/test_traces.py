import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from sweep.analysis.traces import MAX_POINTS, examples, trace, traced_trials


def steps(num: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "step": np.arange(1, num + 1),
            "loss": np.linspace(8, 1, num),
            "grad_norm": np.ones(num),
            "loss_scale": np.nan,
            "skip_reason": pd.Series([None] * num, dtype=object),
        }
    )


def test_few_steps_are_kept_as_they_are() -> None:
    made = trace("t", steps(7), None)
    assert made.step == tuple(range(1, 8)) and made.scale == () and made.events == {}


def test_many_steps_become_few_points_but_peaks_and_non_finite_values_stay() -> None:
    frame = steps(5000)
    frame.loc[1234, "loss"] = 99.0
    frame.loc[3210, "grad_norm"] = 1e6
    frame.loc[4321, "loss"] = math.nan
    made = trace("t", frame, None)
    assert len(made.step) <= MAX_POINTS and made.num_steps == 5000 and made.step[-1] == 5000
    assert made.loss[made.step.index(1235)] == 99.0
    assert made.grad_norm[made.step.index(3211)] == 1e6
    assert made.loss[made.step.index(4322)] is None
    assert made.events == {"loss not finite": (4322,)}


def test_skips_are_listed_by_reason_and_counted_before_thinning() -> None:
    frame = steps(1000)
    frame.loc[:3, "skip_reason"] = "calibration"
    frame.loc[200:, "skip_reason"] = "threshold"
    made = trace("t", frame, None)
    assert made.events["skipped: calibration"] == (1, 2, 3, 4)
    assert made.event_counts == {"skipped: calibration": 4, "skipped: threshold": 800}
    thinned = made.events["skipped: threshold"]
    assert len(thinned) == MAX_POINTS and thinned[0] == 201 and thinned[-1] == 1000


def test_a_loss_scale_keeps_its_changes() -> None:
    frame = steps(100)
    frame["loss_scale"] = [1024.0] * 40 + [512.0] * 60
    made = trace("t", frame, None)
    assert list(zip(made.scale_step, made.scale, strict=True)) == [(1, 1024.0), (41, 512.0), (100, 512.0)]


def test_examples_are_the_best_trial_and_a_typical_one_of_each_outcome(table: Callable[..., pd.DataFrame]) -> None:
    rows = [{}, {"verdict": "stalled", "num_steps": 10}, {"verdict": "stalled", "num_steps": 30}]
    rows += [{"verdict": "stalled", "num_steps": 90}]
    trials = table(rows)
    assert examples(trials, "t000") == [("Recommended", "t000"), ("Typical stalled", "t002")]
    assert traced_trials(trials, ["t002"]) == ["t002", "t000", "t001", "t003"]
