"""What a view of a run hears, whoever shows it, and how trainings are called there."""

from collections.abc import Sequence
from typing import Protocol

from sweep.records import Phase, TrialResult
from sweep.running.job import Job, Progress
from sweep.wording import settings_line


class ProgressView(Protocol):
    """Hears of everything that happens to the trials of a study."""

    def started(self, job: Job) -> None:
        """A training starts."""

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""

    def retried(self, job: Job, reason: str) -> None:
        """A training begins again at its first step."""

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""

    def finished(self, result: TrialResult) -> None:
        """A training ended."""

    def explained(self, result: TrialResult) -> None:
        """The search for the cause of a training that an earlier run finished has ended."""


class Outlook(Protocol):
    """What a study has still before it."""

    @property
    def num_planned(self) -> int:
        """Trials that it will have when it is done, as far as is known now."""

    def num_at_most(self, phase: Phase) -> int:
        """Trials of a phase if nothing ends it early, also where something has."""

    @property
    def stop_reason(self) -> str | None:
        """Why the exploration ended before its trials were spent; None where it did not."""


def trial_title(job: Job) -> str:
    """Number and settings of a trial, as other programs show it: `0007 precision=fp16 lr=0.0012`."""
    return f"{job.trial_id} {settings_line(job.settings)}".rstrip()


def trials_title(jobs: Sequence[Job]) -> str:
    """The same for trainings of one process: those after the first by their number."""
    more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return f"{trial_title(jobs[0])}{more}"
