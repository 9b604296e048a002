"""Conformance of every detector in the union: a new member inherits these tests."""

import dataclasses
import json
import math
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sweep.judging.detectors import (
    BlankCollapseConfig,
    DetectorConfig,
    DivergedLossConfig,
    LoneDetector,
    NonfiniteConfig,
    RunContext,
    ScalerCollapseConfig,
    SkipStarvedConfig,
    StalledConfig,
)
from sweep.judging.monitor import StabilityMonitor
from sweep.records import SkipReason, StepRecord
from sweep.testing import DetectorCase, DetectorKit
from sweep.testing.detectors import CONTEXTS, PLAIN, SCALED, findings, gone_wrong, with_bad_values

CONFIGS = get_args(get_args(DetectorConfig)[0])
CASES = {
    NonfiniteConfig: DetectorCase(NonfiniteConfig(), lambda r: dataclasses.replace(r, loss=math.nan)),
    ScalerCollapseConfig: DetectorCase(
        ScalerCollapseConfig(),
        lambda r: dataclasses.replace(
            r,
            loss_scale=2.0 ** (136 - r.step),
            grad_norm=math.inf,
            applied=False,
            skip_reason=SkipReason.NONFINITE,
        ),
        has_scaler=True,
        low_is_bad=True,
    ),
    DivergedLossConfig: DetectorCase(DivergedLossConfig(), lambda r: dataclasses.replace(r, loss=40.0)),
    SkipStarvedConfig: DetectorCase(
        SkipStarvedConfig(), lambda r: dataclasses.replace(r, applied=False, skip_reason=SkipReason.THRESHOLD)
    ),
    BlankCollapseConfig: DetectorCase(
        BlankCollapseConfig(),
        lambda r: dataclasses.replace(r, loss=3.3, blank_rate=1.0, input_dependence=1e-6),
        low_is_bad=True,
    ),
    StalledConfig: DetectorCase(StalledConfig(), lambda r: dataclasses.replace(r, loss=3.3, input_dependence=1e-6)),
}
"""What each rule has to find: a new detector needs an entry."""


class TestDetectors(DetectorKit):
    """The kit over the whole union."""

    @pytest.fixture(params=CONFIGS, ids=lambda config: config.__name__)
    def case(self, request: pytest.FixtureRequest) -> DetectorCase:
        return CASES[request.param]


def case_of(kind: str) -> DetectorCase:
    return next(case for case in CASES.values() if case.config.kind == kind)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(positions=st.lists(st.integers(0, 119), max_size=8), value=st.sampled_from([math.nan, math.inf, -math.inf]))
def test_no_position_of_a_nonfinite_value_blinds(positions: list[int], value: float) -> None:
    for kind, latest in (("diverged_loss", 160), ("nonfinite", 125), ("skip_starved", 147)):
        case = case_of(kind)
        trace = with_bad_values(gone_wrong(case, num_steps=170), positions, value)
        found = [finding for finding in findings(case.config, PLAIN, trace) if finding]
        # Eight in a row may themselves be found.
        assert found and found[0].step <= latest


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cut=st.integers(0, 240),
    seed=st.integers(0, 5),
    case=st.sampled_from(list(CASES.values())),
    has_scaler=st.booleans(),
)
def test_a_cut_anywhere_changes_nothing(cut: int, seed: int, case: DetectorCase, has_scaler: bool) -> None:
    context = SCALED if has_scaler else PLAIN
    trace = gone_wrong(dataclasses.replace(case, has_scaler=has_scaler), seed=seed, num_steps=240)
    for make in CONFIGS:
        config = make()
        first, second = LoneDetector(config, context), LoneDetector(config, context)
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
        detector = LoneDetector(kind(), context)
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
