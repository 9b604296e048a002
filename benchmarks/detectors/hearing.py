"""Gives every trace to every rule, and chooses the settings of the peers on the tuning half."""

import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.detectors.installed_peers import installed
from benchmarks.detectors.levels import Level, at_level
from benchmarks.detectors.peer_rules import PUBLISHED
from benchmarks.detectors.rules import MONITOR, OURS, Heard, Rule
from benchmarks.detectors.scoring import Judged, score
from benchmarks.detectors.simple_rules import SIMPLE
from benchmarks.detectors.trace_set import Label, Trace

_CHUNK = 8

Key = tuple[Level, str, int]
"""A level, a rule's name, the number of its setting."""
Plan = Mapping[tuple[Level, str], Sequence[int]]
"""Which settings of a rule are tried at a level."""
Said = tuple[Label, dict[Key, Heard]]
"""All that was said of one trace."""


@dataclass(frozen=True)
class Hearing:
    """What all rules said, and which settings were chosen for them."""

    judged: list[Judged]
    """Of every trace. A rule with its published default has its own name, with a chosen setting "NAME, tuned"."""
    chosen: dict[tuple[Level, str], int | None]
    """Of each rule with something to choose: the number of its setting; None where none is quiet enough."""


def rules_at(level: Level) -> list[Rule]:
    """The rules of a table, ours first."""
    return [MONITOR, SIMPLE[level], *PUBLISHED, *installed()]


def hear(traces: Sequence[Trace], num_workers: int = 2) -> Hearing:
    """Gives all traces to all rules.

    Of each peer that has something to choose, the setting is chosen that stops the most bad traces of the tuning half
    with no higher a rate of false stops than ours there.
    """
    every = {(level, rule.name): range(len(rule.settings)) for level in Level for rule in rules_at(level)}
    tuning = [trace for trace in traces if trace.is_tuned and not trace.is_held_out]
    others = [trace for trace in traces if not trace.is_tuned or trace.is_held_out]
    said = _hear_all(tuning, every, num_workers)
    chosen = {key: _choose(key, len(numbers), said) for key, numbers in every.items() if len(numbers) > 1}
    plan = {key: sorted({0, chosen.get(key) or 0}) for key in every}
    return Hearing(_judged([*said, *_hear_all(others, plan, num_workers)], chosen), chosen)


def _judged(said: Iterable[Said], chosen: Mapping[tuple[Level, str], int | None]) -> list[Judged]:
    judged = []
    for label, answers in said:
        for (level, name, number), heard in answers.items():
            if number == 0:
                judged.append(Judged(label, name, level, heard))
            elif number == chosen.get((level, name)):
                judged.append(Judged(label, f"{name}, tuned", level, heard))
    return judged


def _choose(key: tuple[Level, str], count: int, said: Sequence[Said]) -> int | None:
    level, name = key
    ours = score(OURS, _of((level, OURS, 0), said)).false_rate
    scores = [score(name, _of((level, name, number), said)) for number in range(count)]
    quiet = [number for number in range(count) if scores[number].false_rate <= ours]
    return max(quiet, key=lambda number: (scores[number].stopped, -scores[number].wasted_rate), default=None)


def _of(key: Key, said: Sequence[Said]) -> list[Judged]:
    level, name, _ = key
    return [Judged(label, name, level, answers[key]) for label, answers in said]


_plan: Plan = {}
"""Of a worker process."""


def _begin(plan: Plan) -> None:
    global _plan
    _plan = plan


def _hear_all(traces: Sequence[Trace], plan: Plan, num_workers: int) -> list[Said]:
    with multiprocessing.get_context("spawn").Pool(num_workers, _begin, (plan,)) as pool:
        return list(pool.imap(_hear_one, traces, chunksize=_CHUNK))


def _hear_one(trace: Trace) -> Said:
    known: dict[tuple[Level, str, Level, int], Heard] = {}
    answers: dict[Key, Heard] = {}
    for level in Level:
        for rule in rules_at(level):
            # More than it can use changes nothing that it says.
            seen = rule.reads if level.covers(rule.reads) else level
            for number in _plan[level, rule.name]:
                key = (rule.reads, rule.name, seen, number)
                if key not in known:
                    known[key] = rule.hear(at_level(trace, seen), rule.settings[number])
                answers[level, rule.name, number] = known[key]
    return trace.label, answers
