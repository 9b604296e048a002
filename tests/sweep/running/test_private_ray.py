"""What a Ray of our own has to itself: a folder, a token, and processes that end with it. No Ray is started here."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweep.running import private_ray
from sweep.running.guard import MARK, end_processes, processes
from sweep.running.private_ray import PREFIX, session_folder, token_settings

HOLDING = """
import sys
from sweep.running.private_ray import session_folder
with session_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""
ORPHANS = """
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("begun", flush=True)
os._exit(0)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "home"
    path.mkdir()
    monkeypatch.setenv("HOME", str(path))
    return path


@pytest.fixture
def base(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = Path(f"/tmp/t{os.getpid()}")
    path.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(path))
    yield path
    path.rmdir()


def test_the_folder_is_its_user_s_alone_and_goes_with_the_run(base: Path) -> None:
    with session_folder() as folder:
        assert folder.parent == base and mode(folder) == 0o700
        (folder / "ray").mkdir()
        (folder / "ray" / "left").write_text("by Ray")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["x" * 60, "\u00e9" * 30])
def test_where_a_path_would_be_too_long_for_a_socket_it_lies_in_tmp(tmp_path, home, monkeypatch, name: str) -> None:
    long = tmp_path / name
    long.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    with session_folder() as folder:
        assert folder.parent == Path("/tmp")


def test_a_killed_run_s_folder_and_processes_go_with_it(base: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", HOLDING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    folder = Path(run.stdout.readline().strip())
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], env={**os.environ, MARK: str(folder)}
    )
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert child.wait(timeout=20) == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


def test_the_folder_of_a_run_killed_with_its_guard_is_removed_and_that_of_a_living_one_is_not(base: Path) -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", HOLDING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    folders = [Path(other.stdout.readline().strip()) for other in others]
    for guard in psutil.Process(others[0].pid).children():
        guard.kill()
    others[0].kill()
    others[0].communicate()
    assert folders[0].is_dir() and folders[1].is_dir()
    with session_folder():
        assert not folders[0].exists() and folders[1].is_dir()
    others[1].communicate("")
    assert not folders[1].exists()


def test_a_folder_of_somebody_else_is_left_alone(base: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "owner.lock").touch()
    link = base / f"{PREFIX}link"
    link.symlink_to(tmp_path / "elsewhere")
    strange = base / f"{PREFIX}strange"
    strange.mkdir()
    with session_folder():
        assert link.is_symlink() and (tmp_path / "elsewhere" / "owner.lock").is_file() and strange.is_dir()
    link.unlink()
    strange.rmdir()


def test_processes_are_found_and_ended_also_where_their_parents_have_died(tmp_path: Path) -> None:
    environment = {**os.environ, MARK: str(tmp_path)}
    subprocess.run([sys.executable, "-c", ORPHANS], env=environment, check=True, stdout=subprocess.DEVNULL)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env={**environment, MARK: "x"})
    deadline = time.monotonic() + 10
    while not (found := processes(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(found) == 1
    end_processes(tmp_path)
    assert processes(tmp_path) == [] and not found[0].is_running() or found[0].status() == psutil.STATUS_ZOMBIE
    assert other.poll() is None
    other.send_signal(signal.SIGKILL)
    other.wait()


SERVER = """
import sys, time
from multiprocessing.connection import Listener
listener = Listener(family="AF_UNIX")
print(listener.address, flush=True)
time.sleep(300)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process's sockets")
def test_what_multiprocessing_of_a_killed_process_left_goes_too(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", SERVER], env=environment, stdout=subprocess.PIPE, text=True) as other:
        others = Path(other.stdout.readline().strip()).parent
        with subprocess.Popen(
            [sys.executable, "-c", SERVER], env={**environment, MARK: "mine"}, stdout=subprocess.PIPE, text=True
        ) as ours:
            assert Path(ours.stdout.readline().strip()).parent.parent == tmp_path
            end_processes(Path("mine"))
        assert list(tmp_path.iterdir()) == [others], "that of a process of somebody else stays"
        other.terminate()


def test_a_token_is_made_that_nobody_else_can_read(home: Path, tmp_path: Path) -> None:
    assert token_settings(tmp_path) == {}
    token = home / ".ray" / "auth_token"
    assert (mode(token), mode(token.parent)) == (0o600, 0o700) and len(token.read_text()) == 64
    before = token.read_text()
    assert token_settings(tmp_path) == {} and token.read_text() == before, "it stays: other runs use it too"
    assert [one.name for one in token.parent.iterdir()] == ["auth_token"]


def test_what_ray_made_readable_for_all_is_closed(home: Path, tmp_path: Path) -> None:
    (home / ".ray").mkdir(mode=0o755)
    token = home / ".ray" / "auth_token"
    token.write_text("abc")
    token.chmod(0o644)
    assert token_settings(tmp_path) == {}
    assert (mode(token), mode(token.parent), token.read_text()) == (0o600, 0o700, "abc")


def test_an_empty_token_is_replaced(home: Path, tmp_path: Path) -> None:
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text("\n")
    assert token_settings(tmp_path) == {}
    assert len((home / ".ray" / "auth_token").read_text()) == 64 and mode(home / ".ray" / "auth_token") == 0o600


def test_where_home_cannot_be_written_the_token_is_the_session_s(tmp_path, monkeypatch, home: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    folder = tmp_path / "session"
    folder.mkdir(mode=0o700)
    assert token_settings(folder) == {"RAY_AUTH_TOKEN_PATH": str(folder / "auth_token")}
    assert mode(folder / "auth_token") == 0o600


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_a_token_of_the_user_s_is_used_as_it_is(home: Path, tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.setenv(name, "anything")
    assert token_settings(tmp_path) == {} and not (home / ".ray").exists()


def test_ray_keeps_to_the_loopback_address_within_and_as_it_was_afterwards() -> None:
    from ray._private import services

    before = services.resolve_ip_for_localhost("127.0.0.1")
    with private_ray.on_loopback():
        assert services.resolve_ip_for_localhost("127.0.0.1") == "127.0.0.1"
    assert services.resolve_ip_for_localhost("127.0.0.1") == before
