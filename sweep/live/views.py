"""Tells several views of one run: the terminal, and those that pass it on to other programs."""

from collections.abc import Callable, Sequence

from sweep.records import TrialResult
from sweep.redaction import redacted
from sweep.running.job import Job, Progress
from sweep.running.view import ProgressView


class Views:
    """One view for all of them. One of the others that fails is left out from then on, and the study goes on."""

    def __init__(self, terminal: ProgressView, others: Sequence[ProgressView], say: Callable[[str], None]) -> None:
        """Prepares the view.

        Args:
            terminal: hears everything; its failures are ours.
            others: hear the same.
            say: prints a line for a person.
        """
        self._terminal = terminal
        self._others = list(others)
        self._say = say

    def started(self, job: Job) -> None:
        """A training starts."""
        self._tell(lambda view: view.started(job))

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""
        self._tell(lambda view: view.progressed(job, progress))

    def retried(self, job: Job, reason: str) -> None:
        """A training begins again at its first step."""
        self._tell(lambda view: view.retried(job, reason))

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""
        self._tell(lambda view: view.explaining(job))

    def finished(self, result: TrialResult) -> None:
        """A training ended."""
        self._tell(lambda view: view.finished(result))

    def explained(self, result: TrialResult) -> None:
        """The search for the cause of a training that an earlier run finished has ended."""
        self._tell(lambda view: view.explained(result))

    def _tell(self, event: Callable[[ProgressView], None]) -> None:
        event(self._terminal)
        for view in list(self._others):
            try:
                event(view)
            except Exception as error:
                self._others.remove(view)
                why = redacted(f"{type(error).__name__}: {error}")
                self._say(f"note: {view}: nothing more is told there ({why})")
