"""How often stopping early was wrong: what became of the trials that ran on after an alarm."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from sweep.analysis.cost.costs import Costs, steps_saved, stopped_early, with_known_times
from sweep.analysis.trials.outcomes import Share, share
from sweep.records import IRREPARABLE, Outcome
from sweep.wording import percent, plural


@dataclass(frozen=True)
class AuditedAlarm:
    """Audited trials of one kind of alarm."""

    alarm: Outcome
    false_stops: Share
    """Those that ended stable after all, of those that ran on."""


@dataclass(frozen=True)
class DoubtfulStops:
    """Trials that were stopped by an alarm which later steps could have undone, and how many of these stops were wrong.

    Both ranges hold with a confidence of 95 %.
    """

    num: int
    wrong: tuple[int, int]
    """Fewest and most of them that would have ended stable."""
    wrong_steps: tuple[int, int]
    """Fewest and most steps that stopping these saved: the shortest and the longest of the savings."""


@dataclass(frozen=True)
class AuditResult:
    """What the audited trials say of stopping early."""

    false_stops: Share
    """Audited trials that ended stable after all; the interval is (0, 1) where none was audited."""
    by_alarm: tuple[AuditedAlarm, ...]
    doubtful: DoubtfulStops
    num_steps: int
    """Steps that audited trials ran after their alarm."""
    wall_s: float
    """What these steps took, at each trial's own time a step; NaN if unknown."""


def audit(trials: pd.DataFrame) -> AuditResult:
    """Counts over a table of trials.

    A trial is audited if its alarm could have been wrong and it ran on to its end: by the study's draw, or because
    the study stops nothing early. The draw looks at nothing but the trial's number, so the share of audited alarms
    that were wrong estimates that of all alarms that could be.
    """
    trials = with_known_times(trials)
    audited = trials[trials["audited"].eq(True)]
    alarms = audited["alarm"].astype(str)
    after = (audited["num_steps"] - audited["stop_step"]).astype(float)
    seconds = (after * audited["wall_s"] / audited["num_steps"]).astype(float)
    false_stops = share(audited["stable"])
    return AuditResult(
        false_stops=false_stops,
        doubtful=_doubtful(trials, false_stops),
        by_alarm=tuple(
            AuditedAlarm(outcome, share(audited["stable"][alarms == outcome.value]))
            for outcome in Outcome
            if (alarms == outcome.value).any()
        ),
        num_steps=int(after.sum()),
        wall_s=float(seconds.sum()),
    )


def _doubtful(trials: pd.DataFrame, audited: Share) -> DoubtfulStops:
    stopped = stopped_early(trials)
    # Data that cannot be aligned and weights that are lost leave nothing to be wrong about.
    sure = stopped["verdict"] == Outcome.INFEASIBLE_DATA.value
    sure |= stopped["reason"].astype(str).str.contains(IRREPARABLE, regex=False)
    saved = np.sort(steps_saved(stopped[~sure]).to_numpy())
    low, high = wrong_stops(audited.count, audited.total, len(saved))
    steps = int(saved[:low].sum()), int(saved[len(saved) - high :].sum())
    return DoubtfulStops(len(saved), (low, high), steps)


def wrong_stops(num_wrong: int, num_audited: int, num_stopped: int) -> tuple[int, int]:
    """How many of the stopped trials were stopped wrongly: the exact two-sided 95 % interval of that number.

    The audited trials are drawn at random from all whose alarm could be wrong, so the wrong ones among them follow a
    hypergeometric distribution. The interval holds every total that its two tails of 2.5 % do not reject.
    """
    if not num_stopped:
        return 0, 0
    every = np.arange(num_wrong, num_wrong + num_stopped + 1)
    drawn = hypergeom(num_audited + num_stopped, every, num_audited)
    possible = every[(drawn.cdf(num_wrong) > 0.025) & (drawn.sf(num_wrong - 1) > 0.025)] - num_wrong
    return int(possible.min()), int(possible.max())


def audit_text(found: AuditResult) -> str:
    """How often stopping was wrong, in a sentence or two; empty where nothing was alarmed that could be wrong."""
    wrong, doubtful = found.false_stops, found.doubtful
    if not wrong.total:
        if not doubtful.num:
            return ""
        were = "trial was" if doubtful.num == 1 else "trials were"
        return (
            f"{doubtful.num} {were} stopped early by an alarm that can be wrong. No stopped run was audited, so how "
            "often stopping was wrong was not measured: anything from 0 % to 100 % is possible."
        )
    was = "was" if wrong.total == 1 else "were"
    ended = "none" if not wrong.count else str(wrong.count)
    kinds = ", ".join(f"{one.false_stops.count} of {one.false_stops.total} {one.alarm}" for one in found.by_alarm)
    return (
        f"False stops: of {plural(wrong.total, 'trial')} that {was} run on to the end after an alarm, {ended} ended "
        f"stable after all, {percent(wrong.rate)} (exact 95 % interval {percent(wrong.low)} to {percent(wrong.high)}): "
        f"{kinds}."
    )


def saving_text(found: AuditResult, cost: Costs) -> str:
    """How much of the saving may come from stops that were wrong, in a sentence or two; empty without a saving."""
    doubtful = found.doubtful
    if not cost.steps_stopped:
        return ""
    if not doubtful.num:
        return "None of these stops can have been wrong: no later step could have undone what ended the trials."
    (few, most), (low, high) = doubtful.wrong, doubtful.wrong_steps
    sure = cost.num_stopped - doubtful.num
    rest = f" The other {sure} had lost weights or data, which no later step undoes." if sure else ""
    if not found.false_stops.total:
        return (
            f"A stop that was wrong saves nothing. No run was audited, so anything from 0 % to "
            f"{percent(high / cost.steps_stopped)} of the saved steps may come from such stops.{rest}"
        )
    return (
        f"A stop that was wrong saves nothing: by the audit, between {few} and {most} of the {doubtful.num} trials "
        f"that were stopped by an alarm which can be wrong would have ended stable (exact 95 % interval). Between "
        f"{percent(low / cost.steps_stopped)} and {percent(high / cost.steps_stopped)} of the saved steps may be "
        f"theirs.{rest}"
    )
