"""The table of all trials: its columns, and what they are sorted by."""

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from sweep.analysis.trials.answers import answers
from sweep.analysis.trials.dimensions import plain
from sweep.records import Outcome, few_words
from sweep.report.contents.view import View
from sweep.report.sections.section import Content
from sweep.report.templating import template
from sweep.wording import duration, number, percent, setting_text, value_text

NUM_FIRST_ROWS = 200
"""Rows that can be read without JavaScript; all are in the page."""
MAX_RESULTS = 12
"""Results of trainings of the user's own that have a column, besides what these are ranked by."""
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


def trials_content(view: View) -> Content:
    """The table: its first rows in the page, all of them for the page's script."""
    columns = trial_columns(view)
    rows = _rows(view, columns)
    words = {
        "rows": rows,
        "outcomes": view.outcomes,
        "trial_columns": columns,
        "num_first_rows": NUM_FIRST_ROWS,
    }
    return Content(words, data={"trials": trials_payload(view, columns, rows)})


def _rows(view: View, columns: Sequence[Column]) -> list[Markup]:
    """The rows of the table, in the order of their numbers."""
    row = template("trial_row").module.row  # type: ignore[attr-defined]
    trials = view.trials
    ids, notes = [str(trial_id) for trial_id in trials["trial_id"]], audit_notes(trials)
    every = zip(ids, trials["number"], trials["verdict"], notes, strict=True)
    return [
        row(columns, at, trial_id, number, verdict, trial_id in view.traced, note)
        for at, (trial_id, number, verdict, note) in enumerate(every)
    ]


def trials_payload(view: View, columns: Sequence[Column], rows: Sequence[str]) -> str:
    """The rows as HTML, what they are sorted by (a list a column), and what is said of each trial; as JSON."""
    trials, names = view.trials, view.names
    ids, every = [str(trial_id) for trial_id in trials["trial_id"]], trials.to_dict("records")
    settings = [setting_text({path: plain(row.get(path)) for path in names}, names) for row in every]
    content = {
        "ids": ids,
        "numbers": [int(number) for number in trials["number"]],
        "outcomes": [str(verdict) for verdict in trials["verdict"]],
        "rows": list(rows),
        "sort": [column.values for column in columns],
        "settings": [f"seed {int(row['seed'])}, {text}" for row, text in zip(every, settings, strict=True)],
        "told": [_told(row, view.warnings.get(str(row["trial_id"]), ())) for row in every],
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _told(row: Mapping[Hashable, Any], warnings: Sequence[str]) -> str:
    """What became of a trial, in a few sentences."""
    reason, cause, basis = (plain(row[name]) for name in ("reason", "cause", "judged_with"))
    said = f"{(reason or 'no reason is known').rstrip('.')}."
    said = said[0].upper() + said[1:]
    said += f" Cause: {cause}." if cause else ""
    said += f" Judged with {basis}." if basis else ""
    return said + (f" Numeric health: {'; '.join(warnings)}." if warnings else "")


def trial_columns(view: View) -> list[Column]:
    """The columns from the third one on: number and outcome, which stand before them, are the page's own."""
    trials = view.trials

    def numbers(name: str, title: str, text: Callable[[Any], str], hover: str = "") -> Column:
        return _numbers(trials[name], title, text, hover)

    columns = [
        Column("#", [str(n) for n in trials["number"]], [int(n) for n in trials["number"]], is_number=True),
        Column("Outcome", [str(v) for v in trials["verdict"]], [str(v) for v in trials["verdict"]]),
    ]
    said = answers(trials)
    for title, texts, hover in (
        ("Numbers", [one.numbers or "" for one in said], "sound, or broken: NaN or infinite for good"),
        ("Learning", [one.learning or "" for one in said], "what became of what was to be learned"),
    ):
        columns.append(Column(title, texts, texts, hover, titles=[one.judged_with for one in said]))
    if sides := view.evidence.sides:
        told = [sides[i].value if i in sides else "" for i in map(str, trials["trial_id"])]
        hover = "of a failed training: too hot broke or was thrown about, too cold was too slow for its budget"
        columns.append(Column("Side", told, told, hover))
    if view.is_experiment:
        same = "trainings of a block share drawn settings, seed and order of the data"
        columns.append(numbers("block", "block", value_text, same))
    for dim in view.dims:
        values = [plain(v) for v in trials[dim.path]] if dim.path in trials else [None] * len(trials)
        texts, is_number = [value_text(v) for v in values], dim.kind == "number"
        columns.append(Column(dim.name, texts, _short(values) if is_number else texts, dim.path, is_number))
    columns += [
        *_result_columns(view),
        numbers("num_steps", "steps", "{:.0f}".format, "steps run"),
        numbers("applied_update_rate", "applied", percent, "share of steps that changed the weights"),
        numbers("seed", "seed", "{:.0f}".format),
        Column("phase", [str(p) for p in trials["phase"]], [str(p) for p in trials["phase"]]),
        numbers("wall_s", "time", duration, "wall time"),
    ]
    if view.causes:
        causes = [str(plain(cause) or "") for cause in trials["cause"]]
        columns.append(Column("Cause", [few_words(c) for c in causes], None, style="cause", titles=causes))
    if any(one.judged_with for one in said):
        basis = [one.judged_with for one in said]
        columns.append(Column("Judged with", [one.basis_in_short for one in said], None, style="basis", titles=basis))
    columns.append(Column("Reason", [str(plain(r) or "") for r in trials["reason"]], None, style="reason"))
    return columns


def _result_columns(view: View) -> list[Column]:
    """What trainings came to; of those of the user's own, all results that they reported."""
    trials, score = view.trials, view.study.score
    if score is None:
        columns = [
            _numbers(trials["val_loss"], "val. loss", number, "nats a label"),
            _numbers(trials["wer"], "WER", lambda rate: percent(rate, 1)),
        ]
        if trials["wer_raw"].notna().any():
            columns.append(_numbers(trials["wer_raw"], "WER, raw", lambda rate: percent(rate, 1), "before clean-up"))
        return columns
    ranked = [None if (v := plain(value)) is None else score.as_reported(v) for value in trials["score"]]
    told = [json.loads(text) if text else {} for text in map(plain, trials["metrics"])]
    names = [name for name in dict.fromkeys(name for one in told for name in one) if name != score.name]
    return [
        _numbers(ranked, score.name, number, "what trainings are ranked by"),
        *(_numbers([_result(one.get(name)) for one in told], name, number) for name in names[:MAX_RESULTS]),
        _numbers(trials["final_train_loss"], "train loss", number, "median of the last 20 training losses"),
    ]


def _result(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(given: Iterable[Any], title: str, text: Callable[[Any], str], hover: str = "") -> Column:
    values = [plain(value) for value in given]
    return Column(title, ["n/a" if v is None else text(v) for v in values], _short(values), hover, is_number=True)


def audit_notes(trials: pd.DataFrame) -> list[str]:
    """What is to be said of each trial that ran on after an alarm, or where it was as good as stable; empty for the
    others."""
    rows = zip(trials["audited"], trials["alarm"], trials["stop_step"], trials["foregone_step"], strict=True)
    ended = trials["verdict"] == Outcome.FOREGONE.value
    ran_on = "; it ran on to its end to see whether that was right"
    return [
        f"{alarm} was alarmed at step {int(step)}{ran_on}"
        if plain(audited)
        else f"as good as stable at step {int(foregone)}{ran_on}"
        if pd.notna(foregone) and not there
        else ""
        for (audited, alarm, step, foregone), there in zip(rows, ended, strict=True)
    ]


def _short(values: Sequence[Any]) -> list[Cell]:
    """Six digits are enough to sort by; JSON knows no infinity."""
    return [_sortable(value) for value in values]


def _sortable(value: Any) -> Cell:
    if not isinstance(value, float):
        return value  # type: ignore[no-any-return]
    return float(f"{value:.6g}") if math.isfinite(value) else math.copysign(1e308, value)
