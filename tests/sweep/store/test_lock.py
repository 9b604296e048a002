"""One run at a time writes to a folder; who asks whether one does keeps none out."""

import fcntl
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
from sweep.store.lock import LOCK_FILE, FolderLock, in_use

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
