"""Tables in text: CSV with any of the usual delimiters, Markdown, and what W&B and TensorBoard export.

A whole file of numbers goes through PyArrow's reader, column by column and without a Python object a cell; whatever is
odd about it (a row that is too short, a header that stands again, a terminal code) sends it to a careful one.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv as fast_csv

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.columns import HELD_OUT, meaning_of, normal_form
from sweep.logs.lines import header_of
from sweep.logs.raw import Cell, Column, NumberCells, RawLog, is_empty
from sweep.logs.source import Source
from sweep.wording import plural

_DELIMITERS = (",", "\t", ";", "|")
_NULLS = [spelled for word in ("none", "null", "n/a", "na", "-", "--", "<na>", "nil", "no log") for spelled in
          {word, word.upper(), word.capitalize()}]  # fmt: skip
_RULE = re.compile(r"[\s|:+=-]*-{2,}[\s|:+=-]*")
"""Between the header and the rows of a Markdown table, and around those of others."""
BOXES = {
    **dict.fromkeys([*range(0x2500, 0x2502), *range(0x2504, 0x2551), *range(0x2552, 0x2574)], "-"),
    **dict.fromkeys((0x2502, 0x2503, 0x2551), "|"),
}
"""Characters that draw the lines of a table -> what does so in Markdown."""
_ENDS_IN_NUMBER = re.compile(r"(?:^|\s)[-+]?\.?\d[\d.,]*(?:e[-+]?\d+)?$", re.IGNORECASE)
"""A field of a text's line is a name with its number, or a number alone."""
_COUNTERS = ("step", "epoch")
_BLOCK = 2**17
"""Bytes that are parsed at a time."""
_MAX_REMARKS = 100
"""Lines before a header."""
_NUM_SAMPLED = 200
"""Rows that tell which columns hold numbers."""


def delimiter_of(header: str) -> str:
    """What parts the fields of a line."""
    return max(_DELIMITERS, key=header.count)


def is_header(line: str) -> bool:
    """Whether a line names columns, one of them a loss, and holds no values."""
    names = _fields(line, delimiter_of(line))
    if len(names) < 2 or any(mark in line for mark in "=:{") or any(map(_ENDS_IN_NUMBER.search, names)):
        return False
    fields = {known.field for name in names if (known := meaning_of(name)) is not None}
    return not fields.isdisjoint(("loss", "val_loss")) or ("metric" in fields and not fields.isdisjoint(_COUNTERS))


def are_numbers_alone(text: str) -> bool:
    """Whether the first lines of a text hold several numbers each, as many in one as in the next, and no names."""
    lines = [line.strip() for line in text.split("\n", 10)[:10] if line.strip()][:3]
    delimiter = delimiter_of(lines[0]) if lines else ","
    rows = [line.split(delimiter) if delimiter in line else line.split() for line in lines]
    widths = {len(row) for row in rows}
    return (
        len(rows) > 1 and len(widths) == 1 and min(widths) > 1 and all(_is_number(word) for row in rows for word in row)
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _fields(line: str, delimiter: str) -> list[str]:
    """The fields of a header, without padding, quotes and Markdown's outer bars."""
    line = line.strip().lstrip("#").strip()
    if delimiter == "|":
        line = line.strip("|")
    return [name.strip().strip("\"'").strip("*` ") for name in line.split(delimiter)]


def markdown_table(lines: Sequence[str]) -> list[tuple[int, str]] | None:
    """Number and text of the lines of the first Markdown table with a loss; None where there is none."""
    for number, (line, rule) in enumerate(zip(lines[:-1], lines[1:], strict=True)):
        if "|" in line and _RULE.fullmatch(rule) and is_header(line):
            table = [(number + 1, line)]
            for later, row in enumerate(lines[number + 2 :], start=number + 3):
                if _RULE.fullmatch(row) and "+" in row:
                    continue
                if "|" not in row:
                    break
                table.append((later, row))
            return table
    return None


def read_table(source: Source, choice: ColumnChoice) -> RawLog:
    """The columns of a table.

    Raises:
        UserError: It is empty, a row has more fields than the header, or it holds several runs.
    """
    if (raw := _read_fast(source, choice)) is not None:
        return raw
    texts = source.text().splitlines()
    first = next((place for place, line in enumerate(texts) if not _is_remark(line)), None)
    if first is None:
        raise UserError(f"{source.path} is empty; give a log with at least one loss")
    lines = list(enumerate(texts[first:], start=first + 1))
    if not is_header(lines[0][1]) and (table := markdown_table(texts)) is not None:
        return read_lines(source.path, table, "|", choice)
    return read_lines(source.path, lines, delimiter_of(lines[0][1]), choice)


def _is_remark(line: str) -> bool:
    """Whether a line before the header is empty, a remark, or the rule of a table."""
    if line.startswith("#"):
        return not is_header(line) and header_of(line) is None
    # Excel writes `sep=;` into a first line of its own.
    return not line.strip() or line.startswith("sep=") or bool(_RULE.fullmatch(line))


def begins_with_header(text: str) -> bool:
    """Whether a text's first line that is no remark names columns, one of them a loss."""
    first = next((line for line in text.splitlines()[:_MAX_REMARKS] if not _is_remark(line)), "")
    return is_header(first)


def read_lines(path: Path, lines: Sequence[tuple[int, str]], delimiter: str, choice: ColumnChoice) -> RawLog:
    """The columns of a table, cell by cell; `lines` are numbered, the header first."""
    rows = _rows(path, lines, delimiter)
    _, header = next(rows, (0, [""]))
    if all(map(_is_number, header)):
        names = [f"column {place}" for place in range(1, len(header) + 1)]
        if not choice.loss:
            raise UserError(
                f"{path} has no header: its first line holds numbers alone, so its columns are "
                f"{', '.join(names[:20])}; "
                f'name the training loss by --loss "column 1" (or --loss 1), or write the names before it, such as '
                f"step,loss"
            )
        return read_lines(path, [(0, delimiter.join(names)), *lines], delimiter, choice)
    if len(header) == 1 and len(header[0].split()) > 1:
        parted = [(number, delimiter.join(line.lstrip("# ").split())) for number, line in lines]
        # An open quotation mark keeps together what lies between blanks.
        if parted != list(lines):
            return read_lines(path, parted, delimiter, choice)
    names, kept, notes = _named(path, header, choice)
    columns: dict[str, list[Cell]] = {name: [] for name in names if choice.wants(name)}
    others = {name: bytearray() for name in names if name not in columns}
    numbers: list[int] = []
    num_headers = 0
    for number, fields in rows:
        if [field.strip() for field in fields] == header:
            num_headers += 1
            continue
        if len(fields) > len(header) and not all(is_empty(field) for field in fields[len(header) :]):
            raise UserError(
                f"{path}: line {number} has {len(fields)} fields, but the first line names {len(header)}; "
                f"quote a field that holds a {delimiter!r}"
            )
        numbers.append(number)
        fields.extend([""] * (len(header) - len(fields)))
        for name, place in zip(names, kept, strict=True):
            if name in columns:
                columns[name].append(fields[place])
            else:
                others[name].append(not is_empty(fields[place]))
    if num_headers:
        notes = (*notes, f"the header stands again in {plural(num_headers, 'row')}, left out here")
    return RawLog(
        "CSV",
        len(numbers),
        tuple(names),
        columns,
        numbers,
        filled=lambda: [np.frombuffer(marks, dtype=np.bool_) for marks in others.values()],
        notes=notes,
    )


def _rows(path: Path, lines: Sequence[tuple[int, str]], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the header and of each row."""
    has_bars = delimiter == "|" and lines[0][1].strip().startswith("|")
    texts = [line.strip().strip("|") if has_bars else line for _, line in lines]
    texts[0] = texts[0].lstrip().lstrip("#").lstrip()
    numbers = [number for number, _ in lines]
    reader = csv.reader(texts, delimiter=delimiter, skipinitialspace=True)
    before = 0
    try:
        for fields in reader:
            number = numbers[before]
            before = reader.line_num
            if not fields or _RULE.fullmatch(delimiter.join(fields)):
                continue
            if number == numbers[0]:
                fields = [
                    field.strip().strip("*` ") or f"column {place}" for place, field in enumerate(fields, start=1)
                ]
            yield number, fields
    except csv.Error as error:
        raise UserError(f"{path}: line {numbers[before]} cannot be read as CSV ({error})") from error


def _named(path: Path, header: Sequence[str], choice: ColumnChoice) -> tuple[list[str], list[int], tuple[str, ...]]:
    """The names of the columns, their places, and notes of what an exporting program made of them.

    Raises:
        UserError: Two needed columns have one name, or the table holds several runs.
    """
    names, places, notes = _exported(path, header, choice)
    twice = next((name for name in names if names.count(name) > 1 and choice.wants(name)), None)
    if twice is not None:
        raise UserError(f"{path} has two columns {twice}; rename or remove one")
    return names, places, notes


def _exported(path: Path, names: Sequence[str], choice: ColumnChoice) -> tuple[list[str], list[int], tuple[str, ...]]:
    every = list(range(len(names)))
    if [normal_form(name) for name in names] == ["wall_time", "step", "value"] and not choice.loss:
        return (
            ["wall_time", "step", "loss"],
            every,
            ("TensorBoard exports one metric a file without its name; Value is taken for the training loss",),
        )
    parts = [name.rpartition(" - ") for name in names]
    runs = list(dict.fromkeys(run for run, _, _ in parts[1:]))
    # W&B: an axis, then `RUN - METRIC`. Someone's own `val - loss` is none of that.
    if not runs or parts[0][0] or "" in runs or not HELD_OUT.isdisjoint(map(normal_form, runs)):
        return list(names), every, ()
    run = one_run(path, runs, choice)
    places = [0, *(place for place in every[1:] if parts[place][0] == run)]
    return [parts[place][2] for place in places], places, (f"the run is {run}",)


def one_run(path: Path, runs: Sequence[str], choice: ColumnChoice) -> str:
    """The run to be judged, of those that a file holds.

    Raises:
        UserError: There are several and none is chosen, or there is none of that name.
    """
    if choice.run is not None:
        if choice.run not in runs:
            raise UserError(f"{path} has no run {choice.run}; its runs are: {', '.join(runs[:20])}")
        return choice.run
    if len(runs) > 1:
        more = f" and {len(runs) - 20} more" if len(runs) > 20 else ""
        raise UserError(
            f"{path} holds {len(runs)} runs ({', '.join(sorted(runs[:20], key=_by_number))}{more}); "
            f"choose one by --run NAME"
        )
    return runs[0]


def _by_number(run: str) -> tuple[int, str]:
    return (int(run) if run.isdigit() else 0), run


def _read_fast(source: Source, choice: ColumnChoice) -> RawLog | None:
    """A table of numbers by PyArrow; None where anything about it is odd."""
    head = source.head
    lines = head.decode("utf-8", errors="replace").split("\n")
    # The last line of a long file's beginning may be cut.
    sample = lines[1 : _NUM_SAMPLED + 1] if len(lines) > _NUM_SAMPLED + 1 else lines[1:-1]
    first = lines[0].rstrip("\r")
    delimiter = delimiter_of(first)
    if (
        "\r" in first
        or first.startswith("sep=")
        or not sample
        or delimiter == "|"
        or not first.strip()
        or first[0] in "#>\ufeff"
        or source.has_escapes()
    ):
        return None
    header = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True))
    header = [name.strip() or f"column {number}" for number, name in enumerate(header, start=1)]
    if len(header) < 2 or any(_is_number(name) for name in header):
        return None
    names, places, notes = _named(source.path, header, choice)
    try:
        rows = list(csv.reader(sample, delimiter=delimiter, skipinitialspace=True))
    except csv.Error:
        return None
    if any(len(row) != len(header) for row in rows):
        return None
    wanted = {name: place for name, place in zip(names, places, strict=True) if choice.wants(name)}
    if not wanted:
        return None
    texts = {
        name for name, place in wanted.items() if not all(is_empty(r[place]) or _is_number(r[place]) for r in rows)
    }
    if any(name in (row[place].strip() for row in rows) for name, place in wanted.items()):
        return None
    while True:
        try:
            columns = _columns(source, delimiter, len(header), wanted, texts)
            break
        except pa.ArrowInvalid as error:
            failed = re.match(r"In CSV column #(\d+)", str(error))
            name = next((name for name, place in wanted.items() if failed and place == int(failed[1])), None)
            if name is None or name in texts:
                return None
            texts.add(name)
        except UnicodeDecodeError:
            # Texts that are no UTF-8 are read with what can be told of them.
            return None
    if any(name in columns[name] for name in texts):  # type: ignore[operator]
        return None
    others = [place for name, place in zip(names, places, strict=True) if name not in wanted]

    def filled() -> Iterable["np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
        for place in others:
            (column,) = _columns(source, delimiter, len(header), {"": place}, {""}, marks_alone=True).values()
            assert isinstance(column, NumberCells)
            yield column.logged

    one = next(iter(columns.values()))
    num_rows = len(one.logged) if isinstance(one, NumberCells) else len(one)
    return RawLog("CSV", num_rows, tuple(names), columns, range(2, num_rows + 2), filled=filled, notes=notes)


def _columns(
    source: Source, delimiter: str, width: int, wanted: dict[str, int], texts: set[str], *, marks_alone: bool = False
) -> dict[str, Column]:
    """The columns at some places: numbers, or cells where they are texts.

    Raises:
        ArrowInvalid: A cell is no number, or the rows differ in width.
    """
    keys = [str(place) for place in range(width)]
    types = {keys[place]: pa.string() if name in texts else pa.float64() for name, place in wanted.items()}
    growing = {name: _Growing(source.num_lines_guessed) for name in wanted if name not in texts or marks_alone}
    cells: dict[str, list[Cell]] = {name: [] for name in wanted if name not in growing}
    with source.open() as stream:
        reader = fast_csv.open_csv(
            stream,
            read_options=fast_csv.ReadOptions(use_threads=False, column_names=keys, skip_rows=1, block_size=_BLOCK),
            parse_options=fast_csv.ParseOptions(delimiter=delimiter, ignore_empty_lines=False),
            convert_options=fast_csv.ConvertOptions(
                check_utf8=False,
                column_types=types,
                include_columns=list(types),
                null_values=["", *_NULLS],
                strings_can_be_null=True,
            ),
            # It gives memory back at once.
            memory_pool=pa.system_memory_pool(),
        )
        for batch in reader:
            for name, column in zip(wanted, batch.columns, strict=True):
                if name in growing:
                    growing[name].extend(column, marks_alone=marks_alone)
                else:
                    cells[name].extend(column.to_pylist())
    return {name: growing[name].numbers() if name in growing else cells[name] for name in wanted}


class _Growing:
    """A column of numbers that is read in parts."""

    def __init__(self, size_guessed: int) -> None:
        self._values = np.empty(size_guessed)
        self._logged = np.empty(size_guessed, dtype=np.bool_)
        self._size = 0

    def extend(self, column: pa.Array, *, marks_alone: bool) -> None:
        """Adds a part; only where there is anything, if that is all that is asked for."""
        stop = self._size + len(column)
        if stop > len(self._logged):
            size = max(stop, 3 * len(self._logged) // 2)
            self._values, self._logged = np.resize(self._values, size), np.resize(self._logged, size)
        if not marks_alone:
            self._values[self._size : stop] = column.to_numpy(zero_copy_only=False)
        self._logged[self._size : stop] = column.is_valid().to_numpy(False) if column.null_count else True
        self._size = stop

    def numbers(self) -> NumberCells:
        """The whole column."""
        return NumberCells(self._values[: self._size], self._logged[: self._size])
