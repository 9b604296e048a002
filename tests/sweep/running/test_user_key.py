"""A user's own key: one, whoever asks first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.running import user_key
from sweep.running.user_key import KEY_FILE


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """Where this user's settings are; nothing is there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    return tmp_path / "config" / "slr-sweep"


def test_a_relative_config_folder_is_not_taken(home, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "here")
    monkeypatch.setenv("APPDATA", "here")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert user_key._folder().is_relative_to(tmp_path)


def test_who_comes_second_takes_the_key_that_is_there(home) -> None:
    user_key._make_key(home / KEY_FILE)
    first = (home / KEY_FILE).read_bytes()
    user_key._make_key(home / KEY_FILE)
    assert (home / KEY_FILE).read_bytes() == first == user_key.user_key(make=True)


def test_runs_that_begin_at_once_make_one_key(home) -> None:
    """Real processes, held back until all of them are ready."""
    program = (
        "import sys\nfrom sweep.running.user_key import user_key\nprint(flush=True)\nsys.stdin.readline()\n"
        "print(user_key(make=True).hex())"
    )
    command = [sys.executable, "-c", program]
    ready = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ})
        for _ in range(4)
    ]
    for one in ready:
        assert one.stdout is not None and one.stdout.readline() == "\n"
    keys = set()
    for one in ready:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in ready:
        keys.add(one.communicate(timeout=60)[0].strip())
        assert one.returncode == 0
    assert keys == {(home / KEY_FILE).read_bytes().hex()}
    assert [path.name for path in home.iterdir()] == [KEY_FILE]
