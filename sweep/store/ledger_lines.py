"""The lines of a study's ledger, and who reads them while another process may be writing.

{"event": "ask", "trial_id": ..., "number": ..., "group": ..., "seed": ..., "phase": ..., "settings": {...}}
{"event": "tell", "trial_id": ..., "spent_s": ..., "result": {...}}
{"event": "cause", "trial_id": ..., "spent_s": ..., "cause": ..., "forensics_s": ...}
{"event": "explored", "reason": ..., "terms": {...}}
"""

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slr_models.errors import ResultsError
from sweep.records import Outcome, Phase, TrialResult
from sweep.space import Settings

LEDGER_FILE = "ledger.jsonl"


@dataclass(frozen=True)
class Ask:
    """One training that was asked for."""

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
class Explored:
    """The search, or the claims of a design, have said that enough is found out."""

    reason: str
    terms: dict[str, Any]
    """The part of the study under which it said so; under others it is asked anew."""


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


def encode(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def decode(values: dict[str, Any]) -> TrialResult:
    kwargs = dict(values)
    for field in dataclasses.fields(TrialResult):
        if field.type is float and isinstance(kwargs.get(field.name), str):
            kwargs[field.name] = float(kwargs[field.name])
    kwargs["verdict"], kwargs["phase"] = Outcome(kwargs["verdict"]), Phase(kwargs["phase"])
    if kwargs.get("alarm") is not None:
        kwargs["alarm"] = Outcome(kwargs["alarm"])
    return TrialResult(**kwargs)
