"""How settings are chosen: on the tuning half alone, and never louder than the monitor there."""

from dataclasses import replace

import pytest

from benchmarks.detectors.faults import CATALOGUE, inject
from benchmarks.detectors.fresh_kinds import KINDS, fresh_traces
from benchmarks.detectors.hearing import Hearing, hear, rules_at
from benchmarks.detectors.levels import Level
from benchmarks.detectors.rules import OURS
from benchmarks.detectors.score import SETS, report, scores
from benchmarks.detectors.trace_set import Trace, load_real
from benchmarks.detectors.truth import Truth


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    kinds = {
        "healthy, synthetic",
        "one NaN",
        "20- to 27-step spike",
        "calibration",
        "jump x 30",
        "NaN for ever",
        "stalled",
    }
    small = [replace(kind, count=2) for kind in CATALOGUE if kind.name in kinds]
    doubtful = [trace for trace in load_real() if trace.truth is Truth.DOUBTFUL][:2]
    return [*inject([], 3, small), *fresh_traces(3, [replace(kind, count=1) for kind in KINDS[::6]]), *doubtful]


@pytest.fixture(scope="module")
def hearing(traces: list[Trace]) -> Hearing:
    return hear(traces, num_workers=1)


@pytest.mark.slow
def test_every_rule_hears_every_trace_at_every_level(traces: list[Trace], hearing: Hearing) -> None:
    for level in Level:
        for rule in rules_at(level):
            own = [j for j in hearing.judged if j.level is level and j.rule == rule.name]
            assert {j.label.name for j in own} == {trace.name for trace in traces} and len(own) == len(traces)


@pytest.mark.slow
def test_no_chosen_setting_stops_more_healthy_traces_of_the_tuning_half(hearing: Hearing) -> None:
    assert any(number for number in hearing.chosen.values()), "something was chosen"
    for level in Level:
        tuning = [j for j in hearing.judged if j.level is level and SETS["tuning half"](j.label)]
        ours, *peers = scores(tuning)
        assert ours.rule == OURS
        assert all(peer.false_rate <= ours.false_rate for peer in peers if peer.rule.endswith(", tuned"))


@pytest.mark.slow
def test_the_report_says_what_was_tuned_on_what(hearing: Hearing) -> None:
    text = report(hearing)
    for heading in ("What was tuned on what", "Fresh kinds", "Held-out half", "Doubtful trainings", "By kind"):
        assert f"# {heading}" in text
    assert "(target 0.80)" in text
    assert all(f"Level {level}: told {level.says}" in text for level in Level)
