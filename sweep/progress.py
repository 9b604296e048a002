"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

import math
import time
from collections import Counter
from collections.abc import Collection
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweep.explanation import few_words
from sweep.records import TrialResult
from sweep.space import short_keys
from sweep.trial import Job, Progress


class ProgressView(Protocol):
    """Hears of everything that happens to the trials of a study."""

    def started(self, job: Job) -> None:
        """A training starts."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""

    def retried(self, job: Job) -> None:
        """A training's process died; it is going to run again."""

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""

    def finished(self, result: TrialResult) -> None:
        """A training ended."""


class Course(Protocol):
    """What a study has still before it."""

    @property
    def num_planned(self) -> int:
        """Trials that it will have when it is done, as far as is known now."""

    @property
    def stop_reason(self) -> str | None:
        """Why the exploration ended before its trials were spent; None where it did not."""


_PHASES = {
    "confirm": "confirming with fresh seeds",
    "full_size": "testing at full size",
}


class Terminal:
    """The progress of one run, on a console. Use as a context manager."""

    def __init__(
        self,
        console: Console,
        *,
        course: Course,
        search: str,
        done: list[TrialResult],
        drawn: Collection[str] | None = None,
    ) -> None:
        """Prepares the view.

        Args:
            console: where to print.
            course: of the study; asked whenever a training starts or ends.
            search: what the exploration is led by, in a few words.
            done: trials that earlier runs finished.
            drawn: of a study with a design the paths that its blocks draw; the rest is said by the cell.
        """
        self._console = console
        self._course = course
        self._search = search
        self._drawn = drawn
        self._phase = ""
        self._heading = ""
        self._num_planned = course.num_planned
        self._results = list(done)
        self._num_before = len(done)
        self._running: dict[str, tuple[Job, Progress | None]] = {}
        self._explaining: set[str] = set()
        self._started = time.monotonic()
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> "Terminal":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def started(self, job: Job) -> None:
        """A training starts."""
        self._num_planned = self._course.num_planned
        if job.phase != self._phase:
            self._phase = job.phase
            self._heading = self._what_begins(job.phase)
            self._console.print(self._heading, highlight=False, style="bold")
        self._running[job.trial_id] = (job, None)

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""
        self._running[job.trial_id] = (job, progress)

    def retried(self, job: Job) -> None:
        """A training's process died; it is going to run again."""
        self._running.pop(job.trial_id, None)
        self._console.print(f"trial {job.trial_id}: its process died; trying once more", highlight=False)

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""
        self._explaining.add(job.trial_id)

    def finished(self, result: TrialResult) -> None:
        """A training ended."""
        self._running.pop(result.trial_id, None)
        self._explaining.discard(result.trial_id)
        self._results.append(result)
        # How much there is to confirm is known only when the exploration is over.
        self._num_planned = max(self._course.num_planned, len(self._results))
        self._console.print(self._line(result), highlight=False, soft_wrap=True)

    def _what_begins(self, phase: str) -> str:
        if phase == "explore":
            return f"exploring ({self._search})" if self._drawn is None else f"training ({self._search})"
        reason = self._course.stop_reason if phase == "confirm" else None
        return f"exploration ended early: {reason}; {_PHASES[phase]}" if reason else _PHASES[phase]

    def _line(self, result: TrialResult) -> Text:
        style = (
            "green" if result.stable else "red" if result.verdict.is_diverged else "dim" if result.pruned else "yellow"
        )
        text = Text(f"[{len(self._results)}/{self._num_planned}] ")
        text.append(f"{result.trial_id} {self._what(result)}".rstrip())
        if result.phase == "confirm":
            text.append(f", fresh seed {result.seed}")
        elif result.phase == "full_size":
            text.append(f", at full size, seed {result.seed}")
        text.append(": ")
        text.append(result.verdict.value, style=style)
        if result.stable:
            text.append(f", WER {result.wer:.2f}, val. loss {result.val_loss:.2f}")
            if result.alarm is not None:
                text.append(f"; the alarm {result.alarm} at step {result.stop_step} was wrong")
        else:
            step = result.num_steps if result.stop_step is None else result.stop_step
            text.append(f" at step {step} of {result.max_steps}: {result.reason}")
            if result.cause is not None:
                text.append(f"; cause: {few_words(result.cause)}")
        if math.isfinite(result.wall_s):
            text.append(f" ({result.wall_s:.0f} s)", style="dim")
        return text

    def _what(self, training: Job | TrialResult) -> str:
        """What is trained: the settings, or block, cell and what the block drew."""
        if training.block is None or self._drawn is None:
            return settings_line(training.settings)
        drawn = {path: value for path, value in training.settings.items() if path in self._drawn}
        return f"block {training.block}: {training.cell}" + (f" ({settings_line(drawn)})" if drawn else "")

    def _remaining_s(self) -> float | None:
        finished = len(self._results) - self._num_before
        if finished < 2:
            return None
        elapsed = time.monotonic() - self._started
        return elapsed / finished * (self._num_planned - len(self._results))

    def _render(self) -> Group:
        outcomes = Counter(
            "stable" if r.stable else "diverged" if r.verdict.is_diverged else "pruned" if r.pruned else "failed"
            for r in self._results
        )
        remaining = self._remaining_s()
        head = Text()
        if self._heading:
            head.append(f"{self._heading}\n", style="bold")
        head.append(f"{len(self._results)} of {self._num_planned} trials  ")
        head.append(f"{outcomes['stable']} stable  ", style="green")
        head.append(f"{outcomes['diverged']} diverged  ", style="red")
        head.append(f"{outcomes['failed']} learned nothing or failed  ", style="yellow")
        if outcomes["pruned"]:
            head.append(f"{outcomes['pruned']} pruned  ", style="dim")
        head.append(f"{_duration(time.monotonic() - self._started)} so far", style="dim")
        if remaining is not None:
            head.append(f", about {_duration(remaining)} to go", style="dim")
        bar = ProgressBar(total=max(self._num_planned, 1), completed=len(self._results), width=60)
        best = self._best()
        best_line = Text("best so far: ").append(best) if best else Text("no stable trial yet", style="dim")
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("trial", "settings", "step", "train loss", "val. loss", "WER"):
            table.add_column(column)
        for job, progress in self._running.values():
            cells = ("starting", "", "", "") if progress is None else _cells(progress)
            if job.trial_id in self._explaining:
                cells = ("looking for the cause", *cells[1:])
            table.add_row(job.trial_id, self._what(job), *cells)
        return Group(Text(), head, bar, best_line, *([table] if self._running else []))

    def _best(self) -> str:
        stable = [r for r in self._results if r.stable and r.phase != "full_size"]
        if not stable:
            return ""
        best = min(stable, key=lambda r: r.objective)
        return f"{best.trial_id} {self._what(best)}, WER {best.wer:.2f}, val. loss {best.val_loss:.2f}"


def _cells(progress: Progress) -> tuple[str, str, str, str]:
    return (
        f"{progress.step}/{progress.max_steps}",
        f"{progress.train_loss:.3g}",
        f"{progress.val_loss:.3g}",
        f"{progress.wer:.2f}",
    )


def settings_line(settings: dict[str, bool | int | float | str]) -> str:
    """The settings by the shortest names that tell them apart: `precision=fp16 lr=0.0012`."""
    keys = short_keys(settings)
    return " ".join(
        f"{keys[path]}={value:.3g}" if isinstance(value, float) else f"{keys[path]}={value}"
        for path, value in settings.items()
    )


def trial_title(job: Job) -> str:
    """Number and settings of a trial, as other programs show it: `0007 precision=fp16 lr=0.0012`."""
    return f"{job.trial_id} {settings_line(job.settings)}".rstrip()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
