"""The report of a study: one HTML file that opens offline. Needs neither torch, Ray nor Optuna.

contents/     what the page shows, as data, each part made when it is asked for (view.py)
sections/     the sections in their order (every.py), and their words
figures/      the figures; panels.py gathers them
private.py    what a report to be shared leaves out
page.py       all of it as HTML, with templates/; payload.py: what the page's scripts work with; vendor/: plotly.js
notebook.py   the same tables and figures in a notebook
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.report.contents.view import View

__all__ = ["PRIVATE_REPORT", "REPORT", "build_report", "write_report"]

REPORT, PRIVATE_REPORT = "report.html", "report-private.html"
"""In a results folder."""


def build_report(results_dir: Path, *, private: bool = False) -> Path:
    """Writes `report.html` into a results folder, of a finished, running or nearly empty study.

    Args:
        results_dir: the folder.
        private: write `report-private.html` instead, which names neither the machine nor the people.

    Raises:
        ResultsError: the folder is not the results folder of a study.
        OSError: the file cannot be written.
    """
    # Imported here: pandas, Plotly and scikit-learn take seconds that `python -m sweep.report --help` has no use for.
    from sweep.report.contents.view import load_view

    return write_report(load_view(results_dir), private=private)


def write_report(view: "View", *, private: bool = False) -> Path:
    """Writes `report.html` into the folder of a view, which keeps what was asked of it before.

    A section that cannot be made leaves the others as they are: a card in its place and a line on stderr say why. So do
    a note on the page and a line on stderr for a damaged file of a single trial, or one that is derived.

    Args:
        view: what it shows.
        private: write `report-private.html` instead, which names neither the machine nor the people.

    Raises:
        ResultsError: a file of the results folder is damaged.
        OSError: the file cannot be written.
    """
    from sweep import store
    from sweep.report.page import render

    path = view.source.folder / (PRIVATE_REPORT if private else REPORT)
    page = render(view, private=private)
    store.write_text(path, page.html)
    for damage in page.damaged:
        print(f"warning: {damage}", file=sys.stderr)
    for section in page.failed:
        print(
            f"warning: the section {section.title!r} of {path} could not be made ({section.reason}); the rest stands\n"
            f"{section.traceback}",
            file=sys.stderr,
        )
    return path
