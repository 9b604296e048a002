"""Builds the page in a process of its own, at low priority and on one core: the sweep needs the cores.

    python -m sweep.watch.worker FD FOLDER

FD is one end of a pipe. Every object that comes in asks for a page; a `Reply` goes out. It ends with the pipe.
"""

import gzip
import hashlib
import os
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from threadpoolctl import threadpool_limits

from sweep.report.contents.view import load_view
from sweep.report.page import render
from sweep.watch.page import Page, Reply

NICENESS = 10


def build(folder: Path) -> tuple[Page, str | None]:
    """Reads the folder and makes the page; tells in a line which files and sections it does without, if any.

    Raises:
        ResultsError: the folder is not the results folder of a study, or damaged.
    """
    built_at = time.time()
    view = load_view(folder)
    made = render(view)
    html = made.html.encode()
    page = Page(
        html=gzip.compress(html, compresslevel=5, mtime=0),
        version=hashlib.sha256(html).hexdigest()[:16],
        name=view.study.name,
        num_trials=len(view.trials),
        num_planned=view.num_planned,
        built_at=built_at,
    )
    failed = [f"the section {one.title!r} of the report could not be made ({one.reason})" for one in made.failed]
    return page, "; ".join([*made.damaged, *failed]) or None


def reply(folder: Path) -> tuple[Page | None, str | None]:
    """The page, and why there is none, or what is missing in it."""
    try:
        return build(folder)
    except Exception as error:
        # Whatever it is, the reader keeps the page before and is told; a file may also just not be there yet.
        text = " ".join(str(error).split())
        return None, text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def main() -> None:
    """Answers until the pipe ends."""
    pipe, folder = Connection(int(sys.argv[1])), Path(sys.argv[2])
    os.nice(NICENESS)
    spent_s = 0.0
    with threadpool_limits(limits=1):
        while True:
            try:
                pipe.recv()
                page, error = reply(folder)
                now_s = time.process_time()
                pipe.send(Reply(page, error, now_s - spent_s))
                spent_s = now_s
            except (EOFError, BrokenPipeError):
                return


if __name__ == "__main__":
    main()
