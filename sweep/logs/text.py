"""Plain text logs: the numbers that a training printed, line by line.

Understood are pairs of a name and a number in any of the usual styles (`Batch 3: loss=5.1, grad_norm=0.48`,
`step 100 | loss 3.2 | grad norm 1.1`, `{'loss': 0.5, 'grad_norm': 1.2}`, `[10/500] Loss: 2.1`), tables of a header
and rows of numbers, and messages: `Infinite gradient norm at batch 0`, `loss is nan at step 7`, and "skip",
"skipped", "skipping" for a step without an update. What is said of validation stands apart; prose is passed over.

Most lines of a log are printed by the same few statements. A line's shape is what is left of it without its digits;
each shape is understood once, and its other lines are but numbers at known places.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sweep.logs import bars
from sweep.logs.choice import ColumnChoice
from sweep.logs.columns import meaning_of, normal_form
from sweep.logs.facts import ID_PIECES, PIECES, Fact
from sweep.logs.lines import facts_of, header_of, is_worth_reading
from sweep.logs.naming import names_of_numbers, rewards_of
from sweep.logs.raw import Cell, Column, Floats, NumberCells, RawLog
from sweep.logs.words import parse
from sweep.wording import plural

_CODE = re.compile(r"^\s*(?:import \w|from [\w.]+ import |def \w+\(|class \w+[(:])", re.MULTILINE)
"""Part of a program in Python, as some logs begin with."""
_ASSIGNMENT = re.compile(r"\s*[\w.\[\]'\"]+(?:: *[\w.\[\]]+)? [-+*/]?= [^|:,;]*$")
_KALDI = re.compile(
    r"\baverage\s+objective\s+function\s+for\s+'output'\s+(?:for\s+minibatches\s+[\d-]+\s+)?is\s+\S+", re.IGNORECASE
)
_EPOCH_OF_TOTAL = re.compile(r"pochs?(?:\W{0,3}(\d{1,7}) ?(?:/|of) ?(\d{1,7})(?![\d/])|\[(\d{1,7})\])")
"""It begins with letters alone, which are found fast."""
_MANY_SHAPES = 1000
"""Where there are more, lines may differ in names that are numbers."""
_MAX_SHAPES = 20_000
"""More shapes than any log of a training has are not kept; beyond, a line is understood by itself."""


@dataclass
class _Shape:
    """The lines that differ in their numbers alone."""

    facts: tuple[Fact, ...]
    rows: "array[int]" = field(default_factory=lambda: array("q"))
    cells: list[list[str]] = field(default_factory=list)
    """Of each fact, what stands at its place, [facts][rows]; empty where it has none."""

    @property
    def is_overflow(self) -> bool:
        """Whether the lines say what the loss scale is reduced to."""
        return any(fact.is_said and fact.key == "loss_scale" and fact.factor != 1 for fact in self.facts)

    def words(self, place: int) -> list[str]:
        """What the lines say of a fact, as text."""
        fact = self.facts[place]
        if fact.place is None:
            return [repr(fact.value)] * len(self.rows)
        return [f"-{cell}" for cell in self.cells[place]] if fact.factor < 0 else self.cells[place]

    def values(self, place: int) -> Floats:
        """The numbers of a fact.

        Raises:
            ValueError: what stands at its place has a comma.
        """
        fact = self.facts[place]
        if fact.place is None:
            return np.full(len(self.rows), fact.value)
        return fact.factor * np.fromiter(map(float, self.cells[place]), dtype=np.float64, count=len(self.rows))


def read_text(path: Path, content: str, choice: ColumnChoice) -> RawLog:
    """The steps that a text log tells of; gradient norms without losses are enough.

    Where its epochs start anew after the last of them and the loss does so too, it holds several runs: a column `run`
    numbers them from 1.
    """
    content = _unwrapped(content)
    shapes, lines = _shapes(content, choice)
    names: dict[str, str] = {}
    messages: set[str] = set()
    for fact in (fact for shape in shapes for fact in shape.facts):
        if fact.is_said:
            messages.add(fact.key)
        else:
            names.setdefault(fact.key, fact.name)
    columns: dict[str, Column] = {}
    for key, name in names.items():
        uses = _uses(shapes, key, is_said=False)
        try:
            columns[name] = _numbers(uses, len(lines))
        except ValueError:
            columns[name] = _words(uses, len(lines))
    said = {key: _said(_uses(shapes, key, is_said=True), len(lines)) for key in messages}
    # What is not there, a person has to name.
    has_all = {normal_form(name) for name in choice.asked} <= names.keys()
    has_any = bool({"loss", "grad_norm"} & messages) or any(_tells(name) for name in columns)
    candidates = () if has_all and has_any else names_of_numbers(content)
    runs, notes = _runs(content, lines, columns, choice)
    return RawLog(
        "text",
        len(lines),
        tuple(dict.fromkeys((*columns, *rewards_of(content)))),
        runs | columns,
        lines,
        is_table=False,
        is_text=True,
        said=said,
        candidates=candidates,
        notes=notes,
    )


def _tells(name: str) -> bool:
    meaning = meaning_of(name)
    return meaning is not None and meaning.field in ("loss", "val_loss", "grad_norm")


def _unwrapped(content: str) -> str:
    """The text with Kaldi's sentences on one line each, which mail programs break; the number of lines stays."""
    if "objective" not in content:
        return content
    return _KALDI.sub(lambda found: " ".join(found[0].split()) + found[0].count("\n") * "\n", content)


def _runs(
    content: str, lines: list[int], columns: dict[str, Column], choice: ColumnChoice
) -> tuple[dict[str, Column], tuple[str, ...]]:
    """A column that numbers the runs that a text holds, and notes; nothing where it holds one."""
    starts, num_falls = _starts_of_runs(content)
    runs = (np.searchsorted(starts, lines, side="right") + 1).astype(np.float64)
    if not starts or runs[:1] == runs[-1:]:
        note = f"the epochs fall back {plural(num_falls, 'time')}, so several trainings may follow each other here"
        return {}, (note,) if 0 < num_falls < len(lines) / 3 else ()
    times = plural(len(starts), "time")
    if choice.run is None and not _begin_anew(runs, columns):
        return {}, (f"the epochs start anew {times} but the loss does not, so this is read as one training "
                    f"(--run 2 takes its second part alone)",)  # fmt: skip
    return {"run": NumberCells(runs, np.ones(len(runs), dtype=np.bool_))}, (
        f"the epochs start anew {times} after the last of them, so there are {len(starts) + 1} runs",
    )


def _starts_of_runs(content: str) -> tuple[list[int], int]:
    """The lines where epochs start anew after the last of them (`Epoch 15/15`, then `Epoch 1/15`); other falls."""
    if "POCH" in content:
        content = content.lower()
    starts = []
    number, position, before, total_before, num_falls = 1, 0, -1, 0, 0
    for found in _EPOCH_OF_TOTAL.finditer(content):
        epoch, total = (int(found[1]), int(found[2])) if found[1] else (int(found[3]), 0)
        if epoch <= 1 < total_before and before > epoch and before >= total_before - 1:
            number += content.count("\n", position, found.start())
            position = found.start()
            starts.append(number)
        elif epoch < before and total == total_before:
            num_falls += 1
        before, total_before = epoch, total
    return starts, num_falls


def _begin_anew(runs: Floats, columns: dict[str, Column]) -> bool:
    """Whether the loss begins most runs nearer to where it began the one before than to where it ended it."""
    found = [
        column
        for name, column in columns.items()
        if isinstance(column, NumberCells) and (meaning := meaning_of(name)) is not None and meaning.field == "loss"
    ]
    if not found:
        return False
    fullest = max(found, key=lambda column: int(column.logged.sum()))
    known = np.isfinite(fullest.values)
    values, runs = fullest.values[known], runs[known]
    begins = np.flatnonzero(np.diff(runs)) + 1
    first = values[np.concatenate([[0], begins])]
    far = np.abs(first[1:] - values[begins - 1]) > np.abs(np.diff(first))
    return bool(len(begins)) and bool(2 * far.sum() > len(begins))


def _shapes(content: str, choice: ColumnChoice) -> tuple[list[_Shape], list[int]]:
    """The shapes of the lines that tell of a step, and the line of each row."""
    known: dict[str, _Shape | None] = {}
    shapes: list[_Shape] = []
    lines: list[int] = []
    table: tuple[str, ...] = ()
    before = ""
    quotes_code = _CODE.search(content) is not None
    pattern = PIECES
    split = pattern.split
    drawn = _lines(content)
    for number, line in bars.last_of_each(drawn) if bars.has_bars(content) else drawn:
        pieces = split(line)
        key = "\0".join(pieces[::2])
        try:
            shape = known[key]
        except KeyError:
            if (header := header_of(line)) is not None:
                if header != table:
                    # A row means what its latest header says.
                    known.clear()
                table = header
            is_code = quotes_code and _ASSIGNMENT.match(line) is not None
            is_worth = not is_code and (bool(table) or is_worth_reading(line, choice))
            facts = facts_of(line, pieces, table, choice) if is_worth else ()
            shape = _Shape(facts, cells=[[] for _ in facts]) if facts else None
            if len(known) == _MANY_SHAPES and pattern is PIECES:
                known.clear()
                pattern = ID_PIECES
                split = pattern.split
            elif len(known) < _MAX_SHAPES and all(fact.holds_for_shape for fact in facts):
                known[key] = shape
            if shape is not None:
                shapes.append(shape)
        if shape is None or (line == before and shape.is_overflow):
            # Each process of several says that the scale was halved, once.
            continue
        before = line
        shape.rows.append(len(lines))
        lines.append(number)
        for fact, cells in zip(shape.facts, shape.cells, strict=True):
            if fact.place is not None:
                cells.append(pieces[fact.place])
    return shapes, lines


def _lines(content: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line; a progress bar draws itself again and again over its own."""
    for number, line in enumerate(content.split("\n"), start=1):
        if "\r" not in line:
            yield number, line
            continue
        # A lone return before the line's end is Windows'.
        previous = None
        for part in line.rstrip("\r").split("\r"):
            if part != previous:
                yield number, part
            previous = part


def _uses(shapes: list[_Shape], key: str, *, is_said: bool) -> list[tuple[_Shape, int]]:
    """The shapes that tell of a column or field, and which of their facts does."""
    return [
        (shape, place)
        for shape in shapes
        for place, fact in enumerate(shape.facts)
        if fact.key == key and fact.is_said == is_said
    ]


def _numbers(uses: list[tuple[_Shape, int]], num_rows: int) -> NumberCells:
    """A column of numbers.

    Raises:
        ValueError: one of them has a comma.
    """
    values = np.full(num_rows, np.nan)
    logged = np.zeros(num_rows, dtype=bool)
    for shape, place in uses:
        rows = np.frombuffer(shape.rows, dtype=np.int64)
        values[rows] = shape.values(place)
        logged[rows] = True
    return NumberCells(values, logged)


def _said(uses: list[tuple[_Shape, int]], num_rows: int) -> NumberCells:
    """What messages say of a field; a number that cannot be read says nothing."""
    try:
        return _numbers(uses, num_rows)
    except ValueError:
        values = np.full(num_rows, np.nan)
    for shape, place in uses:
        for row, word in zip(shape.rows, shape.words(place), strict=True):
            try:
                values[row] = abs(shape.facts[place].factor) * parse(word, "thousands")
            except ValueError:
                continue
    return NumberCells(values, ~np.isnan(values))


def _words(uses: list[tuple[_Shape, int]], num_rows: int) -> list[Cell]:
    """A column of numbers as they stand in the lines."""
    cells: list[Cell] = [None] * num_rows
    for shape, place in uses:
        for row, word in zip(shape.rows, shape.words(place), strict=True):
            cells[row] = word
    return cells
