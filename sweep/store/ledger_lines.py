"""The lines of a study's ledger: what they hold, and how they are read while another process may be writing.

Each is one JSON object: `event`, which says what it is, and the fields of that.

| event      | written when                                    | holds       |
|------------|-------------------------------------------------|-------------|
| `ask`      | a training is asked for                         | `Ask`       |
| `tell`     | it has ended                                    | `Tell`      |
| `cause`    | its cause was found out later                   | `LateCause` |
| `explored` | the search, or the claims, want no more of them | `Explored`  |
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from slr_models.errors import ResultsError
from sweep.records import STRICT, Phase, TrialResult
from sweep.space import Settings
from sweep.store.files import said

LEDGER_FILE = "ledger.jsonl"


@dataclass(frozen=True)
class Ask:
    """One training that was asked for."""

    __pydantic_config__ = STRICT

    trial_id: str
    number: int
    group: int
    seed: int
    phase: Phase
    settings: Settings
    recommended: bool = False
    """Whether a confirming training is of the setting that was recommended then, rather than of one of the best."""
    block: int | None = None
    """Of a design: which block it belongs to."""
    cell: str | None = None
    """Of a design: its levels, such as `model=teacher, precision=fp16`."""


@dataclass(frozen=True)
class Tell:
    """What came of a training."""

    __pydantic_config__ = STRICT

    trial_id: str
    spent_s: float
    """Wall time of the study up to here."""
    result: TrialResult


@dataclass(frozen=True)
class LateCause:
    """What was found out later about why a training went as it did."""

    __pydantic_config__ = STRICT

    trial_id: str
    cause: str | None
    forensics_s: float
    """Wall time of explaining it."""
    spent_s: float | None = None
    """Wall time of the study up to here; None in lines of earlier versions."""


@dataclass(frozen=True)
class Explored:
    """The search, or the claims of a design, have said that enough is found out."""

    __pydantic_config__ = STRICT

    reason: str
    terms: dict[str, Any]
    """The part of the study under which it said so; under others it is asked anew."""


Line = Ask | Tell | LateCause | Explored


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


def tells_results(results_dir: Path) -> bool:
    """Whether the ledger of a folder holds the result of a training."""
    path = results_dir / LEDGER_FILE
    return path.is_file() and b'"event": "tell"' in path.read_bytes()


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
                match event["event"]:
                    case "ask":
                        del event["event"]
                        ask: Ask = _ADAPTERS["ask"].validate_python(event)
                        self.asks[ask.trial_id] = ask
                    case "tell":
                        self.told.add(event["trial_id"])
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{self._path} has a damaged line ({said(error)}): restore it from a backup") from error
        self._num_read += len(complete)

    def _forget(self) -> None:
        self.asks.clear()
        self.told.clear()
        self._inode, self._num_read = -1, 0


def parsed(line: bytes) -> Line:
    """What a line says; fields that earlier versions did not write have their defaults.

    Raises:
        ValueError: it is none of the known lines, or a field of it is missing, unknown or of another type.
    """
    event = json.loads(line)
    if not isinstance(event, dict):
        raise ValueError("it holds no event")
    kind = event.pop("event", None)
    adapter = _ADAPTERS.get(str(kind))
    if adapter is None:
        raise ValueError(f"unknown event {kind!r}")
    found: Line = adapter.validate_python(event)
    return found


_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "ask": TypeAdapter(Ask),
    "tell": TypeAdapter(Tell),
    "cause": TypeAdapter(LateCause),
    "explored": TypeAdapter(Explored),
}


def encode(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text, which is a number again to whoever reads a line."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
