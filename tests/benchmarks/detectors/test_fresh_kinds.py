"""The kinds that nothing is tuned on: seeded, rightly labelled, and each as its name says."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.detectors.fresh_kinds import KINDS, fresh_traces
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth, end_level, ends_above_start


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return fresh_traces(seed=1)


def losses(trace: Trace) -> np.ndarray:
    return np.array([r.loss for r in trace.records])


def test_none_of_them_is_tuned_on_and_each_has_a_name_of_its_own(traces: list[Trace]) -> None:
    assert len(traces) == sum(kind.count for kind in KINDS) == len({t.name for t in traces})
    assert not any(trace.is_tuned for trace in traces)
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_the_same_seed_gives_the_same_traces(traces: list[Trace]) -> None:
    again = fresh_traces(1, [replace(kind, count=1) for kind in KINDS[::9]])
    first = {trace.kind: trace for trace in reversed(traces)}
    assert all(repr(trace) == repr(first[trace.kind]) for trace in again)
    other = fresh_traces(2, [replace(KINDS[0], count=1)])
    assert repr(other[0].records) != repr(traces[0].records)


def test_bad_ones_have_an_onset_within_their_steps_and_healthy_ones_none(traces: list[Trace]) -> None:
    for trace in traces:
        steps = [r.step for r in trace.records]
        assert steps == sorted(set(steps))
        assert (trace.onset is None) == (trace.truth is Truth.HEALTHY), trace.name
        assert trace.onset is None or trace.onset in steps, trace.name


def test_losses_show_what_the_truth_says(traces: list[Trace]) -> None:
    rising = {"early blow-up", "early blow-up, half way back", "rise at step 3", "jump, other shapes"}
    rising |= {"epoch by epoch, lost", "every 10th step, jump", "every 50th step, jump", "below zero, then explodes"}
    unlearned = {"around zero", "resumed, flat"}
    for trace in traces:
        values = losses(trace)
        if trace.kind in rising:
            assert ends_above_start(values), trace.name
        elif trace.truth is Truth.HEALTHY and trace.kind not in unlearned:
            assert np.isfinite(values).all() and not ends_above_start(values), trace.name


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("around 1e-7", 0.5e-7, 2e-7),
        ("around 1e8", 0.5e7, 2e7),
        ("1e-5, then 0.05", 0.04, 0.06),
        ("below zero", -4, -1.5),
        ("around zero", -0.1, 0.1),
    ],
)
def test_levels_of_other_scales(traces: list[Trace], kind: str, low: float, high: float) -> None:
    ends = [end_level(losses(trace)) for trace in traces if trace.kind == kind]
    assert len(ends) == 10 and all(low < end < high for end in ends)


def test_logs_of_few_rows(traces: list[Trace]) -> None:
    by_kind = {name: [t for t in traces if t.kind == name] for name in ("epoch by epoch, flat", "every 50th step")}
    assert all(25 <= len(t.records) <= 60 for t in by_kind["epoch by epoch, flat"])
    assert all([r.step for r in t.records] == list(range(50, 3001, 50)) for t in by_kind["every 50th step"])
    resumed = next(t for t in traces if t.kind == "resumed, flat")
    assert resumed.records[0].step == 140_749 and resumed.context.budget_steps == 150_000


def test_what_is_not_finite_and_what_was_not_logged(traces: list[Trace]) -> None:
    for trace in traces:
        last = trace.records[-1]
        if trace.kind == "NaN as last loss":
            assert math.isnan(last.loss or 0) and np.isfinite(losses(trace)[:-1]).all()
        elif trace.kind == "loss 0 beside NaN norms":
            assert last.loss == 0 and last.grad_norm is not None and math.isnan(last.grad_norm)
        elif trace.kind == "other shapes":
            assert last.loss_scale is None
        elif trace.kind == "loss scale to 0":
            assert last.loss_scale == 0 and trace.records[0].loss_scale == 65536


def test_frozen_ones_repeat_their_loss_to_the_last_bit(traces: list[Trace]) -> None:
    frozen = [t for t in traces if t.kind == "same loss to the last bit"]
    assert all(len(set(losses(t)[-200:])) == 1 for t in frozen)
