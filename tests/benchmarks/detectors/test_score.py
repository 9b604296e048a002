"""The arithmetic of the detector benchmark, the stored traces, and how the monitor does on a part of them."""

import math
from dataclasses import replace

import pandas as pd
import pytest

from benchmarks.detectors.faults import CATALOGUE, inject
from benchmarks.detectors.make_traces import STEP_COLUMNS
from benchmarks.detectors.score import OURS, Stop, ahead_on, clopper_pearson, report, score, watch, watch_with_monitor
from benchmarks.detectors.trace_set import TRACES_DIR, load_real
from benchmarks.detectors.truth import Truth, judge


def stop(rule: str, truth: Truth, onset: int | None, step: int | None, name: str = "a") -> Stop:
    return Stop(name, "kind", False, False, truth, onset, 100, rule, step)


def test_scores_are_counted_by_hand() -> None:
    stops = [
        stop("r", Truth.LOSS, 11, 31),
        stop("r", Truth.LOSS, 11, 41),
        stop("r", Truth.LOSS, 11, None),
        stop("r", Truth.NONFINITE, 51, 45),
        stop("r", Truth.NONFINITE, 51, 51),
        *[stop("r", Truth.HEALTHY, None, 7 if k == 0 else None) for k in range(20)],
        stop("r", Truth.DOUBTFUL, None, 3),
        stop("other", Truth.LOSS, 11, 11),
    ]
    s = score("r", stops)
    assert (s.num_bad, s.num_healthy, s.num_false, s.num_early) == (5, 20, 1, 1)
    assert s.recall == pytest.approx(3 / 5) and s.false_rate == pytest.approx(1 / 20)
    assert (s.loss_delay, s.loss_delay_all) == (25, 30)
    assert (s.nonfinite_delay, s.nonfinite_delay_all) == (0, math.inf)
    # From onset to stop or end, both included: 21, 31, 90, 50, 1 of 90, 90, 90, 50, 50.
    assert s.wasted_rate == pytest.approx(193 / 370)


def test_the_interval_is_exact() -> None:
    assert clopper_pearson(0, 100) == (0.0, pytest.approx(0.0362, abs=1e-4))
    assert clopper_pearson(1, 20) == (pytest.approx(0.0013, abs=1e-4), pytest.approx(0.2487, abs=1e-4))


def test_ahead_needs_to_be_strictly_better() -> None:
    ours = score(
        "r", [stop("r", Truth.LOSS, 11, 31), stop("r", Truth.NONFINITE, 11, 15), stop("r", Truth.HEALTHY, None, None)]
    )
    fast = score(
        "p", [stop("p", Truth.LOSS, 11, 12), stop("p", Truth.NONFINITE, 11, 11), stop("p", Truth.HEALTHY, None, 3)]
    )
    assert ahead_on(ours, ours) == [] and ahead_on(fast, ours) == ["delay"]
    assert ahead_on(ours, fast) == ["false stops"]


@pytest.fixture(scope="module")
def real():
    return load_real()


def test_stored_traces_are_whole_compact_and_rightly_labelled(real) -> None:
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


@pytest.mark.slow
def test_the_monitor_meets_its_targets_on_fresh_seeds(real) -> None:
    """The traces of another seed than the benchmark's: all diverged losses and every fifth of the others.

    Of twelve such seeds, 4 of 672 healthy traces are stopped.
    """
    real = [trace for trace in real if trace.truth is not Truth.DOUBTFUL]
    losses = [kind for kind in CATALOGUE if kind.truth is Truth.LOSS]
    others = [replace(kind, count=2) for kind in CATALOGUE if kind.truth is not Truth.LOSS]
    stops = [watch_with_monitor(trace) for trace in [*real[::5], *inject(real, 3, losses), *inject(real, 3, others)]]
    ours = score(OURS, stops)
    assert ours.num_bad >= 200 and ours.num_healthy >= 60
    assert ours.recall >= 0.98 and ours.num_false <= 2
    assert ours.loss_delay_all <= 40 and ours.nonfinite_delay_all <= 5


@pytest.mark.slow
def test_no_peer_is_ahead_on_two_of_three(real) -> None:
    injected = [trace for trace in inject(real, 3, [replace(kind, count=2) for kind in CATALOGUE]) if trace.is_held_out]
    stops = [stop for trace in [*real[::12], *injected] for stop in watch(trace)]
    peers = {stop.rule for stop in stops} - {OURS}
    ours = score(OURS, stops)
    assert len(peers) >= 6 and all(len(ahead_on(score(peer, stops), ours)) < 2 for peer in peers)
    text = report(stops)
    assert all(f"| {name} |" in text for name in (OURS, *peers))
