"""What the command lines share: a command, its exit codes, and how it ends. Light: `--help` waits for nothing heavy.

| exit code | means                                                                                      |
|-----------|--------------------------------------------------------------------------------------------|
| 0         | done (`run` and `replay`: whatever the verdict)                                            |
| 1         | the answer: `compare` found a regression, `check` found errors in the data                 |
| 2         | a mistake in what the user gave                                                            |
| 3         | the machine failed: Ray does not start, the disk is full, a permission is missing          |
| 4         | `compare` found nothing to compare                                                         |
| 5         | `status`: the study ended early, and said why; its command goes on                         |
| 6         | `status`: the study has gone silent: killed, or it has written nothing for 15 minutes      |
| 75        | `run --time` ended before its study was done: the same command goes on; `status`: it runs  |
| 130       | interrupted by Ctrl-C or SIGTERM (`watch`, which ends in no other way, ends with 0)        |

75 is what sysexits.h calls a temporary failure, to be tried again: a job scheduler can be told to start a job again
that ended so, and `until slr-sweep run STUDY.yaml --time 30m; [ $? -ne 75 ]; do :; done` does it in a shell.

How Ctrl-C ends a program, which SIGTERM does too:

| while                              | ends it                                                                       |
|------------------------------------|-------------------------------------------------------------------------------|
| `sweep` is imported by the program | at once: `sweep/__init__.py` sees to that before anything else is imported    |
| `loading()` what a command needs   | at once, since libraries that are being imported may swallow an exception     |
| a command works                    | by KeyboardInterrupt; a second one at once, after what `before_leaving` says  |
| trainings run                      | Ray Tune stops, the report is written; further ones as above                  |
"""

import _thread
import argparse
import atexit
import contextlib
import gc
import io
import os
import re
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from slr_models.errors import MachineError, NothingToCompareError, SettingError, UserError
from sweep.machine import refusal

if TYPE_CHECKING:
    from rich.console import Console

DISTRIBUTION = "slr-stability-sweep"
REMOTE_SCHEMES = ("s3", "gs", "az")
"""Of addresses of object stores that results may be kept at."""

EXIT_DONE = 0
EXIT_FOUND = 1
EXIT_MISTAKE = 2
EXIT_MACHINE = 3
EXIT_NOTHING_TO_COMPARE = 4
EXIT_ENDED_EARLY = 5
EXIT_SILENT = 6
EXIT_UNFINISHED = 75
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
        options.started = time.monotonic()
        # The interpreter's end would look through all objects for garbage, which takes two seconds after a run.
        atexit.register(gc.freeze)
        try:
            with signals_interrupt(), _interrupts_get_through(), _any_letter():
                _check_is_whole()
                _ending.message = self.interrupted
                for value in vars(options).values():
                    if isinstance(value, Path):
                        local(value)
                code = self.work(options)
                # What cannot be written shall fail here and not at the interpreter's end.
                sys.stdout.flush()
                return code
        except KeyboardInterrupt:
            _end_deaf()
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
            return EXIT_MACHINE if reader_has_gone else _told(refusal(error), EXIT_MACHINE)


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
        from sweep.redaction import redacted

        own.error(f"unrecognized arguments: {redacted(' '.join(rest))}")
    return options


def add_version(parser: argparse.ArgumentParser) -> None:
    """Adds `--version`."""
    parser.add_argument("--version", action=_PrintVersion)


def add_study(parser: argparse.ArgumentParser) -> None:
    """Adds the study file (`study`) and changes of its settings (`overrides`)."""
    parser.add_argument(
        "study",
        type=Path,
        metavar="STUDY.yaml",
        help="the study file, or the name of a study that comes with this program, such as smoke",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="dotted.path=value",
        help="change one setting of the study file; may be given several times",
    )


def add_results(parser: argparse.ArgumentParser, *, or_address: bool = False) -> None:
    """Adds the results folder (`results`); a text where it may be an address of an object store, and is one."""
    what = "results folder of a study, such as results/smoke"
    parser.add_argument(
        "results",
        type=path_or_address if or_address else Path,
        metavar="RESULTS",
        help=f"{what}, or s3://BUCKET/PREFIX/smoke" if or_address else what,
    )


def path_or_address(text: str) -> Path | str:
    """A path; the text as it is where it is an address of an object store."""
    scheme, sign, _ = text.partition("://")
    return text if sign and scheme.lower() in REMOTE_SCHEMES else Path(text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`, which means the same everywhere: standard output is one JSON object and nothing else."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_private(parser: argparse.ArgumentParser) -> None:
    """Adds `--private`, of commands that write a report."""
    parser.add_argument(
        "--private",
        action="store_true",
        help="for sharing: write report-private.html and not report.html: without the machine, its software, absolute "
        "paths and addresses, and the names of this host and user",
    )


def local(path: Path) -> Path:
    """The path as it is, if it is one of this machine's.

    Raises:
        SettingError: it is an address, such as s3://bucket/results, or no text at all.
    """
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        # Linux takes any bytes; what reads tables, and what shows a path, does not.
        encoding = sys.getfilesystemencoding()
        advice = "rename it" if encoding == "utf-8" else "set PYTHONUTF8=1 or a locale such as LC_ALL=C.UTF-8"
        raise SettingError(f"{str(path)!a} is no text in {encoding}, as names of files are here: {advice}")
    # A `Path` has lost one of the slashes; one letter is a drive of Windows.
    address = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]+):(/*)(.*)", str(path), re.DOTALL)
    if address is None or os.path.lexists(path.parts[0]):
        return path
    scheme, slash, rest = address.groups()
    if scheme.lower() == "file":
        folder = f"/{rest}" if slash else rest
        raise SettingError(f"file://{folder} is an address, but files are read and written by paths: give {folder}")
    if not slash:
        raise SettingError(
            f"{path} looks like an address, but files are read and written by paths: give the path of a folder where "
            f"it is mounted, or of a copy; or the full path, if this is a name"
        )
    raise SettingError(
        f"{scheme}://{rest} is an address, but files are read and written by paths: give the path of a folder where it "
        f"is mounted, or of a copy"
    )


def console() -> "Console":
    """Standard output for people: colours and moving lines on a terminal, plain lines in a pipe or with NO_COLOR."""
    from rich.console import Console

    # Of itself rich drops the colours alone, and goes on to move the cursor and print in bold. A name in brackets is a
    # name, and no markup.
    screen = Console(
        soft_wrap=True, force_terminal=False if os.environ.get("NO_COLOR") else None, markup=False, emoji=False
    )
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


@dataclass
class _Ending:
    """How this program is being interrupted; of the main thread alone, as signals are."""

    message: str = "interrupted"
    interrupted: bool = False
    """Whether it was told to end before."""
    acts: list[Callable[[], None]] = field(default_factory=list)


_ending = _Ending()


@contextlib.contextmanager
def _any_letter() -> Iterator[None]:
    """Within, a letter that standard output's encoding lacks is printed as its number, as on standard error."""
    stdout = sys.stdout
    if not isinstance(stdout, io.TextIOWrapper) or stdout.errors != "strict":
        yield
        return
    stdout.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        stdout.reconfigure(errors="strict")


@contextlib.contextmanager
def signals_interrupt() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM (a job scheduler's way to end a program) raise KeyboardInterrupt; a second ends all.

    SIGTERM does so where SIGINT is ignored too: a shell script ignores it for what it starts in the background. May be
    entered again after a library has put a handler of its own.
    """
    if not _is_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    outermost = before[signal.SIGINT] is not _on_ctrl_c
    if outermost:
        _ending.interrupted = False
        if before[signal.SIGINT] is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _on_ctrl_c)
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        yield
    finally:
        _put_back(before)


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM end this program at once: for imports, which may swallow an exception or mangle it.

    They take a sixth less where nothing looks for garbage: everything that they make stays.
    """
    with _no_garbage_collection(), left_at_once():
        yield


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextlib.contextmanager
def left_at_once() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM end this program at once, after what `before_leaving` names."""
    if not _is_main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, _leave)
    try:
        yield
    finally:
        _put_back(before)


@contextlib.contextmanager
def before_leaving(act: Callable[[], None]) -> Iterator[None]:
    """Within, `act` is done where the program ends at once, by a second Ctrl-C."""
    _ending.acts.append(act)
    try:
        yield
    finally:
        _ending.acts.remove(act)


def _on_ctrl_c(number: int, frame: FrameType | None) -> None:
    if _ending.interrupted:
        _leave(number, frame)
    _ending.interrupted = True
    raise KeyboardInterrupt


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    # Ray Tune's own handler of SIGINT ends its run in good order.
    on_ctrl_c = signal.getsignal(signal.SIGINT)
    if callable(on_ctrl_c):
        on_ctrl_c(signal.SIGINT, frame)
    else:
        _on_ctrl_c(number, frame)


def _end_deaf() -> None:
    """Where this is the program, it is ending: a further Ctrl-C would say once more that it was interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # The handler that `sweep/__init__.py` puts in a program.
        is_ours = getattr(signal.getsignal(number), "__module__", None) == __package__
        if is_ours and _is_main_thread():
            signal.signal(number, signal.SIG_IGN)


def _leave(_number: int, _frame: FrameType | None) -> None:
    """Ends the program without going through what is under way."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for act in reversed(_ending.acts):
        # Whatever fails in one, the others are done, and the program ends.
        with contextlib.suppress(BaseException):
            act()
    with contextlib.suppress(OSError):
        os.write(2, f"{_ending.message}\n".encode())
    os._exit(EXIT_INTERRUPTED)


@contextlib.contextmanager
def _interrupts_get_through() -> Iterator[None]:
    """Within, an interrupt that Python drops, as in the end of an object's life, comes once more a moment later."""

    def hook(dropped: "sys.UnraisableHookArgs") -> None:
        if not issubclass(dropped.exc_type, KeyboardInterrupt):
            before(dropped)
            return
        _ending.interrupted = False
        again = threading.Timer(0.05, _interrupt_main_thread)
        again.daemon = True
        again.start()

    before, sys.unraisablehook = sys.unraisablehook, hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _interrupt_main_thread() -> None:
    # Of this signal there is a handler of ours also where Ctrl-C is ignored.
    if hasattr(signal, "pthread_kill"):
        # A real one wakes a thread that waits.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    else:
        _thread.interrupt_main(signal.SIGTERM)


def _put_back(handlers: "Mapping[signal.Signals, signal._HANDLER]") -> None:
    for number, handler in handlers.items():
        # None stands for one that is not Python's.
        if handler is not None and _is_main_thread():
            signal.signal(number, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _check_is_whole() -> None:
    """Checks that no other package's files lie in the place of this program's.

    Raises:
        MachineError: they do: there is another package of the name on the registry.
    """
    package = sys.modules["sweep"]
    if "StabilityMonitor" in vars(package).get("__all__", ()):
        return
    import importlib.metadata

    others = {*importlib.metadata.packages_distributions().get("sweep", ())} - {DISTRIBUTION}
    other = " ".join(sorted(others)) or "the other package"
    raise MachineError(
        f"{other} was installed over this program, as both are imported as `sweep`, and put its own file in the place "
        f"of {package.__file__}: pip uninstall {other}, then pip install --force-reinstall --no-deps {DISTRIBUTION}"
    )


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
    # Imported for a failure alone: nothing that goes well waits for it.
    from sweep.redaction import redacted

    print(f"error: {redacted(problem)}", file=sys.stderr)
    return code


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
