"""Runs a command as a training of the user's own: reads its log as it grows, and ends it where it is lost.

The log is read by the readers of `replay`, again and again as it grows, at most a tenth of the time. Values are put
into the command word by word; no shell sees them.
"""

import contextlib
import csv
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from slr_models.errors import UserError
from sweep.logs.files import read_trace
from sweep.logs.tables import delimiter_of
from sweep.logs.trace import Trace
from sweep.own import minder
from sweep.own.handle import VAL_LOSS, Run, Stop
from sweep.own.program import CommandProgram, HungError, TimedOutError
from sweep.records import StepRecord
from sweep.space import flat

_POLL_S = 0.2
_READ_SHARE = 10.0
"""Times as long as the latest reading took that the next one waits."""
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
OWN_NAMES = ("dir", "seed", "steps")
"""What a command may name besides its settings."""
OUTPUT_FILE = "output.txt"
MAX_OUTPUT_MIB = 256
"""Of what a command prints; more is not kept, nor read."""
_TAIL = 2000
_LONGEST_LINE = 2**20
"""Bytes that are waited for until a line ends."""
_LAST_OUTPUT_S = 5.0
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf(?:inity)?))"
TEXTS = ("", ".txt", ".log", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".out", ".err", ".md")


def words(program: CommandProgram) -> list[str]:
    """The command, word by word.

    Raises:
        ValueError: a quotation in it has no end.
    """
    return shlex.split(program.run) if isinstance(program.run, str) else list(program.run)


def names_in(text: str) -> Iterator[str]:
    """What a text names in braces."""
    return (found[1] for found in _PLACEHOLDER.finditer(text) if found[1] is not None)


def filled_in(text: str, values: Mapping[str, object]) -> str:
    """A text with values in place of their names."""

    def value(found: re.Match[str]) -> str:
        return found[0][0] if found[1] is None else shown(values[found[1]])

    return _PLACEHOLDER.sub(value, text)


def shown(value: object) -> str:
    """A value as a command is given it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_command(program: CommandProgram, config: Mapping[str, Any], run: Run) -> None:
    """Trains by running the command; reports to `run`, which may end it by `Stop`.

    Raises:
        HungError: it wrote nothing for too long.
        TimedOutError: it took too long.
        UserError: it cannot be started, fails, or logs no losses.
    """
    folder = run.folder.absolute()
    # A log of an earlier try would be read as this one's.
    for old in folder.iterdir():
        shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
    values = {**flat(config), "dir": folder, "seed": run.seed, "steps": "" if run.steps is None else run.steps}
    command = [filled_in(word, values) for word in words(program)]
    log = folder / OUTPUT_FILE if program.log is None else Path(filled_in(program.log, values))
    cwd = None if program.cwd is None else filled_in(program.cwd, values)
    if not log.is_absolute():
        log = Path(cwd or ".").absolute() / log
    variables = {name: filled_in(text, values) for name, text in program.env.items()}
    # Else a program in Python keeps what it prints to itself for as long as it likes.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
    try:
        process = subprocess.Popen(
            [sys.executable, minder.__file__, str(program.grace_s), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"trial.run cannot be started: {error}") from error
    log_reader = _Log(log, program, run)
    with _Output(process, folder / OUTPUT_FILE) as output:
        try:
            _follow(process, program, output, log_reader)
        finally:
            # Its end is the word for the minder to end the rest.
            assert process.stdin is not None, "a pipe"
            with contextlib.suppress(OSError):
                process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(program.grace_s + _LAST_OUTPUT_S)
    code = process.returncode
    if code == minder.NOT_STARTED and not log_reader.num_steps:
        raise UserError(f"trial.run cannot be started: {output.tail.strip() or command[0]}")
    try:
        log_reader.read(is_last=True)
    except UserError:
        # Why it failed says more.
        if not code:
            raise
    if code:
        last = next((line for line in reversed(output.tail.splitlines()) if line.strip()), "it printed nothing")
        how = f"was ended by signal {code - 128}" if code > 128 else f"ended with exit code {code}"
        raise UserError(f"the command {how}: {last.strip()[:300]}")


def _follow(process: "subprocess.Popen[bytes]", program: CommandProgram, output: "_Output", log: "_Log") -> None:
    """Reads until the command ends; raises as `run_command`."""
    started = heard = time.monotonic()
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
        now = time.monotonic()
        grew = [output.grew(), log.grew()]
        log.raise_if_stopped()
        if output.problem is not None:
            raise output.problem
        if any(grew):
            heard = now
        log.read()
        if process.poll() is not None:
            return
        if program.timeout_s is not None and now - started > program.timeout_s:
            raise TimedOutError(f"the command took more than {program.timeout_s:g} s (trial.timeout_s), and was ended")
        if now - heard > program.silence_s:
            raise HungError(
                f"the command wrote nothing for {program.silence_s:g} s (trial.silence_s), and was ended: it hangs"
            )


class _Output:
    """What a command prints, kept line by line in a file: read by a thread of its own, so that no command waits for the
    reading of its log."""

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path) -> None:
        assert process.stdout is not None, "a pipe"
        self._pipe: IO[bytes] = process.stdout
        self._file = path.open("wb", buffering=0)
        self._rest, self._size = b"", 0
        self._num_read = self._num_seen = 0
        self.tail = ""
        """The last of it."""
        self.problem: OSError | None = None
        """Why it cannot be kept any more."""
        self._thread = threading.Thread(target=self._read, name="output of a command", daemon=True)
        self._thread.start()

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, *_: object) -> None:
        # The rest comes at once: whoever wrote is gone, or is about to be.
        self._thread.join(_LAST_OUTPUT_S)
        if not self._thread.is_alive():
            self._pipe.close()

    def grew(self) -> bool:
        """Whether there was something since that was asked last."""
        before, self._num_seen = self._num_seen, self._num_read
        return self._num_seen != before

    def _read(self) -> None:
        with self._file:
            while chunk := os.read(self._pipe.fileno(), 2**18):
                self._num_read += 1
                self.tail = (self.tail + chunk.decode("utf-8", "replace"))[-_TAIL:]
                whole, end, self._rest = (self._rest + chunk).rpartition(b"\n")
                self._keep(whole + end)
                if len(self._rest) > _LONGEST_LINE:
                    self._keep(self._rest)
                    self._rest = b""
            self._keep(self._rest)

    def _keep(self, lines: bytes) -> None:
        if self.problem is not None or self._size >= MAX_OUTPUT_MIB * 2**20:
            return
        try:
            self._file.write(lines)
        except OSError as error:
            # It is read on: the command must not wait for a disk that is full.
            self.problem = error
        self._size += len(lines)


class _Log:
    """The log of a command, whose new steps go to its run."""

    def __init__(self, path: Path, program: CommandProgram, run: Run) -> None:
        self._path, self._program, self._run = path, program, run
        self._size = self._size_read = -1
        self._due = 0.0
        self._last_step, self._shift, self._last_evaluation = -math.inf, 0, -math.inf
        self._told: dict[str, float] = {}
        self.num_steps = 0

    def raise_if_stopped(self) -> None:
        """Raises Stop where the run is to end, of which a program that writes nothing would never hear."""
        if self._run.should_stop:
            raise Stop(self._run.reason)

    def grew(self) -> bool:
        """Whether it is longer than when that was asked last."""
        before, self._size = self._size, _size(self._path)
        return self._size != before

    def read(self, *, is_last: bool = False) -> None:
        """Reads what is new, if it is time to.

        Raises:
            UserError: `is_last`, and it cannot be read or holds no losses.
            Stop: as `Run.step`.
        """
        started = time.monotonic()
        if self._path.exists() and not (self._path.is_file() or self._path.is_dir()):
            raise UserError(f"trial.log: {self._path} is neither a plain file nor a folder")
        size = _size(self._path)
        if not is_last and (started < self._due or size == self._size_read or size <= 0):
            return
        self._size_read = size
        try:
            trace = self._trace(is_last)
        except (UserError, OSError, ValueError) as error:
            if not is_last:
                # None with a loss yet.
                self._due = time.monotonic() + max(_READ_SHARE * (time.monotonic() - started), 1.0)
                return
            told = str(error).replace(str(self._whole_lines_copy), str(self._path))
            raise UserError(f"the command ended, and its log tells no losses: {told}") from error
        records = [record for record in trace.records() if record.step > self._last_step]
        if self._last_step == -math.inf and records and records[0].step < 1:
            self._shift = 1 - records[0].step
        evaluations = [one for one in trace.validation if one[0] > self._last_evaluation and math.isfinite(one[1])]
        self._due = time.monotonic() + _READ_SHARE * (time.monotonic() - started)
        self._tell(records, evaluations, is_last=is_last)

    def _tell(self, records: Sequence[StepRecord], evaluations: Sequence[tuple[int, float]], *, is_last: bool) -> None:
        waiting = list(evaluations)
        for record in records:
            while waiting and waiting[0][0] < record.step:
                self._evaluated(waiting.pop(0))
            self._last_step = record.step
            self.num_steps += 1
            self._run.record(replace(record, step=record.step + self._shift))
        for one in waiting:
            self._evaluated(one)
        metrics = self._metrics(is_last=is_last)
        if is_last:
            self._run.result(metrics)
        elif metrics and metrics != self._told and self.num_steps:
            self._told = metrics
            self._run.report(metrics)

    def _evaluated(self, one: tuple[int, float]) -> None:
        self._last_evaluation = one[0]
        if VAL_LOSS not in self._program.metrics and self.num_steps:
            self._run.report({VAL_LOSS: one[1]})

    def _metrics(self, *, is_last: bool) -> dict[str, float]:
        """The last value of each result that the study asks for, as far as the log tells it yet."""
        if not self._program.metrics:
            return {}
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return {}
        if not is_last:
            # A number that is half written is another one.
            text = text[: text.rfind("\n") + 1]
        found = {name: last_value(text, word) for name, word in self._program.metrics.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _trace(self, is_last: bool) -> Trace:
        """What the log tells; of a last line that is half written, nothing, unless it can be read as it is."""
        if is_last:
            with contextlib.suppress(UserError, ValueError):
                return read_trace(self._path)
        return read_trace(self._whole_lines())

    @property
    def _whole_lines_copy(self) -> Path:
        return self._run.folder / f"whole_lines{self._path.suffix}"

    def _whole_lines(self) -> Path:
        """The log, or a copy without a last line that has no end."""
        if self._path.is_dir() or self._path.suffix.lower() not in TEXTS:
            return self._path
        content = self._path.read_bytes()
        if content.endswith(b"\n"):
            return self._path
        copy = self._whole_lines_copy
        copy.write_bytes(content[: content.rfind(b"\n") + 1])
        return copy


def last_value(text: str, word: str) -> float | None:
    """The last number that a log tells under a name: of a column of a table, a key, or a word before it.

    Args:
        text: the log.
        word: the name.
    """
    lines = text.splitlines()
    header = next((line for line in lines if line.strip()), "")
    delimiter = delimiter_of(header)
    names = next(csv.reader([header], delimiter=delimiter), [])
    if len(names) > 1 and word in [name.strip() for name in names]:
        place = [name.strip() for name in names].index(word)
        for line in reversed(lines[1:]):
            cells = next(csv.reader([line], delimiter=delimiter), [])
            if len(cells) > place and cells[place].strip():
                return _float(cells[place].strip())
        return None
    pattern = re.compile(rf"(?<![\w]){re.escape(word)}(?![\w])[\"']?\s*[:=]?\s*{_NUMBER}(?![\w])", re.IGNORECASE)
    for line in reversed(lines):
        matches = pattern.findall(line)
        if matches:
            return _float(matches[-1])
    return None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _size(path: Path) -> int:
    """Bytes of a file, or of the files of a folder; -1 where there is none."""
    with contextlib.suppress(OSError):
        if path.is_dir():
            return sum(one.stat().st_size for one in path.rglob("*") if one.is_file())
        return path.stat().st_size
    return -1
