"""What our monitor and a stepwise rule are heard to say of a whole trace."""

import math

import numpy as np
import pytest

from benchmarks.detectors.rules import End, Heard, Logged, end_of, grid, hear_monitor, stepwise
from benchmarks.detectors.trace_set import Trace
from benchmarks.detectors.truth import Truth
from sweep.judging.detectors import RunContext
from sweep.records import Outcome, StepRecord

STEPS = np.arange(400)
LEARNED = (0.3 + 3 * np.exp(-STEPS / 100)) * np.exp(np.random.default_rng(0).normal(0, 0.05, 400))


def trace(losses: np.ndarray, **columns: np.ndarray) -> Trace:
    records = tuple(
        StepRecord(step=k + 1, loss=float(losses[k]), **{name: values[k] for name, values in columns.items()})
        for k in range(len(losses))
    )
    return Trace("a", "kind", False, RunContext(3.0, 9.0, len(losses)), Truth.HEALTHY, None, records)


def test_the_end_counts_whatever_was_alarmed_before() -> None:
    """A loss that came back after a stop: a false stop, but no failure at the end."""
    heard = hear_monitor(trace(np.where((STEPS >= 200) & (STEPS < 300), 50.0, LEARNED)))
    assert heard.step is not None and heard.end is End.FINE
    assert hear_monitor(trace(LEARNED)).end is End.FINE
    gone = hear_monitor(trace(np.where(STEPS < 200, LEARNED, 50.0)))
    assert gone.step is not None and gone.end is End.FAILED and gone.outcome is Outcome.DIVERGED_LOSS


def test_an_alarm_that_nothing_can_repair_stands() -> None:
    heard = hear_monitor(trace(LEARNED, params_finite=(STEPS < 200) | (STEPS > 390)))
    assert heard.step is not None and heard.end is End.FAILED


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_fine_open_or_a_failure(outcome: Outcome) -> None:
    good = {Outcome.STABLE, Outcome.SPIKY_RECOVERING, Outcome.FOREGONE}
    unknown = {Outcome.CALIBRATING, Outcome.UNJUDGED, Outcome.TOO_SHORT, Outcome.PRUNED}
    expected = End.FINE if outcome in good else End.OPEN if outcome in unknown else End.FAILED
    assert end_of(outcome) is expected


def test_a_stepwise_rule_calls_failed_what_it_stops() -> None:
    class AtNan:
        def stops(self, record: Logged) -> bool:
            return math.isnan(record.loss)

    hear = stepwise(lambda trace, setting: AtNan())
    assert hear(trace(np.where(STEPS == 9, math.nan, LEARNED)), {}) == Heard(10, End.FAILED)
    assert hear(trace(LEARNED), {}) == Heard(None, End.FINE)


def test_a_grid_begins_with_the_defaults() -> None:
    settings = grid(a=(1, 2), b=(3, 4))
    assert settings[0] == {"a": 1, "b": 3} and len(settings) == 4 and {"a": 2, "b": 4} in settings
