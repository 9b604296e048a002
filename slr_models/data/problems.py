"""What is wrong in a user's data: an error at once, or a counted exclusion."""

from collections import Counter
from typing import Literal

from slr_models.errors import DataError

OnBad = Literal["error", "exclude"]


class Problems:
    """Meets bad utterances with one policy."""

    def __init__(self, on_bad: OnBad) -> None:
        self._on_bad = on_bad
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
            raise DataError(f"{where}: {message}, or set on_bad: exclude to leave such utterances out.")
        self._counts[reason] += 1

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> utterances left out."""
        return dict(self._counts)
