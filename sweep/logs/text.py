"""Plain text logs: the numbers that a training printed, line by line.

Understood are pairs of a name and a number in any of the usual styles (`Batch 3: loss=5.1, grad_norm=0.48`,
`step 100 | loss 3.2 | grad norm 1.1`, `{'loss': 0.5, 'grad_norm': 1.2}`, `[10/500] Loss: 2.1`), and messages:
`Infinite gradient norm at batch 0`, `loss is nan at step 7`, and "skip", "skipped", "skipping" for a step without an
update. What is said of validation, and prose, is passed over.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from slr_models.errors import UserError
from sweep.logs.columns import field_of, normal_form
from sweep.logs.raw import Cell, RawLog, from_rows
from sweep.records import SkipReason

_DIGITS = (
    # A comma with digits after it belongs to the number: 1.234,5 or 1,234.5 or 4,1234; else 1234.5.
    r"(?:\d{1,3}(?:\.\d{3})+,\d+(?!\d|[.,]\d|/)|\d{1,3}(?:,\d{3})+(?:\.\d*)?(?!\d|,\d)|\d+,\d+(?!\d|[.,]\d|/)|"
    r"\d+(?:\.\d*)?|\.\d+)"
)
_NUMBER = rf"[-+]?(?:{_DIGITS}(?:e[-+]?\d+)?|nan|inf(?:inity)?)"
_ARROW = "(?:\u2192|->|=>)"
_PAIR = re.compile(
    # Up to four words before a number; between them a separator, quotes, or the name of a tensor's type. A dash
    # between spaces parts two statements, and what follows a slash is half a unit: `25/25 - 3s 120ms/step - loss: 0.5`.
    r"(?P<words>(?<![\w/])[a-z][\w./]*(?:(?: +|-)[a-z][\w./]*){0,3})"
    r"(?P<mark>['\"]?\s*[:=|]\s*|['\"]?\s+)['\"]?(?:tensor\()?"
    rf"(?P<number>{_NUMBER})(?![\w])(?!\s*{_ARROW}\s*[\d.])",
    re.IGNORECASE,
)
_COUNT = r"(?:\d{1,3}(?:,\d{3})+|\d+)"
_OF_TOTAL = re.compile(
    rf"(?P<epoch>epoch\W*)?(?<![\d.,])(?P<number>{_COUNT})\s*/\s*{_COUNT}(?![\d.]|,\d)", re.IGNORECASE
)
_WHOLE_EPOCH = re.compile(r"\d[mun]?s/(?:step|sample|epoch)(?![\w,\]])")
"""Keras gives the time a step once an epoch is over; its `25/25` are then the steps of each epoch. That of a tqdm bar
stands in brackets, and its `25/100` counts."""
_NONFINITE = re.compile(
    r"\b(?P<what>infinite|inf|nan|non-?finite|nan/inf|overflow\w*)[ _](?:in )?(?P<of>loss|grad)|"
    r"\b(?P<of2>loss|grad(?:ient)?s?(?:[ _]norm)?)\s+(?:is|are|was|became)\s+(?P<what2>infinite|inf|nan|non-?finite)\b|"
    r"\bgrad(?:ient)? (?P<overflow>overflow)|^(?=.*\bskip)(?=.*(?P<overflow2>\boverflow))",
    re.IGNORECASE,
)
_SKIP = re.compile(
    r"(?<!not )(?<!never )(?<!no )\bskip(?:s|ped|ping)?\b(?!['\"]?(?: (?:steps|batches|iterations))?\s*[:=])",
    re.IGNORECASE,
)
_HELD_OUT = re.compile(r"\b(?:val|valid|validation|eval|evaluation|test|dev|best)\b", re.IGNORECASE)
_REDUCED_SCALE = re.compile(rf"reducing (?:loss )?scale to ({_NUMBER})", re.IGNORECASE)


def read_text(path: Path, content: str) -> RawLog:
    """The steps that a text log tells of; gradient norms without losses are enough.

    Raises:
        UserError: No line holds a loss or a gradient norm.
    """
    names: dict[str, str] = {}
    rows = list(_rows(content, names))
    if not any("grad_norm" in row or "loss" in map(_kind, row) for _, row in rows):
        raise UserError(
            f"{path} has no line with a loss or a gradient norm that can be read; "
            f"write lines such as `step 100 loss 3.2 grad_norm 1.1`, or CSV with a column loss"
        )
    notes = tuple(f"{name} is read as {field}" for name, field in names.items() if name != field)
    return from_rows("text", rows, is_table=False, notes=notes)


def _kind(name: str) -> str | None:
    known = field_of(name)
    return None if known is None else known[0]


def _rows(content: str, names: dict[str, str]) -> Iterator[tuple[int, dict[str, Cell]]]:
    """Line number and fields of each line that tells of a step; `names` collects what the log calls the fields."""
    previous: dict[str, Cell] = {}
    for number, line in enumerate(content.split("\n"), start=1):
        # A progress bar draws itself again and again over its line; a lone return before the line's end is Windows'.
        parts = line.rstrip("\r").split("\r")
        for part in parts:
            row = _row(part, names)
            if row and not (len(parts) > 1 and row == previous):
                yield number, row
                previous = row


def _row(line: str, names: dict[str, str]) -> dict[str, Cell]:
    """What a line says of a step, by field; losses by their spelling, because a log may hold several kinds."""
    row: dict[str, Cell] = {}
    called: dict[str, str] = {}
    for match in _PAIR.finditer(line):
        if (found := _field(match, line)) is None:
            continue
        words, field = found
        # Of two counts the whole one is the step: fairseq's `update` is a fraction of an epoch, its num_updates not.
        is_better = field == "step" and "." in str(row.get(field)) and "." not in match["number"]
        if field not in row or is_better:
            row[field], called[field] = match["number"], words
    if "step" not in row and not _WHOLE_EPOCH.search(line):
        for match in _OF_TOTAL.finditer(line):
            if not match["epoch"]:
                row["step"] = match["number"]
                break
    _add_messages(row, line)
    if not set(map(_kind, row)) & {"loss", "grad_norm"}:
        return {}
    names.update({words: field for field, words in called.items() if _kind(field) != "loss"})
    return row


def _field(match: re.Match[str], line: str) -> tuple[str, str] | None:
    """The words that name a number, and its field (of a loss: its spelling); None for other numbers."""
    words = re.split(r" +|-", match["words"])
    for first in range(len(words)):
        name = normal_form(" ".join(words[first:]))
        field = _kind(name)
        if field is None:
            continue
        bare_space = not match["mark"].strip("'\" ")
        if field == "loss" and "train" not in name and _HELD_OUT.search(line[: match.start("number")]):
            return None
        if bare_space and field in ("skipped", "skip_reason", "applied"):
            return None
        return " ".join(words[first:]), name if field == "loss" else field
    return None


def _add_messages(row: dict[str, Cell], line: str) -> None:
    """What a line says in words: a value that is not finite, a step that was skipped."""
    if (found := _NONFINITE.search(line)) is not None and not _HELD_OUT.search(line[: found.start()]):
        of_loss = (found["of"] or found["of2"] or "").lower() == "loss"
        what = (found["what"] or found["what2"] or "").lower()
        row.setdefault("loss" if of_loss else "grad_norm", "nan" if what.startswith("nan") else "inf")
        if not of_loss:
            # Who warns of such a gradient does not apply it; the next ones would be NaN for ever.
            row["applied"], row["skip_reason"] = 0, SkipReason.NONFINITE.value
    if (reduced := _REDUCED_SCALE.search(line)) is not None and "attempted" not in line.lower():
        # Said is the next scale; the one in force was twice that.
        row["loss_scale"] = 2 * float(reduced[1].replace(",", ""))
    if _SKIP.search(line):
        finite = "inf" not in str(row.get("grad_norm", "inf")).lower() and "nan" not in str(row["grad_norm"]).lower()
        row["applied"] = 0
        row["skip_reason"] = (SkipReason.THRESHOLD if finite else SkipReason.NONFINITE).value
