"""The lines of a study's ledger: what they hold, and how they are read while another process may be writing.

Each is one JSON object: `event`, which says what it is, the fields of that, and `sum`.

| event      | written when                                    | holds       |
|------------|-------------------------------------------------|-------------|
| `ask`      | a training is asked for                         | `Ask`       |
| `tell`     | it has ended                                    | `Tell`      |
| `cause`    | its cause was found out later                   | `LateCause` |
| `explored` | the search, or the claims, want no more of them | `Explored`  |
| `retry`    | a training that ended is to run again           | `Retry`     |

`sum` is the line's checksum (`line_sums`). Lines of earlier versions have none.
"""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import StrictBool, TypeAdapter
from pydantic_core import from_json

from slr_models.errors import ResultsError
from sweep.records import STRICT, Amount, Count, Finite, Phase, SettingValues, TrialId, TrialResult
from sweep.store.files import check_is_file, check_size, read_bytes, said
from sweep.store.line_sums import check_sum, with_sum

LEDGER_FILE = "ledger.jsonl"
MAX_LEDGER_MIB, MAX_LINE_MIB = 1024, 16
"""A million trainings fill the first; no line comes near the second."""
RECOVER = "python -m sweep.recover"


@dataclass(frozen=True)
class Ask:
    """One training that was asked for."""

    __pydantic_config__ = STRICT

    trial_id: TrialId
    number: Count
    group: Count
    seed: Count
    phase: Phase
    settings: SettingValues
    recommended: StrictBool = False
    """Whether a confirming training is of the setting that was recommended then, rather than of one of the best."""
    block: Count | None = None
    """Of a design: which block it belongs to."""
    cell: str | None = None
    """Of a design: its levels, such as `model=teacher, precision=fp16`."""


@dataclass(frozen=True)
class Tell:
    """What came of a training."""

    __pydantic_config__ = STRICT

    trial_id: TrialId
    spent_s: Finite
    """Wall time of the study up to here."""
    result: TrialResult


@dataclass(frozen=True)
class LateCause:
    """What was found out later about why a training went as it did."""

    __pydantic_config__ = STRICT

    trial_id: TrialId
    cause: str | None
    forensics_s: Amount
    """Wall time of explaining it."""
    spent_s: Finite | None = None
    """Wall time of the study up to here; None in lines of earlier versions."""


@dataclass(frozen=True)
class Explored:
    """The search, or the claims of a design, have said that enough is found out."""

    __pydantic_config__ = STRICT

    reason: str
    terms: dict[str, Any]
    """The part of the study under which it said so; under others it is asked anew."""


@dataclass(frozen=True)
class Retry:
    """What came of a training is forgotten, and it is to run again."""

    __pydantic_config__ = STRICT

    trial_id: TrialId


@dataclass(frozen=True)
class TellOf:
    """A `Tell` of which only is read whose it is."""

    trial_id: TrialId


Line = Ask | Tell | LateCause | Explored | Retry


class Roster:
    """What the lines so far have asked for and told: a line that cannot follow upon them is refused."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.asks: dict[str, Ask] = {}
        """Trainings that were asked for, by trial id, in their order."""
        self.told: set[str] = set()
        """Those among them that ended."""
        self.retried: set[str] = set()
        """Those that ended before, and were to run again: a table that was written in between has them."""
        self._last_number = -1

    def check(self, line: Line | TellOf) -> None:
        """Whether a line may follow upon those before.

        Raises:
            ValueError: it may not.
        """
        match line:
            case Ask(trial_id, number):
                if trial_id in self.asks:
                    raise ValueError(f"trial {trial_id} is asked for a second time")
                if number <= self._last_number:
                    raise ValueError(f"number {number} comes after {self._last_number}")
            case Tell(trial_id) | TellOf(trial_id):
                ask = self.asks.get(trial_id)
                if ask is None:
                    raise ValueError(f"the result is of trial {trial_id}, which nobody asked for")
                if trial_id in self.told:
                    raise ValueError(f"the result of trial {trial_id} is told a second time")
                if isinstance(line, Tell):
                    _check_of(line.result, ask)
            case LateCause(trial_id):
                if trial_id not in self.told:
                    raise ValueError(f"the cause is of trial {trial_id}, whose result is not told")
            case Retry(trial_id):
                if trial_id not in self.told:
                    raise ValueError(f"trial {trial_id} is to run again, but its result is not told")

    def note(self, line: Line | TellOf) -> None:
        """Takes note of a line.

        Raises:
            ValueError: it may not follow upon those before; nothing is noted then.
        """
        self.check(line)
        match line:
            case Ask() as ask:
                self.asks[ask.trial_id] = ask
                self._last_number = ask.number
            case Tell(trial_id) | TellOf(trial_id):
                self.told.add(trial_id)
            case Retry(trial_id):
                self.told.remove(trial_id)
                self.retried.add(trial_id)


def _check_of(result: TrialResult, ask: Ask) -> None:
    for name in ("trial_id", "number", "group", "seed", "phase"):
        if getattr(result, name) != getattr(ask, name):
            raise ValueError(f"result.{name} is {getattr(result, name)}, but {getattr(ask, name)} was asked for")
    # A scheduler may give a training others on the way.
    if result.settings_changed_at_step is None and (others := result.settings.keys() ^ ask.settings.keys()):
        raise ValueError(f"result.settings and the settings that were asked for differ in {min(others)!r}")


def written(event: Mapping[str, Any], number: int) -> bytes:
    """An event as the line of that number, counted from 1, with its checksum and its end."""
    text = json.dumps(event, allow_nan=False)
    if "\\ud" in text:
        # Half of a surrogate pair, as in the undecodable name of a file, is no text: nobody could read it back.
        text = json.dumps(json.loads(json.dumps(event, ensure_ascii=False).encode("utf-8", "replace")))
    return with_sum(text.encode(), number)


def parsed(line: bytes, number: int) -> Line:
    """What a line says; fields that earlier versions did not write have their defaults.

    Args:
        line: with or without its end.
        number: of the line, counted from 1.

    Raises:
        ValueError: it is none of the known lines, or a field of it is missing, unknown or of another type, or its
            checksum does not fit.
    """
    kind, event, is_summed = _event(line)
    found: Line = _ADAPTERS[kind].validate_python(event)
    if is_summed:
        check_sum(line, number)
    return found


def _event(line: bytes) -> tuple[str, dict[str, Any], bool]:
    """The kind of a line, its fields, and whether it has a checksum."""
    if len(line) > MAX_LINE_MIB * 2**20:
        raise ValueError(f"it has more than {MAX_LINE_MIB} MiB")
    event = from_json(line, allow_inf_nan=False)
    if not isinstance(event, dict):
        raise ValueError("it holds no event")
    is_summed = event.pop("sum", None) is not None
    kind = event.pop("event", None)
    if not isinstance(kind, str) or kind not in _ADAPTERS:
        raise ValueError(f"unknown event {repr(kind)[:40]}")
    return kind, event, is_summed


_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "ask": TypeAdapter(Ask),
    "tell": TypeAdapter(Tell),
    "cause": TypeAdapter(LateCause),
    "explored": TypeAdapter(Explored),
    "retry": TypeAdapter(Retry),
}


def event_of(line: Line) -> dict[str, Any]:
    """A line as `written` takes it. JSON has no NaN and no infinity: they become text, which `parsed` reads back."""
    content = dataclasses.asdict(line)
    for values in (content, content.get("result", {})):
        values |= {k: repr(v) for k, v in values.items() if isinstance(v, float) and not math.isfinite(v)}
    return {"event": _KINDS[type(line)], **content}


_KINDS = {Ask: "ask", Tell: "tell", LateCause: "cause", Explored: "explored", Retry: "retry"}


def damaged(results_dir: Path, number: int, error: Exception) -> ResultsError:
    """What is told of a line that cannot be believed."""
    return ResultsError(
        f"{results_dir / LEDGER_FILE}:{number}: this line is damaged ({said(error)}): restore the file from a backup, "
        f"or bring back what can be with {RECOVER} {results_dir}"
    )


def read_ledger(results_dir: Path) -> bytes:
    """The ledger as it is; nothing where there is none.

    Raises:
        ResultsError: it is no file, or too large to be one.
    """
    path = results_dir / LEDGER_FILE
    return read_bytes(path, MAX_LEDGER_MIB, _RESTORE) if path.exists() else b""


_RESTORE = "restore it from a backup, or move the folder away to start anew"


def elapsed_s(results_dir: Path) -> float:
    """Wall time of the study up to the latest line of its ledger that tells; NaN if there is none.

    It neither locks nor changes the file: the study may be running.

    Raises:
        ResultsError: that line is damaged.
    """
    content = read_ledger(results_dir)
    place = content.rfind(b'"spent_s": ', 0, content.rfind(b"\n") + 1)
    if place < 0:
        return math.nan
    start = content.rfind(b"\n", 0, place) + 1
    number = content.count(b"\n", 0, start) + 1
    try:
        found = parsed(content[start : content.index(b"\n", place)], number)
    except ValueError as error:
        raise damaged(results_dir, number, error) from error
    known = found.spent_s if isinstance(found, Tell | LateCause) else None
    return math.nan if known is None else known


def tells_results(results_dir: Path) -> bool:
    """Whether the ledger of a folder holds the result of a training.

    Raises:
        ResultsError: it is no file, or too large.
    """
    return b'"event": "tell"' in read_ledger(results_dir)


def table_remedy(results_dir: Path) -> str:
    """What is to be done with a damaged table of trials: it may be all that is left of the results."""
    try:
        if tells_results(results_dir):
            return f"move it away, then run the study's command again: it writes the table anew from {LEDGER_FILE}"
    except ResultsError:
        # Such a ledger tells nothing.
        pass
    return (
        f"restore it from a backup, or bring back what can be with {RECOVER} {results_dir} (do not delete it: "
        f"{LEDGER_FILE} tells no results)"
    )


class LedgerTail:
    """Follows a ledger that another process may be writing: takes no lock, changes nothing, reads only what is new.

    Of a result it reads whose it is, and no more: the report, which shows it, reads the table.
    """

    def __init__(self, results_dir: Path, *, with_results: bool = False) -> None:
        """Reads nothing yet; there may be no such folder yet.

        Args:
            results_dir: the results folder.
            with_results: read what came of the trainings too.
        """
        self._folder = results_dir
        self._with_results = with_results
        self._roster = Roster()
        self._inode, self._num_read, self._num_lines = -1, 0, 0
        self.explored: Explored | None = None
        """Set where the search said that it had found out enough and was not asked for a setting since."""
        self.results: dict[str, TrialResult] = {}
        """What came of those that ended, by trial id, in the order of their ends; empty unless asked for."""
        self.explained: set[str] = set()
        """Those of them whose cause was looked for after their end; likewise."""
        self.spent_s = 0.0
        """Wall time of the study up to the latest end of a training, in seconds; likewise."""

    @property
    def asks(self) -> Mapping[str, Ask]:
        """Trainings that were asked for, by trial id, in their order."""
        return self._roster.asks

    @property
    def told(self) -> Set[str]:
        """Those among them that ended."""
        return self._roster.told

    def update(self) -> None:
        """Reads the lines that were completed since.

        Raises:
            ResultsError: a line is damaged.
        """
        path = self._folder / LEDGER_FILE
        try:
            if path.exists():
                check_is_file(path, _RESTORE)
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != self._inode or state.st_size < self._num_read:
                    self._forget()
                check_size(path, state.st_size, MAX_LEDGER_MIB, _RESTORE)
                self._inode = state.st_ino
                file.seek(self._num_read)
                content = file.read()
        except FileNotFoundError:
            self._forget()
            return
        for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
            try:
                self._take(line)
            except ValueError as error:
                raise damaged(self._folder, self._num_lines + 1, error) from error
            self._num_read += len(line)
            self._num_lines += 1

    def _take(self, line: bytes) -> None:
        kind, event, is_summed = _event(line)
        if is_summed:
            check_sum(line, self._num_lines + 1)
        if kind == "tell" and not self._with_results:
            self._roster.note(_TELL_OF.validate_python(event))
        else:
            found: Line = _ADAPTERS[kind].validate_python(event)
            self._roster.note(found)
            self._keep(found)

    def _keep(self, line: Line) -> None:
        match line:
            case Ask(phase=Phase.EXPLORE):
                self.explored = None
            case Tell(trial_id, spent_s, result):
                self.results[trial_id], self.spent_s = result, spent_s
            case LateCause(trial_id, cause, forensics_s, spent_s) if self._with_results:
                self.results[trial_id] = self.results[trial_id].with_cause(cause, forensics_s)
                self.explained.add(trial_id)
                self.spent_s = self.spent_s if spent_s is None else spent_s
            case Explored():
                self.explored = line
            case Retry(trial_id):
                self.results.pop(trial_id, None)
                self.explained.discard(trial_id)

    def _forget(self) -> None:
        self._roster = Roster()
        self._inode, self._num_read, self._num_lines = -1, 0, 0
        self.explored, self.results, self.explained, self.spent_s = None, {}, set(), 0.0


_TELL_OF = TypeAdapter(TellOf)
