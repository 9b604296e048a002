"""`--time`: within which time a call of `run` ends by itself."""

import math
import re
import time
from dataclasses import dataclass

from slr_models.errors import UserError
from sweep.wording import clipped

_PARTS = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s)?", re.ASCII)
_REST_RATE, _MIN_REST_S, _MAX_REST_S = 0.1, 15.0, 60.0


@dataclass(frozen=True)
class TimeLimit:
    """When this call of `run` has to end, on `time.monotonic`."""

    text: str
    """As it was given; empty for none."""
    trainings_end_at: float
    """When trainings are interrupted; what follows them takes the rest: a tenth of the time, 15 s to 60 s of it."""

    @property
    def is_over(self) -> bool:
        """Whether no training may run any more."""
        return time.monotonic() >= self.trainings_end_at


def time_limit(text: str | None, started: float) -> TimeLimit:
    """Reads `--time`.

    Args:
        text: such as 45s, 30m, 2h or 1h30m; None for no limit.
        started: when the call began, on `time.monotonic`.

    Raises:
        UserError: it is no such time, or none at all.
    """
    if text is None:
        return TimeLimit("", math.inf)
    match = _PARTS.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    limit_s = 3600 * hours + 60 * minutes + seconds
    if limit_s == 0:
        raise UserError(f"--time {clipped(text)}: give hours, minutes and seconds, such as 45s, 30m, 2h or 1h30m")
    rest_s = min(limit_s / 2, max(_MIN_REST_S, min(_MAX_REST_S, _REST_RATE * limit_s)))
    return TimeLimit(text, started + limit_s - rest_s)
