"""The stored traces, and how the monitor does on a part of them."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks.detectors.faults import CATALOGUE, inject
from benchmarks.detectors.levels import Level, at_level
from benchmarks.detectors.make_traces import STEP_COLUMNS
from benchmarks.detectors.peer_rules import PUBLISHED
from benchmarks.detectors.rules import MONITOR, OURS, Rule
from benchmarks.detectors.score import target_line
from benchmarks.detectors.scoring import Judged, Score, ahead_on, score
from benchmarks.detectors.trace_set import TRACES_DIR, Trace, load_real
from benchmarks.detectors.truth import Truth, judge


@pytest.fixture(scope="module")
def real() -> list[Trace]:
    return load_real()


def scored(rule: Rule, traces: list[Trace], level: Level = Level.TELEMETRY) -> Score:
    return score(rule.name, judged(rule, traces, level))


def judged(rule: Rule, traces: list[Trace], level: Level) -> list[Judged]:
    heard = [rule.hear(at_level(trace, level), rule.settings[0]) for trace in traces]
    return [Judged(trace.label, rule.name, level, one) for trace, one in zip(traces, heard, strict=True)]


def test_stored_traces_are_whole_compact_and_rightly_labelled(real: list[Trace]) -> None:
    trials = pd.read_parquet(TRACES_DIR / "trials.parquet").set_index("name")
    steps = pd.read_parquet(TRACES_DIR / "steps.parquet")
    assert list(steps.columns) == [*STEP_COLUMNS, "name"]
    assert sum(path.stat().st_size for path in TRACES_DIR.glob("*.parquet")) < 4 * 2**20
    assert len(real) == len(trials) >= 150
    for name, group in steps.groupby("name", observed=True):
        trial = trials.loc[name]
        truth, onset = judge(group, trial["l_const"], trial["val_loss"])
        assert truth == trial["truth"] and (math.isnan(trial["onset"]) if onset is None else onset == trial["onset"])
        assert len(group) == trial["budget_steps"]


def test_stored_traces_say_what_was_logged(real: list[Trace]) -> None:
    records = [record for trace in real for record in trace.records]
    assert not any(math.isnan(x) for r in records for x in (r.loss_scale, r.blank_rate, r.lr) if x is not None)
    assert any(r.loss is not None and math.isnan(r.loss) for r in records), "a NaN loss was logged"
    assert any(r.loss_scale is None for r in records) and any(r.loss_scale is not None for r in records)


def test_doubtful_trainings_lost_a_share_and_others_none(real: list[Trace]) -> None:
    doubtful = [trace for trace in real if trace.truth is Truth.DOUBTFUL]
    assert len(doubtful) > 50 and all(0 <= trace.lost_share <= 1 for trace in doubtful)
    assert any(trace.lost_share < 0.2 for trace in doubtful) and any(trace.lost_share > 0.8 for trace in doubtful)
    assert all(math.isnan(trace.lost_share) for trace in real if trace.truth is not Truth.DOUBTFUL)


@pytest.mark.slow
def test_the_monitor_meets_its_targets_on_fresh_seeds(real: list[Trace]) -> None:
    """The traces of another seed than the benchmark's: all diverged losses and every fifth of the others."""
    real = [trace for trace in real if trace.truth is not Truth.DOUBTFUL]
    losses = [kind for kind in CATALOGUE if kind.truth is Truth.LOSS]
    others = [replace(kind, count=2) for kind in CATALOGUE if kind.truth is not Truth.LOSS]
    ours = scored(MONITOR, [*real[::5], *inject(real, 3, losses), *inject(real, 3, others)])
    assert ours.num_bad >= 200 and ours.num_healthy >= 60
    assert ours.recall >= 0.97 and ours.num_false <= 2
    assert ours.loss_delay_all <= 45 and ours.nonfinite_delay_all <= 5


@pytest.mark.slow
def test_no_published_rule_is_ahead_on_most_measures_told_the_same(real: list[Trace]) -> None:
    injected = [trace for trace in inject(real, 3, [replace(kind, count=2) for kind in CATALOGUE]) if trace.is_held_out]
    traces = [*real[::12], *injected]
    for level in (Level.LOSSES, Level.TELEMETRY):
        ours = scored(MONITOR, traces, level)
        for rule in PUBLISHED:
            peer = scored(rule, traces, level if level.covers(rule.reads) else Level.LOSSES)
            assert len(ahead_on(peer, ours)) < 3, (level, rule.name)
    line = target_line(judged(MONITOR, [trace for trace in traces if trace.is_held_out], Level.LOSSES))
    assert OURS not in line and line.endswith(("met.", "not met."))
