"""How a run ends before its study does, with a real Ray: Ray dies, Ctrl-C, kills, time. And who could get in."""

import random
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.reliability.interrupts import interrupted
from benchmarks.reliability.kills import killed
from benchmarks.reliability.runs import STUDY, Run, lines, start, told, violations, wait_until
from sweep.run import main
from sweep.running.cores import cores
from sweep.running.private_ray import PREFIX
from sweep.status.answer import State
from sweep.status.reading import Reader


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text(STUDY)
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Path]:
    """A short folder for Ray's sessions."""
    path = Path(f"/tmp/e{time.time_ns() % 10**9}")
    path.mkdir()
    yield path
    assert list(path.iterdir()) == [], "nothing of a session is left"
    path.rmdir()


def kill(run: Run, name: str, pause_s: float = 0) -> None:
    """Kills Ray's process of a name, so long after there is one."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found[:] = [process for process in run.processes if process.name() == name]
        return bool(found) or run.process.poll() is not None

    wait_until(there, 120)
    time.sleep(pause_s)
    assert run.processes
    found[0].kill()


def assert_died(run: Run, name: str, while_connecting: bool = False) -> None:
    """A run whose Ray has died has told so in a line, in time, and has left nothing.

    While the run connects with it, Ray's compiled part may be first and end the process its way, with 1.
    """
    killed_at = time.monotonic()
    code, _, err = run.end(60)
    assert time.monotonic() - killed_at < 20
    if while_connecting and code == 1:
        assert "Traceback" not in err and run.left_behind() == []
        return
    assert code == 3, err
    # After a pause it may be up already.
    died = ("Ray has died beneath the run", "Ray died while it started")[: 1 + while_connecting]
    assert err.startswith(tuple(f"error: {one} ({name} is gone" for one in died)) and err.count("\n") == 1, err
    status = Reader(run.folder).read()
    assert status.state is State.ENDED_EARLY and status.why == f"failed: {err.removeprefix('error: ').strip()}"
    assert "the same command goes on" in err
    assert run.left_behind() == []


@pytest.mark.ray
def test_all_of_ray_is_private_and_its_death_is_told(study: Path, tmp_path: Path, session: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    run = start(study, tmp_path / "results", "--trials", "500", RAY_TMPDIR=str(session), HOME=str(home))
    run.wait_for_results(1)
    listeners = {
        (process.name(), listener.laddr.ip)
        for process in run.processes
        for listener in process.net_connections(kind="inet")
        if listener.status == psutil.CONN_LISTEN
    }
    assert {"python", "gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= {
        name for name, _ in listeners
    }
    assert {address.removeprefix("::ffff:") for _, address in listeners} == {"127.0.0.1"}
    names = [process.name() for process in run.processes]
    workers = [name for name in names if name.startswith("ray::") and "Agent" not in name]
    assert len(workers) == cores().usable, "trainings take the workers that Ray has ready"
    (folder,) = session.glob(f"{PREFIX}*")
    for path, mode in ((folder, 0o700), (home / ".ray", 0o700), (home / ".ray" / "auth_token", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    assert (run.folder / "prometheus.json").is_file()
    before = lines(run.folder, "tell")
    kill(run, "raylet")
    assert_died(run, "raylet")
    assert violations(before, run.folder) == [] and not (run.folder / "ray").exists()

    run = start(study, tmp_path / "results", "--trials", "500", RAY_TMPDIR=str(session), HOME=str(home))
    run.wait_for_results(len(told(run.folder)) + 1)
    before = lines(run.folder, "tell")
    kill(run, "gcs_server")
    assert_died(run, "gcs_server")
    assert violations(before, run.folder) == []


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("name", ["gcs_server", "raylet"])
def test_the_death_of_a_ray_that_starts_is_told(study: Path, tmp_path: Path, session: Path, name: str) -> None:
    for pause_s in (0.3, 1.5):
        run = start(study, tmp_path / "results", RAY_TMPDIR=str(session))
        kill(run, name, pause_s)
        assert_died(run, name, while_connecting=True)


@pytest.mark.ray
def test_a_run_ends_in_its_time_and_goes_on_and_without_a_token_it_warns(
    study: Path, tmp_path: Path, session: Path
) -> None:
    began = time.monotonic()
    run = start(study, tmp_path / "results", "--trials", "2000", "--time", "45s", RAY_TMPDIR=str(session))
    code, out, err = run.end()
    assert (code, err) == (75, "") and time.monotonic() - began < 60
    assert "--time 45s is over after" in out and out.rstrip().endswith("report.html")
    assert "warning: Ray runs without token" not in out
    assert run.left_behind() == []
    # On a busy machine none may have ended.
    before = lines(run.folder, "tell")
    more = str(len(before) + 2)
    without_token = {"RAY_TMPDIR": str(session), "RAY_AUTH_MODE": "disabled"}
    run = start(study, tmp_path / "results", "--trials", more, "--time", "1h", **without_token)
    code, out, err = run.end()
    assert (code, err) == (0, "") and violations(before, run.folder) == [] and len(told(run.folder)) == int(more)
    assert "warning: Ray runs without token authentication" in out and "unset RAY_AUTH_MODE" in out


def test_a_time_that_is_none_is_a_mistake(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("0", "-5", "abc"):
        assert main([str(study), "--results", str(tmp_path / "r"), "--time", text]) == 2
        assert capsys.readouterr().err.startswith(f"error: --time {text}: give hours")
    assert not (tmp_path / "r").exists()


PROGRAMS = [(sys.executable, "-m", "sweep.run"), (sys.executable, "-m", "sweep", "run")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("program", PROGRAMS)
def test_ctrl_c_while_it_imports_ends_it_in_a_line(study, tmp_path, program, number) -> None:
    for after_s in (0.15, 0.6, 1.2, 1.8):
        run = start(study, tmp_path / "results", program=program)
        problems, ended_s, _ = interrupted(run, after_s, number, 1)
        assert problems == [] and ended_s < 10
    assert told(run.folder) == []


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 1), (signal.SIGINT, 3), (signal.SIGTERM, 1)])
def test_ctrl_c_at_any_moment_ends_it_in_good_order(study, tmp_path, session, number, times) -> None:
    for after_s in (3.0, 6.0, 12.0):
        before = lines(tmp_path / "results" / "short", "tell")
        run = start(study, tmp_path / "results", "--trials", "500", RAY_TMPDIR=str(session))
        problems, _, _ = interrupted(run, after_s, number, times)
        assert problems + violations(before, run.folder) == []


@pytest.mark.ray
@pytest.mark.long
def test_kills_lose_nothing(tmp_path: Path) -> None:
    assert killed(tmp_path, 3, random.Random(1)) == []
