"""Policies on short histories with NaN, infinity and outliers in every place."""

import math
import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from sweep.records import SkipReason
from sweep.training.optim import BadBatchConfig, NeverSkip, RobustZ, SkipAbove, SkipNonfinite
from sweep.training.optim.policies import BadBatchPolicy, refusal_reason

torch.set_num_threads(1)

ALL = [NeverSkip(), SkipNonfinite(), SkipAbove(threshold=10.0), RobustZ()]
NONFINITE = [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf), (-math.inf, 1.0)]
HEALTHY = [1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 0.7, 1.0] * 5


def decide(policy: BadBatchPolicy, loss: float, norm: float) -> SkipReason | None:
    return refusal_reason(policy.decide(torch.tensor(loss), torch.tensor(norm)).item())


@pytest.mark.parametrize("config", ALL)
def test_round_trip_through_the_union(config: BadBatchConfig) -> None:
    adapter: TypeAdapter[BadBatchConfig] = TypeAdapter(BadBatchConfig)
    assert adapter.validate_python(adapter.dump_python(config)) == config


@pytest.mark.parametrize("config", ALL)
def test_healthy_batches_are_applied_and_non_finite_ones_named(config: BadBatchConfig) -> None:
    policy = config.build()
    expected = None if isinstance(config, NeverSkip) else SkipReason.NONFINITE
    for loss, norm in NONFINITE:
        assert decide(policy, loss, norm) is expected
    for norm in HEALTHY:
        assert decide(policy, 2.0, norm) is None
        assert decide(policy, math.nan, norm) is expected
    assert decide(policy, 2.0, 0.0) is None


def test_skip_above_is_strict() -> None:
    policy = SkipAbove(threshold=10.0).build()
    assert decide(policy, 1.0, 10.0) is None
    assert decide(policy, 1.0, 10.1) is SkipReason.THRESHOLD


def test_robust_z_judges_after_its_warm_up_and_on_the_high_side_only() -> None:
    policy = RobustZ(warmup_steps=8, window=16).build()
    assert decide(policy, 1.0, 1.0) is None
    assert decide(policy, 1.0, 1e6) is None
    for norm in HEALTHY[:6]:
        decide(policy, 1.0, norm)
    assert decide(policy, 1.0, 30.0) is SkipReason.THRESHOLD
    assert decide(policy, 1.0, 1e-6) is None
    assert decide(policy, 1.0, 1.5) is None


def test_robust_z_follows_a_lasting_rise_within_a_window() -> None:
    policy = RobustZ(warmup_steps=16, window=16).build()
    for norm in HEALTHY:
        decide(policy, 1.0, norm)
    decisions = [decide(policy, 1.0, 100.0 * norm) for norm in HEALTHY]
    assert decisions[:6] == [SkipReason.THRESHOLD] * 6
    assert decisions[16:] == [None] * len(decisions[16:])


def test_robust_z_is_not_blinded_by_non_finite_norms_and_resumes() -> None:
    policy = RobustZ().build()
    for norm in HEALTHY:
        decide(policy, 1.0, norm)
        decide(policy, 1.0, math.nan)
        decide(policy, 1.0, math.inf)
    resumed = RobustZ().build()
    resumed.load_state_dict(policy.state_dict())
    for each in (policy, resumed):
        assert decide(each, 1.0, 30.0) is SkipReason.THRESHOLD
        assert decide(each, 1.0, 1.0) is None


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e6), st.lists(st.floats(0.5, 2.0), min_size=40, max_size=60))
def test_robust_z_does_not_depend_on_the_unit_of_the_norm(unit: float, norms: list[float]) -> None:
    plain, scaled = RobustZ().build(), RobustZ().build()
    for norm in [*norms, 1e3]:
        assert decide(plain, 1.0, norm) is decide(scaled, 1.0, norm * unit)


def test_a_warm_up_beyond_the_window_is_an_error() -> None:
    with pytest.raises(ValidationError, match="never judge"):
        RobustZ(window=16, warmup_steps=17)


class _Reference:
    """The rule in plain Python."""

    def __init__(self, config: RobustZ) -> None:
        self.config = config
        self.log_norms: list[float] = []

    def decide(self, loss: float, norm: float) -> SkipReason | None:
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return SkipReason.NONFINITE
        if norm == 0.0:
            return None
        window = self.log_norms[-self.config.window :]
        self.log_norms.append(math.log(norm))
        if len(window) < self.config.warmup_steps:
            return None
        median = statistics.median(window)
        deviation = max(1.4826 * statistics.median(abs(x - median) for x in window), 0.05)
        return SkipReason.THRESHOLD if (math.log(norm) - median) / deviation > self.config.z else None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([1.0, 1.0, 1.0, math.nan, math.inf]),
            st.floats(2.0**-7, 128.0, width=32) | st.sampled_from([0.0, math.nan, math.inf]),
        ),
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_robust_z_is_the_rule_that_its_docstring_says(history: list[tuple[float, float]], resumed_at: int) -> None:
    config = RobustZ(z=2.0, window=9, warmup_steps=4)
    policy, reference = config.build(), _Reference(config)
    for step, (loss, norm) in enumerate(history):
        if step == resumed_at:
            resumed = config.build()
            resumed.load_state_dict(policy.state_dict())
            assert resumed.state_dict() == policy.state_dict()
            policy = resumed
        assert decide(policy, loss, norm) is reference.decide(loss, norm)
    assert policy.state_dict()["log_norms"] == pytest.approx(reference.log_norms[-9:])


def test_a_threshold_is_not_rounded_to_the_norms_format() -> None:
    policy = SkipAbove(threshold=0.1).build()
    assert decide(policy, 1.0, 0.1) is SkipReason.THRESHOLD, "0.1 in float32 is a little more"
    assert decide(policy, 1.0, 0.0999) is None
