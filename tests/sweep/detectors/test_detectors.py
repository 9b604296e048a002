"""Conformance of every detector in the union: a new member inherits these tests."""

import dataclasses
import json
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sweep.detectors import DetectorConfig, RunContext
from sweep.records import Finding, SkipReason, StepRecord

CONFIGS = get_args(get_args(DetectorConfig)[0])
CONTEXTS = [
    RunContext(l_const=3.3, l_unif=12.0, budget_steps=300, has_scaler=False),
    RunContext(l_const=3.3, l_unif=12.0, budget_steps=300, has_scaler=True),
    RunContext(),
]


def quiet_trace(num_steps: int, has_scaler: bool, seed: int = 0) -> list[StepRecord]:
    """A healthy run: falls to the zero-information level, rests there, learns."""
    rng = np.random.default_rng(seed)
    steps = np.arange(num_steps)
    progress = np.clip((steps - 70) / 150, 0, 1)
    losses = (3.3 + 7 * np.exp(-steps / 12)) * (1 - 0.8 * progress) * np.exp(rng.normal(0, 0.08, num_steps))
    dependence = 3e-4 * np.exp(np.minimum(steps, 100) / 17)
    return [
        StepRecord(
            step=k + 1,
            loss=float(losses[k]),
            grad_norm=float(rng.lognormal()),
            loss_scale=65536.0 if has_scaler else math.nan,
            lr=1e-3,
            num_samples=8,
            blank_rate=(1.0 if 10 < k < 90 else 0.6) if k % 5 == 0 else math.nan,
            input_dependence=float(dependence[k]) if k % 5 == 0 else math.nan,
        )
        for k in range(num_steps)
    ]


def run(config: Any, context: RunContext, trace: list[StepRecord]) -> list[Finding | None]:
    detector = config.build(context)
    return [detector.observe(record) for record in trace]


def with_bad_values(trace: list[StepRecord], positions: list[int], value: float) -> list[StepRecord]:
    return [
        dataclasses.replace(record, loss=value, grad_norm=value, applied=False, skip_reason=SkipReason.NONFINITE)
        if index in positions
        else record
        for index, record in enumerate(trace)
    ]


@pytest.fixture(params=CONFIGS, ids=lambda config: config.__name__)
def config(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.mark.parametrize("context", CONTEXTS, ids=["plain", "scaler", "unknown"])
def test_a_quiet_trace_is_silent(config: Any, context: RunContext) -> None:
    assert not any(run(config, context, quiet_trace(300, context.has_scaler)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("positions", [[0], [299], [25], [150, 200, 250]], ids=str)
@pytest.mark.parametrize("context", CONTEXTS, ids=["plain", "scaler", "unknown"])
def test_isolated_nonfinite_values_are_silent(
    config: Any, context: RunContext, positions: list[int], value: float
) -> None:
    trace = with_bad_values(quiet_trace(300, context.has_scaler), positions, value)
    assert not any(run(config, context, trace))


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(config: Any) -> None:
    for context, seed in [(CONTEXTS[0], 1), (CONTEXTS[1], 2)]:
        trace = with_bad_values(quiet_trace(120, context.has_scaler, seed), [40, 41], math.nan)
        # Then everything goes wrong at once, so that each rule has something to find.
        trace += [
            StepRecord(
                step=121 + k,
                loss=3.3,
                grad_norm=math.inf,
                loss_scale=2.0 ** (15 - k),
                applied=False,
                skip_reason=SkipReason.NONFINITE,
                blank_rate=1.0,
                input_dependence=1e-5,
            )
            for k in range(180)
        ]
        whole = run(config, context, trace)
        for cut in (1, 60, 135, 250):
            first, second = config.build(context), config.build(context)
            head = [first.observe(record) for record in trace[:cut]]
            second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
            assert head + [second.observe(record) for record in trace[cut:]] == whole


any_float = st.floats(allow_nan=True, allow_infinity=True)
any_record = st.builds(
    StepRecord,
    step=st.integers(-5, 10_000),
    loss=st.one_of(any_float, st.sampled_from([0.0, 3.3, 9.0, math.nan, math.inf])),
    grad_norm=any_float,
    loss_scale=any_float,
    applied=st.booleans(),
    skip_reason=st.one_of(st.none(), st.sampled_from(SkipReason)),
    num_infeasible=st.integers(0, 3),
    blank_rate=any_float,
    input_dependence=any_float,
    params_finite=st.booleans(),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(any_record, min_size=1, max_size=12), repeat=st.integers(1, 8), context=st.sampled_from(CONTEXTS)
)
def test_no_record_makes_a_detector_raise(records: list[StepRecord], repeat: int, context: RunContext) -> None:
    for kind in CONFIGS:
        detector = kind().build(context)
        for record in records * repeat:
            finding = detector.observe(record)
            if finding is not None:
                assert finding.step == record.step
                assert finding.detector == kind().kind
                assert "nan" not in finding.reason.replace("NaN", "")
        json.dumps(detector.state_dict(), allow_nan=False)


def test_the_union_is_told_apart_by_kind() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(DetectorConfig)
    kinds = [config().kind for config in CONFIGS]
    assert len(set(kinds)) == len(kinds) == 6
    for config, kind in zip(CONFIGS, kinds, strict=True):
        assert adapter.validate_python({"kind": kind}) == config()
    with pytest.raises(ValueError, match="Extra inputs"):
        adapter.validate_python({"kind": kinds[0], "losses_in_a_row": 3})
