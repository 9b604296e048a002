"""What a plan expects of evaluations and of replays."""

from pathlib import Path

import pytest
import torch

from slr_models.data.synthetic import SyntheticConfig
from sweep.forensics import allowance
from sweep.forensics.settings import ForensicsConfig
from sweep.records import Outcome
from sweep.running.plan import Timing
from sweep.training.config import TrainingConfig


@pytest.mark.parametrize(("subset", "expected_s"), [(None, 8.0), (20, 8.0), (1000, 8.0), (5, 2.0 + 3 * 0.5)])
def test_all_evaluations_but_the_last_take_the_subset(subset: int | None, expected_s: float) -> None:
    dataset = SyntheticConfig(num_train=32, num_valid=20).build()
    timing = Timing(step_s=0.1, eval_s=2.0, device=torch.device("cpu"))
    training = TrainingConfig(eval_every_steps=30, eval_subset=subset)
    assert timing.evals_s(training, 100, dataset) == pytest.approx(expected_s)
    assert timing.training_s(training, 100, dataset) == pytest.approx(10.0 + expected_s)


@pytest.mark.parametrize(
    ("settings", "num_trainings", "explained"),
    [({}, 100, 6), ({}, 4, 4), ({"trials": 100}, 200, 14), ({"trials": 0}, 4, 0)],
)
def test_no_more_trials_are_explained_than_there_are_and_outcomes_allow(settings, num_trainings, explained) -> None:
    assert ForensicsConfig(**settings).most_explained(num_trainings) == explained


@pytest.mark.parametrize(("max_steps", "most"), [(90, 90 + 180), (240, 240 + 480), (100_000, 300 + 600)])
def test_replays_take_no_more_steps_than_both_limits_allow(max_steps: int, most: int) -> None:
    assert ForensicsConfig().most_steps(max_steps) == most


def test_what_earlier_runs_took_is_not_expected_again(tmp_path: Path) -> None:
    settings = ForensicsConfig(trials=2)
    assert allowance.most_left(tmp_path, settings, 10) == 2
    assert allowance.take(tmp_path, "0000", Outcome.STALLED, num_trials=2, per_outcome=2)
    assert allowance.most_left(tmp_path, settings, 10) == 1 and allowance.most_left(tmp_path, settings, 0) == 0
    assert allowance.take(tmp_path, "0001", Outcome.STALLED, num_trials=2, per_outcome=2)
    assert allowance.most_left(tmp_path, settings, 10) == 0
