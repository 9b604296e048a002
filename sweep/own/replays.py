"""Why a training of the user's own went bad: it is run again from its beginning with one setting changed.

A training that broke is run again in full precision (where it was in half), then with its rate / 10, / 100, ...; one
that was too slow with its rate x 10, x 100; one that learned nothing, either way. What the rate
is, the study says (`Turns`): its learning rate, else its first number. A change rescues where the training comes past
the step at which it was given up, by a quarter of that or to its own end, without an alarm, and where it then has
learned if it is one that had learned nothing.
"""

import copy
import math
import statistics
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.judging.detectors import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.own.handle import Metrics, Run, Stop
from sweep.own.program import Target, Turns
from sweep.own.seeding import seed_all
from sweep.records import NAN, Cause, Counterfactual, EvalRecord, Explanation, Side, StepRecord, Verdict, is_finite
from sweep.space import value_at
from sweep.wording import end_text, number

LARGEST_POWER = 3
"""Powers of ten by which a rate is changed at most."""
BEYOND = 1.25
"""Times the step at which a training was given up, to which a replay has to come."""
SLOWER = 5.0
"""Times as long as the training took for so many steps that a replay may take."""
LEAST_S = 20.0
"""Seconds that a replay may take at least."""
_END_STEPS = 20


@dataclass(frozen=True)
class Failed:
    """A training that ended badly, with what it takes to run it again."""

    values: Mapping[str, Any]
    """Its settings, nested."""
    seed: int
    steps: int | None
    """As planned."""
    verdict: Verdict
    num_steps: int
    """How far it ran."""
    wall_s: float
    l_const: float
    l_unif: float
    side: Side
    """On which side it failed; untold: one that learned nothing may lie on either."""

    @property
    def learned_nothing(self) -> bool:
        """Whether it has to learn to be rescued, rather than not to break."""
        return self.side is not Side.TOO_HOT


@dataclass(frozen=True)
class _Change:
    name: str
    cause: Cause
    path: str
    value: object


def explain(
    failed: Failed, target: Target, turns: Turns, rules: MonitorConfig, *, max_steps: int, folder: Path
) -> tuple[Explanation, threading.Thread | None]:
    """Runs it again with one change after the other, until one rescues it.

    Args:
        failed: the training.
        target: what trains.
        turns: what of its settings may be changed.
        rules: of the judge.
        max_steps: steps of all replays together, at most.
        folder: where replays may keep files.

    Returns:
        It, and the thread of a replay that would not end.
    """
    goal = max(math.ceil(BEYOND * failed.num_steps), failed.num_steps + _END_STEPS)
    if failed.steps is not None:
        goal = min(goal, failed.steps)
    told: list[Counterfactual] = []
    spent, stuck = 0, None
    for change in _changes(failed, turns):
        if spent + goal > max_steps:
            break
        values = _with(failed.values, change.path, change.value)
        replay = _Replay(failed, rules, goal)
        replay.run(target, values, folder)
        if replay.thread.is_alive():
            stuck = replay.thread
            break
        spent += replay.num_steps
        told.append(Counterfactual(change.name, int(replay.rescues), 1, replay.level))
        if replay.rescues:
            return Explanation(change.cause, _text(change, told, failed), (), None, tuple(told), 0, spent), None
    gave = ", ".join(f"{one.change} ({end_text(one.end_loss)})" for one in told)
    tried = f"; tried from the start, in vain: {gave}" if gave else "; nothing of its settings could be tried"
    text = f"{Cause.UNKNOWN}: {failed.verdict.reason}{tried}"
    return Explanation(Cause.UNKNOWN, text, (), None, tuple(told), 0, spent), stuck


def _changes(failed: Failed, turns: Turns) -> Iterator[_Change]:
    if failed.side is not Side.TOO_COLD:
        for path, full in turns.full_precision.items():
            if value_at(failed.values, path) not in (None, full):
                yield _Change(f"{path} {full}", Cause.HALF_PRECISION, path, full)
    rate = None if turns.rate is None else value_at(failed.values, turns.rate)
    if turns.rate is None or not isinstance(rate, int | float) or isinstance(rate, bool) or not rate > 0:
        return
    name = "LR" if turns.is_learning_rate else turns.rate
    low, high = Cause.SETTING_TOO_LOW, Cause.SETTING_TOO_HIGH
    if turns.is_learning_rate:
        low, high = Cause.LR_TOO_LOW, Cause.LR_TOO_HIGH
    for power in range(1, LARGEST_POWER + 1):
        if failed.side is not Side.TOO_HOT:
            yield _Change(f"{name} x {10**power}", low, turns.rate, rate * 10**power)
        if failed.side is not Side.TOO_COLD:
            yield _Change(f"{name} / {10**power}", high, turns.rate, rate / 10**power)


def _text(change: _Change, told: list[Counterfactual], failed: Failed) -> str:
    """The cause with its particulars, in a line."""
    value = value_at(failed.values, change.path)
    shown = number(value) if isinstance(value, int | float) else str(value)
    does = "makes it begin to learn" if failed.learned_nothing else "rescues it"
    vain = _listed([one for one in told if not one.rescues])
    others = f", {vain} {'does' if len(told) == 2 else 'do'} not" if vain else ""
    what = f"{failed.verdict.reason}; " if failed.verdict.reason else ""
    return f"{change.cause}: with {change.path} {shown}, {what}{change.name} from the start {does}{others}"


def _listed(told: list[Counterfactual]) -> str:
    return ", ".join(one.change for one in told)


def _with(values: Mapping[str, Any], path: str, value: object) -> dict[str, Any]:
    """The settings with another value at a dotted path, at which there is one."""
    changed: dict[str, Any] = copy.deepcopy(dict(values))
    *sections, name = path.split(".")
    here = changed
    for section in sections:
        here = here[section]
    here[name] = value
    return changed


class _Replay:
    """One of them: a sink that keeps nothing but what judges it."""

    def __init__(self, failed: Failed, rules: MonitorConfig, goal: int) -> None:
        self._failed, self._rules, self._goal = failed, rules, goal
        self._losses: list[float] = []
        self._verdict: Verdict | None = None
        self._has_failed = False
        self._has_returned = False
        self.num_steps = 0
        self.thread = threading.Thread()
        context = RunContext(failed.l_const, failed.l_unif, failed.steps, has_scaler=False)
        self._monitor = StabilityMonitor(context, rules)

    def run(self, target: Target, values: dict[str, Any], folder: Path) -> None:
        """Runs to the goal, an alarm, or the end of its time."""
        run = Run(self, seed=self._failed.seed, steps=self._failed.steps, folder=folder)
        self.thread = threading.Thread(target=self._train, args=(target, values, run), name="replay", daemon=True)
        self.thread.start()
        each_s = self._failed.wall_s / max(self._failed.num_steps, 1)
        self.thread.join(max(SLOWER * each_s * self._goal, LEAST_S))
        run.stop("a replay takes too long")
        self.thread.join(LEAST_S)

    def _train(self, target: Callable[..., Any], values: dict[str, Any], run: Run) -> None:
        try:
            seed_all(self._failed.seed)
            target(values, run)
            run.finish()
            self._has_returned = True
        except Stop:
            pass
        except BaseException:
            # It is the training's own, and tells no more than that this change is no rescue.
            self._has_failed = True

    @property
    def level(self) -> float:
        """Its last loss; NaN if none was finite."""
        return statistics.median(self._losses[-_END_STEPS:]) if self._losses else NAN

    @property
    def rescues(self) -> bool:
        """Whether it came to the goal, and to where its like was not."""
        # One that decides its own length may end before the goal, which its study does not know.
        far = min(self._failed.num_steps, self._goal) if self._has_returned else self._goal
        if self._has_failed or self._verdict is not None or self.num_steps < far or not self._losses:
            return False
        end = self._monitor.end_verdict()
        if self._failed.learned_nothing:
            return end.stable
        return not end.outcome.is_diverged and self.level <= max(self._losses[0], self._failed.l_const)

    def refer(self, l_const: float, l_unif: float) -> None:
        """Those of the training count."""

    def observe(self, record: StepRecord) -> str | None:
        """Takes a step; why it is to end, where it is."""
        self.num_steps = record.step
        if is_finite(record.loss):
            self._losses.append(record.loss)
        self._verdict = self._monitor.observe(record)
        if self._verdict is not None:
            return self._verdict.reason
        return "the replay has come far enough" if record.step >= self._goal else None

    def evaluated(self, record: EvalRecord, metrics: Metrics) -> str | None:
        """Takes what was measured."""
        if math.isfinite(record.val_loss):
            self._monitor.observe_validation(record.step, record.val_loss)
        return None

    def ended(self, metrics: Metrics) -> None:
        """Nobody asks for its results."""

    def keep(self, state: Any, step: int) -> None:
        """Keeps nothing."""

    def kept(self) -> tuple[Any, int] | None:
        """It begins at the beginning."""
        return None
