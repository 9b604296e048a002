"""What stands in a results folder now. Asked every second or two, so it reads little and never a whole table."""

import os
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from slr_models.errors import ResultsError
from sweep.records import Phase
from sweep.store.ledger_lines import LEDGER_FILE, Ask, LedgerTail
from sweep.store.lock import in_use
from sweep.store.tables import stream_path

STUDY_FILE = "study.yaml"
RAY_FOLDER = "ray"
_READ_BY_REPORT = {".yaml", ".parquet", ".json", ".py"}
PHASES = {
    Phase.EXPLORE: "exploring",
    Phase.CONFIRM: "confirming with fresh seeds",
    Phase.FULL_SIZE: "testing at full size",
}

Status = Literal["absent", "running", "ended"]
Fingerprint = tuple[tuple[str, int, int], ...]
"""Name, time of change (ns) and size (bytes) of every file of the folder that the report is made from."""


@dataclass(frozen=True)
class Standing:
    """How far a study is."""

    status: Status
    """`absent`: there is no study yet; `running`: a run holds the folder; `ended`: none does."""
    num_done: int
    """Trainings that ended."""
    num_asked: int
    """Trainings that were asked for so far, those that ended among them."""
    phase: Phase | None
    """Of the training that was asked for last; None before the first."""
    running: tuple[Ask, ...]
    """Trainings under way; none where no run holds the folder."""
    num_open: int
    """Trainings that were asked for, did not end and are not under way."""


class Folder:
    """A results folder that a run may be writing, or that does not exist yet. Safe to use from several threads."""

    def __init__(self, path: Path, *, with_results: bool = False) -> None:
        """Reads nothing yet.

        Args:
            path: the folder.
            with_results: read from the ledger what came of the trainings too.

        Raises:
            ResultsError: it exists and is something else.
        """
        self.path = path
        _check(path)
        self.ledger = LedgerTail(path, with_results=with_results)
        """As of the latest `standing`."""
        self._lock = threading.Lock()

    def standing(self) -> Standing:
        """How far the study is.

        Raises:
            ResultsError: the ledger is damaged.
        """
        with self._lock:
            # Asked first: a run that ends in between has its last lines read.
            runs = in_use(self.path)
            self.ledger.update()
            asks, told = dict(self.ledger.asks), set(self.ledger.told)
        unfinished = [ask for trial_id, ask in asks.items() if trial_id not in told]
        running = self._started(unfinished) if runs else []
        begun = runs or bool(asks) or (self.path / STUDY_FILE).is_file()
        return Standing(
            status="running" if runs else "ended" if begun else "absent",
            num_done=len(told),
            num_asked=len(asks),
            phase=next(reversed(asks.values())).phase if asks else None,
            running=tuple(running),
            num_open=len(unfinished) - len(running),
        )

    def fingerprint(self) -> Fingerprint | None:
        """Changes when the report would; None while there is no study to report on."""
        try:
            found = [_state(entry) for entry in os.scandir(self.path) if _is_source(entry)]
        except OSError:
            # The folder does not exist yet, or a file was replaced at this moment: the next look tells.
            return None
        if not any(name == STUDY_FILE for name, _, _ in found):
            return None
        for path in self.path.glob("evidence/*/explanation.json"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            found.append((str(path), state.st_mtime_ns, state.st_size))
        return tuple(sorted(found))

    def _started(self, unfinished: list[Ask]) -> list[Ask]:
        """Those of which Ray has begun a folder, or which have records; the others wait for their turn."""
        try:
            names = os.listdir(self.path / RAY_FOLDER)
        except OSError:
            names = []
        started = {match[0] for name in names if (match := re.match(r"\d+", name))}
        # Of several trainings in one process, Ray knows the first.
        return [a for a in unfinished if a.trial_id in started or stream_path(self.path, "steps", a.trial_id).exists()]


def _is_source(entry: os.DirEntry[str]) -> bool:
    # Files that are still being written have names that begin with a dot.
    return not entry.name.startswith(".") and Path(entry.name).suffix in _READ_BY_REPORT and entry.is_file()


def _state(entry: os.DirEntry[str]) -> tuple[str, int, int]:
    state = entry.stat()
    return entry.name, state.st_mtime_ns, state.st_size


def _check(path: Path) -> None:
    """A folder that does not exist may come; one that holds other things never becomes a study's."""
    if not path.exists():
        return
    if not path.is_dir():
        raise ResultsError(f"{path} is not a folder: give the results folder of a study, such as results/smoke")
    studies = sorted(one.parent.name for one in path.glob(f"*/{STUDY_FILE}"))
    if (path / STUDY_FILE).is_file() or (path / LEDGER_FILE).is_file() or not any(path.iterdir()):
        return
    hint = f": give one of its studies, such as {path / studies[0]}" if studies else ""
    raise ResultsError(f"{path / STUDY_FILE} does not exist: {path} is not the results folder of a study{hint}")


def neighbours(path: Path) -> list[str]:
    """Names of the studies beside a folder: what a mistyped one may have meant."""
    return sorted(one.parent.name for one in path.parent.glob(f"*/{STUDY_FILE}") if one.parent != path)
