"""How much a rule is told of a training. Every rule of a table, ours included, is told exactly the same.

| level     | of the run                                         | of a step                            |
|-----------|----------------------------------------------------|--------------------------------------|
| losses    | nothing                                            | number, loss, gradient norm          |
| bounds    | zero-information loss, uniform loss, planned steps | the same                             |
| telemetry | also whether there is a loss scaler                | also all the rest of it (see below)  |

The rest of a step: its loss scale, whether it was applied and why not, blank rate and input dependence where they were
sampled, and whether the weights are finite.
"""

from dataclasses import replace
from enum import StrEnum

from benchmarks.detectors.trace_set import Trace
from sweep.judging.detectors import RunContext
from sweep.records import StepRecord


class Level(StrEnum):
    """Of information; each holds all of those before it."""

    LOSSES = "losses"
    BOUNDS = "bounds"
    TELEMETRY = "telemetry"

    @property
    def says(self) -> str:
        """In words, for a heading."""
        return {
            Level.LOSSES: "loss and gradient norm alone",
            Level.BOUNDS: "loss, gradient norm, zero-information loss and planned steps",
            Level.TELEMETRY: "all of these and the telemetry",
        }[self]

    def covers(self, other: "Level") -> bool:
        """Whether it holds all that another does."""
        order = list(Level)
        return order.index(self) >= order.index(other)


def at_level(trace: Trace, level: Level) -> Trace:
    """The trace as a rule sees it that is told so much."""
    if level is Level.TELEMETRY:
        return trace
    known = trace.context
    context = RunContext()
    if level is Level.BOUNDS:
        context = RunContext(l_const=known.l_const, l_unif=known.l_unif, budget_steps=known.budget_steps)
    records = tuple(StepRecord(step=r.step, loss=r.loss, grad_norm=r.grad_norm) for r in trace.records)
    return replace(trace, context=context, records=records)
