"""Optuna's journal as a file that one process writes and `optuna-dashboard` reads.

Optuna's own file backend locks the file and waits for the disk for every value that it writes, some twenty times a
trial. This journal is derived from the ledger and rebuilt at each start, so it needs neither.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class DerivedJournal(BaseJournalBackend):
    """Writes the format of Optuna's file backend; keeps in memory only what its storage has not read back yet.

    What another program appends (a note made in the dashboard) stays in the file until the next start, and is not read.
    """

    def __init__(self, path: Path) -> None:
        """Begins the file anew."""
        path.write_bytes(b"")
        self._path = path
        self._first_unread = 0
        self._unread: list[dict[str, Any]] = []

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds lines to the file, where readers see them at once."""
        lines = [json.dumps(log, separators=(",", ":")) for log in logs]
        self._unread += [json.loads(line) for line in lines]
        with self._path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())

    def read_logs(self, log_number_from: int) -> Sequence[dict[str, Any]]:
        """The lines from a number on; those before it are never asked for again."""
        assert log_number_from >= self._first_unread, "one storage reads on from where it was"
        del self._unread[: log_number_from - self._first_unread]
        self._first_unread = log_number_from
        return list(self._unread)
