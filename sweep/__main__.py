"""slr-sweep COMMAND, python -m sweep COMMAND: all commands in one."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweep import (
    clean,
    compare,
    convert,
    explain,
    grafana,
    import_trials,
    landmarks,
    queue,
    recover,
    replay,
    schema,
    stop,
)
from sweep.check.command import COMMAND as CHECK
from sweep.command_line import EXIT_MISTAKE, add_version, parse
from sweep.init.command import COMMAND as INIT
from sweep.report.command import COMMAND as REPORT
from sweep.run.command import COMMAND as RUN
from sweep.status.command import COMMAND as STATUS
from sweep.train.command import COMMAND as TRAIN
from sweep.watch.command import COMMAND as WATCH

COMMANDS = (
    landmarks.COMMAND,
    convert.COMMAND,
    INIT,
    RUN,
    CHECK,
    REPORT,
    WATCH,
    STATUS,
    queue.COMMAND,
    stop.COMMAND,
    import_trials.COMMAND,
    compare.COMMAND,
    explain.COMMAND,
    TRAIN,
    replay.COMMAND,
    recover.COMMAND,
    clean.COMMAND,
    grafana.COMMAND,
    schema.COMMAND,
)
"""In the order in which a study needs them."""
PROGRAM = "slr-sweep"


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """The command line; returns the exit code.

    Args:
        arguments: None for those of the process.
        program: what it is called by.

    Raises:
        SystemExit: help, the version or a completion was asked for, or the arguments are not understood.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if given and not given[0].startswith("-") and (problem := _unknown(given[0])):
        print(f"error: {problem}", file=sys.stderr)
        return EXIT_MISTAKE
    options = parse(_parser(program), given)
    return int(options.command.execute(options))


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description="Find at which settings a neural network trains stably, why it fails at others, and which to use.",
        epilog=f"{program} COMMAND --help tells the arguments of a command.",
    )
    add_version(parser)
    parser.add_argument("--print-completion", action=_PrintCompletion)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.prepare(commands.add_parser(command.name, help=command.summary))
    return parser


def _unknown(name: str) -> str:
    """What is wrong with a command's name; empty if nothing is."""
    names = [command.name for command in COMMANDS]
    if name in names:
        return ""
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    return f"there is no command {name!r}: " + (
        f"did you mean {' or '.join(near)}?" if near else f"give one of {', '.join(names)}"
    )


class _PrintCompletion(argparse.Action):
    """Completion for a shell."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings,
            argparse.SUPPRESS,
            choices=("bash", "zsh", "tcsh"),
            help="print a script that completes commands, options and files in this shell, and exit",
        )

    def __call__(self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, *_: Any) -> None:
        import shtab

        for one in _with_subparsers(parser):
            for action in one._actions:
                if action.type is Path:
                    action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's own way to say so
        # Whatever it was called by: completion goes by the name of the installed program.
        parser.prog = PROGRAM
        print(shtab.complete(parser, shell))
        parser.exit()


def _with_subparsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    own = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [parser, *(one for action in own for one in action.choices.values())]


if __name__ == "__main__":
    sys.exit(main(program="python -m sweep"))
