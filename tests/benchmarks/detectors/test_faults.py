"""The catalogue of injected faults: seeded, labelled, and realistic where it claims to be."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.detectors.faults import CATALOGUE, Kind, inject, jump, synthetic
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.records import SkipReason

SMALL = tuple(replace(kind, count=2) for kind in CATALOGUE)


def base() -> Trace:
    course = synthetic(np.random.default_rng(7), 300, 0.05)
    return Trace("real/0", "real", True, course.context, Truth.HEALTHY, None, course.records())


@pytest.fixture(scope="module")
def traces() -> list[Trace]:
    return inject([base()], seed=1, catalogue=SMALL)


def test_there_are_enough_of_them_with_names_of_their_own() -> None:
    assert sum(kind.count for kind in CATALOGUE) >= 300
    assert len({kind.name for kind in CATALOGUE}) == len(CATALOGUE)
    assert {kind.truth for kind in CATALOGUE} == set(Truth)


def test_the_same_seed_gives_the_same_traces_whatever_else_is_made(traces: list[Trace]) -> None:
    again = inject([base()], seed=1, catalogue=SMALL[-3:])
    assert [repr(t.records) for t in again] == [repr(t.records) for t in traces[-6:]]
    other = inject([base()], seed=2, catalogue=SMALL[-3:])
    assert repr(other[0].records) != repr(again[0].records)


def test_bad_traces_have_an_onset_and_healthy_ones_none(traces: list[Trace]) -> None:
    assert len(traces) == 2 * len(CATALOGUE) and len({t.name for t in traces}) == len(traces)
    for trace in traces:
        assert (trace.onset is None) == (trace.truth in (Truth.HEALTHY, Truth.DOUBTFUL)), trace.name
        assert trace.onset is None or 1 <= trace.onset <= len(trace.records)
        assert [r.step for r in trace.records] == list(range(1, len(trace.records) + 1))
        assert all(r.applied or r.skip_reason is not None for r in trace.records)


def test_labels_agree_with_what_the_traces_show(traces: list[Trace]) -> None:
    for trace in traces:
        losses = np.array([r.loss for r in trace.records])
        l_const = trace.context.l_const
        end = losses[-30:]
        if trace.truth in (Truth.HEALTHY, Truth.DOUBTFUL):
            assert np.mean(np.isfinite(losses)) > 0.95
            if not math.isnan(l_const) and trace.kind != "cadence":
                assert np.nanmedian(end) < 0.95 * l_const, trace.name
            continue
        assert trace.onset is not None
        before, after = losses[: trace.onset - 1], losses[trace.onset - 1 :]
        if trace.truth is Truth.NONFINITE and trace.kind != "infinite gradients for ever":
            assert np.mean(~np.isfinite(after)) > 0.7, trace.name
        elif trace.truth is Truth.LOSS and trace.kind not in ("explosion, then NaN", "rising from the start"):
            best = np.nanmedian(before[-20:])
            assert np.nanmedian(end) > 1.2 * best, trace.name
            assert math.isnan(l_const) or np.nanmedian(end) > 0.95 * l_const, trace.name
        elif trace.truth is Truth.SKIPS:
            later = [r.skip_reason is SkipReason.THRESHOLD for r in trace.records[trace.onset - 1 :]]
            assert np.mean(later) > 0.5
        elif trace.truth is Truth.NOTHING:
            assert np.median(end) > 0.9 * l_const


def test_a_base_is_not_touched_by_its_fault() -> None:
    original = base()
    kept = original.records
    inject([original], catalogue=(Kind("jump", Truth.LOSS, (jump(9.0),), base="any", count=4),))
    assert original.records is kept and kept == base().records or repr(kept) == repr(base().records)
