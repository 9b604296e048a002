"""Ends the processes of a Ray session and removes its folder; as a program, once the run that it guards is no more.

    python -m sweep.running.guard FOLDER

A run does so itself at its end. This one waits for the end of its standard input, which comes however the run dies, and
imports next to nothing.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = "SLR_SWEEP_SESSION"
"""Variable of the environment that all of Ray's processes inherit, its value the folder: so they are found again, those
too whose parents have died."""
_LOG_OF_JOINED = "python-core-driver-"
_OF_MULTIPROCESSING = "pymp-"
_END_S = 10.0


@contextlib.contextmanager
def guarded(folder: Path) -> Iterator[None]:
    """Within, the session is ended also where this process is killed."""
    # In a session of its own it outlives a signal to the run's process group.
    guard = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        remove(folder)
        guard.communicate()


def remove(folder: Path) -> None:
    """Ends the processes of a session, and removes its folder."""
    end_processes(folder)
    deadline = time.monotonic() + _END_S
    # The last of them, and threads of Ray's in this one, may still write there.
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def end_processes(folder: Path) -> None:
    """Kills all processes of a session; returns when none is left, at the latest after 10 s."""
    deadline = time.monotonic() + _END_S
    temporary: set[Path] = set()
    while (left := processes(folder)) and time.monotonic() < deadline:
        # First of all: some end by themselves with the first that is killed.
        temporary.update(*map(_temporary_folders, left))
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=0.5)
    for one in temporary:
        shutil.rmtree(one, ignore_errors=True)


def _temporary_folders(process: psutil.Process) -> set[Path]:
    """Folders that Python's multiprocessing made for a process's sockets, as in Ray's dashboard; a kill leaves them."""
    # It may have ended, or not be allowed to be asked, as on systems other than Linux.
    with contextlib.suppress(psutil.Error):
        sockets = (Path(one.laddr).parent for one in process.net_connections("unix") if one.laddr)
        return {place for place in sockets if place.name.startswith(_OF_MULTIPROCESSING)}
    return set()


def processes(folder: Path) -> list[psutil.Process]:
    """The processes of a session that are alive."""
    found = []
    # The run, and its guard: a run that has lost its name and environment to Ray looks like a process of Ray's.
    not_ray = (os.getpid(), os.getppid())
    for process in psutil.process_iter():
        # Those of other users, and those that have just ended, cannot be asked.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in not_ray and _belongs_to(process, folder):
                found.append(process)
    return found


def _belongs_to(process: psutil.Process, folder: Path) -> bool:
    environment = process.environ()
    if environment:
        return bool(environment.get(MARK) == str(folder))
    # Some of Ray's processes write their names over their environment; all of those keep a log. So do programs that
    # have joined this Ray, but they are not of it.
    logs = [Path(file.path) for file in process.open_files() if Path(file.path).is_relative_to(folder)]
    return bool(logs) and not any(log.name.startswith(_LOG_OF_JOINED) for log in logs)


if __name__ == "__main__":
    sys.stdin.read()
    remove(Path(sys.argv[1]))
