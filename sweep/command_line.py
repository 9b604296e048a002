"""What the command lines share: the study's arguments, and how a user's mistake ends."""

import argparse
import sys
from pathlib import Path

from slr_models.errors import UserError

EXIT_USER_ERROR = 2


def add_study(parser: argparse.ArgumentParser) -> None:
    """Adds the study file (`study`) and changes of its settings (`overrides`)."""
    parser.add_argument("study", type=Path, metavar="STUDY.yaml", help="the study file, such as studies/smoke.yaml")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="dotted.path=value",
        help="change one setting of the study file; may be given several times",
    )


def tell_user_error(error: UserError) -> int:
    """Prints what the user has to mend; returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    return EXIT_USER_ERROR
