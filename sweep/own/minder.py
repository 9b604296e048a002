"""Runs a command in a process group of its own, and ends it, with all that it started, with whoever started this.

    python minder.py GRACE_S COMMAND [ARGUMENT ...]

The command is asked to end (SIGTERM), and made to (SIGKILL) after GRACE_S, when standard input ends: which it does
however the starter dies. What the command has started goes with it, also where it ends by itself. Exits with its exit
code, or with 128 and the number of the signal that ended it; with NOT_STARTED where it cannot be started, said on
standard error. Imports nothing of this program: it starts in 20 ms.

The work is done by a child: Ray kills the children of its processes as these end, before anybody could end a command
in good order; a grandchild it does not know of.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

NOT_STARTED = 127
_POLL_S = 0.05
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux: processes whose parents have died become children of this one."""


def _no_matter(_number: int, _frame: object) -> None:
    """A signal to the starter's group is none to this one. Not SIG_IGN, which the command would inherit."""


def _descendants() -> list[int]:
    """Processes that this one started, and those that they did; none where the system does not tell."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found, new = set[int](), {os.getpid()}
    while new := {pid for pid, parent in parents.items() if parent in new} - found:
        found |= new
    return sorted(found)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class _Ending:
    """The end of a command, which may come from two sides at once and is made once."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._lock = threading.Lock()

    def end(self, group: int) -> None:
        """Asks the group to end, waits, and kills what is left of it and beside it."""
        with self._lock:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGTERM)
            deadline = time.monotonic() + self._grace_s
            while _group_lives(group) and time.monotonic() < deadline:
                # Those that died and have nobody else to take note of it.
                with contextlib.suppress(ChildProcessError, OSError):
                    while _reap():
                        pass
                time.sleep(_POLL_S)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
            for pid in _descendants():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


_child: "subprocess.Popen[bytes] | None" = None


def _reap() -> bool:
    """Takes note of one dead child besides the command; whether there was one."""
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None or (_child is not None and found.si_pid == _child.pid):
        return False
    os.waitpid(found.si_pid, os.WNOHANG)
    return True


def _mind(arguments: list[str]) -> int:
    global _child
    grace_s, command = float(arguments[0]), arguments[1:]
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        child = _child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", file=sys.stderr, flush=True)
        return NOT_STARTED
    ending = _Ending(grace_s)

    def ended_with_starter() -> None:
        while os.read(0, 4096):
            pass
        ending.end(child.pid)

    threading.Thread(target=ended_with_starter, daemon=True).start()
    code = child.wait()
    # What it left running in the background has nobody else to end it.
    ending.end(child.pid)
    return 128 - code if code < 0 else code


def main(arguments: list[str]) -> int:
    """Runs it; see above."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _no_matter)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        # Not by way of the interpreter's end, which is the parent's.
        code = NOT_STARTED
        try:
            code = _mind(arguments)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
