"""Judges a folder of other people's logs whose truth is known, by the code of `python -m sweep.replay`.

The folder holds the logs and one of two tables. `expected.csv` has the columns file, truth (healthy or failed) and, if
wanted, verdicts: a regular expression that the whole verdict must match. `series_truth.csv` has file and truth, and the
logs lie beside it in a folder `series/`. No such log is kept here: they belong to others.
"""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.detectors.rules import End, end_of
from slr_models.errors import UserError
from sweep.logs.answer import replay
from sweep.records import Outcome

_TABLES = (("expected.csv", ""), ("series_truth.csv", "series"))
"""Name of a table, and the folder that its files lie in."""
HEALTHY, FAILED = "healthy", "failed"


@dataclass(frozen=True)
class Expected:
    """What is known of one log."""

    file: str
    truth: str
    verdicts: str = ""
    """A regular expression; empty where any fitting verdict will do."""


@dataclass(frozen=True)
class Answered:
    """What replay said of one log."""

    expected: Expected
    verdict: str
    """Empty where the log could not be read."""
    end: End
    stop_step: int | None
    reason: str

    @property
    def is_right(self) -> bool:
        """Whether a failed run is called failed and a healthy one not, in the words that are wanted."""
        fits = (self.end is End.FAILED) == (self.expected.truth == FAILED)
        pattern = self.expected.verdicts
        return bool(self.verdict) and fits and (not pattern or re.fullmatch(pattern, self.verdict) is not None)

    @property
    def is_false_stop(self) -> bool:
        """Whether a healthy run would have been stopped."""
        return self.expected.truth == HEALTHY and self.stop_step is not None


def read_expected(folder: Path) -> tuple[Path, list[Expected]]:
    """The folder that holds the logs, and what is known of them.

    Raises:
        UserError: there is no table, or it lacks a column, or a row is no possible one.
    """
    for name, inside in _TABLES:
        table = folder / name
        if table.is_file():
            with table.open(encoding="utf-8-sig", newline="") as lines:
                rows = [_expected(table, number, row) for number, row in enumerate(csv.DictReader(lines), start=2)]
            if not rows:
                raise UserError(f"{table} has no rows: name at least one log, with the columns file and truth")
            return folder / inside, rows
    names = " nor ".join(name for name, _ in _TABLES)
    raise UserError(f"{folder} holds neither {names}: write one with the columns file and truth (healthy or failed)")


def _expected(table: Path, number: int, row: dict[str, str]) -> Expected:
    where = f"{table}, line {number}"
    file, truth, pattern = ((row.get(name) or "").strip() for name in ("file", "truth", "verdicts"))
    if not file:
        raise UserError(f"{where}: the column file is missing or empty; it names a log")
    if truth not in (HEALTHY, FAILED):
        raise UserError(f"{where}, column truth: got {truth!r}; write {HEALTHY} or {FAILED}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where}, column verdicts: {pattern!r} is no regular expression ({error})") from error
    return Expected(file, truth, pattern)


def judge_logs(folder: Path) -> list[Answered]:
    """What replay says of each log of a folder.

    Raises:
        UserError: see `read_expected`.
    """
    logs, rows = read_expected(folder)
    return [_judge(logs / row.file, row) for row in rows]


def _judge(path: Path, expected: Expected) -> Answered:
    try:
        answer = replay(path)
    except UserError as error:
        return Answered(expected, "", End.OPEN, None, f"cannot be read: {error}")
    if answer["verdict"] is None:
        return Answered(expected, "unknown", End.OPEN, answer["stop_step"], answer["reason"])
    outcome = Outcome(answer["verdict"])
    return Answered(expected, outcome.value, end_of(outcome), answer["stop_step"], answer["reason"])


def report_logs(folder: Path) -> str:
    """Share right of either truth, false stops, and what is wrong.

    Raises:
        UserError: see `read_expected`.
    """
    answers = judge_logs(folder)
    lines = [f"{len(answers)} logs in {folder}"]
    lines += [line for truth in (HEALTHY, FAILED) if (line := _line(truth, answers))]
    healthy = [a for a in answers if a.expected.truth == HEALTHY]
    if healthy:
        num_false = sum(a.is_false_stop for a in healthy)
        lines.append(f"false stops: {num_false} of {len(healthy)} healthy logs ({num_false / len(healthy):.1%})")
    for a in answers:
        if not a.is_right or a.is_false_stop:
            wanted = f", wanted {a.expected.verdicts}" if a.expected.verdicts else ""
            stop = f", stopped at step {a.stop_step}" if a.stop_step is not None else ""
            lines.append(f"wrong: {a.expected.file} ({a.expected.truth}{wanted}): {a.verdict or '-'}{stop}: {a.reason}")
    return "\n".join(lines)


def _line(truth: str, answers: Sequence[Answered]) -> str:
    own = [a for a in answers if a.expected.truth == truth]
    if not own:
        return ""
    right, left_open = sum(a.is_right for a in own), sum(a.end is End.OPEN for a in own)
    return f"{truth}: {right} of {len(own)} right ({right / len(own):.1%}), {left_open} left open"
