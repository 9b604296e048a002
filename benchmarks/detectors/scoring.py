"""What a rule is worth on a set of traces: counts and rates of what it said and where it stopped."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import beta

from benchmarks.detectors.levels import Level
from benchmarks.detectors.rules import End, Heard
from benchmarks.detectors.trace_set import Label
from benchmarks.detectors.truth import Truth


@dataclass(frozen=True)
class Judged:
    """What one rule said of one trace."""

    label: Label
    rule: str
    level: Level
    heard: Heard

    @property
    def is_hit(self) -> bool:
        """A bad trace stopped at or after its onset."""
        step, onset = self.heard.step, self.label.onset
        return onset is not None and step is not None and step >= onset

    @property
    def is_named(self) -> bool:
        """Whether it is called a failure at its end."""
        return self.heard.end is End.FAILED

    @property
    def delay(self) -> float:
        """Steps from onset to stop; infinite for a miss."""
        step, onset = self.heard.step, self.label.onset
        return float(step - onset) if step is not None and onset is not None and step >= onset else math.inf


@dataclass(frozen=True)
class Score:
    """How one rule did on one set of traces. Rates are NaN where the set has no such trace."""

    rule: str
    num_bad: int
    recall: float
    """Share of the bad ones that it calls a failure at their end, stopped or not."""
    num_open_bad: int
    """Bad ones of which it says that nobody can tell."""
    stopped: float
    """Share of the bad ones that it stops at or after their onset."""
    num_early: int
    """Bad ones that it stops before their onset: misses."""
    num_healthy: int
    num_false: int
    """Healthy ones that it stops."""
    false_rate: float
    false_low: float
    false_high: float
    num_named_healthy: int
    """Healthy ones that it calls a failure at their end."""
    num_open_healthy: int
    loss_delay: float
    """Median over hits on diverged losses, steps."""
    loss_delay_all: float
    """The same with misses as infinite."""
    nonfinite_delay: float
    nonfinite_delay_all: float
    wasted_rate: float
    """Steps from onset to stop or end, as a share of the steps of bad traces after onset."""

    @property
    def named_healthy_rate(self) -> float:
        """Share of the healthy ones that it calls a failure."""
        return self.num_named_healthy / self.num_healthy if self.num_healthy else math.nan


@dataclass(frozen=True)
class DoubtfulScore:
    """How one rule did on doubtful traces, each weighed by the share s of a failure that it is."""

    rule: str
    count: int
    recall: float
    """Sum of s over those that it calls a failure, as a share of the sum over all."""
    false_rate: float
    """Sum of 1 - s over those that it calls a failure, as a share of the sum over all."""
    stopped: float
    """As `recall`, of those that it stops."""
    falsely_stopped: float
    cost: float
    """Mean over all of s where it calls no failure and 1 - s where it does."""


def clopper_pearson(count: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a rate."""
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))
    return low, high


def score(rule: str, judged: Iterable[Judged]) -> Score:
    """The score of what one rule said."""
    own = list(judged)
    bad, healthy = [j for j in own if j.label.truth.is_bad], [j for j in own if j.label.truth is Truth.HEALTHY]
    num_false = sum(j.heard.step is not None for j in healthy)
    low, high = clopper_pearson(num_false, len(healthy)) if healthy else (math.nan, math.nan)
    losses = [j for j in bad if j.label.truth is Truth.LOSS]
    nonfinite = [j for j in bad if j.label.truth is Truth.NONFINITE]
    room = sum(_steps_left(j.label) for j in bad)
    wasted = sum(j.delay + 1 if j.is_hit else _steps_left(j.label) for j in bad)
    return Score(
        rule=rule,
        num_bad=len(bad),
        recall=_share(j.is_named for j in bad),
        num_open_bad=sum(j.heard.end is End.OPEN for j in bad),
        stopped=_share(j.is_hit for j in bad),
        num_early=sum(j.heard.step is not None and not j.is_hit for j in bad),
        num_healthy=len(healthy),
        num_false=num_false,
        false_rate=num_false / len(healthy) if healthy else math.nan,
        false_low=low,
        false_high=high,
        num_named_healthy=sum(j.is_named for j in healthy),
        num_open_healthy=sum(j.heard.end is End.OPEN for j in healthy),
        loss_delay=_median(j.delay for j in losses if j.is_hit),
        loss_delay_all=_median(j.delay for j in losses),
        nonfinite_delay=_median(j.delay for j in nonfinite if j.is_hit),
        nonfinite_delay_all=_median(j.delay for j in nonfinite),
        wasted_rate=wasted / room if room else math.nan,
    )


def score_doubtful(rule: str, judged: Iterable[Judged]) -> DoubtfulScore:
    """The score of what one rule said of doubtful traces; all others are passed over."""
    own = [j for j in judged if j.label.truth is Truth.DOUBTFUL]
    lost, kept = sum(j.label.lost_share for j in own), sum(1 - j.label.lost_share for j in own)
    named = [j for j in own if j.is_named]
    stopped = [j for j in own if j.heard.step is not None]
    cost = sum(1 - j.label.lost_share if j.is_named else j.label.lost_share for j in own)
    return DoubtfulScore(
        rule=rule,
        count=len(own),
        recall=sum(j.label.lost_share for j in named) / lost if lost else math.nan,
        false_rate=sum(1 - j.label.lost_share for j in named) / kept if kept else math.nan,
        stopped=sum(j.label.lost_share for j in stopped) / lost if lost else math.nan,
        falsely_stopped=sum(1 - j.label.lost_share for j in stopped) / kept if kept else math.nan,
        cost=cost / len(own) if own else math.nan,
    )


def ahead_on(peer: Score, ours: Score) -> list[str]:
    """On which of our measures a peer is ahead of the monitor.

    Ahead in delay is one that stops loss divergence sooner and non-finite values not later, with misses as infinite.
    """
    better = {
        "recall": peer.recall > ours.recall,
        "stopped": peer.stopped > ours.stopped,
        "false stops": peer.false_rate < ours.false_rate,
        "healthy called failed": peer.num_named_healthy < ours.num_named_healthy,
        "delay": peer.loss_delay_all < ours.loss_delay_all and peer.nonfinite_delay_all <= ours.nonfinite_delay_all,
    }
    return [name for name, is_better in better.items() if is_better]


def _steps_left(label: Label) -> int:
    return label.last_step - (label.onset or 1) + 1


def _share(flags: Iterable[bool]) -> float:
    known = list(flags)
    return sum(known) / len(known) if known else math.nan


def _median(values: Iterable[float]) -> float:
    known = list(values)
    return statistics.median(known) if known else math.nan
