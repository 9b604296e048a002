"""What a function prints: kept in a file, its beginning and its end where it prints too much."""

import contextlib
import io
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

HEAD = 2**20
"""Characters of the beginning that are kept."""
TAIL = 2**16
"""Characters of the end."""


class BoundedOutput:
    """A file that is made with the first word, and never grows beyond HEAD and TAIL."""

    def __init__(self, path: Path) -> None:
        """Writes nothing yet."""
        self._path = path
        self._file: TextIO | None = None
        self._num_written = self._num_waiting = self._num_left_out = 0
        self._waiting: deque[str] = deque()

    def write(self, text: str) -> None:
        """Takes what is printed."""
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w", encoding="utf-8", errors="replace")
        room = HEAD - self._num_written
        if room > 0:
            self._file.write(text[:room])
            self._num_written += min(len(text), room)
        if len(text) > room:
            self._wait(text[max(room, 0) :])

    def flush(self) -> None:
        """Writes what the file holds back."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Writes the end of what was too much."""
        if self._file is None:
            return
        if self._num_left_out:
            self._file.write(f"\n... {self._num_left_out} characters are left out ...\n")
        self._file.write("".join(self._waiting))
        self._file.close()

    def _wait(self, text: str) -> None:
        self._waiting.append(text[-TAIL:])
        self._num_left_out += len(text) - len(self._waiting[-1])
        self._num_waiting += len(self._waiting[-1])
        while self._num_waiting - len(self._waiting[0]) >= TAIL:
            gone = self._waiting.popleft()
            self._num_waiting -= len(gone)
            self._num_left_out += len(gone)


class _Forwarding(io.TextIOBase):
    """What stands for the standard streams while programs of the user's run: one for all trials of a process, as a
    logging handler that one of them made goes on writing to it."""

    def __init__(self) -> None:
        self.to: BoundedOutput | None = None

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.to is not None:
            self.to.write(text)
        return len(text)

    def flush(self) -> None:
        if self.to is not None:
            self.to.flush()


_stream = _Forwarding()


@contextlib.contextmanager
def kept_output(path: Path) -> Iterator[None]:
    """Within, what this process prints goes to a file."""
    output = _stream.to = BoundedOutput(path)
    try:
        with contextlib.redirect_stdout(_stream), contextlib.redirect_stderr(_stream):
            yield
    finally:
        if _stream.to is output:
            _stream.to = None
        output.close()
