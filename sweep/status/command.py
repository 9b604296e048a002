"""python -m sweep.status RESULTS: how far a study is, from another terminal or machine."""

import argparse
import contextlib

from sweep.command_line import Command, add_json, add_results, console

_DESCRIPTION = (
    "Say how far a study is, whoever runs it and wherever: from its results folder alone, which is not changed. "
    "Exit codes: 0 finished; 75 running, or not begun; 5 ended early; 6 gone silent: no run is at work and the last "
    "one said no end, or nothing was written for 15 minutes."
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_results(parser, or_address=True)
    add_json(parser)
    parser.add_argument(
        "--follow", action="store_true", help="go on until the study ends; with --json an object a line, at each change"
    )


def _work(options: argparse.Namespace) -> int:
    from slr_models.errors import ResultsError
    from sweep.status.answer import State
    from sweep.status.follow import follow, one_line
    from sweep.status.reading import Reader
    from sweep.status.words import headline, lines
    from sweep.store.remote.study import study_copy
    from sweep.watch.folder import neighbours

    copy = study_copy(options.results)
    reader, screen = Reader(options.results if copy is None else copy.folder), console()
    if options.follow:
        with contextlib.nullcontext() if copy is None else copy.kept_current():
            return follow(reader, screen, json=options.json).state.exit_code
    status = reader.read()
    if status.state is State.WAITING:
        beside = neighbours(options.results)
        hint = f"beside it are {', '.join(beside)}" if beside else "--follow waits for a run to begin one"
        raise ResultsError(f"there is no study in {options.results}: {hint}")
    if options.json:
        print(one_line(status))
    else:
        screen.print(headline(status), style="bold", highlight=False)
        for what, text in lines(status):
            screen.print(f"  {what:<12} {text}", highlight=False)
    return status.state.exit_code


COMMAND = Command(
    name="status",
    summary="say how far a study is, from another terminal or machine",
    description=_DESCRIPTION,
    add_arguments=_add_arguments,
    work=_work,
)
main = COMMAND.main
