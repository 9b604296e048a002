"""The journal of the search: what Optuna's own backend reads from the file is what the writing storage knows."""

import json
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweep.search.journal import DerivedJournal


def test_optuna_reads_what_is_written_while_it_is_written(tmp_path) -> None:
    path = tmp_path / "optuna.journal"
    path.write_text("left by an earlier run\n")
    study = optuna.create_study(storage=JournalStorage(DerivedJournal(path)), study_name="s")
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("lr", 1e-5, 1, log=True)
        trial.suggest_categorical("precision", ["fp32", "fp16"])
        trial.set_user_attr("margins", [0.5, -0.5])
        reader = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))
        assert reader.trials == study.trials and len(reader.trials) == number + 1
        study.tell(trial, 0.25)
    reader = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(str(path))))
    assert reader.trials == study.trials and reader.best_value == 0.25


@pytest.mark.filterwarnings("ignore")
def test_optuna_dashboard_shows_it(tmp_path) -> None:
    dashboard = pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    path = tmp_path / "optuna.journal"
    study = optuna.create_study(storage=JournalStorage(DerivedJournal(path)), study_name="s")
    for number in range(3):
        study.tell(study.ask({"lr": optuna.distributions.FloatDistribution(1e-5, 1, log=True)}), number / 4)
    app = dashboard.wsgi(JournalStorage(JournalFileBackend(str(path))))
    assert [one["study_name"] for one in _answer(app, "/api/studies")["study_summaries"]] == ["s"]
    shown = _answer(app, "/api/studies/0?after=0")
    assert [trial["values"] for trial in shown["trials"]] == [[0.0], [0.25], [0.5]]


def _answer(app, address: str) -> dict:
    asked: dict = {}
    setup_testing_defaults(asked)
    asked["PATH_INFO"], _, asked["QUERY_STRING"] = address.partition("?")
    said: list[str] = []
    content = b"".join(app(asked, lambda status, headers, error=None: said.append(status)))
    assert said == ["200 OK"], content
    return json.loads(content)
