"""What a plan expects of evaluations."""

import pytest
import torch

from slr_models.data.synthetic import SyntheticConfig
from sweep.running.plan import Timing
from sweep.training.config import TrainingConfig


@pytest.mark.parametrize(("subset", "expected_s"), [(None, 8.0), (20, 8.0), (1000, 8.0), (5, 2.0 + 3 * 0.5)])
def test_all_evaluations_but_the_last_take_the_subset(subset: int | None, expected_s: float) -> None:
    dataset = SyntheticConfig(num_train=32, num_valid=20).build()
    timing = Timing(step_s=0.1, eval_s=2.0, device=torch.device("cpu"))
    training = TrainingConfig(eval_every_steps=30, eval_subset=subset)
    assert timing.evals_s(training, 100, dataset) == pytest.approx(expected_s)
    assert timing.training_s(training, 100, dataset) == pytest.approx(10.0 + expected_s)
