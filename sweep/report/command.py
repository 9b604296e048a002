"""python -m sweep.report RESULTS: builds RESULTS/report.html and prints its path."""

import argparse
import json
import sys

from slr_models.errors import MachineError
from sweep.command_line import EXIT_DONE, Command, add_json, add_results


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser, or_address=True)
    add_json(parser)
    parser.add_argument(
        "--private",
        action="store_true",
        help="for sharing: write report-private.html, without the machine, its software, absolute paths and addresses, "
        "and the names of this host and user",
    )


def _work(options: argparse.Namespace) -> int:
    from sweep.report import build_report
    from sweep.store.remote.study import study_copy

    copy = study_copy(options.results)
    path = build_report(options.results if copy is None else copy.folder, private=options.private)
    if copy is not None and not options.private:
        try:
            copy.send_report()
        except MachineError as error:
            # Whoever may only read has the report here.
            print(f"note: the report is here alone: {error}", file=sys.stderr)
    print(json.dumps({"report": str(path)}) if options.json else path)
    return EXIT_DONE


COMMAND = Command(
    name="report",
    summary="build a study's report, also while the study runs",
    description="Build a study's report, in its results folder, and print its path.",
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main
