"""The table of all trials: its columns, and what they are sorted by."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweep.analysis.trials.dimensions import plain
from sweep.records import few_words
from sweep.report.contents.view import View
from sweep.wording import duration, number, percent, value_text

Cell = str | float | int | bool | None


@dataclass(frozen=True)
class Column:
    """One column."""

    title: str
    texts: Sequence[str]
    """What its cells say, one a trial."""
    values: Sequence[Cell] | None
    """What it is sorted by, one a trial; None where nobody would sort by it."""
    hover: str = ""
    is_number: bool = False
    style: str = ""
    """Of its cells, a class of the style sheet."""
    titles: Sequence[str] | None = None
    """What the cells say in full."""


def trial_columns(view: View) -> list[Column]:
    """The columns from the third one on: number and outcome, which stand before them, are the page's own."""
    trials = view.trials

    def numbers(name: str, title: str, text: Callable[[Any], str], hover: str = "") -> Column:
        values = [plain(value) for value in trials[name]]
        return Column(title, ["n/a" if v is None else text(v) for v in values], _short(values), hover, is_number=True)

    columns = [
        Column("#", [str(n) for n in trials["number"]], [int(n) for n in trials["number"]], is_number=True),
        Column("Outcome", [str(v) for v in trials["verdict"]], [str(v) for v in trials["verdict"]]),
    ]
    if view.is_experiment:
        same = "trainings of a block share drawn settings, seed and order of the data"
        columns.append(numbers("block", "block", value_text, same))
    for dim in view.dims:
        values = [plain(v) for v in trials[dim.path]] if dim.path in trials else [None] * len(trials)
        texts, is_number = [value_text(v) for v in values], dim.kind == "number"
        columns.append(Column(dim.name, texts, _short(values) if is_number else texts, dim.path, is_number))
    columns += [
        numbers("val_loss", "val. loss", number, "nats a label"),
        numbers("wer", "WER", lambda rate: percent(rate, 1)),
        numbers("num_steps", "steps", "{:.0f}".format, "steps run"),
        numbers("applied_update_rate", "applied", percent, "share of steps that changed the weights"),
        numbers("seed", "seed", "{:.0f}".format),
        Column("phase", [str(p) for p in trials["phase"]], [str(p) for p in trials["phase"]]),
        numbers("wall_s", "time", duration, "wall time"),
    ]
    if view.causes:
        causes = [str(plain(cause) or "") for cause in trials["cause"]]
        columns.append(Column("Cause", [few_words(c) for c in causes], None, style="cause", titles=causes))
    columns.append(Column("Reason", [str(plain(r) or "") for r in trials["reason"]], None, style="reason"))
    return columns


def audit_notes(trials: pd.DataFrame) -> list[str]:
    """What is to be said of each trial that ran on after an alarm; empty for the others."""
    rows = zip(trials["audited"], trials["alarm"], trials["stop_step"], strict=True)
    return [
        f"{alarm} was alarmed at step {int(step)}; it ran on to its end to see whether that was right"
        if plain(audited)
        else ""
        for audited, alarm, step in rows
    ]


def _short(values: Sequence[Any]) -> list[Cell]:
    """Six digits are enough to sort by; JSON knows no infinity."""
    return [_sortable(value) for value in values]


def _sortable(value: Any) -> Cell:
    if not isinstance(value, float):
        return value  # type: ignore[no-any-return]
    return float(f"{value:.6g}") if math.isfinite(value) else math.copysign(1e308, value)
