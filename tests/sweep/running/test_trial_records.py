"""What the records of a trial come to."""

import math

import numpy as np
import pytest

from sweep.records import HealthMetric, HealthRecord, HealthSample
from sweep.running.trial_records import TrialRecords


def with_norms(pairs: list[tuple[float, float]]) -> TrialRecords:
    """Records of samples with these norms, of a micro-batch's gradient and of the update's."""
    names = (HealthMetric.MICRO_GRAD_NORM, HealthMetric.UPDATE_GRAD_NORM)
    samples = [
        HealthSample(step, tuple(HealthRecord(step, name, "", value) for name, value in zip(names, pair, strict=True)))
        for step, pair in enumerate(pairs, 1)
    ]
    return TrialRecords(health=samples)


def test_the_noise_scale_is_that_of_gradients_that_were_drawn() -> None:
    """Gradients of single utterances with a known mean and scatter: |G|^2 = 4, tr(Sigma) = 200 x 0.36."""
    rng, size, batch, count = np.random.default_rng(0), 200, 5, 4
    mean = np.full(size, math.sqrt(4 / size))
    pairs = []
    for _ in range(400):
        of_micro = [(mean + 0.6 * rng.standard_normal((batch, size))).mean(0) for _ in range(count)]
        pairs.append((float(np.linalg.norm(of_micro[0])), float(np.linalg.norm(np.mean(of_micro, 0)))))
    assert with_norms(pairs).noise_scale(batch, count) == pytest.approx(72 / 4, rel=0.05)


def test_no_noise_no_scale_and_what_nobody_can_tell() -> None:
    assert with_norms([(2.0, 2.0)] * 3).noise_scale(5, 4) == 0.0
    assert with_norms([(2.0, 2.0), (math.inf, math.nan)]).noise_scale(5, 4) == 0.0, "an overflow is left out"
    assert math.isnan(with_norms([]).noise_scale(5, 1))
    assert math.isnan(with_norms([(2.0, 0.9)]).noise_scale(5, 4)), "an update that is all noise"
