"""The journal of the search: what Optuna's own backend reads from the file is what the writing storage knows."""

import optuna
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
