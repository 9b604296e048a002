"""The ledger: an append-only file of what was asked and what came of it. It is the truth of a study.

A line is written and flushed to disk before anything relies on it, so a killed driver loses no finished trial.
Everything else in the results folder that speaks of trials can be rebuilt from it.

    {"event": "ask", "trial_id": ..., "number": ..., "group": ..., "seed": ..., "phase": ..., "settings": {...}}
    {"event": "tell", "trial_id": ..., "spent_s": ..., "result": {...}}
    {"event": "cause", "trial_id": ..., "spent_s": ..., "cause": ..., "forensics_s": ...}
    {"event": "explored", "reason": ..., "terms": {...}}
"""

import dataclasses
import fcntl
import json
import math
import os
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from slr_models.errors import ResultsError
from sweep.records import Outcome, TrialResult
from sweep.space import Settings

LEDGER_FILE = "ledger.jsonl"
EXPLORE_PHASE = "explore"
"""Trainings of settings that the search asked for."""


@dataclass(frozen=True)
class Ask:
    """One training that was asked for."""

    trial_id: str
    number: int
    group: int
    seed: int
    phase: str
    settings: Settings
    recommended: bool = False
    """Whether a confirming training is of the setting that was recommended then, rather than of one of the best."""
    block: int | None = None
    """Of a design: which block it belongs to."""
    cell: str | None = None
    """Of a design: its levels, such as `model=teacher, precision=fp16`."""


@dataclass(frozen=True)
class Explored:
    """The search, or the claims of a design, have said that enough is found out."""

    reason: str
    terms: dict[str, Any]
    """The part of the study under which it said so; under others it is asked anew."""


class Ledger:
    """The open ledger of a results folder; one process at a time may hold it."""

    def __init__(self, results_dir: Path) -> None:
        """Opens or creates the ledger, takes its lock and reads it.

        Raises:
            ResultsError: another run holds it, or a line of it is damaged.
        """
        results_dir.mkdir(parents=True, exist_ok=True)
        self._path = results_dir / LEDGER_FILE
        self._file = self._path.open("a+b")
        if not _locked(self._file):
            self._file.close()
            raise ResultsError(
                f"{results_dir} is in use by another run: wait for it, stop it, or give --results another folder"
            ) from None
        self.asks: list[Ask] = []
        self.asks_by_phase: dict[str, list[Ask]] = defaultdict(list)
        self.asks_by_group: dict[int, list[Ask]] = defaultdict(list)
        self.results: dict[str, TrialResult] = {}
        self.explained_s: list[float] = []
        """How long each search for a cause by replay took."""
        self.explored: Explored | None = None
        """Set where the search said that it had found out enough and was not asked for a setting since."""
        self.spent_s = 0.0
        """Wall time of the study so far, over all earlier runs."""
        self._read()

    def ask(self, ask: Ask) -> None:
        """Writes down that a training is asked for."""
        self._append({"event": "ask", **dataclasses.asdict(ask)})
        self._asked(ask)

    def tell(self, result: TrialResult, *, spent_s: float) -> None:
        """Writes down what came of a training, and the study's wall time up to here."""
        values = {key: _encode(value) for key, value in dataclasses.asdict(result).items()}
        self._append({"event": "tell", "trial_id": result.trial_id, "spent_s": spent_s, "result": values})
        self.results[result.trial_id] = result

    def note_cause(self, result: TrialResult, *, spent_s: float) -> None:
        """Writes down what was found out since about why a training went as it did, and the study's wall time."""
        values = {"cause": result.cause, "forensics_s": result.forensics_s}
        self._append({"event": "cause", "trial_id": result.trial_id, "spent_s": spent_s, **values})
        self.results[result.trial_id] = result
        self.explained_s.append(result.forensics_s)

    def end_exploration(self, explored: Explored) -> None:
        """Writes down why the search asks for no more settings."""
        self._append({"event": "explored", **dataclasses.asdict(explored)})
        self.explored = explored

    def close(self) -> None:
        """Releases the lock."""
        self._file.close()

    def _asked(self, ask: Ask) -> None:
        self.asks.append(ask)
        self.asks_by_phase[ask.phase].append(ask)
        self.asks_by_group[ask.group].append(ask)
        if ask.phase == EXPLORE_PHASE:
            self.explored = None

    def _append(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event, allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            # The run was killed while it wrote this line, so nothing relied on it yet.
            self._file.truncate(complete)
        for number, line in enumerate(content[:complete].splitlines(), start=1):
            try:
                event = json.loads(line)
                match event.pop("event"):
                    case "ask":
                        self._asked(Ask(**event))
                    case "tell":
                        self.results[event["trial_id"]] = _decode(event["result"])
                        self.spent_s = float(event["spent_s"])
                    case "cause":
                        trial_id = event.pop("trial_id")
                        # Earlier versions did not write it.
                        self.spent_s = float(event.pop("spent_s", self.spent_s))
                        self.explained_s.append(float(event["forensics_s"]))
                        self.results[trial_id] = dataclasses.replace(self.results[trial_id], **event)
                    case "explored":
                        self.explored = Explored(**event)
                    case unknown:
                        raise ValueError(f"unknown event {unknown!r}")
            except (ValueError, KeyError, TypeError) as error:
                self._file.close()
                raise ResultsError(
                    f"{self._path}:{number}: this line is damaged ({error}): restore the file from a backup, "
                    f"or move the folder away to start anew"
                ) from error


def elapsed_s(results_dir: Path) -> float:
    """Wall time of the study up to the latest line of its ledger that tells; NaN if there is none.

    It neither locks nor changes the file: the study may be running.
    """
    path = results_dir / LEDGER_FILE
    content = path.read_bytes() if path.is_file() else b""
    place = content.rfind(b'"spent_s": ', 0, content.rfind(b"\n") + 1)
    if place < 0:
        return math.nan
    line = content[content.rfind(b"\n", 0, place) + 1 : content.index(b"\n", place)]
    return float(json.loads(line)["spent_s"])


class LedgerTail:
    """Follows a ledger that another process may be writing: takes no lock, changes nothing, reads only what is new."""

    def __init__(self, results_dir: Path) -> None:
        """Reads nothing yet; there may be no such folder yet."""
        self._path = results_dir / LEDGER_FILE
        self.asks: dict[str, Ask] = {}
        """Trainings that were asked for, by trial id, in their order."""
        self.told: set[str] = set()
        """Those among them that ended."""
        self._inode = -1
        self._num_read = 0

    def update(self) -> None:
        """Reads the lines that were completed since.

        Raises:
            ResultsError: a line is damaged.
        """
        try:
            with self._path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._num_read:
                    self._forget()
                self._inode = state.st_ino
                file.seek(self._num_read)
                content = file.read()
        except FileNotFoundError:
            self._forget()
            return
        complete = content[: content.rfind(b"\n") + 1]
        try:
            for line in complete.splitlines():
                event = json.loads(line)
                match event.pop("event"):
                    case "ask":
                        self.asks[event["trial_id"]] = Ask(**event)
                    case "tell":
                        self.told.add(event["trial_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{self._path} has a damaged line ({error}): restore it from a backup") from error
        self._num_read += len(complete)

    def _forget(self) -> None:
        self.asks.clear()
        self.told.clear()
        self._inode, self._num_read = -1, 0


def in_use(results_dir: Path) -> bool:
    """Whether a run holds the folder's ledger now."""
    try:
        with (results_dir / LEDGER_FILE).open("rb") as file:
            # Shared, so that several may ask at once; closing the file gives it back.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # There is none yet, or the file system has no locks.
        return False
    return False


def _locked(file: BinaryIO) -> bool:
    """Takes the lock; False where another run holds it. `in_use` may hold it for an instant."""
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.02)
    return False


def _encode(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _decode(values: dict[str, Any]) -> TrialResult:
    kwargs = dict(values)
    for field in dataclasses.fields(TrialResult):
        if field.type is float and isinstance(kwargs.get(field.name), str):
            kwargs[field.name] = float(kwargs[field.name])
    kwargs["verdict"] = Outcome(kwargs["verdict"])
    if kwargs.get("alarm") is not None:
        kwargs["alarm"] = Outcome(kwargs["alarm"])
    return TrialResult(**kwargs)
