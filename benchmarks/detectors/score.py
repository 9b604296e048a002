"""How well the monitor and the rules of other frameworks judge traces whose truth is known.

    python -m benchmarks.detectors.score             # prints the tables and writes score.md and .json here

Truth is defined in `truth.py` (real trainings) and by construction in `faults.py` (injected faults).

- recall: share of bad traces that a rule stops at or after their onset; a stop before it is a miss, told as "early";
- false stops: share of healthy traces that it stops, with the exact (Clopper-Pearson) 95 % interval;
- delay: steps from onset to stop, median over the bad traces that it stopped, and over all of them with a miss counted
  as infinite;
- wasted: steps from onset to stop or end, as a share of the steps of bad traces after onset.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scipy.stats import beta

from benchmarks.detectors.faults import inject
from benchmarks.detectors.peer_rules import PeerRule, peer_rules
from benchmarks.detectors.trace_set import Trace, load_real
from benchmarks.detectors.truth import Truth
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.records import Outcome

OURS = "StabilityMonitor"
HERE = Path(__file__).resolve().parent
NAMED = {
    Truth.NONFINITE: {Outcome.DIVERGED_NONFINITE, Outcome.SCALER_COLLAPSE},
    Truth.SCALER: {Outcome.SCALER_COLLAPSE, Outcome.DIVERGED_NONFINITE},
    Truth.LOSS: {Outcome.DIVERGED_LOSS, Outcome.DIVERGED_NONFINITE},
    Truth.SKIPS: {Outcome.SKIP_STARVED},
    Truth.NOTHING: {Outcome.STALLED, Outcome.BLANK_COLLAPSE, Outcome.DIVERGED_LOSS},
}
"""Outcomes that name a truth rightly. An infinite gradient for good ends as either of two; a loss that explodes and
then is NaN too; a run at a level far above uniform from its start has diverged as well as learned nothing."""


@dataclass(frozen=True)
class Stop:
    """What one rule did with one trace."""

    trace: str
    kind: str
    is_real: bool
    is_held_out: bool
    truth: Truth
    onset: int | None
    num_steps: int
    rule: str
    step: int | None
    """Where it stopped; None if it did not."""
    outcome: Outcome | None = None
    """What the monitor called it."""
    reason: str = ""

    @property
    def is_hit(self) -> bool:
        """A bad trace stopped at or after its onset."""
        return self.onset is not None and self.step is not None and self.step >= self.onset

    @property
    def delay(self) -> float:
        """Steps from onset to stop; infinite for a miss."""
        return float(self.step - self.onset) if self.is_hit and self.step and self.onset else math.inf


@dataclass(frozen=True)
class Score:
    """How one rule did on one set of traces. NaN where the set has no such trace."""

    rule: str
    num_bad: int
    recall: float
    num_early: int
    num_healthy: int
    num_false: int
    false_rate: float
    false_low: float
    false_high: float
    loss_delay: float
    """Median over hits on diverged losses."""
    loss_delay_all: float
    """The same with misses as infinite."""
    nonfinite_delay: float
    nonfinite_delay_all: float
    wasted_rate: float


def clopper_pearson(count: int, total: int) -> tuple[float, float]:
    """Exact 95 % interval of a rate."""
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))
    return low, high


def watch(trace: Trace) -> list[Stop]:
    """What the monitor and every peer do with a trace."""
    peers = peer_rules(trace.context.budget_steps)
    return [watch_with_monitor(trace), *(_stop(trace, name, _first(rule, trace)) for name, rule in peers.items())]


def watch_with_monitor(trace: Trace, config: MonitorConfig | None = None) -> Stop:
    """What the monitor does with a trace."""
    monitor = StabilityMonitor(trace.context, config or MonitorConfig())
    verdict = next((v for record in trace.records if (v := monitor.observe(record)) is not None), None)
    if verdict is None:
        return _stop(trace, OURS, None)
    return replace(_stop(trace, OURS, verdict.stop_step), outcome=verdict.outcome, reason=verdict.reason)


def _first(rule: PeerRule, trace: Trace) -> int | None:
    return next((record.step for record in trace.records if rule.stops(record)), None)


def _stop(trace: Trace, rule: str, step: int | None) -> Stop:
    return Stop(
        trace=trace.name,
        kind=trace.kind,
        is_real=trace.is_real,
        is_held_out=trace.is_held_out,
        truth=trace.truth,
        onset=trace.onset,
        num_steps=trace.num_steps,
        rule=rule,
        step=step,
    )


def score(rule: str, stops: Iterable[Stop]) -> Score:
    """The score of a rule on the traces that it saw."""
    own = [stop for stop in stops if stop.rule == rule]
    bad, healthy = [s for s in own if s.truth.is_bad], [s for s in own if s.truth is Truth.HEALTHY]
    num_false = sum(s.step is not None for s in healthy)
    low, high = clopper_pearson(num_false, len(healthy)) if healthy else (math.nan, math.nan)
    losses = [s for s in bad if s.truth is Truth.LOSS]
    nonfinite = [s for s in bad if s.truth is Truth.NONFINITE]
    room = sum(s.num_steps - (s.onset or 1) + 1 for s in bad)
    wasted = sum((s.step if s.is_hit and s.step else s.num_steps) - (s.onset or 1) + 1 for s in bad)
    return Score(
        rule=rule,
        num_bad=len(bad),
        recall=sum(s.is_hit for s in bad) / len(bad) if bad else math.nan,
        num_early=sum(s.step is not None and not s.is_hit for s in bad),
        num_healthy=len(healthy),
        num_false=num_false,
        false_rate=num_false / len(healthy) if healthy else math.nan,
        false_low=low,
        false_high=high,
        loss_delay=_median(s.delay for s in losses if s.is_hit),
        loss_delay_all=_median(s.delay for s in losses),
        nonfinite_delay=_median(s.delay for s in nonfinite if s.is_hit),
        nonfinite_delay_all=_median(s.delay for s in nonfinite),
        wasted_rate=wasted / room if room else math.nan,
    )


def _median(values: Iterable[float]) -> float:
    known = list(values)
    return statistics.median(known) if known else math.nan


def rules_of(stops: Sequence[Stop]) -> list[str]:
    """Names of the rules, in the order of the tables."""
    return list(dict.fromkeys(stop.rule for stop in stops))


def ahead_on(peer: Score, ours: Score) -> list[str]:
    """On which of recall, false stops and delay a peer is ahead of the monitor.

    Ahead in delay is one that stops loss divergence sooner and non-finite values not later, with misses as infinite.
    """
    better = {
        "recall": peer.recall > ours.recall,
        "false stops": peer.false_rate < ours.false_rate,
        "delay": peer.loss_delay_all < ours.loss_delay_all and peer.nonfinite_delay_all <= ours.nonfinite_delay_all,
    }
    return [name for name, is_better in better.items() if is_better]


def score_table(stops: Sequence[Stop]) -> str:
    """One row a rule, as Markdown."""
    rows = [
        "| rule | recall | early | false stops (95 % interval) | delay, loss (with misses) | delay, non-finite "
        "(with misses) | wasted |",
        "|---|---|---|---|---|---|---|",
    ]
    for rule in rules_of(stops):
        s = score(rule, stops)
        false = f"{s.num_false} of {s.num_healthy}: {s.false_rate:.1%} ({s.false_low:.1%} to {s.false_high:.1%})"
        rows.append(
            f"| {rule} | {s.recall:.3f} | {s.num_early} | {false} | {_steps(s.loss_delay)} ({_steps(s.loss_delay_all)})"
            f" | {_steps(s.nonfinite_delay)} ({_steps(s.nonfinite_delay_all)}) | {s.wasted_rate:.0%} |"
        )
    return "\n".join(rows)


def kind_table(stops: Sequence[Stop]) -> str:
    """One row a kind of trace: how many were stopped, by every rule; the monitor's median delay."""
    rules = rules_of(stops)
    kinds = dict.fromkeys((stop.truth, stop.kind) for stop in stops)
    rows = [
        f"| kind | truth | traces | {' | '.join(rules)} | delay of {OURS} |",
        "|---|---|---" + "|---" * (len(rules) + 1) + "|",
    ]
    for truth, kind in sorted(kinds, key=lambda key: list(Truth).index(key[0])):
        own = [stop for stop in stops if (stop.truth, stop.kind) == (truth, kind)]
        counts = [
            str(sum(s.is_hit if truth.is_bad else s.step is not None for s in own if s.rule == rule)) for rule in rules
        ]
        delay = _steps(_median(s.delay for s in own if s.rule == OURS and s.is_hit)) if truth.is_bad else ""
        rows.append(f"| {kind} | {truth} | {len(own) // len(rules)} | {' | '.join(counts)} | {delay} |")
    return "\n".join(rows)


def _steps(value: float) -> str:
    return "-" if math.isnan(value) else "never" if math.isinf(value) else f"{value:g}"


def scores_as_json(scores: Score) -> dict[str, object]:
    """A score as JSON values; null where a number is not finite ("never", or there is no such trace)."""
    values = asdict(scores)
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}


def report(stops: Sequence[Stop]) -> str:
    """The whole report as Markdown."""
    ours = score(OURS, stops)
    named = [s for s in stops if s.rule == OURS and s.is_hit]
    right = sum(s.outcome in NAMED[s.truth] for s in named)
    ahead = {rule: ahead_on(score(rule, stops), ours) for rule in rules_of(stops) if rule != OURS}
    sets: dict[str, Callable[[Stop], bool]] = {
        "All traces": lambda s: True,
        "The half that was not tuned on": lambda s: s.is_held_out,
        "The half that was tuned on": lambda s: not s.is_held_out,
        "Real trainings": lambda s: s.is_real,
        "Injected faults": lambda s: not s.is_real,
    }
    names = {stop.trace for stop in stops}
    num_real = len({stop.trace for stop in stops if stop.is_real})
    num_doubtful = len({stop.trace for stop in stops if stop.truth is Truth.DOUBTFUL})
    parts = [
        "# Detectors, measured",
        f"{len(names)} traces: {num_real} real trainings, {len(names) - num_real} with injected faults or harmless "
        f"oddities. {num_doubtful} are doubtful and count nowhere but in the last table. "
        f"The monitor names {right} of the {len(named)} bad traces that it stops by their truth.",
        (__doc__ or "").partition("injected faults).")[2].strip(),
        "Thresholds were tuned on one half of the traces, by a hash of their names. Early: stopped before the onset.",
    ]
    for title, belongs in sets.items():
        parts += [f"## {title}", score_table([stop for stop in stops if belongs(stop)])]
    lines = [f"- {rule}: {', '.join(what) or 'nothing'}" for rule, what in ahead.items()]
    parts += ["## On what a peer is ahead of the monitor", "\n".join(lines)]
    parts += ["## Stopped traces by kind", kind_table(stops)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=HERE / "traces")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=0, help="of the injected faults")
    arguments = parser.parse_args()
    real = load_real(arguments.traces)
    traces = real + inject(real, arguments.seed)
    started = time.perf_counter()
    stops = [stop for trace in traces for stop in watch(trace)]
    text = report(stops)
    print(text)
    for stop in stops:
        wrong = stop.step is not None if stop.truth is Truth.HEALTHY else stop.truth.is_bad and not stop.is_hit
        if stop.rule == OURS and wrong:
            print(f"wrong: {stop.trace} ({stop.truth}, onset {stop.onset}): step {stop.step} {stop.reason}")
    print(f"{time.perf_counter() - started:.0f} s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "score.md").write_text(text, encoding="utf-8")
    scores = [scores_as_json(score(rule, stops)) for rule in rules_of(stops)]
    text = json.dumps(scores, indent=1, allow_nan=False)
    (arguments.out / "score.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
