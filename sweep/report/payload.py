"""What the page's script works with: figures, the rows of the table, and the courses of all trials; packed."""

import base64
import gzip
import json
from collections.abc import Mapping, Sequence

from sweep.analysis.trials.dimensions import plain
from sweep.report.contents.view import View
from sweep.report.figures.course import EVENT_SHARE, EVENTS_MARGIN, GAP, MAX_TICKS, ROWS, layout, styles
from sweep.report.figures.panel import Panel
from sweep.report.sections.courses import COARSE, FEW, SHARP, courses, packed_course
from sweep.report.sections.trial_table import Column
from sweep.report.theme import MARKS, TRIAL_COLOURS, dark_swaps
from sweep.wording import setting_text


def figures_payload(panels: Mapping[str, Sequence[Panel]]) -> str:
    """All figures by the id of their element, how courses are drawn, and the dark counterparts of colours."""
    figures = {
        f"{name}-{index}": json.loads(panel.figure.to_json())
        for name, row in panels.items()
        for index, panel in enumerate(row)
        if panel.figure is not None
    }
    course = {
        "rows": {name: vars(row) for name, row in ROWS.items()},
        "styles": styles(),
        "layout": layout(),
        "gap": GAP,
        "maxTicks": MAX_TICKS,
        "eventShare": EVENT_SHARE,
        "eventsMargin": EVENTS_MARGIN,
        "evalSharpness": SHARP,
        "outcomeColours": {outcome.value: mark.light for outcome, mark in MARKS.items()},
        "trialColours": [both[0] for both in TRIAL_COLOURS],
    }
    return json.dumps({"figures": figures, "swaps": dark_swaps(), "course": course}, allow_nan=False)


def trials_payload(view: View, columns: Sequence[Column], rows: Sequence[str]) -> str:
    """The rows of the table as HTML, what they are sorted by (a list a column), and what is said of each trial."""
    trials, names = view.trials, {dim.path: dim.name for dim in view.dims}
    ids, every = [str(trial_id) for trial_id in trials["trial_id"]], trials.to_dict("records")
    settings = [setting_text({path: plain(row.get(path)) for path in names}, names) for row in every]
    content = {
        "ids": ids,
        "numbers": [int(number) for number in trials["number"]],
        "outcomes": [str(verdict) for verdict in trials["verdict"]],
        "rows": list(rows),
        "sort": [column.values for column in columns],
        "settings": [f"seed {int(row['seed'])}, {text}" for row, text in zip(every, settings, strict=True)],
        "told": [
            _told(plain(row["reason"]), plain(row["cause"]), view.warnings.get(str(row["trial_id"]), ()))
            for row in every
        ],
    }
    return json.dumps(content, allow_nan=False, separators=(",", ":"))


def _told(reason: str | None, cause: str | None, warnings: Sequence[str]) -> str:
    """What became of a trial, in a few sentences."""
    said = f"{(reason or 'no reason is known').rstrip('.')}."
    said = said[0].upper() + said[1:]
    said += f" Cause: {cause}." if cause else ""
    return said + (f" Numeric health: {'; '.join(warnings)}." if warnings else "")


def courses_payload(view: View) -> str:
    """Trial id -> its packed course, as a text of its own: only those that are looked at are read."""
    sharpness = SHARP if len(view.traces) <= FEW else COARSE
    every = courses(view.traces, view.trials, view.study, view.dims)
    content = {course.trace.trial_id: packed_course(course, sharpness) for course in every}
    return json.dumps(content, separators=(",", ":"))


def packed(text: str) -> str:
    """Text as gzip in base64: about a third of its size, and free of anything that HTML could misread."""
    return base64.b64encode(gzip.compress(text.encode(), compresslevel=9, mtime=0)).decode("ascii")
