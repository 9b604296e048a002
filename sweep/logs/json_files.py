"""Logs in JSON: an object a line, a list of objects, an object of lists, and what known programs make of these."""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.raw import Cell, RawLog, from_rows

_ROWS_KEYS = ("log_history", "history", "logs", "log", "metrics", "records", "results", "data", "rows", "train")
"""Where programs keep the rows within a larger object; the first is Hugging Face's trainer_state.json."""
_SHOWN = 300
_NUMBERED = re.compile(r"^[a-z]*[ _]?\d+$", re.IGNORECASE)

_MAX_DEPTH = 20
"""Objects in each other whose values count as logged."""


def read_json(path: Path, content: str, choice: ColumnChoice) -> RawLog:
    """The columns of a file that is one JSON value, or holds one a line.

    Raises:
        UserError: It is neither, or the value is no log.
    """
    try:
        value = _value(content)
    except ValueError:
        return _read_lines(path, content, choice)
    if isinstance(value, dict) and "\n" not in content.strip() and not _series(value) and not _rows_of(value):
        # A log of one line.
        return _read_lines(path, content, choice)
    raw = read_value(path, value, choice)
    if raw is None:
        what = f"an object of {', '.join(map(str, list(value)[:20]))}" if isinstance(value, dict) else "a list"
        raise UserError(
            f"{path} is JSON, but no log that can be read: {what[:_SHOWN]}; give a list of objects, an object of lists "
            f'such as {{"loss": [3.2, 3.1]}}, or one object a line'
        )
    return raw


def printed_history(content: str) -> object:
    """The object of lists that Python printed, such as Keras's `history.history`; None where the text is none."""
    text = content.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        with warnings.catch_warnings():
            # Of what is no Python at all.
            warnings.simplefilter("ignore", SyntaxWarning)
            value = ast.literal_eval(re.sub(r"(?<![\w'\"])(nan|inf)(?![\w'\"])", r"'\1'", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and _series(value) else None


def read_value(path: Path, value: object, choice: ColumnChoice) -> RawLog | None:
    """The columns of one JSON value; None where it is no log."""
    notes: tuple[str, ...] = ()
    if isinstance(value, list) and value and all(_is_point(point) for point in value):
        notes = (f"TensorBoard exports one metric a file without its name; {path.name} is taken for the training loss",)
        rows: Sequence[Mapping[str, Any]] | None = [{"step": step, "loss": loss} for _, step, loss in value]
    elif isinstance(value, list) and len(value) > 1 and all(isinstance(x, int | float) for x in value):
        notes = ("a list of numbers has no names; it is taken for the training losses",)
        rows = [{"loss": loss} for loss in value]
    elif isinstance(value, list):
        rows = value if value and all(isinstance(row, dict) for row in value) else None
    elif isinstance(value, dict):
        rows = _rows_of(value) or _rows_of_series(value)
    else:
        rows = None
    if rows is None:
        return None
    numbered = ((number, flat(row)) for number, row in enumerate(rows, start=1))
    return replace(from_rows("JSON", numbered, choice.wants, is_table=True, notes=notes), lines=None)


def _is_point(value: object) -> bool:
    """Whether a value is [wall time, step, value], as TensorBoard exports them."""
    return isinstance(value, list) and len(value) == 3 and all(isinstance(x, int | float | str) for x in value)


def _rows_of(value: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The list of objects that an object holds under one of the usual keys, or as its only list."""
    if isinstance(columns := value.get("columns"), list) and isinstance(data := value.get("data"), list):
        # pandas, orient="split".
        return [dict(zip(map(str, columns), row, strict=False)) for row in data if isinstance(row, list)] or None
    keys = [key for key in _ROWS_KEYS if key in value] + list(value)
    for key in keys:
        rows = value[key]
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            return rows
    rows = list(value.values())
    if len(rows) > 1 and all(isinstance(row, dict) for row in rows) and all(_NUMBERED.search(key) for key in value):
        # {"epoch_1": {"loss": ...}, "epoch_2": ...}
        return rows
    return None


def _rows_of_series(value: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    series = _series(value)
    if not series:
        return None
    length = max(len(values) for values in series.values())
    return [{name: values[row] for name, values in series.items() if row < len(values)} for row in range(length)]


def _series(value: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """The lists of numbers that an object holds, by path; a column that pandas wrote by row number counts as one."""
    found: dict[str, list[Any]] = {}
    for name, inner in value.items():
        if isinstance(inner, list) and inner and all(_is_cell(cell) for cell in inner):
            found[f"{prefix}{name}"] = inner
        elif isinstance(inner, list) and inner and all(isinstance(p, list) and len(p) == 1 for p in inner):
            found[f"{prefix}{name}"] = [point[0] for point in inner]
        elif isinstance(inner, dict) and inner and all(str(key).isdigit() for key in inner):
            if all(_is_cell(cell) for cell in inner.values()):
                found[f"{prefix}{name}"] = list(inner.values())
        elif isinstance(inner, dict) and not prefix.count("/") > 2:
            # Keras's own {"history": {...}} says nothing by its outer name.
            outer = "" if name in _ROWS_KEYS else f"{prefix}{name}/"
            found.update(_series(inner, outer))
    return found


def _is_cell(value: object) -> bool:
    return value is None or isinstance(value, str | float | int)


def flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Cell]:
    """The values of an object, those of nested ones by path ("train/loss"). Lists are no values of a step."""
    cells: dict[str, Cell] = {}
    for name, value in row.items():
        if isinstance(value, dict) and prefix.count("/") < _MAX_DEPTH:
            cells.update(flat(value, f"{prefix}{name}/"))
        elif _is_cell(value):
            cells[prefix + name] = value
    return cells


def _value(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, or its lists and objects lie too deep in each other.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its lists and objects lie too deep in each other") from None


def are_json_lines(content: str) -> bool:
    """Whether a text's first line that is not empty is a JSON object, or the text is one JSON value."""
    start = content.lstrip()
    if start[:1] not in ("{", "["):
        return False
    for text in (start.partition("\n")[0], start):
        try:
            value = _value(text)
        except ValueError:
            continue
        if isinstance(value, dict) or text is start:
            return True
    return False


def _read_lines(path: Path, content: str, choice: ColumnChoice) -> RawLog:
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]
    notes: tuple[str, ...] = ()
    if lines and not _is_json(lines[-1][1]) and len(lines) > 1:
        notes = (f"line {lines[-1][0]} is cut off and left out",)
        lines.pop()
    return from_rows("JSON lines", _json_rows(path, lines), choice.wants, is_table=True, notes=notes)


def _is_json(line: str) -> bool:
    try:
        _value(line)
    except ValueError:
        return False
    return True


def _json_rows(path: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, dict[str, Cell]]]:
    for number, line in lines:
        try:
            row = _value(line)
        except ValueError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error}); write one object a line") from error
        if not isinstance(row, dict):
            raise UserError(f'{path}: line {number} is not an object; write one a line, such as {{"loss": 3.2}}')
        yield number, flat(row)
