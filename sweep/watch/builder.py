"""When the page is built again: after a change, while somebody looks, and on a quarter of one core at most."""

import math
import os
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from sweep.watch.folder import Fingerprint, Folder
from sweep.watch.page import Page, Reply

REST = 3.0
"""So many times as long as it computed, a build is followed by none: a quarter of one core."""
MIN_REST_S = 2.0
ATTENTION_S = 30.0
"""So long after a browser asked, pages are built for it."""
KEEP_S = 120.0
"""So long the process that builds is kept without work: it takes two seconds to start, and 300 MiB."""
TICK_S = 1.0
"""Between looks at the folder."""


class Pace:
    """Decides whether to build now. Knows times and outcomes alone."""

    def __init__(self) -> None:
        """Nothing was built yet."""
        self._state: Fingerprint | None = None
        self._not_before = -math.inf
        self._num_failures = 0

    def due(self, now: float, state: Fingerprint | None) -> bool:
        """Whether to build the page of a folder in this state."""
        if state is None or now < self._not_before:
            return False
        # A first failure may come of files that change together being read apart, so it gets a second try.
        return state != self._state or self._num_failures == 1

    def built(self, now: float, state: Fingerprint | None, *, cpu_s: float, succeeded: bool) -> None:
        """Takes note of a build that has just ended, of the folder in the state that it had before."""
        self._state = state
        self._not_before = now + max(REST * cpu_s, MIN_REST_S)
        self._num_failures = 0 if succeeded else self._num_failures + 1

    @property
    def has_failed(self) -> bool:
        """Whether builds fail for a reason that stays."""
        return self._num_failures > 1


class Builder:
    """Keeps the page of a folder current, in a thread, as long as `wanted` is called now and then."""

    def __init__(self, folder: Folder) -> None:
        """Starts nothing yet; see `start`."""
        self.page: Page | None = None
        """The newest that could be built."""
        self.error: str | None = None
        """Why there is no newer one, in a line; None where nothing is wrong."""
        self._folder = folder
        self._told: str | None = None
        self._pace = Pace()
        self._asked_at = -math.inf
        self._worked_at = -math.inf
        self._worker: _Worker | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="builder", daemon=True)

    def start(self) -> None:
        """Begins to look at the folder."""
        self._thread.start()

    def wanted(self) -> None:
        """A browser wants to see the page, as it is now and for a while."""
        self._asked_at = time.monotonic()

    def stop(self) -> None:
        """Ends the thread and the process, also amid a build."""
        self._ended.set()
        if (worker := self._worker) is not None:
            worker.end()
        self._thread.join()
        # It may have begun one at this very moment.
        if self._worker is not None:
            self._worker.end()

    def _run(self) -> None:
        while not self._ended.wait(TICK_S):
            now = time.monotonic()
            state = self._folder.fingerprint() if now - self._asked_at < ATTENTION_S else None
            if self._pace.due(now, state):
                self._build(state)
            elif self._worker is not None and now - self._worked_at > KEEP_S:
                self._worker.end()
                self._worker = None

    def _build(self, state: Fingerprint | None) -> None:
        if self._worker is None:
            self._worker = _Worker(self._folder)
        reply = self._worker.build()
        if self._ended.is_set():
            return
        if reply is None:
            self._worker.end()
            self._worker = None
            reply = Reply(None, "the process that builds the page died: killed, or out of memory", 0.0)
        self._worked_at = time.monotonic()
        self._pace.built(self._worked_at, state, cpu_s=reply.cpu_s, succeeded=reply.error is None)
        problem = reply.error if self._pace.has_failed else None
        if problem is not None and problem != self._told:
            print(f"{'error' if reply.page is None else 'warning'}: {problem}", file=sys.stderr, flush=True)
        self._told = problem
        if reply.page is not None:
            # The page itself says what is missing in it.
            self.page, self.error = reply.page, None
        elif problem is not None:
            self.error = problem


class _Worker:
    """The process that builds."""

    def __init__(self, folder: Folder) -> None:
        ours, theirs = Pipe()
        self._pipe: Connection = ours
        self._process = subprocess.Popen(
            [sys.executable, *_path_options(), "-m", "sweep.watch.worker", str(theirs.fileno()), str(folder.path)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # Ctrl-C is for the command that started it.
            process_group=0,
        )
        theirs.close()

    def build(self) -> Reply | None:
        """One attempt; None where the process died."""
        try:
            self._pipe.send(None)
            reply: Reply = self._pipe.recv()
        except (EOFError, OSError):
            return None
        return reply

    def end(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def _path_options() -> list[str]:
    """Keeps `-m` from importing what lies in the current folder, unless this process does so too."""
    return [] if {"", os.getcwd()} & set(sys.path) else ["-P"]
