"""A sign of life, where nothing redraws itself: a line of what runs, when nothing was said for a minute."""

import threading
import time
from collections.abc import Callable

HEARTBEAT_S = 60.0
"""After so long without a line, one says what runs."""


class Heartbeat:
    """Says something whenever nobody else did for a while. Use as a context manager."""

    def __init__(self, say: Callable[[], None], *, every_s: float = HEARTBEAT_S) -> None:
        """Prepares it.

        Args:
            say: prints the line; called from a thread of its own.
            every_s: how long nothing may be said, seconds.
        """
        self._say = say
        self._every_s = every_s
        self._last = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def heard(self) -> None:
        """Takes note that a line was printed."""
        self._last = time.monotonic()

    def __enter__(self) -> "Heartbeat":
        self.heard()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(max(self._last + self._every_s - time.monotonic(), 0.0)):
            if time.monotonic() >= self._last + self._every_s:
                self._say()
                self.heard()
