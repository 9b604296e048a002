"""python -m sweep.report RESULTS: builds RESULTS/report.html, prints its answer, and its path in the last line."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from slr_models.errors import MachineError, UserError
from sweep.command_line import EXIT_DONE, Command, add_json, add_private, add_results

if TYPE_CHECKING:
    from sweep.report.contents.view import View


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser, or_address=True)
    add_json(parser)
    add_private(parser)


def _work(options: argparse.Namespace) -> int:
    from sweep.report import write_report
    from sweep.report.contents.view import load_view
    from sweep.store.remote.study import study_copy

    copy = study_copy(options.results)
    view = load_view(options.results if copy is None else copy.folder)
    path = write_report(view, private=options.private)
    if copy is not None and not options.private:
        try:
            copy.send_report()
        except MachineError as error:
            # Whoever may only read has the report here.
            print(f"note: the report is here alone: {error}", file=sys.stderr)
    answer = _answer(view)
    if options.json:
        print(json.dumps({"report": str(path), **answer}))
    else:
        for line in _lines(answer, view):
            print(line)
        print(path)
    return EXIT_DONE


def _answer(view: "View") -> dict[str, Any]:
    """What the first section says, as data; nothing where that section could not be made, as its warning has said."""
    from sweep.report.sections.answer import answer_as_data

    try:
        return answer_as_data(view)
    except UserError:
        raise
    except Exception:
        return {}


def _lines(answer: dict[str, Any], view: "View") -> Iterator[str]:
    """The answer as it reads in a terminal: its headline, then what stands beside it."""
    from sweep.report.sections.claims import terminal_lines

    if not answer:
        return
    yield answer["headline"]
    safety = answer.get("safety")
    beside = [*terminal_lines(view.findings), *([safety["why"]] if safety else []), *answer.get("caveats", ())]
    yield from (f"  {line}" for line in beside)


COMMAND = Command(
    name="report",
    summary="build a study's report, also while the study runs",
    description="Build a study's report, in its results folder. Prints its answer, and the path of the page in the "
    "last line; with --json both as one object.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main
