"""Conformance of every detector in the union: a new member inherits these tests."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sweep.judging.detectors import DetectorConfig, RunContext
from sweep.judging.monitor import StabilityMonitor
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


WRONG: dict[str, Callable[[StepRecord], dict[str, object]]] = {
    # From step 121 on; each kind of detector has its own.
    "nonfinite": lambda r: {"loss": math.nan},
    "scaler_collapse": lambda r: {"loss_scale": 2.0 ** (16 - (r.step - 120)), "grad_norm": math.inf, "applied": False},
    "diverged_loss": lambda r: {"loss": 40.0},
    "skip_starved": lambda r: {"applied": False, "skip_reason": SkipReason.THRESHOLD},
    "blank_collapse": lambda r: {"loss": 3.3, "blank_rate": 1.0, "input_dependence": 1e-6},
    "stalled": lambda r: {"loss": 3.3, "input_dependence": 1e-6},
}
"""What each rule has to find: a new detector needs an entry."""


def gone_wrong(kind: str, has_scaler: bool, seed: int = 0, num_steps: int = 300) -> list[StepRecord]:
    trace = quiet_trace(num_steps, has_scaler, seed)
    return trace[:120] + [dataclasses.replace(r, **WRONG[kind](r)) for r in trace[120:]]  # type: ignore[arg-type]


def test_a_finding_holds_its_evidence(config: Any) -> None:
    """Where it began and where all was well before; the value that crossed which threshold; a sentence."""
    context = CONTEXTS[1] if config.kind == "scaler_collapse" else CONTEXTS[0]
    trace = gone_wrong(config.kind, context.has_scaler)
    finding = next(finding for finding in run(config, context, trace) if finding is not None)
    assert finding.detector == config.kind and trace[0].step <= finding.first_bad_step <= finding.step
    assert finding.last_good_step is not None and trace[0].step <= finding.last_good_step < finding.first_bad_step
    assert 85 <= finding.last_good_step <= 200, "near step 120, where it went wrong"
    is_low_bad = finding.detector in ("scaler_collapse", "blank_collapse")
    assert finding.value <= finding.threshold if is_low_bad else finding.value >= finding.threshold
    assert finding.reason and "nan" not in finding.reason.replace("NaN", "")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nonfinite_values_do_not_blind_a_detector(config: Any, value: float) -> None:
    """A fault is found no later than without them: at the very step, but for the steps that they took away."""
    context = CONTEXTS[1] if config.kind == "scaler_collapse" else CONTEXTS[0]
    trace = gone_wrong(config.kind, context.has_scaler)
    plain = next(finding.step for finding in run(config, context, trace) if finding is not None)
    for positions in ([0], [60], [115], [118, 119], [10, 40, 70, 100], list(range(3, 120, 9))):
        found = next(
            finding.step for finding in run(config, context, with_bad_values(trace, positions, value)) if finding
        )
        # A level loses the losses that were not finite, so it may see a change some steps earlier or later.
        assert abs(found - plain) <= 3, (positions, found, plain)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(positions=st.lists(st.integers(0, 119), max_size=8), value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_no_position_of_a_nonfinite_value_blinds(positions: list[int], value: float) -> None:
    for kind, latest in (("diverged_loss", 160), ("nonfinite", 125), ("skip_starved", 147)):
        config = next(config() for config in CONFIGS if config().kind == kind)
        trace = gone_wrong(kind, False, num_steps=170)
        findings = [
            finding for finding in run(config, CONTEXTS[0], with_bad_values(trace, positions, value)) if finding
        ]
        # Eight in a row may themselves be found.
        assert findings and findings[0].step <= latest


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(cut=st.integers(0, 240), seed=st.integers(0, 5), kind=st.sampled_from(sorted(WRONG)), has_scaler=st.booleans())
def test_a_cut_anywhere_changes_nothing(cut: int, seed: int, kind: str, has_scaler: bool) -> None:
    context = CONTEXTS[1 if has_scaler else 0]
    trace = gone_wrong(kind, has_scaler, seed, num_steps=240)
    for make in CONFIGS:
        config = make()
        first, second = config.build(context), config.build(context)
        for record in trace[:cut]:
            first.observe(record)
        second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
        assert second.state_dict() == first.state_dict()
        assert [first.observe(record) for record in trace[cut:]] == [second.observe(record) for record in trace[cut:]]


any_float = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, -1.0, 3.3, 9.0, 1e308, 5e-324, math.nan, math.inf, -math.inf]),
)
any_record = st.builds(
    StepRecord,
    step=st.one_of(st.integers(-5, 400), st.integers(-(2**63), 2**63)),
    loss=any_float,
    grad_norm=any_float,
    loss_scale=any_float,
    applied=st.booleans(),
    skip_reason=st.one_of(st.none(), st.sampled_from(SkipReason)),
    num_infeasible=st.integers(0, 3),
    blank_rate=any_float,
    input_dependence=any_float,
    params_finite=st.booleans(),
)
any_context = st.builds(
    RunContext,
    l_const=any_float,
    l_unif=any_float,
    budget_steps=st.one_of(st.none(), st.integers(1, 10**9)),
    has_scaler=st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(any_record, min_size=1, max_size=12),
    repeat=st.integers(1, 8),
    context=st.one_of(st.sampled_from(CONTEXTS), any_context),
)
def test_no_record_makes_a_detector_raise(records: list[StepRecord], repeat: int, context: RunContext) -> None:
    for kind in CONFIGS:
        detector = kind().build(context)
        for record in records * repeat:
            finding = detector.observe(record)
            if finding is not None:
                assert finding.step == record.step
                assert finding.detector == kind().kind
                assert finding.last_good_step is None or finding.last_good_step < finding.first_bad_step
                assert "nan" not in finding.reason.replace("NaN", "")
        assert len(json.dumps(detector.state_dict(), allow_nan=False)) < 10_000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records=st.lists(any_record, min_size=1, max_size=12),
    repeat=st.integers(1, 8),
    context=st.one_of(st.sampled_from(CONTEXTS), any_context),
)
def test_no_record_makes_the_monitor_raise(records: list[StepRecord], repeat: int, context: RunContext) -> None:
    monitor, resumed = StabilityMonitor(context), StabilityMonitor(context)
    for record in records * repeat:
        alarm = monitor.observe(record)
        end = monitor.end_verdict()
        assert alarm is None or alarm.reason
        assert end.stop_step is None and end.reason and end.step == record.step
        assert end.finding is None or not end.stable
    resumed.load_state_dict(json.loads(json.dumps(monitor.state_dict(), allow_nan=False)))
    assert resumed.finish() == monitor.finish() and resumed.end_verdict() == monitor.end_verdict()


def test_the_union_is_told_apart_by_kind() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(DetectorConfig)
    kinds = [config().kind for config in CONFIGS]
    assert len(set(kinds)) == len(kinds) == 6
    for config, kind in zip(CONFIGS, kinds, strict=True):
        assert adapter.validate_python({"kind": kind}) == config()
    with pytest.raises(ValueError, match="Extra inputs"):
        adapter.validate_python({"kind": kinds[0], "losses_in_a_row": 3})
