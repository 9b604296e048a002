"""`--follow`: reads the folder again and again, until the study ends."""

import json
import time

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweep.status.answer import State, Status
from sweep.status.reading import Reader
from sweep.status.words import headline, lines, problem

TICK_S = 2.0
"""Between two looks."""
_STYLES = {State.RUNNING: "cyan", State.FINISHED: "green", State.ENDED_EARLY: "yellow", State.SILENT: "red"}


def follow(reader: Reader, console: Console, *, json: bool) -> Status:
    """Tells how far a study is until it ends; returns what was told last.

    Raises:
        ResultsError: a file that all rests on is damaged.
    """
    if console.is_terminal and not json:
        return _redrawn(reader, console)
    told: Status | None = None
    while True:
        status = reader.read()
        if told is None or _changes(status) != _changes(told):
            print(one_line(status) if json else _line(status, told), flush=True)
            told = status
        if status.has_ended:
            return status
        time.sleep(TICK_S)


def one_line(status: Status) -> str:
    """The JSON object, in a line."""
    return json.dumps(status.as_json(), allow_nan=False)


def drawn(status: Status) -> Table:
    """All that is said, for a terminal."""
    grid = Table.grid(padding=(0, 2))
    whole = Table.grid()
    whole.add_row(Text(headline(status), style=_STYLES.get(status.state, "")))
    for what, text in lines(status):
        grid.add_row(Text(f"  {what}", style="dim", no_wrap=True), Text(text))
    whole.add_row(grid)
    return whole


def _redrawn(reader: Reader, console: Console) -> Status:
    with Live(console=console, auto_refresh=False) as live:
        while True:
            status = reader.read()
            live.update(drawn(status), refresh=True)
            if status.has_ended:
                return status
            time.sleep(TICK_S)


def _changes(status: Status) -> tuple[object, ...]:
    """What is worth a line of its own; not each step."""
    cause = None if status.last_problem is None else status.last_problem.cause
    return status.state, status.activity, status.done, status.recommended, cause


def _line(status: Status, before: Status | None) -> str:
    """A change in a line: state and counts, and what is new of best and failures."""
    parts = [headline(status)]
    if status.best is not None and (before is None or status.best != before.best):
        parts.append(f"best {status.best.title}: {status.best.result}")
    if (failed := problem(status)) is not None and (before is None or failed != problem(before)):
        parts.append(f"last problem {failed}")
    if status.why is not None:
        parts.append(status.why)
    return "; ".join(parts)
