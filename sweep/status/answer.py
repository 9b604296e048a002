"""What `status` says of a study, as plain data; `docs/status.md` tells users the same of its JSON object."""

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from sweep.command_line import EXIT_DONE, EXIT_ENDED_EARLY, EXIT_SILENT, EXIT_UNFINISHED
from sweep.space import Settings
from sweep.store.files import without_nonfinite
from sweep.wording import settings_line

VERSION = 1
"""Of the JSON object; another one where a key goes or changes its meaning."""
SILENT_AFTER_S = 900.0
"""A run that has written nothing for so long has gone silent."""


class State(StrEnum):
    """Whether somebody is at work on a study, and how it was left if not."""

    WAITING = "waiting"
    """There is no study yet."""
    RUNNING = "running"
    FINISHED = "finished"
    """Nothing is left to do."""
    ENDED_EARLY = "ended early"
    """No run is at work, and the last one said why it ended before the study did."""
    SILENT = "gone silent"
    """No run is at work and the last one said no end, or the one at work has written nothing for `SILENT_AFTER_S`."""

    @property
    def exit_code(self) -> int:
        """Of `status`."""
        return _EXIT_CODES[self]


_EXIT_CODES = {
    State.WAITING: EXIT_UNFINISHED,
    State.RUNNING: EXIT_UNFINISHED,
    State.FINISHED: EXIT_DONE,
    State.ENDED_EARLY: EXIT_ENDED_EARLY,
    State.SILENT: EXIT_SILENT,
}

Activity = Literal["starting", "explore", "confirm", "full_size", "explaining", "concluding"]
"""What a run is busy with: trainings of a phase, what comes before, replays that look for causes, or the answer."""


@dataclass(frozen=True)
class _Training:
    trial: str
    settings: Settings
    """Dotted path -> value."""
    block: int | None
    cell: str | None
    """Of a design: which block it belongs to, and its levels."""

    @property
    def title(self) -> str:
        """`0007 precision=fp16 lr=0.0012`."""
        what = settings_line(self.settings) if self.cell is None else f"block {self.block}: {self.cell}"
        return f"{self.trial} {what}".rstrip()


@dataclass(frozen=True)
class Running(_Training):
    """A training under way."""

    activity: Literal["starting", "training", "explaining"]
    """Explaining: it has ended badly, and replays look for the cause."""
    step: int | None
    """As of its latest evaluation, as are the losses; None before the first."""
    steps: int | None
    """That it is to have; None where nobody knows."""
    train_loss: float | None
    val_loss: float | None


@dataclass(frozen=True)
class Best(_Training):
    """The best stable training so far."""

    result: str
    """`WER 0.25, val. loss 0.61`."""
    objective: float
    """What it is ranked by; lower is better."""


@dataclass(frozen=True)
class Recommended:
    """The setting that is recommended."""

    settings: Settings
    trials: tuple[str, ...]
    """Of these settings."""
    status: Literal["being confirmed", "confirmed", "unconfirmed"]
    result: str | None
    """None while it is being confirmed."""
    safety: str | None
    """Whether it keeps the safety rule, in a sentence; None where nothing can be told."""


@dataclass(frozen=True)
class LastProblem(_Training):
    """A training that failed."""

    outcome: str
    step: int
    steps: int
    reason: str
    cause: str | None
    """As far as it is known."""


@dataclass(frozen=True)
class Status:
    """How far a study is."""

    study: str
    results: str
    """The folder."""
    state: State
    why: str | None
    """Of a state that is no good end: how it is known, or came about."""
    writer_alive: bool | None
    """Whether a run is at work there; None where that cannot be told from this machine."""
    quiet_s: float | None
    """Seconds since anything was written; None where there is nothing."""
    activity: Activity | None
    """None where no run is at work."""
    done: int
    """Trainings that ended."""
    planned: int | None
    """That the study will have, as far as is known now; None where nobody wrote that down."""
    waiting: int
    """Trainings that were asked for, did not end and are not under way."""
    kinds: dict[str, int]
    """Of those that ended: stable, diverged, failed (learned nothing or broke off), open (nobody can tell)."""
    outcomes: dict[str, int]
    """The same by outcome, as the report calls them; those that occurred."""
    running: tuple[Running, ...]
    elapsed_s: float | None
    """Wall time of the study, over all its runs."""
    rest_s: float | None
    """Expected until its end; None where too little is known."""
    best: Best | None
    recommended: Recommended | None
    safety_rule: str | None
    """What a recommended setting has to keep, in a line."""
    last_problem: LastProblem | None
    """The training that failed last."""
    report: str | None
    """The report as it was written last; None where there is none yet."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing will change unless somebody runs the study's command again."""
        is_dead = self.state is State.SILENT and not self.writer_alive
        return is_dead or self.state in (State.FINISHED, State.ENDED_EARLY)

    def as_json(self) -> dict[str, Any]:
        """The JSON object."""
        content = {"version": VERSION, **dataclasses.asdict(self), "silent_after_s": SILENT_AFTER_S}
        found: dict[str, Any] = without_nonfinite(content)
        return found
