"""python -m sweep.run STUDY.yaml: runs a study, or goes on with it, and writes its report."""

import argparse
from pathlib import Path

from slr_models.errors import SettingError
from sweep.command_line import Command, add_private, add_study, console, loading, local, path_or_address


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_study(parser)
    parser.add_argument(
        "--results", default="results", metavar="DIR", help="a folder, or s3://BUCKET/PREFIX; default: results"
    )
    parser.add_argument("--trials", metavar="N|+N", help="number of trials, or how many more than there are")
    parser.add_argument(
        "--retry",
        action="append",
        default=[],
        choices=("crashed", "out-of-memory", "hung", "timed-out"),
        help="train those again that ended so; may be given twice",
    )
    parser.add_argument(
        "--time",
        metavar="30m",
        help="end by itself within this time, such as 45s, 30m or 1h30m, with exit code 75 if the study is not done; "
        "the same command goes on",
    )
    add_private(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the plan and the expected time, train nothing")
    parser.add_argument(
        "--log",
        dest="loggers",
        action="append",
        default=[],
        metavar="LOGGER",
        help="also log every trial to tensorboard, mlflow[=URI] or wandb[=PROJECT]; may be given several times",
    )
    parser.add_argument(
        "--notify",
        action="append",
        default=[],
        metavar="URL",
        help="post a message at the first divergence, at a failure and at the end: ntfy://TOPIC, a webhook of Slack "
        "or any other that takes JSON; env:NAME takes the address from a variable; may be given several times",
    )
    parser.add_argument(
        "--storage",
        metavar="URL",
        help="also write the search to a database, where optuna-dashboard and other programs see it: "
        "postgresql://USER@HOST/DATABASE, mysql://..., sqlite:///FILE.db; env:NAME takes the URL from a variable",
    )
    parser.add_argument(
        "--jobs", metavar="N", help="most trials at the same time; default: resources.max_parallel, else all that fit"
    )
    parser.add_argument("--address", help="of a running Ray cluster; default: start Ray on this machine")


def _work(options: argparse.Namespace) -> int:
    options.results = _results(options.results)
    with loading():
        from sweep import yaml_source
        from sweep.study.shipped import study_file
    options.study = study_file(options.study)
    # What is no study at all is told of before torch has been imported, which takes seconds.
    yaml_source.load(options.study)
    with loading():
        from sweep.run.driver import run

    return run(options, console())


def _results(text: str) -> Path | str:
    if not text.strip():
        # As a path it would be the current folder.
        raise SettingError("--results is empty: give a folder, such as --results results, or leave it out")
    given = path_or_address(text)
    return local(given) if isinstance(given, Path) else given


COMMAND = Command(
    name="run",
    summary="run a study, or go on with one, and write its report",
    description="Run a stability study, or go on with one, and write its HTML report.",
    add_arguments=_add_arguments,
    work=_work,
    interrupted="interrupted: nothing of a finished trial is lost; the same command goes on",
)
main = COMMAND.main
