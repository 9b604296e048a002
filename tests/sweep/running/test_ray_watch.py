"""The death of what Ray cannot live without, with processes that have its names and do nothing."""

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.running.ray_watch import RayDiedError, RayWatch


@pytest.fixture
def vital(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen]]:
    started = {}
    for name in ("gcs_server", "raylet"):
        shutil.copy(shutil.which("sleep"), tmp_path / name)
        started[name] = subprocess.Popen([str(tmp_path / name), "60"])
    yield started
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_a_death_interrupts_the_main_thread_after_it_was_seen_to(vital, name: str) -> None:
    seen: list[str] = []
    watch = RayWatch(on_death=lambda: seen.append(threading.current_thread().name))
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), watch:
        time.sleep(0.5)
        vital[name].kill()
        time.sleep(30)
    assert time.monotonic() - began < 10
    assert seen == ["ray-watch"]
    assert isinstance(watch.died, RayDiedError) and f"{name} is gone" in str(watch.died)
    assert "the same command goes on" in str(watch.died)


def test_what_compiled_code_says_of_the_death_is_not_printed(vital, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), RayWatch():
        time.sleep(0.5)
        vital["gcs_server"].kill()
        try:
            time.sleep(30)
        finally:
            os.write(2, b"W rpc_client.h:153: Failed to connect\n")
    os.write(2, b"error: ours\n")
    assert capfd.readouterr().err == "error: ours\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_asks_is_told_at_once(vital) -> None:
    watch = RayWatch()
    # The thread notices too, and may interrupt what asks, amid reading a file of /proc.
    with pytest.raises((RayDiedError, KeyboardInterrupt)), watch:
        time.sleep(0.5)
        watch.check()
        vital["raylet"].kill()
        while True:
            watch.check()
    assert watch.died is not None


def test_nothing_happens_while_all_live(vital) -> None:
    with RayWatch() as watch:
        time.sleep(0.8)
    assert watch.died is None
    vital["raylet"].kill()
    time.sleep(0.5)


def test_a_cluster_elsewhere_that_answers_no_more_has_died(monkeypatch) -> None:
    monkeypatch.setattr("sweep.running.ray_watch._ASK_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = RayWatch()
        watch.watch_cluster(f"127.0.0.1:{server.getsockname()[1]}", "no such node")
        with pytest.raises(KeyboardInterrupt), watch:
            time.sleep(0.5)
            assert watch.died is None
            server.close()
            time.sleep(30)
    assert watch.died is not None and "GCS" in str(watch.died)
