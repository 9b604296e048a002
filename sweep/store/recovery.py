"""What can be brought back of a ledger that cannot be believed: its sound lines, and the table of finished trials."""

import functools
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from slr_models.errors import ResultsError
from sweep.records import DERIVED_COLUMNS, Phase, TrialResult
from sweep.store.completeness import JOURNAL_FILE, check_complete, check_journal, check_table, recorded_ids
from sweep.store.files import atomic_path, said, spare
from sweep.store.ledger_lines import (
    Ask,
    Explored,
    LateCause,
    Line,
    Retry,
    Roster,
    Tell,
    event_of,
    parsed,
    written,
)
from sweep.store.line_sums import line_sum
from sweep.store.parquet import read_as_it_is
from sweep.store.schemas import TRIAL_SCHEMA
from sweep.store.tables import RECORDS, TRIALS_FILE, places_of

SET_ASIDE = "set-aside"
"""Folder of what no line speaks of, with a number behind it."""


@dataclass
class Salvaged:
    """The sound lines of a ledger."""

    lines: list[Line] = field(default_factory=list)
    """In their order."""
    num_damaged: int = 0
    """Lines that nobody can read, or whose checksum fits no place of the file."""


def salvage(content: bytes) -> Salvaged:
    """Reads what can be read of a ledger, also of one that lacks lines."""
    found = Salvaged()
    lines = content.split(b"\n")
    # As many lines may be missing as there are, and some more.
    last = 2 * len(lines) + 10_000
    number = 0
    for line in lines:
        if not line:
            continue
        place = _place(line, number + 1, last)
        try:
            found.lines.append(parsed(line, place))
            number = place
        except ValueError:
            # It may stand twice: what follows it is then no further on.
            found.num_damaged += 1
    return found


@dataclass(frozen=True)
class LeftOut:
    """A training whose result was found, and cannot be believed."""

    what: str
    """Its id, or the row of the table where that tells none."""
    reason: str


@dataclass
class SalvagedTable:
    """The sound rows of the table of trials."""

    results: list[TrialResult] = field(default_factory=list)
    """With settings as the table has them."""
    left_out: list[LeftOut] = field(default_factory=list)
    problem: str = ""
    """Why none of it can be read; empty where it can, or is not there."""


def salvage_table(results_dir: Path) -> SalvagedTable:
    """Reads what can be read of the table of trials, row by row."""
    path, found = results_dir / TRIALS_FILE, SalvagedTable()
    if not path.exists():
        return found
    try:
        rows = read_as_it_is(path, "its rows can only come from a backup")
    except ResultsError as error:
        found.problem = str(error)
        return found
    ids, numbers = (Counter(str(row.get(name)) for row in rows) for name in ("trial_id", "number"))
    for place, row in enumerate(rows, start=1):
        try:
            if (same := ids[str(row.get("trial_id"))]) > 1 or numbers[str(row.get("number"))] > 1:
                raise ValueError(f"another row has its {'trial_id' if same > 1 else 'number'}")
            result = _result(row)
            if result.trial_id != f"{result.number:04d}":
                raise ValueError(f"its id does not belong to its number {result.number}")
            found.results.append(result)
        except ValueError as error:
            told = row.get("trial_id")
            what = told if isinstance(told, str) and told.isalnum() and ids[told] == 1 else f"row {place}"
            found.left_out.append(LeftOut(what[:64], said(error)))
    return found


def _result(row: Mapping[str, Any]) -> TrialResult:
    """A row as a result, also where a bad cell of another row gave its column another type."""
    cells = {name: _cell(value, name) for name, value in row.items() if name not in DERIVED_COLUMNS}
    known = {name: value for name, value in cells.items() if value is not None}
    settings = {name: known.pop(name) for name in list(known) if name not in TRIAL_SCHEMA.names}
    return _RESULT.validate_python({**known, "settings": settings})


def _cell(value: Any, name: str) -> Any:
    kind = TRIAL_SCHEMA.field(name).type if name in TRIAL_SCHEMA.names else None
    is_real = kind is not None and pa.types.is_floating(kind)
    if isinstance(value, float) and math.isnan(value) and not is_real:
        return None
    try:
        if is_real and isinstance(value, str):
            return float(value)
        whole = kind is not None and pa.types.is_integer(kind) and isinstance(value, str | float)
        return int(float(value)) if whole and float(value).is_integer() else value
    except ValueError:
        return value


_RESULT = TypeAdapter(TrialResult)


def _place(line: bytes, expected: int, last: int) -> int:
    """The number that a line was written under, as its checksum tells; `expected`, the least, where none fits."""
    stated = line_sum(line)
    if stated is None:
        return expected
    head, total = stated
    if zlib.crc32(head, expected) == total:
        return expected
    number = _begun_with(head, total)
    return number if expected <= number < last else expected


def _begun_with(content: bytes, total: int) -> int:
    """The number with which the CRC-32 of a content must begin to come to a total: there is exactly one."""
    state = total ^ _ONES
    # Each byte is taken back. The upper byte tells which entry of the table it has brought in.
    for byte in reversed(content):
        index = _INDEX_OF_UPPER[state >> 24]
        state = (state ^ _CRC_TABLE[index]) << 8 | index ^ byte
    return state ^ _ONES


_ONES = 0xFFFFFFFF
_CRC_TABLE = [zlib.crc32(bytes([byte]), _ONES) ^ _ONES for byte in range(256)]
_INDEX_OF_UPPER = {entry >> 24: index for index, entry in enumerate(_CRC_TABLE)}


@dataclass(frozen=True)
class Rebuilt:
    """A ledger made anew."""

    lines: tuple[Line, ...]
    num_results: int
    num_from_table: int
    """Of the results: those that the ledger had lost, and the table of trials holds."""
    num_open: int
    """Trainings that were asked for and have no result: they run (again, or on) with the next run."""
    roster: Roster
    """What the lines ask for and tell."""
    left_out: Sequence[LeftOut]
    """Results of the table that do not belong to what was asked for."""
    is_time_estimated: bool
    """Whether the study's wall time follows from that of its trainings alone."""


def rebuilt(salvaged: Salvaged, table: Sequence[TrialResult], num_lanes: int) -> Rebuilt:
    """The ledger that the sound lines and the table of finished trials make.

    Args:
        salvaged: of the ledger.
        table: results that may be lost there, with settings in the types that they were searched in.
        num_lanes: how many trainings ran at once, for the wall time where no line tells it.
    """
    asks = {line.trial_id: line for line in reversed(salvaged.lines) if isinstance(line, Ask)}
    told = [line.result for line in salvaged.lines if isinstance(line, Tell)]
    for result in [*told, *table]:
        asks.setdefault(result.trial_id, ask_of(result))
    roster, lines = Roster(), []
    for line in [*sorted(asks.values(), key=lambda ask: ask.number), *_not_asks(salvaged.lines)]:
        try:
            roster.note(line)
        except ValueError:
            # A second line of the same, or one that follows upon another that is lost.
            continue
        lines.append(line)
    known = [s for line in lines if (s := getattr(line, "spent_s", None)) is not None]
    lost, left_out = [], []
    for result in table:
        if result.trial_id not in roster.told and result.trial_id not in roster.retried:
            try:
                roster.check(Tell(result.trial_id, 0.0, result))
                lost.append(result)
            except ValueError as error:
                left_out.append(LeftOut(result.trial_id, str(error)))
    spent_s = max(known, default=0.0)
    worked_s = sum(r.wall_s for r in [*told, *lost] if r.wall_s < float("inf")) / max(num_lanes, 1)
    is_estimated = bool(lost) and worked_s > spent_s
    for result in lost:
        tell = Tell(result.trial_id, max(spent_s, worked_s), result)
        roster.note(tell)
        lines.append(tell)
    if (explored := _explored(salvaged.lines, asks.values())) is not None:
        lines.append(explored)
    num_open = len(roster.asks) - len(roster.told)
    return Rebuilt(tuple(lines), len(roster.told), len(lost), num_open, roster, left_out, is_estimated)


def ask_of(result: TrialResult) -> Ask:
    """What was asked for, as far as the result tells: not whether the setting was the recommended one."""
    names = ("trial_id", "number", "group", "seed", "phase", "settings", "block", "cell")
    return Ask(**{name: getattr(result, name) for name in names})


def _not_asks(lines: Iterable[Line]) -> Iterator[Line]:
    return (line for line in lines if isinstance(line, Tell | LateCause | Retry))


def _explored(lines: Sequence[Line], asks: Iterable[Ask]) -> Explored | None:
    """The last word of the search that it has found out enough, if it asked for nothing after that."""
    at = max((i for i, line in enumerate(lines) if isinstance(line, Explored)), default=None)
    if at is None:
        return None
    before = {line.trial_id for line in lines[:at] if isinstance(line, Ask)}
    last = max((ask.number for ask in asks if ask.trial_id in before), default=-1)
    later = any(ask.phase == Phase.EXPLORE and ask.number > last for ask in asks)
    found = lines[at]
    return found if isinstance(found, Explored) and not later else None


def write_ledger(path: Path, lines: Iterable[Line]) -> None:
    """Writes a ledger of these lines in one go."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for number, line in enumerate(lines, start=1):
            file.write(written(event_of(line), number))


def set_aside_derived(results_dir: Path, roster: Roster, *, keep_table: bool) -> list[Path]:
    """Renames the files that a run writes anew and that contradict a ledger, so that it can be gone on with.

    Args:
        results_dir: the folder.
        roster: what its ledger says.
        keep_table: whether the table of trials is renamed at any rate, since it holds what the ledger does not.

    Returns:
        Their new names.

    Raises:
        ResultsError: the ledger still lacks something that the folder knows.
    """
    num_explored = len({ask.group for ask in roster.asks.values() if ask.phase == Phase.EXPLORE})
    moved = []
    checks = {
        TRIALS_FILE: functools.partial(check_table, results_dir, roster),
        JOURNAL_FILE: functools.partial(check_journal, results_dir, num_explored),
    }
    for name, check in checks.items():
        path = results_dir / name
        try:
            check()
            fits = not (name == TRIALS_FILE and keep_table)
        except ResultsError:
            fits = False
        if not fits and path.exists():
            moved.append(path.rename(spare(path)))
    check_complete(results_dir, roster, num_explored)
    return moved


def set_aside(results_dir: Path, asked: Iterable[str]) -> tuple[Path | None, list[str]]:
    """Moves what trainings left that no line speaks of into a folder of its own.

    Returns:
        The folder, None where there was nothing; and the ids of these trainings.
    """
    unknown = sorted(set().union(*(recorded_ids(results_dir, kind) for kind in RECORDS)) - set(asked))
    if not unknown:
        return None, []
    folder = spare(results_dir / SET_ASIDE)
    for trial_id in unknown:
        for place in places_of(results_dir, trial_id):
            if place.exists():
                to = folder / place.relative_to(results_dir)
                to.parent.mkdir(parents=True, exist_ok=True)
                place.rename(to)
    return folder, unknown
