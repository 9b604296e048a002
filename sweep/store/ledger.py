"""The ledger: an append-only file of what was asked and what came of it. It is the truth of a study.

A line is written and flushed to disk before anything relies on it, so a killed driver loses no finished trial.
Everything else in the results folder that speaks of trials can be rebuilt from it.
"""

import dataclasses
import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from slr_models.errors import ResultsError
from sweep.records import Phase, TrialResult
from sweep.store.files import said
from sweep.store.ledger_lines import LEDGER_FILE, Ask, Explored, LateCause, Tell, encode, parsed
from sweep.store.lock import FolderLock


class Ledger:
    """The open ledger of a results folder; one process at a time may hold it."""

    def __init__(self, results_dir: Path) -> None:
        """Opens or creates the ledger, takes its lock and reads it.

        Raises:
            ResultsError: another run holds it, or a line of it is damaged.
        """
        results_dir.mkdir(parents=True, exist_ok=True)
        self._path = results_dir / LEDGER_FILE
        self._lock = FolderLock(results_dir)
        self._file = self._path.open("a+b")
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
        values = {key: encode(value) for key, value in dataclasses.asdict(result).items()}
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
        self._lock.release()

    def _asked(self, ask: Ask) -> None:
        self.asks.append(ask)
        self.asks_by_phase[ask.phase].append(ask)
        self.asks_by_group[ask.group].append(ask)
        if ask.phase == Phase.EXPLORE:
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
                match parsed(line):
                    case Ask() as ask:
                        self._asked(ask)
                    case Tell(trial_id, spent_s, result):
                        self.results[trial_id], self.spent_s = result, spent_s
                    case LateCause(trial_id, cause, forensics_s, spent_s):
                        self.spent_s = self.spent_s if spent_s is None else spent_s
                        self.explained_s.append(forensics_s)
                        told = self.results[trial_id]
                        self.results[trial_id] = dataclasses.replace(told, cause=cause, forensics_s=forensics_s)
                    case Explored() as explored:
                        self.explored = explored
            except (ValueError, KeyError, TypeError) as error:
                self.close()
                raise ResultsError(
                    f"{self._path}:{number}: this line is damaged ({said(error)}): restore the file from a backup, "
                    f"or move the folder away to start anew"
                ) from error
