"""Notices that Ray has died beneath a run; Ray itself waits for up to a minute, and then ends the process its way."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from slr_models.errors import MachineError
from sweep.command_line import EXIT_MACHINE

_LOOK_S, _ASK_S = 0.25, 1.0
_ANSWER_S = 3.0
_MAX_SILENT = 3
"""A cluster elsewhere may be slow to answer: so many questions in a row have to go without one."""
_GRACE_S = 8.0
"""How long the main thread has to end in good order, once it was told."""
_LAST_WORDS_S = 15.0
"""How long the process waits, where it is ended at once, for the end to be written down and told."""
_VITAL = ("gcs_server", "raylet")


LastWords = Callable[[MachineError], None]
"""Makes an end known that the process does not outlive."""


class RayDiedError(MachineError):
    """Ray's own processes have died, and with them all trainings."""

    def __init__(self, what: str, *, was_starting: bool = False) -> None:
        """Of what has died, such as `raylet`."""
        died = "Ray died while it started" if was_starting else "Ray has died beneath the run"
        super().__init__(
            f"{died} ({what} is gone: killed, out of memory, or `ray stop`): nothing of a finished trial is lost; the "
            f"same command goes on"
        )


class RayWatch:
    """Watches the processes that Ray cannot live without, from a thread of its own, while it is entered.

    When one is gone, `on_death` is called, and then the main thread is interrupted, wherever it is: `died` says why.
    Where it waits inside of Ray and does not come back, or Ray was still starting, the process is ended at once, after
    `last_words`: nothing else will say why.
    """

    def __init__(self, on_death: Callable[[], None] = lambda: None, last_words: LastWords = lambda error: None) -> None:
        """Prepares the watch.

        Args:
            on_death: done first once Ray has died, in the watching thread.
            last_words: done where the process is ended at once, in a thread that is waited for so long and no longer.
        """
        self.died: RayDiedError | None = None
        self._on_death, self._last_words = on_death, last_words
        self._over = threading.Event()
        self._vital: dict[str, psutil.Process] = {}
        self._address: tuple[str, int] | None = None
        self._thread = threading.Thread(target=self._run, name="ray-watch", daemon=True)
        self._before: signal._HANDLER = None
        self._is_starting = False

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Within, Ray starts: its compiled part would end the process its way, before anybody is told why."""
        self._is_starting = True
        try:
            yield
        finally:
            self._is_starting = False

    def __enter__(self) -> "RayWatch":
        if _is_main_thread() and hasattr(signal, "SIGUSR2"):
            self._before = signal.signal(signal.SIGUSR2, self._interrupt)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        try:
            self._thread.join()
        finally:
            if self._before is not None:
                signal.signal(signal.SIGUSR2, self._before)

    def stop(self) -> None:
        """Whatever dies from now on is meant to."""
        self._over.set()

    def check(self) -> None:
        """Looks at once.

        Raises:
            RayDiedError: one of the processes is gone.
        """
        if (gone := self._gone()) is not None:
            self.died = self.died or RayDiedError(gone)
            raise self.died

    def watch_cluster(self, gcs_address: str, node_id: str) -> None:
        """Watches a Ray that somebody else has started: its GCS by asking, this machine's raylet as a process."""
        host, _, port = gcs_address.rpartition(":")
        for process in psutil.process_iter():
            try:
                if process.name() == "raylet" and any(node_id in argument for argument in process.cmdline()):
                    self._vital["raylet"] = process
            except psutil.Error:
                continue
        self._address = (host.strip("[]"), int(port))

    def _interrupt(self, *_: object) -> None:
        # The one exception that gets through Ray's own waiting.
        raise KeyboardInterrupt

    def _run(self) -> None:
        silent = 0
        while not self._over.wait(_LOOK_S if self._address is None else _ASK_S):
            gone = self._gone()
            if gone is None and self._address is not None:
                silent = 0 if self._answers(self._address) else silent + 1
                gone = "its GCS" if silent >= _MAX_SILENT else None
            if gone is not None:
                self._end(RayDiedError(gone, was_starting=self._is_starting))
                return

    def _gone(self) -> str | None:
        """Which of the processes is gone."""
        if self._address is None and len(self._vital) < len(_VITAL):
            for child in psutil.Process().children():
                try:
                    if (name := child.name()) in _VITAL:
                        self._vital.setdefault(name, child)
                except psutil.Error:
                    continue
        return next((name for name, process in self._vital.items() if not _is_alive(process)), None)

    def _answers(self, address: tuple[str, int]) -> bool:
        try:
            with socket.create_connection(address, timeout=_ANSWER_S):
                return True
        except OSError:
            return False

    def _end(self, error: RayDiedError) -> None:
        self.died = self.died or error
        if self._is_starting:
            # A Ctrl-C in a terminal ends what starts as well, and this program says so itself.
            has_ended = self._over.wait(_LOOK_S)
        else:
            with _compiled_code_silent():
                self._on_death()
                if self._before is not None:
                    # Its number is known: this thread ends before the main thread does.
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
                has_ended = self._over.wait(_GRACE_S)
        if not has_ended:
            if sys.stdout.isatty():
                # The moving lines have hidden the cursor.
                os.write(1, b"\x1b[?25h\n")
            os.write(2, f"error: {error}\n".encode())
            telling = threading.Thread(target=self._last_words, args=(error,), name="last-words", daemon=True)
            telling.start()
            telling.join(_LAST_WORDS_S)
            os._exit(EXIT_MACHINE)


@contextmanager
def _compiled_code_silent() -> Iterator[None]:
    """Within, nothing reaches stderr: what Ray's compiled part says of a connection that it waits for cannot be turned
    off."""
    try:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    except OSError:
        # Closed, or no more files can be opened.
        yield
        return
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
