"""What is wrong in a user's data: an error at once, or a counted exclusion."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from slr_models.errors import DataError

OnBad = Literal["error", "exclude"]


@dataclass(frozen=True)
class Exclusion:
    """An utterance or line that was left out."""

    reason: str
    """Under which it is counted."""
    where: str
    """File and line."""
    message: str
    """What is wrong there, and what to do."""


_recorded: ContextVar[list[Exclusion] | None] = ContextVar("recorded exclusions", default=None)


@contextmanager
def recorded_exclusions() -> Iterator[list[Exclusion]]:
    """Lists what is left out while it is open; a dataset itself carries counts alone, because it goes to all trials."""
    exclusions: list[Exclusion] = []
    token = _recorded.set(exclusions)
    try:
        yield exclusions
    finally:
        _recorded.reset(token)


class Problems:
    """Meets bad utterances with one policy."""

    def __init__(self, on_bad: OnBad, setting: str = "set on_bad: exclude") -> None:
        """With a policy, and how a user sets the other one."""
        self._on_bad = on_bad
        self._setting = setting
        self._counts: Counter[str] = Counter()

    def report(self, reason: str, where: str, message: str) -> None:
        """Counts an utterance as left out.

        Args:
            reason: The key of the count.
            where: File and line.
            message: What is wrong there, and what to do ("what; do this").

        Raises:
            DataError: The policy is "error".
        """
        if self._on_bad == "error":
            raise DataError(f"{where}: {message}, or {self._setting} to leave such utterances out.")
        self.leave_out(reason, where, message)

    def leave_out(self, reason: str, where: str, message: str) -> None:
        """Counts an utterance that a setting leaves out, whatever the policy; arguments as those of `report`."""
        self._counts[reason] += 1
        record = _recorded.get()
        if record is not None:
            record.append(Exclusion(reason, where, message))

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> utterances left out."""
        return dict(self._counts)
