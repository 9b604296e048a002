"""What the command lines share: a command, its exit codes, and how it ends. Light: `--help` waits for nothing heavy.

| exit code | means                                                                                      |
|-----------|--------------------------------------------------------------------------------------------|
| 0         | done (`run` and `replay`: whatever the verdict)                                            |
| 1         | the answer: `compare` found a regression, `check` found errors in the data                 |
| 2         | a mistake in what the user gave                                                            |
| 3         | the machine failed: Ray does not start, the disk is full, a permission is missing          |
| 4         | `compare` found nothing to compare                                                         |
| 130       | interrupted by Ctrl-C or SIGTERM (`watch`, which ends in no other way, ends with 0)        |
"""

import argparse
import contextlib
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from slr_models.errors import MachineError, NothingToCompareError, UserError

if TYPE_CHECKING:
    from rich.console import Console

DISTRIBUTION = "slr-stability-sweep"

EXIT_DONE = 0
EXIT_FOUND = 1
EXIT_MISTAKE = 2
EXIT_MACHINE = 3
EXIT_NOTHING_TO_COMPARE = 4
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command: how its arguments read, and what it does with them.

    It is made without what it works with, which `work` imports: that takes seconds, and parsing none.
    """

    name: str
    """`python -m sweep.<name>`, `slr-sweep <name>`."""
    summary: str
    """One line, for the list of commands."""
    description: str
    work: Callable[[argparse.Namespace], int]
    """Takes the parsed arguments and returns the exit code."""
    add_arguments: Callable[[argparse.ArgumentParser], None] | None = None
    """Tells a parser the arguments, if there are any."""
    interrupted: str = "interrupted"
    """What is said after Ctrl-C or SIGTERM."""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """`python -m sweep.<name>`; returns the exit code.

        Raises:
            SystemExit: help or the version was asked for, or the arguments are not understood.
        """
        parser = argparse.ArgumentParser(prog=f"python -m sweep.{self.name}")
        self.prepare(parser)
        return self.execute(parse(parser, arguments))

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Makes a parser one of this command."""
        parser.description = self.description
        add_version(parser)
        if self.add_arguments is not None:
            self.add_arguments(parser)
        parser.set_defaults(command=self, parser=parser)

    def execute(self, options: argparse.Namespace) -> int:
        """Does the work, whose failures that are no bugs are told in one line; returns the exit code."""
        try:
            with signals_interrupt():
                code = self.work(options)
                # What cannot be written shall fail here and not at the interpreter's end.
                sys.stdout.flush()
                return code
        except KeyboardInterrupt:
            print(self.interrupted, file=sys.stderr)
            return EXIT_INTERRUPTED
        except NothingToCompareError as error:
            return _told(str(error), EXIT_NOTHING_TO_COMPARE)
        except UserError as error:
            return _told(str(error), EXIT_MISTAKE)
        except MachineError as error:
            return _told(str(error), EXIT_MACHINE)
        except OSError as error:
            reader_has_gone = isinstance(error, BrokenPipeError) and _reader_has_gone()
            _give_up_stdout()
            return EXIT_MACHINE if reader_has_gone else _told(_os_error_text(error), EXIT_MACHINE)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses arguments of `Command.prepare`d parsers, or of one that has them as subparsers.

    Raises:
        SystemExit: help or the version was asked for, or the arguments are not understood.
    """
    options, rest = parser.parse_known_args(arguments)
    if rest:
        own: argparse.ArgumentParser = options.parser
        if vars(options).get("json") and not any(one.startswith("-") for one in rest):
            instead = "--output FILE" if "output" in vars(options) else "> FILE"
            own.error(f"--json takes no file name, it prints to standard output: write {instead} for a file")
        own.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds `--version`."""
    parser.add_argument("--version", action=_PrintVersion)


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


def add_results(parser: argparse.ArgumentParser) -> None:
    """Adds the results folder (`results`)."""
    parser.add_argument(
        "results", type=Path, metavar="RESULTS", help="results folder of a study, such as results/smoke"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`, which means the same everywhere: standard output is one JSON object and nothing else."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def console() -> "Console":
    """Standard output for people: colours and moving lines on a terminal, plain lines in a pipe or with NO_COLOR."""
    from rich.console import Console

    # Of itself rich drops the colours alone, and goes on to move the cursor and print in bold.
    screen = Console(soft_wrap=True, force_terminal=False if os.environ.get("NO_COLOR") else None)
    # And where nobody reads any more, it ends the program with 1, which is an answer of ours.
    screen.on_broken_pipe = _raise_it  # type: ignore[method-assign]
    return screen


def _raise_it() -> None:
    # Called while the exception is handled.
    raise


@contextlib.contextmanager
def answer_alone(json: bool) -> Iterator[None]:
    """With `--json`, sends to stderr what is printed within, such as by a user's own data source."""
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within, SIGTERM (a job scheduler's way to end a program) does what Ctrl-C does.

    So it does where SIGINT is ignored: a shell script ignores it for what it starts in the background. May be entered
    again after a library has put a handler of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    # Ray Tune's own handler of SIGINT ends its run in good order.
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(on_ctrl_c):
        on_ctrl_c(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def version() -> str:
    """The installed version of this program, such as 0.1.0."""
    import importlib.metadata

    return importlib.metadata.version(DISTRIBUTION)


class _PrintVersion(argparse.Action):
    """argparse's own `version` wants the text beforehand, and looking it up takes as long as all the parsing."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{DISTRIBUTION} {version()}")
        parser.exit()


def _told(problem: str, code: int) -> int:
    print(f"error: {problem}", file=sys.stderr)
    return code


def _os_error_text(error: OSError) -> str:
    what = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else error.strerror or str(error)
    return f"{what}: the machine refused this, no setting is wrong; mend it, and repeat the command"


def _give_up_stdout() -> None:
    """Drops what standard output does not take: Python flushes it once more at its end, and would fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _reader_has_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more, as after `| head`: no failure to be told."""
    if os.name != "posix":
        return False
    ends = select.poll()
    ends.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in ends.poll(0))
