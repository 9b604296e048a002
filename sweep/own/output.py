"""What a function prints: kept in a file, its beginning and its end where it prints too much."""

import io
from collections import deque
from pathlib import Path
from typing import TextIO

HEAD = 2**20
"""Characters of the beginning that are kept."""
TAIL = 2**16
"""Characters of the end."""


class BoundedOutput(io.TextIOBase):
    """A stream into a file that is made with the first word, and never grows beyond HEAD and TAIL."""

    def __init__(self, path: Path) -> None:
        """Writes nothing yet."""
        self._path = path
        self._file: TextIO | None = None
        self._num_written = self._num_waiting = self._num_left_out = 0
        self._waiting: deque[str] = deque()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
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
        return len(text)

    def flush(self) -> None:
        """Writes what the file holds back."""
        if self._file is not None and not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Writes the end of what was too much."""
        if self._file is not None and not self._file.closed:
            if self._num_left_out:
                self._file.write(f"\n... {self._num_left_out} characters are left out ...\n")
            self._file.write("".join(self._waiting))
            self._file.close()
        super().close()

    def _wait(self, text: str) -> None:
        self._waiting.append(text[-TAIL:])
        self._num_left_out += len(text) - len(self._waiting[-1])
        self._num_waiting += len(self._waiting[-1])
        while self._num_waiting - len(self._waiting[0]) >= TAIL:
            gone = self._waiting.popleft()
            self._num_waiting -= len(gone)
            self._num_left_out += len(gone)
