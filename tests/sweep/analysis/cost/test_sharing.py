from collections.abc import Callable

import pandas as pd
import pytest

from sweep.analysis.cost.sharing import GpuSharing, sharing, sharing_text
from sweep.study import validate
from sweep.yaml_source import parse

STUDY = validate(
    parse(
        "name: s\nmodel: {kind: baseline}\ndata: {kind: synthetic}\ntraining: {batch_size: 8}\n"
        "space: {training.batch_size: {choice: [8, 16]}}\nbudget: {steps: 10}\nsearch: {kind: random}\n",
        "s.yaml",
    )
).study


def test_the_samples_a_second_of_a_gpu_are_told_by_how_many_shared_it(table: Callable[..., pd.DataFrame]) -> None:
    trials = table(
        [
            {"gpu_shared_by": 1, "step_time_s": 0.1, "training.batch_size": 8},
            {"gpu_shared_by": 3, "step_time_s": 0.2, "training.batch_size": 8},
            {"gpu_shared_by": 3, "step_time_s": 0.2, "training.batch_size": 16},
            {"gpu_shared_by": 3, "step_time_s": 0.2, "training.batch_size": 8},
            {"gpu_shared_by": 3, "step_time_s": float("nan"), "training.batch_size": 8},
        ]
    )
    found = sharing(trials, STUDY)
    assert found == (GpuSharing(1, 1, pytest.approx(80.0)), GpuSharing(3, 3, pytest.approx(40.0)))
    assert sharing_text(found) == (
        "A GPU trained 80 samples/s with one trial alone on it (1 trial), 120 samples/s with 3 on it, 40 each "
        "(3 trials) (medians of a trial, times the trials on it): 1.5 times as many with 3 on it as with one alone."
    )


def test_nothing_is_told_where_no_gpu_was_shared(table: Callable[..., pd.DataFrame]) -> None:
    assert sharing_text(sharing(table([{}, {}]), STUDY)) == ""
    assert sharing_text(sharing(table([{"gpu_shared_by": 1, "step_time_s": 0.1}]), STUDY)) == ""
    assert sharing_text((GpuSharing(2, 4, 10.0),)).startswith(
        "A GPU trained 20 samples/s with 2 on it, 10 each (4 trials)"
    )
