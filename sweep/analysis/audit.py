"""How often stopping early was wrong: what became of the trials that ran on after an alarm."""

from dataclasses import dataclass

import pandas as pd

from sweep.analysis.costs import Costs
from sweep.analysis.outcomes import Share, share
from sweep.analysis.wording import duration, percent, plural
from sweep.records import Outcome


@dataclass(frozen=True)
class AuditedAlarm:
    """Audited trials of one kind of alarm."""

    alarm: Outcome
    false_stops: Share
    """Those that ended stable after all, of those that ran on."""


@dataclass(frozen=True)
class Audit:
    """What the audited trials say of stopping early."""

    false_stops: Share
    """Audited trials that ended stable after all; the interval is (0, 1) where none was audited."""
    by_alarm: tuple[AuditedAlarm, ...]
    num_steps: int
    """Steps that audited trials ran after their alarm."""
    wall_s: float
    """What these steps took, at each trial's own time a step; NaN if unknown."""


def audit(trials: pd.DataFrame) -> Audit:
    """Counts over a table of trials.

    A trial is audited if its alarm could have been wrong and it ran on to its end: by the study's draw, or because
    the study stops nothing early. The draw looks at nothing but the trial's number, so the share of audited alarms
    that were wrong estimates that of all alarms that could be.
    """
    audited = trials[trials["audited"].fillna(False).astype(bool)]
    alarms = audited["alarm"].astype(str)
    after = (audited["num_steps"] - audited["stop_step"]).astype(float)
    seconds = (after * audited["wall_s"] / audited["num_steps"]).astype(float)
    return Audit(
        false_stops=share(audited["stable"]),
        by_alarm=tuple(
            AuditedAlarm(outcome, share(audited["stable"][alarms == outcome.value]))
            for outcome in Outcome
            if (alarms == outcome.value).any()
        ),
        num_steps=int(after.sum()),
        wall_s=float(seconds.sum()),
    )


def audit_text(found: Audit, cost: Costs) -> str:
    """How often stopping was wrong, in a sentence or two; empty where nothing was alarmed."""
    wrong = found.false_stops
    if not wrong.total:
        if not cost.num_stopped:
            return ""
        return (
            f"{plural(cost.num_stopped, 'trial')} {'was' if cost.num_stopped == 1 else 'were'} stopped early. No "
            "stopped run was audited, so how often stopping was wrong was not measured: anything from 0 % to 100 % is "
            "possible."
        )
    was = "was" if wrong.total == 1 else "were"
    ended = "none" if not wrong.count else str(wrong.count)
    kinds = ", ".join(f"{one.false_stops.count} of {one.false_stops.total} {one.alarm}" for one in found.by_alarm)
    return (
        f"False stops: of {plural(wrong.total, 'trial')} that {was} run on to the end after an alarm, {ended} ended "
        f"stable after all, {percent(wrong.rate)} (exact 95 % interval {percent(wrong.low)} to {percent(wrong.high)}): "
        f"{kinds}."
    )


def audit_cost_text(found: Audit) -> str:
    """What auditing took, in a sentence; empty where nothing was audited."""
    if not found.false_stops.total:
        return ""
    return (
        f"Running {plural(found.false_stops.total, 'trial')} on after an alarm took {plural(found.num_steps, 'step')}, "
        f"about {duration(found.wall_s)}."
    )
