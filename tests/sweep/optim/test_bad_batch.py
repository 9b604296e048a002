"""Policies on short histories with NaN, infinity and outliers in every place."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sweep.optim import (
    BadBatchConfig,
    NeverSkip,
    RobustZ,
    SkipAbove,
    SkipNonfinite,
)
from sweep.records import SkipReason

ALL = [NeverSkip(), SkipNonfinite(), SkipAbove(threshold=10.0), RobustZ()]
NONFINITE = [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf), (-math.inf, 1.0)]
HEALTHY = [1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 0.7, 1.0] * 5


@pytest.mark.parametrize("config", ALL)
def test_round_trip_through_the_union(config: BadBatchConfig) -> None:
    adapter: TypeAdapter[BadBatchConfig] = TypeAdapter(BadBatchConfig)
    assert adapter.validate_python(adapter.dump_python(config)) == config


@pytest.mark.parametrize("config", ALL)
def test_healthy_batches_are_applied_and_non_finite_ones_named(config: BadBatchConfig) -> None:
    policy = config.build()
    expected = None if isinstance(config, NeverSkip) else SkipReason.NONFINITE
    for loss, norm in NONFINITE:
        assert policy.decide(loss, norm) is expected
    for norm in HEALTHY:
        assert policy.decide(2.0, norm) is None
        assert policy.decide(math.nan, norm) is expected
    assert policy.decide(2.0, 0.0) is None


def test_skip_above_is_strict() -> None:
    policy = SkipAbove(threshold=10.0).build()
    assert policy.decide(1.0, 10.0) is None
    assert policy.decide(1.0, 10.1) is SkipReason.THRESHOLD


def test_robust_z_judges_after_its_warm_up_and_on_the_high_side_only() -> None:
    policy = RobustZ(warmup_steps=8, window=16).build()
    assert policy.decide(1.0, 1.0) is None
    assert policy.decide(1.0, 1e6) is None
    for norm in HEALTHY[:6]:
        policy.decide(1.0, norm)
    assert policy.decide(1.0, 30.0) is SkipReason.THRESHOLD
    assert policy.decide(1.0, 1e-6) is None
    assert policy.decide(1.0, 1.5) is None


def test_robust_z_follows_a_lasting_rise_within_a_window() -> None:
    policy = RobustZ(warmup_steps=16, window=16).build()
    for norm in HEALTHY:
        policy.decide(1.0, norm)
    decisions = [policy.decide(1.0, 100.0 * norm) for norm in HEALTHY]
    assert decisions[:6] == [SkipReason.THRESHOLD] * 6
    assert decisions[16:] == [None] * len(decisions[16:])


def test_robust_z_is_not_blinded_by_non_finite_norms_and_resumes() -> None:
    policy = RobustZ().build()
    for norm in HEALTHY:
        policy.decide(1.0, norm)
        policy.decide(1.0, math.nan)
        policy.decide(1.0, math.inf)
    resumed = RobustZ().build()
    resumed.load_state_dict(policy.state_dict())
    for each in (policy, resumed):
        assert each.decide(1.0, 30.0) is SkipReason.THRESHOLD
        assert each.decide(1.0, 1.0) is None


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e6), st.lists(st.floats(0.5, 2.0), min_size=40, max_size=60))
def test_robust_z_does_not_depend_on_the_unit_of_the_norm(unit: float, norms: list[float]) -> None:
    plain, scaled = RobustZ().build(), RobustZ().build()
    for norm in [*norms, 1e3]:
        assert plain.decide(1.0, norm) is scaled.decide(1.0, norm * unit)


def test_a_warm_up_beyond_the_window_is_an_error() -> None:
    with pytest.raises(ValidationError, match="never judge"):
        RobustZ(window=16, warmup_steps=17)
