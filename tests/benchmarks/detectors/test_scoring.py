"""The arithmetic of the detector benchmark."""

import math

import pytest

from benchmarks.detectors.levels import Level
from benchmarks.detectors.rules import End, Heard
from benchmarks.detectors.scoring import Judged, ahead_on, clopper_pearson, score, score_doubtful
from benchmarks.detectors.trace_set import Label
from benchmarks.detectors.truth import Truth


def judged(truth: Truth, onset: int | None, step: int | None, end: End = End.FINE, share: float = math.nan) -> Judged:
    label = Label("a", "kind", False, True, False, truth, onset, 100, share, False)
    return Judged(label, "r", Level.LOSSES, Heard(step, end))


def test_scores_are_counted_by_hand() -> None:
    s = score(
        "r",
        [
            judged(Truth.LOSS, 11, 31, End.FAILED),
            judged(Truth.LOSS, 11, 41, End.FAILED),
            judged(Truth.LOSS, 11, None, End.FAILED),
            judged(Truth.NONFINITE, 51, 45),
            judged(Truth.NONFINITE, 51, 51, End.OPEN),
            *[judged(Truth.HEALTHY, None, 7 if k == 0 else None) for k in range(18)],
            judged(Truth.HEALTHY, None, None, End.FAILED),
            judged(Truth.HEALTHY, None, None, End.OPEN),
            judged(Truth.DOUBTFUL, None, 3, End.FAILED, 0.5),
        ],
    )
    assert (s.num_bad, s.num_healthy, s.num_false, s.num_early) == (5, 20, 1, 1)
    assert s.recall == pytest.approx(3 / 5) and s.num_open_bad == 1
    assert s.stopped == pytest.approx(3 / 5) and s.false_rate == pytest.approx(1 / 20)
    assert (s.num_named_healthy, s.num_open_healthy) == (1, 1)
    assert (s.loss_delay, s.loss_delay_all) == (25, 30)
    assert (s.nonfinite_delay, s.nonfinite_delay_all) == (0, math.inf)
    # From onset to stop or end, both included: 21, 31, 90, 50, 1 of 90, 90, 90, 50, 50.
    assert s.wasted_rate == pytest.approx(193 / 370)


def test_doubtful_traces_count_by_how_much_they_lost() -> None:
    s = score_doubtful(
        "r",
        [
            judged(Truth.DOUBTFUL, None, None, End.FAILED, 0.9),
            judged(Truth.DOUBTFUL, None, 5, End.FINE, 0.3),
            judged(Truth.DOUBTFUL, None, None, End.OPEN, 0.8),
            judged(Truth.LOSS, 11, 31, End.FAILED),
        ],
    )
    assert s.count == 3
    assert s.recall == pytest.approx(0.9 / 2.0) and s.false_rate == pytest.approx(0.1 / 1.0)
    assert s.stopped == pytest.approx(0.3 / 2.0) and s.falsely_stopped == pytest.approx(0.7 / 1.0)
    assert s.cost == pytest.approx((0.1 + 0.3 + 0.8) / 3)


def test_the_interval_is_exact() -> None:
    assert clopper_pearson(0, 100) == (0.0, pytest.approx(0.0362, abs=1e-4))
    assert clopper_pearson(1, 20) == (pytest.approx(0.0013, abs=1e-4), pytest.approx(0.2487, abs=1e-4))


def test_ahead_needs_to_be_strictly_better() -> None:
    ours = score(
        "r",
        [
            judged(Truth.LOSS, 11, 31, End.FAILED),
            judged(Truth.NONFINITE, 11, 15, End.FAILED),
            judged(Truth.HEALTHY, None, None),
        ],
    )
    fast = score(
        "p",
        [
            judged(Truth.LOSS, 11, 12, End.FAILED),
            judged(Truth.NONFINITE, 11, 11, End.FAILED),
            judged(Truth.HEALTHY, None, 3, End.FAILED),
        ],
    )
    assert ahead_on(ours, ours) == [] and ahead_on(fast, ours) == ["delay"]
    assert ahead_on(ours, fast) == ["false stops", "healthy called failed"]
