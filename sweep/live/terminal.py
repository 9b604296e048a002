"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere.

Trainings are counted phase by phase, against what each takes at most: what the study comes to is known at its end.
"""

import math
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.live.heartbeat import HEARTBEAT_S, Heartbeat
from sweep.own.program import Score
from sweep.records import Outcome, Phase, TrialResult, told_cause
from sweep.running.job import Job, Progress
from sweep.running.view import Outlook
from sweep.wording import duration, number, plural, settings_line

_LINES_ABOVE_TABLE = 11
"""Of the live part: heading, counts, bar, times, the best in up to three lines, the table's own head, free lines."""
MAX_TOLD = 4
"""Trainings under way that a line without a table names."""
_PHASES = {
    Phase.CONFIRM: "confirming with fresh seeds",
    Phase.FULL_SIZE: "testing at full size",
}
_COUNTED = {Phase.EXPLORE: "", Phase.CONFIRM: "confirm ", Phase.FULL_SIZE: "full size "}
"""What stands before the count of a phase; the exploration's, or a design's, stands alone."""


class Terminal:
    """The progress of one run, on a console. Use as a context manager."""

    def __init__(
        self,
        console: Console,
        *,
        course: Outlook,
        search: str,
        done: list[TrialResult],
        drawn: Collection[str] | None = None,
        score: Score | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """Prepares the view.

        Args:
            console: where to print.
            course: of the study; asked whenever a training starts or ends.
            search: what the exploration is led by, in a few words.
            done: trials that earlier runs finished.
            drawn: of a study with a design the paths that its blocks draw; the rest is said by the cell.
            score: what programs of the user's own are judged by.
            heartbeat_s: seconds without a line after which one says what runs, where there is no table.
        """
        self._console = console
        self._course = course
        self._search = search
        self._drawn = drawn
        self._score = score
        self._phase = Phase.EXPLORE
        self._heading = ""
        self._done = Counter[Phase](Phase(result.phase) for result in done)
        self._num_finished = 0
        self._outcomes = Counter[str](result.verdict.kind for result in done)
        self._best: TrialResult | None = None
        for result in done:
            self._note_best(result)
        self._running: dict[str, tuple[Job, Progress | None]] = {}
        self._since: dict[str, float] = {}
        """When the trainings under way began."""
        self._explaining: set[str] = set()
        self._started = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)
        self._heartbeat = Heartbeat(self._say_what_runs, every_s=heartbeat_s)

    def __enter__(self) -> "Terminal":
        if self._console.is_terminal:
            self._live.start()
        else:
            self._heartbeat.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()
        else:
            self._heartbeat.__exit__()

    def started(self, job: Job) -> None:
        """A training starts."""
        phase = Phase(job.phase)
        if phase != self._phase or not self._heading:
            self._phase = phase
            self._heading = self._what_begins(phase)
            self._print(self._heading, style="bold")
        self._running[job.trial_id] = (job, None)
        self._since[job.trial_id] = time.monotonic()

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated, or says how far it is."""
        _, before = self._running.get(job.trial_id, (job, None))
        if before is not None and math.isnan(progress.val_loss) and math.isnan(progress.score):
            progress = replace(progress, val_loss=before.val_loss, score=before.score)
        self._running[job.trial_id] = (job, progress)

    def retried(self, job: Job, reason: str) -> None:
        """A training begins again at its first step."""
        self._running[job.trial_id] = (job, None)
        self._since[job.trial_id] = time.monotonic()
        self._print(f"trial {job.trial_id}: {reason}")

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""
        self._explaining.add(job.trial_id)
        self._since.setdefault(job.trial_id, time.monotonic())
        self._running.setdefault(job.trial_id, (job, None))

    def explained(self, result: TrialResult) -> None:
        """The search for the cause of a training that an earlier run finished has ended."""
        self._running.pop(result.trial_id, None)
        self._since.pop(result.trial_id, None)
        self._explaining.discard(result.trial_id)
        found = "nobody knows" if result.cause is None else told_cause(result.cause)
        line = f"{result.trial_id} {self._what(result)}".rstrip() + f", {result.verdict} before; cause: {found}"
        self._print(line, soft_wrap=not self._console.is_terminal)

    def finished(self, result: TrialResult) -> None:
        """A training ended."""
        self._running.pop(result.trial_id, None)
        self._since.pop(result.trial_id, None)
        self._explaining.discard(result.trial_id)
        self._done[Phase(result.phase)] += 1
        self._num_finished += 1
        self._outcomes[result.verdict.kind] += 1
        self._note_best(result)
        # A file gets a line a trial, a terminal breaks it between words.
        self._print(self._line(result), soft_wrap=not self._console.is_terminal)
        if self._num_finished == 2 and not self._console.is_terminal:
            self._print(f"at this pace: {self._so_far()}")

    def _print(self, line: str | Text, **how: Any) -> None:
        self._console.print(line, highlight=False, **how)
        self._heartbeat.heard()

    def _note_best(self, result: TrialResult) -> None:
        is_candidate = result.stable and result.phase != Phase.FULL_SIZE and result.verdict is not Outcome.FOREGONE
        if is_candidate and (self._best is None or result.objective < self._best.objective):
            self._best = result

    def _what_begins(self, phase: Phase) -> str:
        if phase == Phase.EXPLORE:
            return f"exploring ({self._search})" if self._drawn is None else f"training ({self._search})"
        what = f"{_PHASES[phase]}, up to {plural(self._course.num_at_most(phase), 'training')}"
        reason = self._course.stop_reason if phase == Phase.CONFIRM else None
        return f"exploration ended early: {reason}; {what}" if reason else what

    def _count(self, phase: Phase) -> tuple[int, int]:
        """Trainings of a phase that are done, and how many it has at most."""
        return self._done[phase], max(self._course.num_at_most(phase), self._done[phase])

    def _line(self, result: TrialResult) -> Text:
        style = _STYLES[result.verdict.kind]
        phase = Phase(result.phase)
        done, most = self._count(phase)
        text = Text(f"[{_COUNTED[phase]}{done}/{most}] ")
        text.append(f"{result.trial_id} {self._what(result)}".rstrip())
        if result.phase == Phase.CONFIRM:
            text.append(f", fresh seed {result.seed}")
        elif result.phase == Phase.FULL_SIZE:
            text.append(f", at full size, seed {result.seed}")
        text.append(": ")
        text.append(result.verdict.value, style=style)
        if result.verdict is Outcome.FOREGONE:
            text.append(f" (as good as stable at step {result.num_steps} of {result.max_steps})")
        elif result.stable:
            text.append(f", {self._result(result)}")
            if result.alarm is not None:
                text.append(f"; the alarm {result.alarm} at step {result.stop_step} was wrong")
        else:
            step = result.num_steps if result.stop_step is None else result.stop_step
            # Of a program of the user's own, how many there were to be may be unknown.
            of = f" of {result.max_steps}" if result.max_steps > result.num_steps or self._score is None else ""
            text.append(f" at step {step}{of}: {result.reason}")
            if result.cause is not None:
                text.append(f"; cause: {told_cause(result.cause)}")
        if math.isfinite(result.wall_s):
            text.append(f" ({duration(result.wall_s)})", style="dim")
        return text

    def _what(self, training: Job | TrialResult) -> str:
        """What is trained: the settings, or block, cell and what the block drew."""
        if training.block is None or self._drawn is None:
            return settings_line(training.settings)
        drawn = {path: value for path, value in training.settings.items() if path in self._drawn}
        return f"block {training.block}: {training.cell}" + (f" ({settings_line(drawn)})" if drawn else "")

    def _result(self, result: TrialResult) -> str:
        """What a stable training came to."""
        if self._score is None:
            raw = "" if math.isnan(result.wer_raw) else f" ({result.wer_raw:.2f} before clean-up)"
            return f"WER {result.wer:.2f}{raw}, val. loss {result.val_loss:.2f}"
        return f"{self._score.name} {number(self._score.as_reported(result.score))}"

    def _cells(self, progress: Progress) -> tuple[str, str, str, str]:
        step = f"{progress.step}" if progress.max_steps is None else f"{progress.step}/{progress.max_steps}"
        score = f"{progress.wer:.2f}" if self._score is None else number(self._score.as_reported(progress.score))
        return step, number(progress.train_loss), number(progress.val_loss), score

    def _remaining_s(self) -> float | None:
        if self._num_finished < 2:
            return None
        elapsed = time.monotonic() - self._started
        # An exploration that has ended early has nothing more to come.
        to_come = list(Phase)[list(Phase).index(self._phase) :]
        left = sum(most - done for done, most in map(self._count, to_come))
        return elapsed / self._num_finished * left

    def _render(self) -> Table:
        # In the cells of a grid long lines break between words, whatever the console does with those that it prints.
        grid = Table.grid()
        grid.add_row("")
        if self._heading:
            grid.add_row(Text(self._heading, style="bold"))
        grid.add_row(self._counts())
        done, most = self._count(self._phase)
        grid.add_row(ProgressBar(total=max(most, 1), completed=done, width=60))
        grid.add_row(self._times())
        if self._best is None:
            grid.add_row(Text("no stable trial yet", style="dim"))
        else:
            best = self._best
            grid.add_row(f"best so far: {best.trial_id} {self._what(best)}, {self._result(best)}")
        if self._running:
            grid.add_row(self._table())
        return grid

    def _counts(self) -> Text:
        text = Text(f"{self._how_far()}  ")
        text.append(f"{self._outcomes['stable']} stable  ", style="green")
        text.append(f"{self._outcomes['diverged']} diverged  ", style="red")
        text.append(f"{self._outcomes['failed']} learned nothing or failed", style="yellow")
        if self._outcomes["open"]:
            text.append(f"  {self._outcomes['open']} open (nobody can tell)", style="dim")
        return text

    def _how_far(self) -> str:
        """What is done, phase by phase, of those that have begun."""
        done, most = self._count(Phase.EXPLORE)
        parts = [f"{done} of {most} {'explored' if self._drawn is None else 'trained'}"]
        for phase, where in ((Phase.CONFIRM, "with fresh seeds"), (Phase.FULL_SIZE, "at full size")):
            done, most = self._count(phase)
            if done or phase == self._phase:
                parts.append(f"{done} of up to {most} {where}")
        return ", ".join(parts)

    def _so_far(self) -> str:
        text = f"{duration(time.monotonic() - self._started)} so far"
        remaining = self._remaining_s()
        return text if remaining is None else f"{text}, up to about {duration(remaining)} to go"

    def _times(self) -> Text:
        return Text(self._so_far(), style="dim")

    def _say_what_runs(self) -> None:
        """The line that stands in for the table where there is none."""
        running = list(self._running.items())
        told = ", ".join(self._under_way(trial_id, progress) for trial_id, (_, progress) in running[:MAX_TOLD])
        more = f" and {len(running) - MAX_TOLD} more" if len(running) > MAX_TOLD else ""
        what = f"running: {told}{more}" if running else "nothing runs now"
        self._print(f"{what}; {self._how_far()}; {self._so_far()}", soft_wrap=True)

    def _under_way(self, trial_id: str, progress: Progress | None) -> str:
        step = "starting" if progress is None else f"step {self._cells(progress)[0]}"
        what = "explaining" if trial_id in self._explaining else step
        since = self._since.get(trial_id)
        return f"{trial_id} {what}" + ("" if since is None else f" ({duration(time.monotonic() - since)})")

    def _table(self) -> Table:
        """What runs; as many trials as there is room for, with settings in one line each where they are many."""
        room = max(self._console.height - _LINES_ABOVE_TABLE, 3)
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("trial", no_wrap=True)
        table.add_column("settings")
        for column in ("step", "train loss", "val. loss", "WER" if self._score is None else self._score.name):
            table.add_column(column, no_wrap=True, justify="right")
        for job, progress in list(self._running.values())[:room]:
            cells = ("starting", "", "", "") if progress is None else self._cells(progress)
            if job.trial_id in self._explaining:
                cells = ("explaining", *cells[1:])
            what = Text(self._what(job), no_wrap=2 * len(self._running) > room, overflow="ellipsis")
            table.add_row(job.trial_id, what, *cells)
        if len(self._running) > room:
            table.add_row("", f"and {len(self._running) - room} more", "", "", "", "", style="dim")
        return table


_STYLES = {"stable": "green", "diverged": "red", "failed": "yellow", "open": "dim"}
