"""A search in a database: what Optuna reads there is what its journal holds, whatever becomes of server and run."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from pydantic import TypeAdapter
from sqlalchemy.pool import NullPool

from slr_models.errors import MachineError, SettingError
from sweep.search import SearchConfig
from sweep.search import database as mirrors
from sweep.search.bridge import OptunaBridge, SettingResult
from sweep.search.database import DatabaseMirror, address
from sweep.space import Space

SPACE = TypeAdapter(Space).validate_python(
    {
        "training.kind": {"choice": ["fp32", "fp16"]},
        "training.scale": {"grid": [256, 65536], "when": {"training.kind": ["fp16"]}},
        "training.lr": {"loguniform": [1e-4, 1.0]},
        "model.depth": {"int": [1, 4]},
    }
)
PASSWORD = "p{w}@%/:x"
WIDER = SPACE | TypeAdapter(Space).validate_python({"model.depth": {"int": [1, 8]}})


class Server:
    """A database server of this test's own, on loopback, as a user that is not root."""

    def __init__(self, folder: Path, user: str) -> None:
        self.folder, self._user = folder, user
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.getuid() == 0:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)

    def run(self, *command: str) -> str:
        user = {"user": self._user} if os.getuid() == 0 else {}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=120, **user)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


class Postgres(Server):
    def __init__(self, folder: Path) -> None:
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        found = str(binaries[-1]) if binaries else shutil.which("initdb")
        if found is None:
            pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
        pytest.importorskip("psycopg", reason="the extra `postgresql` is not installed")
        super().__init__(folder, "postgres")
        self._bin = Path(found).parent
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        self.run(found, "-D", "data", "-U", "me", "--auth=scram-sha-256", "--pwfile=password", "--no-sync")
        self.start()

    @property
    def url(self) -> str:
        return f"postgresql://me:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self.run(str(self._bin / "pg_ctl"), "-D", "data", "-o", options, "-l", "log", "-w", "start")

    def stop(self) -> None:
        self.run(str(self._bin / "pg_ctl"), "-D", "data", "-m", "immediate", "-w", "stop")


class MariaDb(Server):
    def __init__(self, folder: Path) -> None:
        if shutil.which("mariadbd") is None or shutil.which("mariadb-install-db") is None:
            pytest.skip("MariaDB is not installed (Debian: apt-get install mariadb-server)")
        pytest.importorskip("pymysql", reason="the extra `mysql` is not installed")
        super().__init__(folder, "mysql")
        self.run(
            "mariadb-install-db",
            "--no-defaults",
            f"--datadir={folder}/data",
            "--auth-root-authentication-method=normal",
        )
        (folder / "first.sql").write_text(
            f"CREATE DATABASE studies;\nCREATE USER me@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON studies.* TO me@'127.0.0.1';\n"
        )
        self.start("--init-file=first.sql")

    @property
    def url(self) -> str:
        return f"mysql://me:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/studies"

    def start(self, *more: str) -> None:
        user = {"user": self._user} if os.getuid() == 0 else {}
        place = [f"--datadir={self.folder}/data", f"--socket={self.folder}/s", f"--pid-file={self.folder}/pid"]
        where = ["--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"]
        more = tuple(option.replace("=first", f"={self.folder}/first") for option in more)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [shutil.which("mariadbd"), "--no-defaults", *place, *where, *more], stdout=log, stderr=log, **user
            )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


class Sqlite:
    """No server: a file."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/studies.db"

    def stop(self) -> None:
        """Nothing runs."""


@contextlib.contextmanager
def started(kind: type[Server] | type[Sqlite]) -> Iterator[Server | Sqlite]:
    # Not in a folder of pytest's, which root alone may enter where it runs the tests.
    with tempfile.TemporaryDirectory(prefix="db", ignore_cleanup_errors=True) as folder:
        made = kind(Path(folder))
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module", params=[Sqlite, Postgres, MariaDb], ids=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Iterator[Server | Sqlite]:
    with started(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def postgres() -> Iterator[Server | Sqlite]:
    with started(Postgres) as made:
        yield made


@pytest.fixture
def said() -> list[str]:
    return []


def outcome(settings, **more) -> SettingResult:
    stable = settings["training.lr"] < 0.05
    given = {
        "objective": settings["training.lr"] if stable else 2.5,
        "margin": -0.5 if stable else 0.5,
        "attributes": {"verdict": "stable" if stable else "diverged-loss", "trials": "0003", "wer": 1 / 3},
    }
    return SettingResult(**given | more)


def connected(database, name: str, said: list[str], identity: str = "a") -> DatabaseMirror:
    return DatabaseMirror(address(database.url), name, identity, said.append)


def bridge(folder: Path, mirror: DatabaseMirror, history=(), *, kind: str = "random", space=SPACE) -> OptunaBridge:
    config = TypeAdapter(SearchConfig).validate_python({"kind": kind, "seed": 5})
    return OptunaBridge(folder, "s", space, config, history, mirror=mirror)


def there(database, name: str) -> optuna.Study:
    """As another machine reads it."""
    url = address(database.url).render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    return optuna.load_study(study_name=name, storage=RDBStorage(url, {"poolclass": NullPool}))


def content(study: optuna.Study) -> list[object]:
    return [
        (t.number, t.state, t.params, t.distributions, t.values, t.user_attrs, t.intermediate_values)
        + (t.system_attrs.get("constraints"),)
        for t in study.trials
    ]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", ["random", "nsga2"])
def test_another_machine_reads_there_what_the_journal_holds(database, kind, tmp_path, said) -> None:
    mirror = connected(database, f"same {kind}", said)
    search = bridge(tmp_path, mirror, kind=kind)
    with mirror:
        asked = [search.ask()[1] for _ in range(6)]
        for number, settings in enumerate(asked[:4]):
            search.tell(number, outcome(settings, cost=float(number)))
        values = {10: 0.5, 20: 0.25} if kind == "random" else {}
        search.tell(4, outcome(asked[4], is_open=True, evaluations=values))
        search.note_cause("0003", "lr too high")
    study = there(database, f"same {kind}")
    assert content(study) == content(search.study) and study.directions == search.study.directions
    assert [t.state.name for t in study.trials] == ["COMPLETE"] * 4 + ["PRUNED", "RUNNING"]
    assert study.user_attrs == search.study.user_attrs | {"results_id": "a"}
    assert study.metric_names == search.study.metric_names
    assert said == []


def test_trials_are_seen_while_the_study_runs(database, tmp_path, said) -> None:
    mirror = connected(database, "live", said)
    search = bridge(tmp_path, mirror)
    with mirror:
        _, settings = search.ask()
        wait_for(lambda: [t.state for t in there(database, "live").trials] == [TrialState.RUNNING])
        search.tell(0, outcome(settings))
        wait_for(lambda: [t.state for t in there(database, "live").trials] == [TrialState.COMPLETE])


def test_what_is_still_to_be_written_stays_as_it_was_told(tmp_path, said) -> None:
    mirror = connected(Sqlite(tmp_path), "told", said)
    search = bridge(tmp_path, mirror)
    _, settings = search.ask()
    asked = mirror._wanted[0]
    search.tell(0, outcome(settings))
    assert asked.state is TrialState.RUNNING and asked.user_attrs == {} != mirror._wanted[0].user_attrs


def wait_for(holds, at_most_s: float = 60.0) -> None:
    until = time.monotonic() + at_most_s
    while True:
        with contextlib.suppress(KeyError):
            if holds():
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_study_that_goes_on_finds_its_own_and_completes_it(database, tmp_path, said) -> None:
    mirror = connected(database, "on", said)
    search = bridge(tmp_path, mirror)
    with mirror:
        asked = [search.ask()[1] for _ in range(3)]
        search.tell(0, outcome(asked[0]))
    study_id = there(database, "on")._study_id
    # What was told since, without the database: two results, one of them with a cause found later, and a new setting.
    found = outcome(asked[0], attributes=outcome(asked[0]).attributes | {"cause": "lr too high"})
    past = [(asked[0], found), (asked[1], outcome(asked[1])), (asked[2], None), (asked[2], outcome(asked[2]))]
    again = connected(database, "on", said)
    search = bridge(tmp_path, again, past)
    with again:
        pass
    study = there(database, "on")
    assert study._study_id == study_id, "nobody who looks on loses it"
    assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "RUNNING", "COMPLETE"]
    assert content(study)[1:] == content(search.study)[1:]
    assert study.user_attrs["cause of trial 0003"] == "lr too high"
    assert said == []


@pytest.mark.parametrize("change", ["told otherwise", "run again", "range", "one more there", "told twice"])
def test_what_disagrees_with_the_ledger_is_written_anew(database, change, tmp_path, said) -> None:
    name = f"anew {change}"
    mirror = connected(database, name, said)
    search = bridge(tmp_path, mirror)
    with mirror:
        asked = [search.ask()[1] for _ in range(2)]
        for number, settings in enumerate(asked):
            search.tell(number, outcome(settings))
    if change == "told twice":
        there(database, name).add_trial(there(database, name).trials[1])
    past = [(settings, outcome(settings)) for settings in asked]
    match change:
        case "told otherwise":
            past[1] = asked[1], outcome(asked[1], objective=7.0)
        case "run again":
            past[0] = asked[0], None
        case "one more there":
            past.pop()
    again = connected(database, name, said)
    search = bridge(tmp_path, again, past, space=WIDER if change == "range" else SPACE)
    with again:
        pass
    assert content(there(database, name)) == content(search.study) and said == []


def test_a_name_that_another_study_has_is_one_error(database, tmp_path, said) -> None:
    mirror = connected(database, "taken", said)
    bridge(tmp_path, mirror)
    with mirror:
        pass
    with pytest.raises(SettingError, match="holds a study taken already, .* give this study another `name`, or"):
        connected(database, "taken", said, identity="b")


def test_a_server_that_is_lost_costs_one_warning_and_is_caught_up_with(postgres, tmp_path, said, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "RETRY_S", 0.2)
    mirror = connected(postgres, "lost", said)
    search = bridge(tmp_path, mirror)
    with mirror:
        asked = [search.ask()[1]]
        wait_for(lambda: len(there(postgres, "lost").trials) == 1)
        postgres.stop()
        try:
            started = time.monotonic()
            search.tell(0, outcome(asked[0]))
            asked += [search.ask()[1] for _ in range(3)]
            assert time.monotonic() - started < 1, "the search waits for nobody"
            wait_for(lambda: said)
        finally:
            postgres.start()
        wait_for(lambda: len(said) == 2)
        search.tell(1, outcome(asked[1]))
    assert content(there(postgres, "lost")) == content(search.study)
    warning, back = said
    assert warning.startswith("  note: --storage: postgresql://127.0.0.1:") and "goes on" in warning
    assert back.endswith("has all trials again")
    assert PASSWORD not in "".join(said) and urllib.parse.quote(PASSWORD, safe="") not in "".join(said)


def test_a_server_that_is_gone_at_the_end_is_told_and_the_next_run_completes_it(
    postgres, tmp_path, said, monkeypatch
) -> None:
    monkeypatch.setattr(mirrors, "RETRY_S", 0.2)
    mirror = connected(postgres, "gone", said)
    search = bridge(tmp_path, mirror)
    with mirror:
        asked = [search.ask()[1]]
        wait_for(lambda: len(there(postgres, "gone").trials) == 1)
        postgres.stop()
        search.tell(0, outcome(asked[0]))
        wait_for(lambda: said)
    assert said[1:] == ["  note: --storage: 1 trial could not be written yet: the next run with --storage does that"]
    with pytest.raises(MachineError, match=r"--storage: postgresql://127.0.0.1:\d+/postgres cannot be used") as refused:
        connected(postgres, "gone", said)
    assert "leave --storage out" in str(refused.value) and "\n" not in str(refused.value)
    assert PASSWORD not in str(refused.value)
    postgres.start()
    again = connected(postgres, "gone", said)
    search = bridge(tmp_path, again, [(asked[0], outcome(asked[0]))])
    with again:
        pass
    assert content(there(postgres, "gone")) == content(search.study) and len(said) == 2


def test_a_wrong_password_is_one_error_without_it(postgres, said) -> None:
    wrong = postgres.url.replace(urllib.parse.quote(PASSWORD, safe=""), "wrong-secret")
    with pytest.raises(MachineError, match="password authentication failed") as refused:
        DatabaseMirror(address(wrong), "s", "a", said.append)
    assert "wrong-secret" not in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(("scheme", "driver"), [("postgresql", "psycopg"), ("mysql", "pymysql")])
def test_a_server_that_is_not_there_is_one_error(scheme, driver, said) -> None:
    pytest.importorskip(driver)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"{scheme}://me:secret-word@127.0.0.1:{taken.getsockname()[1]}/x"
        with pytest.raises(MachineError, match="refused") as told:
            DatabaseMirror(address(nowhere), "s", "a", said.append)
    assert "secret" not in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ("results.db", "that is no URL of a database"),
        ("sqlite://", "is in memory, and gone with the run"),
        ("sqlite:///:memory:", "is in memory, and gone with the run"),
        ("http://secret-host/x", "that is no URL of a database"),
        ("postgresql://me:secret-word@host:port/x", "no valid user:password, host or port"),
        ("env:SWEEP_NOT_SET", "the environment variable SWEEP_NOT_SET is not set"),
        ("postgresql+pg9000://me:secret-word@host/x", r"postgresql needs the driver pg9000, which is not installed"),
    ],
)
def test_what_is_no_database_is_one_error_without_what_is_secret(option, match) -> None:
    with pytest.raises(SettingError, match=match) as refused:
        address(option)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("scheme", "extra"), [("postgresql", "postgresql"), ("mysql", "mysql"), ("mariadb", "mysql")])
def test_a_driver_that_is_missing_is_told_with_the_extra_that_brings_it(scheme, extra, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(SettingError, match=rf"pip install 'slr-stability-sweep\[{extra}\]'"):
        address(f"{scheme}://me@host/x")


def test_a_variable_may_hold_the_url(monkeypatch) -> None:
    monkeypatch.setenv("SWEEP_STORAGE", "sqlite:///x.db")
    assert address("env:SWEEP_STORAGE").database == "x.db"
