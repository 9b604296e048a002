"""Keeps a study in a database (PostgreSQL, MySQL, SQLite) as the search's journal has it, for whoever looks on.

The search itself reads and writes its journal alone. What becomes of its trials is written to the database by a thread
of its own, so that no training waits for it: a server that is gone costs a line of warning, and is caught up with when
it is back, or by the next run. Like the journal it is derived data: each start compares it with the ledger, and a
finished trial that is another one there, which Optuna lets nobody change, has the study written anew.

An address may hold a password: no message of ours names it.
"""

import copy
import os
import shlex
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import optuna
import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from slr_models.errors import MachineError, SettingError
from sweep.redaction import redacted
from sweep.search.parameters import CONSTRAINTS
from sweep.wording import first_line, plural

IDENTITY = "results_id"
"""User attribute of the study: which results folder it belongs to."""
CLOSE_S = 30.0
"""How long the end of a run waits for what is still to be written."""
RETRY_S = 10.0
_CONNECT_S, _ANSWER_S = 10, 30
_DRIVERS = {
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}
_EXTRAS = {"postgresql": "psycopg", "mysql": "PyMySQL"}
"""Extras of ours -> the driver that each brings."""
_CONNECT_ARGUMENTS: dict[str, dict[str, int]] = {
    "psycopg": {"connect_timeout": _CONNECT_S, "tcp_user_timeout": 1000 * _ANSWER_S},
    "pymysql": {"connect_timeout": _CONNECT_S, "read_timeout": _ANSWER_S, "write_timeout": _ANSWER_S},
    "pysqlite": {"timeout": _CONNECT_S},
}
"""By driver: how long a server may be silent."""
_ADVICE = "give postgresql://HOST/DATABASE, mysql://HOST/DATABASE, sqlite:///FILE.db or env:NAME"


def address(option: str) -> sqlalchemy.URL:
    """The database that `--storage` names, whose driver is installed.

    Args:
        option: its URL, or `env:NAME` for one that an environment variable holds.

    Raises:
        SettingError: it is no such URL, the variable is not set, or the driver is missing.
    """
    text = option
    if option.startswith("env:"):
        variable = option.removeprefix("env:")
        text = os.environ.get(variable, "").strip()
        if not text:
            raise SettingError(f"--storage: the environment variable {variable} is not set: set it, or give the URL")
    scheme, found, rest = text.partition("://")
    dialect, _, driver = scheme.lower().partition("+")
    if not found or dialect not in (*_DRIVERS, "sqlite"):
        raise SettingError(f"--storage: that is no URL of a database that Optuna writes to: {_ADVICE}")
    kind = scheme.lower() if driver or dialect == "sqlite" else _DRIVERS[dialect]
    try:
        url = sqlalchemy.make_url(f"{kind}://{rest}")
    except (sqlalchemy.exc.ArgumentError, ValueError) as error:
        raise SettingError(f"--storage: the URL has no valid user:password, host or port: {_ADVICE}") from error
    if dialect == "sqlite" and url.database in (None, "", ":memory:"):
        raise SettingError("--storage: this SQLite is in memory, and gone with the run: name a file, sqlite:///FILE.db")
    try:
        url.get_dialect().import_dbapi()
    except (ImportError, sqlalchemy.exc.NoSuchModuleError) as error:
        backend = url.get_backend_name()
        is_ours = backend in _EXTRAS and kind == _DRIVERS[backend]
        needed = (
            f"{_EXTRAS[backend]}: pip install 'slr-stability-sweep[{backend}]'"
            if is_ours
            else (f"the driver {driver or kind}, which is not installed: install it, or leave +{driver} out")
        )
        raise SettingError(f"--storage: {dialect} needs {needed}") from error
    return url


class DatabaseMirror:
    """A study's Optuna study in a database.

    `begin` takes the trials that there are, `changed` and `noted` what becomes of them; within the context, all of it
    is written.
    """

    def __init__(self, url: sqlalchemy.URL, name: str, identity: str, say: Callable[[str], None]) -> None:
        """Connects, and makes Optuna's tables where there are none.

        Args:
            url: of the database.
            name: of the study.
            identity: of its results folder; no other one has it.
            say: prints a line for a person.

        Raises:
            MachineError: no server answers, or it lets nobody in or has no room.
            SettingError: a study of another results folder has this name there.
        """
        self._secret = url.render_as_string(hide_password=False)
        shown = sqlalchemy.URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
        self.where = shown.render_as_string()
        """The database for a person, without user and password."""
        self._name, self._identity, self._say = name, identity, say
        self._directions: list[StudyDirection] = []
        self._attributes: dict[str, Any] = {IDENTITY: identity}
        self._system: Mapping[str, Any] = {}
        self._wanted: list[FrozenTrial] = []
        self._lock = threading.Condition()
        """Of all that the search tells, and what of it is still to be written."""
        self._to_write: set[int] = set()
        self._to_note: set[str] = set()
        self._is_closing = self._is_lost = False
        self._study_id: int | None = None
        """None as long as it is not known what is there."""
        self._there: dict[int, FrozenTrial] = {}
        """Trials in the database, by the search's number."""
        self._thread = threading.Thread(target=self._work, name="storage", daemon=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        arguments = dict(_CONNECT_ARGUMENTS.get(url.get_driver_name(), {}))
        try:
            # Optuna takes braces for a place to fill in.
            braced = self._secret.replace("{", "{{").replace("}", "}}")
            self._storage = RDBStorage(braced, {"connect_args": arguments, "pool_pre_ping": True})
            try:
                self._found()
            finally:
                self._disconnect()
        except SettingError:
            raise
        except Exception as error:
            # Of whichever library speaks to the server.
            raise MachineError(
                f"--storage: {self.where} cannot be used ({self._reason(error)}): mend that, or leave --storage out: "
                f"a later run with it brings the study there up to date"
            ) from error

    def begin(self, study: optuna.Study) -> None:
        """Takes the search's study as it is when a run begins."""
        storage, study_id = study._storage, study._study_id
        self._directions = study.directions
        self._system = storage.get_study_system_attrs(study_id)
        self._attributes |= study.user_attrs
        self._wanted = [_shown(trial) for trial in study.get_trials(deepcopy=False)]

    def changed(self, trial: FrozenTrial) -> None:
        """Takes a trial that is new, or has ended."""
        with self._lock:
            # They come in order.
            self._wanted[trial.number : trial.number + 1] = [_shown(trial)]
            self._to_write.add(trial.number)
            self._lock.notify()

    def noted(self, key: str, value: Any) -> None:
        """Takes a user attribute of the study."""
        with self._lock:
            self._attributes[key] = value
            self._to_note.add(key)
            self._lock.notify()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_closing = True
            self._lock.notify()
        self._thread.join(CLOSE_S)
        num = len(self._to_write) if self._study_id is not None else len(self._wanted)
        if self._thread.is_alive() or num:
            self._tell(f"{plural(num, 'trial')} could not be written yet: the next run with --storage does that")

    def _work(self) -> None:
        """Writes until all is written and the run ends."""
        while True:
            with self._lock:
                self._lock.wait_for(
                    lambda: self._is_closing or self._to_write or self._to_note or self._study_id is None
                )
                is_last = self._is_closing
            try:
                self._write()
            except Exception as error:
                # What is there is looked at anew: it may have been written although nobody could say so any more.
                self._study_id = None
                if not self._is_lost:
                    self._is_lost = True
                    self._tell(
                        f"{self.where} cannot be written to ({self._reason(error)}): the study goes on, and is "
                        f"written there once that is over"
                    )
                with self._lock:
                    self._lock.wait_for(lambda: self._is_closing, RETRY_S)
            else:
                if self._is_lost:
                    self._is_lost = False
                    self._say(f"  --storage: {self.where} has all trials again")
            if is_last:
                self._disconnect()
                return

    def _disconnect(self) -> None:
        """Leaves the server; what is written later connects again."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _write(self) -> None:
        """Writes all that is not there yet."""
        if self._study_id is None:
            self._compare()
        while True:
            with self._lock:
                numbers, keys = sorted(self._to_write), sorted(self._to_note)
                if not numbers and not keys:
                    return
                trials = {number: self._wanted[number] for number in numbers}
                attributes = {key: self._attributes[key] for key in keys}
            for number, trial in trials.items():
                self._bring(number, trial)
                with self._lock:
                    if self._wanted[number] is trial:
                        self._to_write.discard(number)
            for key, value in attributes.items():
                self._storage.set_study_user_attr(self._study, key, value)
                with self._lock:
                    self._to_note.discard(key)

    @property
    def _study(self) -> int:
        assert self._study_id is not None, "compared before"
        return self._study_id

    def _found(self) -> int | None:
        """The study's id there; None where there is none.

        Raises:
            SettingError: there is one of another results folder.
        """
        try:
            study_id: int = self._storage.get_study_id_from_name(self._name)
        except KeyError:
            return None
        if self._storage.get_study_user_attrs(study_id).get(IDENTITY) == self._identity:
            return study_id
        raise SettingError(
            f"--storage: {self.where} holds a study {self._name} already, which is not of this results folder: give "
            f"this study another `name`, or remove that one with optuna delete-study --study-name "
            f"{shlex.quote(self._name)} --storage URL"
        )

    def _compare(self) -> None:
        """Finds out what is there, and what is to be written."""
        with self._lock:
            wanted = list(self._wanted)
        study_id = self._found()
        there = [] if study_id is None else self._storage.get_all_trials(study_id, deepcopy=False)
        may_stay = len(there) <= len(wanted) and all(map(_can_become, there, wanted))
        if study_id is not None and not (may_stay and self._storage.get_study_directions(study_id) == self._directions):
            self._storage.delete_study(study_id)
            study_id, there = None, []
        if study_id is None:
            study_id = self._storage.create_new_study(self._directions, self._name)
            # First of all: whoever is killed after it finds its study again.
            self._storage.set_study_user_attr(study_id, IDENTITY, self._identity)
        for key, value in self._system.items():
            self._storage.set_study_system_attr(study_id, key, value)
        known = self._storage.get_study_user_attrs(study_id)
        self._there = dict(enumerate(there))
        with self._lock:
            for one, trial in zip(there, wanted, strict=False):
                self._attributes |= _late(one, trial)
            self._to_note = {key for key, value in self._attributes.items() if known.get(key) != value}
            self._to_write = set(range(len(self._wanted)))
            self._study_id = study_id

    def _bring(self, number: int, trial: FrozenTrial) -> None:
        """Makes a trial there what it is here."""
        there = self._there.get(number)
        if there is None:
            trial_id = self._storage.create_new_trial(self._study, template_trial=trial)
        elif there.state.is_finished() or trial.state is TrialState.RUNNING:
            return
        else:
            trial_id = there._trial_id
            for key, value in trial.user_attrs.items():
                self._storage.set_trial_user_attr(trial_id, key, value)
            for key, value in trial.system_attrs.items():
                self._storage.set_trial_system_attr(trial_id, key, value)
            for step, value in trial.intermediate_values.items():
                self._storage.set_trial_intermediate_value(trial_id, step, value)
            self._storage.set_trial_state_values(trial_id, trial.state, trial.values)
        written = copy.copy(trial)
        written._trial_id = trial_id
        self._there[number] = written

    def _reason(self, error: BaseException) -> str:
        """What a library says of a failure, in a line without passwords."""
        while isinstance(error.__cause__, BaseException):
            error = error.__cause__
        return redacted(first_line(error), self._secret)

    def _tell(self, what: str) -> None:
        self._say(f"  note: --storage: {what}")


def _shown(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it is now, without what its sampler keeps in it."""
    shown = copy.copy(trial)
    # What Optuna hands out, it adds to later.
    shown.params, shown.distributions = dict(trial.params), dict(trial.distributions)
    shown.user_attrs, shown.intermediate_values = dict(trial.user_attrs), dict(trial.intermediate_values)
    shown.system_attrs = {key: value for key, value in trial.system_attrs.items() if key == CONSTRAINTS}
    return shown


def _can_become(there: FrozenTrial, wanted: FrozenTrial) -> bool:
    """Whether what is there can be made what is wanted: only a trial that has not ended can be changed."""
    if (there.params, there.distributions) != (wanted.params, wanted.distributions):
        return False
    if not there.state.is_finished():
        parts = ("user_attrs", "system_attrs", "intermediate_values")
        return there.state is TrialState.RUNNING and all(
            getattr(there, part).keys() <= getattr(wanted, part).keys() for part in parts
        )
    return _content(there) == _content(wanted)


def _content(trial: FrozenTrial) -> tuple[object, ...]:
    """What is compared of a trial that has ended: a cause may have been found later."""
    attributes = {key: value for key, value in trial.user_attrs.items() if key != "cause"}
    return trial.state, trial.values, attributes, trial.system_attrs, trial.intermediate_values


def _late(there: FrozenTrial, wanted: FrozenTrial) -> dict[str, Any]:
    """A cause that was found after the trial had ended there, as an attribute of the study."""
    cause = wanted.user_attrs.get("cause")
    if not there.state.is_finished() or cause is None or cause == there.user_attrs.get("cause"):
        return {}
    return {f"cause of trial {wanted.user_attrs.get('trials')}": cause}
