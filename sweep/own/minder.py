"""Runs a command in a process group of its own, and ends that group with itself or with whoever started it.

    python minder.py GRACE_S COMMAND [ARGUMENT ...]

The command is asked to end (SIGTERM), and made to (SIGKILL) after GRACE_S, when standard input ends: which it does
however the starter dies. What the command has started goes with it, also where it ends by itself. Exits with its exit
code, or with 128 and the number of the signal that ended it; with NOT_STARTED where it cannot be started, said on
standard error. Imports nothing of this program: it starts in 20 ms.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

NOT_STARTED = 127
_POLL_S = 0.05


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _end(group: int, grace_s: float) -> None:
    """Ends a process group, politely first."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while _group_lives(group) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def main(arguments: list[str]) -> int:
    """Runs it; see above."""
    grace_s, command = float(arguments[0]), arguments[1:]
    # A signal to the starter's group is none to this one: the command is to end in good order.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{command[0]}: {error.strerror or error}", file=sys.stderr, flush=True)
        return NOT_STARTED

    def ended_with_starter() -> None:
        while os.read(0, 4096):
            pass
        _end(child.pid, grace_s)

    threading.Thread(target=ended_with_starter, daemon=True).start()
    code = child.wait()
    # What it left running in the background has nobody to end it.
    _end(child.pid, 0.0 if not _group_lives(child.pid) else min(grace_s, 1.0))
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
