"""How well the monitor and the rules of others judge traces whose truth is known, all of them told the same.

    python -m benchmarks.detectors.score                  # prints the tables and writes score.md and .json here
    python -m benchmarks.detectors.score --logs FOLDER    # judges the logs of a folder with known truth instead

Truth is defined in `truth.py` (real trainings) and by construction in `faults.py` and `fresh_kinds.py` (made ones); the
levels of information in `levels.py`.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

# Before numpy is loaded: two processes share the machine, and short series gain nothing from threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.detectors import levels
from benchmarks.detectors.faults import inject
from benchmarks.detectors.fresh_kinds import fresh_traces
from benchmarks.detectors.hearing import Hearing, hear, rules_at
from benchmarks.detectors.installed_peers import missing, versions
from benchmarks.detectors.levels import Level
from benchmarks.detectors.logs import report_logs
from benchmarks.detectors.rules import OURS
from benchmarks.detectors.scoring import Judged, Score, ahead_on, clopper_pearson, score, score_doubtful
from benchmarks.detectors.simple_rules import SIMPLE
from benchmarks.detectors.trace_set import TRACES_DIR, Label, load_real
from benchmarks.detectors.truth import Truth
from slr_models.errors import UserError
from sweep.records import Outcome

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
TARGET_RECALL, TARGET_FALSE_RATE = 0.80, 0.01
"""Of what can be seen in the losses alone."""

SETS: dict[str, Callable[[Label], bool]] = {
    "held-out half": lambda label: label.is_tuned and label.is_held_out,
    "fresh kinds": lambda label: not label.is_tuned,
    "tuning half": lambda label: label.is_tuned and not label.is_held_out,
}

COLUMNS = """\
- recall: share of the bad traces of which a rule says at their end that they failed, whether it stopped them or not. A
  peer without a word for the end says so of what it stopped;
- open: bad traces of which it says that nobody can tell; they count as not named;
- stopped: share of the bad traces that it stops at or after their onset; early: a stop before it, which is a miss;
- false stops: share of the healthy traces that it stops, with the exact (Clopper-Pearson) 95 % interval;
- healthy, failed: healthy traces of which it says at their end that they failed; healthy, open: that nobody can tell;
- delay: steps from onset to stop, median over the bad traces that it stopped, and over all of them with a miss counted
  as infinite;
- wasted: steps from onset to stop or end, as a share of the steps of bad traces after onset."""

DOUBTFUL = """\
A training that is neither healthy nor a failure is weighed by how much of a failure it is, s in [0, 1]: which part of
what it had learned it lost again, or how near its end lies to having learned nothing (`lost_share` in `truth.py`, from
the whole course, the end and the validation loss). To call it a failure is right by s and wrong by 1 - s.

- recall: sum of s over those called failed at their end, as a share of the sum over all; falsely: the same of 1 - s;
- stopped, falsely stopped: the same of those that a rule stops;
- cost: mean of s where it calls no failure, and of 1 - s where it does. Never to call one costs {never:.2f}, always to
  do so {always:.2f}."""


def rules_of(judged: Iterable[Judged]) -> list[str]:
    """Names of the rules, each followed by its tuned self."""
    present = {j.rule for j in judged}
    names = [name for rule in rules_at(Level.LOSSES) for name in (rule.name, f"{rule.name}, tuned")]
    return [name for name in names if name in present]


def scores(judged: Sequence[Judged]) -> list[Score]:
    """One a rule, in the order of the tables."""
    return [score(rule, [j for j in judged if j.rule == rule]) for rule in rules_of(judged)]


def score_table(judged: Sequence[Judged]) -> str:
    """One row a rule, as Markdown."""
    rows = [
        "| rule | recall | open | stopped | early | false stops (95 % interval) | healthy, failed | healthy, open | "
        "delay, loss (with misses) | delay, non-finite (with misses) | wasted |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for s in scores(judged):
        false = f"{s.num_false} of {s.num_healthy}: {s.false_rate:.1%} ({s.false_low:.1%} to {s.false_high:.1%})"
        rows.append(
            f"| {s.rule} | {s.recall:.3f} | {s.num_open_bad} | {s.stopped:.3f} | {s.num_early} | {false} | "
            f"{s.num_named_healthy} | {s.num_open_healthy} | {_steps(s.loss_delay)} ({_steps(s.loss_delay_all)}) | "
            f"{_steps(s.nonfinite_delay)} ({_steps(s.nonfinite_delay_all)}) | {s.wasted_rate:.0%} |"
        )
    return "\n".join(rows)


def doubtful_table(judged: Sequence[Judged]) -> str:
    """One row a rule for the doubtful traces, the cheapest first."""
    rows = ["| rule | recall | falsely | stopped | falsely stopped | cost |", "|---|---|---|---|---|---|"]
    every = [score_doubtful(rule, [j for j in judged if j.rule == rule]) for rule in rules_of(judged)]
    for s in sorted(every, key=lambda s: s.cost):
        shares = f"{s.recall:.2f} | {s.false_rate:.2f} | {s.stopped:.2f} | {s.falsely_stopped:.2f}"
        rows.append(f"| {s.rule} | {shares} | {s.cost:.3f} |")
    return "\n".join(rows)


def ahead_lines(judged: Sequence[Judged]) -> str:
    """On what each peer is ahead of the monitor, and on which kinds."""
    ours, *peers = scores(judged)
    assert ours.rule == OURS
    lines = [f"- {peer.rule}: {', '.join(what)}" for peer in peers if (what := ahead_on(peer, ours))]
    quiet = [peer.rule for peer in peers if not ahead_on(peer, ours)]
    if quiet:
        lines.append(f"- on nothing: {', '.join(quiet)}")
    return "\n".join(lines)


def kind_lines(judged: Sequence[Judged]) -> str:
    """Bad kinds of which a peer that is as quiet as the monitor names more than it."""
    ours, *peers = scores(judged)
    lines = []
    for peer in peers:
        if peer.false_rate > ours.false_rate or peer.num_named_healthy > ours.num_named_healthy:
            continue
        kinds = []
        for kind in dict.fromkeys(j.label.kind for j in judged if j.label.truth.is_bad):
            own = [j for j in judged if j.label.kind == kind and j.label.truth.is_bad]
            theirs, mine = (sum(j.is_named for j in own if j.rule == rule) for rule in (peer.rule, OURS))
            if theirs > mine:
                kinds.append(f"{kind} ({theirs} against {mine} of {sum(j.rule == OURS for j in own)})")
        if kinds:
            lines.append(f"- {peer.rule}: {', '.join(kinds)}")
    return "\n".join(lines) or "None."


def settings_table(hearing: Hearing) -> str:
    """What was chosen for each peer at each level."""
    rows = [f"| rule | published | {' | '.join(Level)} |", "|---|---" + "|---" * len(Level) + "|"]
    for rule in rules_at(Level.LOSSES):
        if (Level.LOSSES, rule.name) not in hearing.chosen:
            continue
        cells = []
        for level in Level:
            settings = SIMPLE[level].settings if rule.name == SIMPLE[level].name else rule.settings
            number = hearing.chosen[level, rule.name]
            cells.append("none is quiet enough" if number is None else _setting(settings[number]))
        rows.append(f"| {rule.name} | {_setting(rule.settings[0])} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _setting(setting: object) -> str:
    assert isinstance(setting, dict)
    return ", ".join(f"{name} {value if isinstance(value, bool) else f'{value:g}'}" for name, value in setting.items())


def kind_table(judged: Sequence[Judged]) -> str:
    """One row a kind: how many are called failed, by the monitor and the simple rule at every level, and by all peers
    told losses alone; of the monitor how many it stops too.
    """
    best = {level: _as_quiet_as_can_be(rules_of(j for j in judged if j.level is level)) for level in Level}
    columns = [(OURS, level) for level in Level]
    columns += [(rule, level) for level in Level for rule in best[level] if rule.startswith(SIMPLE[level].name)]
    at_every_level = len(columns)
    columns += [(rule, Level.LOSSES) for rule in best[Level.LOSSES] if (rule, Level.LOSSES) not in columns]
    heads = [f"{rule}, {level}" if k < at_every_level else rule for k, (rule, level) in enumerate(columns)]
    rows = [f"| kind | truth | traces | {' | '.join(heads)} |", "|---|---|---" + "|---" * len(heads) + "|"]
    by_kind: dict[tuple[Truth, str], dict[tuple[str, Level], list[Judged]]] = {}
    for j in judged:
        by_kind.setdefault((j.label.truth, j.label.kind), {}).setdefault((j.rule, j.level), []).append(j)
    for (truth, kind), own in sorted(by_kind.items(), key=lambda item: list(Truth).index(item[0][0])):
        cells = []
        for rule, level in columns:
            mine = own.get((rule, level), [])
            named = str(sum(j.is_named for j in mine))
            stopped = sum(j.is_hit if truth.is_bad else j.heard.step is not None for j in mine)
            cells.append(f"{named} ({stopped})" if rule == OURS else named)
        fresh = "" if own[OURS, Level.LOSSES][0].label.is_tuned else " *"
        rows.append(f"| {kind}{fresh} | {truth} | {len(own[OURS, Level.LOSSES])} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _as_quiet_as_can_be(rules: Sequence[str]) -> list[str]:
    """Each rule once: tuned where it is."""
    return [rule for rule in rules if f"{rule}, tuned" not in rules]


def target_line(judged: Sequence[Judged]) -> str:
    """Whether the monitor, told losses and norms alone, finds what can be seen in them."""
    own = [j for j in judged if j.rule == OURS and j.level is Level.LOSSES and not SETS["tuning half"](j.label)]
    plain = [j for j in own if j.label.is_plain]
    healthy = [j for j in own if j.label.truth is Truth.HEALTHY]
    named, stopped = sum(j.is_named for j in plain), sum(j.is_hit for j in plain)
    num_false = sum(j.heard.step is not None for j in healthy)
    num_named = sum(j.is_named for j in healthy)
    low, high = clopper_pearson(num_false, len(healthy))
    is_met = named / len(plain) >= TARGET_RECALL and num_false / len(healthy) <= TARGET_FALSE_RATE
    false_rate = num_false / len(healthy)
    return (
        "Target, told loss and gradient norm alone, on the held-out half and the fresh kinds: of the "
        f"{len(plain)} bad ones that are not finite or end above the median of their first five finite losses, "
        f"{named / len(plain):.3f} are called failed (target {TARGET_RECALL:.2f}) and {stopped / len(plain):.3f} "
        f"stopped; of the {len(healthy)} healthy ones {num_false} are stopped ({false_rate:.1%}, {low:.1%} to "
        f"{high:.1%}; target at most {TARGET_FALSE_RATE:.0%}) and {num_named} called failed: "
        f"{'met' if is_met else 'not met'}."
    )


def _steps(value: float) -> str:
    return "-" if math.isnan(value) else "never" if math.isinf(value) else f"{value:g}"


def as_json(level: Level, name: str, one: Score) -> dict[str, object]:
    """A score as JSON values; null where a number is not finite ("never", or there is no such trace)."""
    values = {"level": level.value, "set": name, **asdict(one)}
    return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}


def report(hearing: Hearing) -> str:
    """The whole report as Markdown."""
    judged = hearing.judged
    parts = ["# Detectors, measured", _intro(judged), target_line(judged)]
    parts += ["## What a rule is told", (levels.__doc__ or "").strip()]
    parts += ["## What was tuned on what", _tuning_text(), settings_table(hearing), "## What the columns say", COLUMNS]
    for level in Level:
        own = [j for j in judged if j.level is level]
        unseen = [j for j in own if not SETS["tuning half"](j.label)]
        parts.append(f"## Level {level}: told {level.says}")
        for name in ("held-out half", "fresh kinds"):
            some = [j for j in own if SETS[name](j.label)]
            parts += [f"### {name.capitalize()}", score_table(some)]
            parts += ["Ahead of the monitor there:", ahead_lines(some)]
        parts += [
            "Bad kinds of which a peer that is as quiet as the monitor names more (both sets):",
            kind_lines(unseen),
        ]
    parts += ["## Doubtful trainings", _doubtful_text(judged)]
    for level in Level:
        some = [j for j in judged if j.level is level and j.label.truth is Truth.DOUBTFUL]
        parts += [f"### Told {level.says}", doubtful_table(some)]
    parts += ["## By kind", _kind_text(), kind_table(judged)]
    return "\n\n".join(parts) + "\n"


def _intro(judged: Sequence[Judged]) -> str:
    labels = {j.label.name: j.label for j in judged}.values()
    num_real, num_fresh = sum(label.is_real for label in labels), sum(not label.is_tuned for label in labels)
    named = [j for j in judged if j.rule == OURS and j.level is Level.TELEMETRY and j.is_hit]
    right = sum(j.heard.outcome in NAMED[j.label.truth] for j in named)
    packages = f" Packages: {', '.join(versions())}." if versions() else ""
    packages += f" Not installed, and left out: {', '.join(missing())}." if missing() else ""
    return (
        f"{len(labels)} traces: {num_real} real trainings, {len(labels) - num_real - num_fresh} with injected faults "
        f"or harmless oddities, and {num_fresh} of kinds that thresholds were not chosen by (fresh kinds). Every rule "
        "of a table is told the same of a trace: the three levels stand in `levels.py`. Told all "
        f"telemetry, the monitor calls {right} of the {len(named)} bad traces that it stops by their truth.{packages}"
    )


def _tuning_text() -> str:
    return (
        "A hash of their names divides the real trainings and the injected faults into two halves. The monitor's own "
        "thresholds were chosen on one of them, the tuning half. Of every peer that has something to choose, the "
        "published default is shown, and beside it (tuned) the setting that stops the most bad traces of the tuning "
        "half with no higher a rate of false stops than the monitor's there, at the same level. The tables show the "
        "other half and the fresh kinds; no peer was tuned on either. Of the monitor that holds for the thresholds of "
        "its alarms alone: how it judges an end was written by somebody who knew what the fresh kinds are, and who had "
        "looked at its mistakes on these very traces. So its figures here are optimistic; `docs/LOG.md` has those on "
        "trainings that nobody had looked at. The simple rule (`simple_rules.py`) is what somebody writes in an "
        "afternoon who knows as much. Packages from PyPI run as they are: `installed_peers.py` "
        "says how they are fed and how to install them."
    )


def _doubtful_text(judged: Sequence[Judged]) -> str:
    every = {j.label.name: j.label.lost_share for j in judged if j.label.truth is Truth.DOUBTFUL}
    mean = sum(every.values()) / len(every)
    return f"{len(every)} trainings, of both halves. " + DOUBTFUL.format(never=mean, always=1 - mean)


def _kind_text() -> str:
    return (
        "How many of each kind are called failed at their end, all traces of both halves; of the monitor in brackets "
        "how many it stops (bad ones: at or after their onset). Each peer as quiet as it can be: tuned, or else as "
        "published. A star marks the fresh kinds."
    )


def main() -> None:
    """Prints and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, default=TRACES_DIR)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=0, help="of the injected faults and the fresh kinds")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="a folder of logs with known truth (see logs.py)")
    arguments = parser.parse_args()
    if arguments.logs is not None:
        try:
            print(report_logs(arguments.logs))
        except UserError as error:
            raise SystemExit(f"error: {error}") from error
        return
    started = time.perf_counter()
    real = load_real(arguments.traces)
    hearing = hear([*real, *inject(real, arguments.seed), *fresh_traces(arguments.seed)], arguments.jobs)
    text = report(hearing)
    print(text)
    for j in hearing.judged:
        wrong = j.heard.step is not None or j.is_named if j.label.truth is Truth.HEALTHY else j.label.truth.is_bad
        if j.rule == OURS and wrong and not (j.label.truth.is_bad and j.is_named and j.is_hit):
            where = f"stopped at {j.heard.step}, {j.heard.end} at the end ({j.heard.outcome}) {j.heard.reason}"
            print(f"wrong, told {j.level}: {j.label.name} ({j.label.truth}, onset {j.label.onset}): {where}")
    print(f"{time.perf_counter() - started:.0f} s")
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "score.md").write_text(text, encoding="utf-8")
    rows = [
        as_json(level, name, one)
        for level in Level
        for name, belongs in SETS.items()
        for one in scores([j for j in hearing.judged if j.level is level and belongs(j.label)])
    ]
    text = json.dumps(rows, indent=1, allow_nan=False)
    (arguments.out / "score.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
