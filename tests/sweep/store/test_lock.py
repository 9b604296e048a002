"""One run at a time writes to a folder; who asks whether one does keeps none out."""

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slr_models.errors import ResultsError
from sweep.store import lock
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import LEDGER_FILE
from sweep.store.lock import HELD_FILE, LOCK_FILE, FolderLock, check_free, in_use, locked

HOLDING = """
import sys, time
from pathlib import Path
from sweep.store.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
print("holds it", flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["flock", "no flock"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A system with `flock`, and one on which only `filelock` knows how to lock."""
    if request.param == "no flock":
        monkeypatch.setattr(lock, "fcntl", None)
    return request.param


@contextmanager
def another_run(folder: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "holds it\n"
            yield process
        finally:
            process.kill()


def test_a_second_run_is_told_what_to_do(tmp_path: Path, system: str) -> None:
    held = Ledger(tmp_path)
    with pytest.raises(ResultsError) as told:
        Ledger(tmp_path)
    assert str(told.value) == (
        f"{tmp_path} is in use by another run: wait for it, stop it, or give --results another folder"
    )
    held.close()
    Ledger(tmp_path).close()


def test_a_lock_ends_with_its_process_however_that_dies(tmp_path: Path, system: str) -> None:
    with another_run(tmp_path) as process:
        assert in_use(tmp_path)
        with pytest.raises(ResultsError, match="in use by another run"):
            FolderLock(tmp_path)
        assert in_use(tmp_path), "the one that was turned away has taken nothing"
        process.kill()
        process.wait()
        assert not in_use(tmp_path)
        Ledger(tmp_path).close()


def test_a_damaged_ledger_is_not_held(tmp_path: Path, system: str) -> None:
    (tmp_path / LEDGER_FILE).write_text("nonsense\n")
    for _ in range(2):
        with pytest.raises(ResultsError, match="is damaged"):
            Ledger(tmp_path)
        assert not in_use(tmp_path)


def test_asking_whether_a_run_is_at_work_keeps_none_out(tmp_path: Path, system: str) -> None:
    assert not in_use(tmp_path)
    Ledger(tmp_path).close()
    over = threading.Event()

    def ask_often() -> None:
        while not over.is_set():
            in_use(tmp_path)

    asking = threading.Thread(target=ask_often)
    asking.start()
    try:
        for _ in range(100 if system == "flock" else 10):
            held = Ledger(tmp_path)
            assert in_use(tmp_path)
            held.close()
    finally:
        over.set()
        asking.join()
    assert not in_use(tmp_path)


def test_asking_leaves_no_file_behind(tmp_path: Path, system: str) -> None:
    assert not in_use(tmp_path) and not in_use(tmp_path / "none")
    (tmp_path / LEDGER_FILE).touch()
    assert not in_use(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER_FILE]


def test_runs_of_earlier_versions_and_these_keep_each_other_out(tmp_path: Path) -> None:
    """Those hold the ledger itself."""
    with (tmp_path / LEDGER_FILE).open("a+b") as ledger:
        fcntl.flock(ledger, fcntl.LOCK_EX)
        assert in_use(tmp_path)
        with pytest.raises(ResultsError, match="in use by another run"):
            Ledger(tmp_path)
        fcntl.flock(ledger, fcntl.LOCK_UN)
        held = Ledger(tmp_path)
        with pytest.raises(BlockingIOError):
            fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.close()
        fcntl.flock(ledger, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_lock_file_is_beside_the_ledger(tmp_path: Path) -> None:
    held = Ledger(tmp_path)
    assert (tmp_path / LOCK_FILE).is_file() and (tmp_path / LOCK_FILE).stat().st_size == 0
    held.close()


SHIM = """
#include <errno.h>
#include <stdlib.h>
int flock(int file, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""
TWO_RUNS = """
import sys
from pathlib import Path
from sweep.store.ledger import Ledger
from sweep.store.lock import in_use, without_flock
folder = Path(sys.argv[1])
assert without_flock(folder) is not None
held = Ledger(folder)
assert in_use(folder)
try:
    Ledger(folder)
except ValueError as error:
    print(error)
held.close()
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library in front of the system's, in which `flock` fails: with what, FLOCK_ERRNO says."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "flock.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / "flock.so", folder / "flock.c"], check=True)
    return folder / "flock.so"


def without_flock(shim: Path, number: int) -> dict[str, str]:
    return {**os.environ, "LD_PRELOAD": str(shim), "FLOCK_ERRNO": str(number)}


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EWOULDBLOCK, errno.EACCES])
def test_a_file_system_without_flock_is_not_taken_for_another_run(tmp_path: Path, shim: Path, number: int) -> None:
    """Whatever it says instead, also what it would say of a lock that is taken."""
    command = [sys.executable, "-W", "error", "-c", TWO_RUNS, str(tmp_path)]
    process = subprocess.Popen(
        command, env=without_flock(shim, number), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    out, err = process.communicate(timeout=60)
    assert err == ""
    told = f"{tmp_path} is in use by another run, process {process.pid}: "
    assert out == told + "wait for it, stop it, or give --results another folder\n"
    assert [path.name for path in tmp_path.iterdir()] == [LEDGER_FILE], "the file is removed with the run"


def test_without_flock_a_killed_run_on_this_machine_holds_nothing(tmp_path: Path, shim: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        env=without_flock(shim, errno.ENOSYS),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "holds it\n"
        assert in_use(tmp_path)
        with pytest.raises(ResultsError, match=f"in use by another run, process {process.pid}: "):
            Ledger(tmp_path)
        process.kill()
    assert (tmp_path / HELD_FILE).exists() and not in_use(tmp_path)
    Ledger(tmp_path).close()
    assert not (tmp_path / HELD_FILE).exists()


def test_a_run_on_another_machine_is_named_with_what_to_do_if_it_is_dead(tmp_path: Path) -> None:
    (tmp_path / HELD_FILE).write_text(f"{os.getpid()}\nnode-17?pidns-f0000123\n77\n")
    assert in_use(tmp_path)
    with pytest.raises(ResultsError) as told:
        Ledger(tmp_path)
    assert f"is in use by process {os.getpid()} on node-17, says {tmp_path / HELD_FILE}" in str(told.value)
    assert "if that run was killed, delete the file and repeat the command" in str(told.value)
    (tmp_path / HELD_FILE).unlink()
    Ledger(tmp_path).close()


def test_processes_of_one_run_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for is_missing in (None, "Function not implemented"):
        monkeypatch.setattr(lock, "without_flock", lambda folder, problem=is_missing: problem)
        with locked(tmp_path / f"{is_missing}.lock"):
            with pytest.raises(TimeoutError), locked(tmp_path / f"{is_missing}.lock", timeout_s=0.05):
                pytest.fail("both have it")
        with locked(tmp_path / f"{is_missing}.lock"):
            pass


@pytest.mark.skipif(os.name != "posix", reason="there are no pipes with names")
def test_a_pipe_or_a_device_in_the_place_of_the_holder_s_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A pipe never gives a word, and /dev/zero gives words without end."""
    (tmp_path / "ledger.jsonl").touch()
    held = tmp_path / "ledger.held"
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir):
        make(held)
        check_free(tmp_path)
        with pytest.raises(ResultsError, match=r"ledger.held is no file, but locks the folder: delete it"):
            FolderLock(tmp_path)
        held.rmdir() if held.is_dir() else held.unlink()
    FolderLock(tmp_path).release()


@pytest.mark.parametrize("pid", ["-1", "0", "1" + "0" * 28, "x"])
def test_a_holder_that_can_be_none_is_told_of_as_such(tmp_path: Path, pid: str) -> None:
    (tmp_path / "ledger.jsonl").touch()
    (tmp_path / "ledger.held").write_text(f"{pid}\nhere\x1b[31m\n")
    with pytest.raises(ResultsError, match="but not by whom: if no run is at work there, delete the file"):
        FolderLock(tmp_path)
