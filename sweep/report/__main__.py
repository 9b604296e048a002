"""python -m sweep.report RESULTS: builds RESULTS/report.html and prints its path."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from slr_models.errors import UserError
from sweep.command_line import tell_user_error
from sweep.report import build_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit code (2 for a user's mistake)."""
    parser = argparse.ArgumentParser(prog="python -m sweep.report", description="Build a study's report.")
    parser.add_argument("results", type=Path, help="results folder of a study, such as results/smoke")
    options = parser.parse_args(arguments)
    try:
        path = build_report(options.results)
    except UserError as error:
        return tell_user_error(error)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
