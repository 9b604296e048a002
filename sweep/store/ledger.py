"""The ledger: an append-only file of what was asked and what came of it. It is the truth of a study.

A line is written and flushed to disk before anything relies on it, so a killed driver loses no finished trial.
Everything else in the results folder that speaks of trials can be rebuilt from it.

It is checked before it is believed: each line by its checksum and types, all of them against each other
(`ledger_lines`), and against the rest of the folder (`completeness`); nothing is written before.
"""

import os
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from pydantic_core import from_json

from slr_models.errors import MachineError
from sweep.records import Phase, TrialResult
from sweep.store.completeness import check_complete
from sweep.store.files import append, spare
from sweep.store.ledger_lines import (
    LEDGER_FILE,
    Ask,
    Explored,
    LateCause,
    Line,
    Retry,
    Roster,
    Tell,
    damaged,
    event_of,
    parsed,
    read_ledger,
    written,
)
from sweep.store.lock import FolderLock


class Ledger:
    """The open ledger of a results folder; one process at a time may hold it."""

    def __init__(self, results_dir: Path, *, keep: Callable[[bytes], None] = lambda line: None) -> None:
        """Opens or creates the ledger, takes its lock and reads it.

        Args:
            results_dir: the folder.
            keep: keeps each line that was written elsewhere too, before anything relies on it; raises MachineError
                where it cannot.

        Raises:
            ResultsError: another run holds it, or a line of it is damaged, or trials of the folder are not in it.
        """
        results_dir.mkdir(parents=True, exist_ok=True)
        self._folder, self._path = results_dir, results_dir / LEDGER_FILE
        self._lock, self._keep = FolderLock(results_dir), keep
        self._roster, self._num_lines = Roster(), 0
        self.asks: list[Ask] = []
        self.asks_by_phase: dict[str, list[Ask]] = defaultdict(list)
        self.asks_by_group: dict[int, list[Ask]] = defaultdict(list)
        self.next_group = 0
        """One more than the largest that was asked for."""
        self.results: dict[str, TrialResult] = {}
        self.explained_s: dict[str, float] = {}
        """How long each search for a cause by replay took, by trial id."""
        self.explored: Explored | None = None
        """Set where the search said that it had found out enough and was not asked for a setting since."""
        self.spent_s = self._told_s = 0.0
        """Wall time of the study so far, over all earlier runs."""
        self.notes: list[str] = []
        """What was mended on opening, in a sentence each."""
        try:
            self._read()
        except BaseException:
            self._lock.release()
            raise

    def ask(self, ask: Ask) -> None:
        """Writes down that a training is asked for."""
        self._append(ask)

    def tell(self, result: TrialResult, *, spent_s: float) -> None:
        """Writes down what came of a training, and the study's wall time up to here."""
        self._append(Tell(result.trial_id, spent_s, result))

    def note_cause(self, result: TrialResult, *, spent_s: float) -> None:
        """Writes down what was found out since about why a training went as it did, and the study's wall time."""
        self._append(LateCause(result.trial_id, result.cause, result.forensics_s, spent_s))

    def retry(self, trial_id: str) -> None:
        """Writes down that what came of a training is forgotten, since it is to run again."""
        self._append(Retry(trial_id))

    def end_exploration(self, explored: Explored) -> None:
        """Writes down why the search asks for no more settings."""
        self._append(explored)

    def check_place(self) -> None:
        """Checks that what is written can be found again: a file that was removed takes writes, and loses them.

        Raises:
            MachineError: it cannot.
        """
        try:
            is_there = os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except OSError:
            is_there = False
        if not is_there:
            raise MachineError(
                f"{self._path} was removed or replaced while the run was at work, so nothing more can be kept there: "
                f"put it back and repeat the command, which goes on"
            )

    def close(self) -> None:
        """Releases the lock."""
        self._file.close()
        self._lock.release()

    def _append(self, said: Line) -> None:
        """Writes a line, and takes it as whoever reads the file later will: what cannot be read is not written."""
        number = self._num_lines + 1
        content = written(event_of(said), number)
        line = parsed(content, number)
        self._roster.check(line)
        self._write(content)
        self._roster.note(line)
        self._take(line)
        self._num_lines = number
        self._keep(content)

    def _write(self, content: bytes) -> None:
        self.check_place()
        append(self._file, content, synced=True)

    def _take(self, line: Line) -> None:
        match line:
            case Ask() as ask:
                self.asks.append(ask)
                self.asks_by_phase[ask.phase].append(ask)
                self.asks_by_group[ask.group].append(ask)
                self.next_group = max(self.next_group, ask.group + 1)
                if ask.phase == Phase.EXPLORE:
                    self.explored = None
            case Tell(trial_id, spent_s, result):
                self.results[trial_id], self._told_s = result, spent_s
            case LateCause(trial_id, cause, forensics_s, spent_s):
                self._told_s = self._told_s if spent_s is None else spent_s
                self.explained_s[trial_id] = forensics_s
                told = self.results[trial_id]
                self.results[trial_id] = told.with_cause(cause, forensics_s)
            case Explored() as explored:
                self.explored = explored
            case Retry(trial_id):
                del self.results[trial_id]
                self.explained_s.pop(trial_id, None)

    def _read(self) -> None:
        content = read_ledger(self._folder)
        *lines, rest = content.split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                self._read_line(line, number)
            except ValueError as error:
                raise damaged(self._folder, number, error) from error
        rest_is_line = bool(rest) and self._is_whole(rest)
        check_complete(self._folder, self._roster, len({ask.group for ask in self.asks_by_phase[Phase.EXPLORE]}))
        self.spent_s = self._told_s
        self._file = self._path.open("a+b", buffering=0)
        if rest_is_line:
            self._write(b"\n")
            self.notes.append(f"the last line of {self._path} had no end: it was whole, and has one now")
        elif rest:
            # The run was killed while it wrote this line, so nothing relied on it yet.
            copy = spare(self._path)
            shutil.copyfile(self._path, copy)
            self._file.truncate(len(content) - len(rest))
            self.notes.append(
                f"the last line of {self._path} was cut short and was left out ({len(rest)} bytes; the file as it was "
                f"is kept as {copy.name})"
            )

    def _read_line(self, content: bytes, number: int) -> None:
        line = parsed(content, number)
        self._roster.note(line)
        self._take(line)
        self._num_lines = number

    def _is_whole(self, rest: bytes) -> bool:
        """Takes what stands behind the last end of a line, if it is a line whose end alone is missing."""
        try:
            from_json(rest)
        except ValueError:
            return False
        number = self._num_lines + 1
        try:
            self._read_line(rest, number)
        except ValueError as error:
            raise damaged(self._folder, number, error) from error
        return True
