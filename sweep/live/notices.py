"""Tells people who are elsewhere what becomes of a study: its first divergence, its failure, its end.

Messages are posted by a thread of their own: a server that is slow or gone holds up no training, costs one line of
warning, and the end of the run a few seconds at most. They name the study, settings and outcomes; no folder, no user,
nothing of the environment.
"""

import contextlib
import datetime
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from slr_models.errors import MachineError, UserError
from sweep.command_line import before_leaving
from sweep.live.webhooks import Address, Message
from sweep.records import TrialResult, few_words
from sweep.redaction import redacted
from sweep.running.job import Job, Progress
from sweep.running.ray_watch import RayDiedError
from sweep.store.latest_run import RunEnd, note_end
from sweep.wording import duration, first_line, plural, settings_line

VERSION = 1
"""Of the JSON object."""
CLOSE_S = 5.0
"""How long the end of a run waits for what is still to be sent."""
Event = Literal["first_divergence", "failure", "end"]
_TAGS: dict[Event, str] = {"first_divergence": "chart_with_upwards_trend", "failure": "rotating_light", "end": "bell"}
# A path of at least two parts that begins at a root; of it only the last part is told.
_PATH = re.compile(r"(?<![\w)])(?:[A-Za-z]:)?(?:[\\/][^\s\\/,;:'\"()]+)+[\\/]([^\s\\/,;:'\"()]+)[\\/]?")


class Notices:
    """Posts what becomes of a study. Use as a context manager: its end waits for what is still to be sent."""

    def __init__(self, addresses: Sequence[Address], study: str, say: Callable[[str], None]) -> None:
        """Starts a thread for each address.

        Args:
            addresses: where messages go.
            study: its name.
            say: prints a line for a person.
        """
        self._study = " ".join(study.split())
        self._channels = [_Channel(address, say) for address in addresses]

    def diverged(self, result: TrialResult) -> None:
        """The first training of the study has diverged."""
        step = result.num_steps if result.stop_step is None else result.stop_step
        what = f"{result.trial_id} {settings_line(result.settings)}".rstrip()
        cause = "" if result.cause is None else f"; cause: {few_words(result.cause)}"
        text = f"{what}: {result.verdict.value} at step {step} of {result.max_steps}: {result.reason}{cause}"
        told = {"trial": result.trial_id, "outcome": result.verdict.value, "step": step}
        self._tell("first_divergence", "a training diverged for the first time", text, told)

    def failed(self, error: Exception) -> None:
        """The study cannot go on."""
        # What an error says may name folders, or whatever else stands on this machine.
        match error:
            case OSError(strerror=str(why)):
                kind = why
            case RayDiedError():
                kind = str(error).partition(" (")[0]
            case MachineError():
                kind = "the machine failed"
            case UserError():
                kind = "something that was given is wrong, or damaged"
            case _:
                kind = f"an unexpected error ({type(error).__name__})"
        text = f"{kind}. Its terminal or log tells more; once that is mended, the same command goes on."
        self._tell("failure", "failed", text, {"state": RunEnd.FAILED.value})

    def ended(self, ended: RunEnd, results: Sequence[TrialResult], headline: str, elapsed_s: float) -> None:
        """A run has ended: for now, where `--time` was over, of which nobody is told."""
        if ended is RunEnd.OUT_OF_TIME:
            return
        counts = Counter(result.verdict.value for result in results)
        listed = ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common())
        text = f"{headline}\n{plural(len(results), 'training')} in {duration(elapsed_s)}" + (
            f": {listed}" if listed else ""
        )
        if ended is RunEnd.INTERRUPTED:
            text += "\nThe same command goes on."
        told = {"state": ended.value, "done": len(results), "outcomes": dict(counts), "elapsed_s": round(elapsed_s, 1)}
        self._tell("end", ended.value, text, told)

    @contextlib.contextmanager
    def failures_of(self, results_dir: Path) -> Iterator[None]:
        """Within, what ends a run is told, and written down in its results folder."""
        try:
            # A second Ctrl-C, or one while Ray starts, ends the program at once.
            with before_leaving(lambda: _note(results_dir, RunEnd.INTERRUPTED)):
                yield
        except KeyboardInterrupt:
            _note(results_dir, RunEnd.INTERRUPTED)
            raise
        except Exception as error:
            self._note_failure(results_dir, error)
            raise

    def last_words(self, results_dir: Path, error: Exception) -> None:
        """As `failures_of`, of a process that ends at once; returns when all was sent, or has taken too long."""
        self._note_failure(results_dir, error)
        self._close()

    def _note_failure(self, results_dir: Path, error: Exception) -> None:
        _note(results_dir, RunEnd.FAILED, redacted(first_line(error)))
        self.failed(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for channel in self._channels:
            channel.put(None)
        until = time.monotonic() + CLOSE_S
        for channel in self._channels:
            channel.join(until)

    def _tell(self, event: Event, title: str, text: str, told: dict[str, Any]) -> None:
        title, text = f"{self._study}: {title}", redacted(_PATH.sub(r".../\1", text))
        content = {
            "version": VERSION,
            "event": event,
            "study": self._study,
            "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "title": title,
            "text": text,
            **told,
        }
        for channel in self._channels:
            channel.put(Message(title, text, (_TAGS[event],), content))


def _note(results_dir: Path, ended: RunEnd, why: str = "") -> None:
    """Writes down how a run ended; what went wrong says more than that this cannot be written either."""
    with contextlib.suppress(Exception):
        note_end(results_dir, ended, why)


class _Channel:
    """One address, and the thread that posts there."""

    def __init__(self, address: Address, say: Callable[[str], None]) -> None:
        self._address, self._say = address, say
        self._has_warned = False
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self.put = self._messages.put
        self._thread = threading.Thread(target=self._work, name=address.name, daemon=True)
        self._thread.start()

    def join(self, until: float) -> None:
        """Waits for what is still to be sent, until a time on `time.monotonic`."""
        self._thread.join(max(until - time.monotonic(), 0.0))
        if self._thread.is_alive():
            self._warn(f"not all was sent within {CLOSE_S:.0f} s")

    def _work(self) -> None:
        while (message := self._messages.get()) is not None:
            if (problem := self._address.post(message)) is not None:
                self._warn(f"a message was not delivered: {problem}")

    def _warn(self, problem: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._say(f"  note: {self._address.name}: {problem}")


class FirstDivergence:
    """A view that tells of the first training of a study that diverges, over all its runs."""

    def __init__(self, notices: Notices, done: Sequence[TrialResult]) -> None:
        """Prepares the view.

        Args:
            notices: what is told.
            done: trials that earlier runs finished, and told of.
        """
        self._notices = notices
        self._is_told = any(result.verdict.is_diverged for result in done)

    def __str__(self) -> str:
        return "--notify"

    def started(self, job: Job) -> None:
        """A training starts."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""

    def retried(self, job: Job, reason: str) -> None:
        """A training begins again at its first step."""

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""

    def explained(self, result: TrialResult) -> None:
        """The search for the cause of a training that an earlier run finished has ended."""

    def finished(self, result: TrialResult) -> None:
        """A training ended."""
        if result.verdict.is_diverged and not self._is_told:
            self._is_told = True
            self._notices.diverged(result)
