"""`--storage` as a person gives it: the study is there, a later run goes on with it, and mistakes are one line."""

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.pool import NullPool

from sweep import store
from sweep.__main__ import main

STUDY = """
name: stored
model: {kind: baseline, width: 0.0625, norm: group}
data: {kind: synthetic, vocabulary_size: 4, num_train: 16, num_valid: 4, frames_per_label: 6, max_labels: 3}
training: {batch_size: 4, eval_every_steps: 10}
space: {training.optimizer.lr: {loguniform: [1e-3, 10]}}
search: {kind: random}
budget: {trials: 2, steps: 20}
confirm: {settings: 0, recommended: false}
forensics: {trials: 0}
"""
DESIGN = """
design:
  factors: {norm: {batch: {model.norm: batch}, group: {model.norm: group}}}
  blocks: 4
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "stored.yaml"
    path.write_text(STUDY)
    return path


def content(storage: optuna.storages.BaseStorage) -> list[object]:
    trials = optuna.load_study(study_name="stored", storage=storage).trials
    return [(t.state, t.params, t.values, t.user_attrs, t.system_attrs["constraints"]) for t in trials]


def journal(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / "optuna.journal")))


@pytest.mark.slow
def test_a_run_shows_its_search_there_and_the_next_one_goes_on(
    study: Path, tmp_path: Path, run_without_ray: Callable[..., tuple[int, str, str]], monkeypatch
) -> None:
    url, folder = f"sqlite:///{tmp_path}/mine.db", tmp_path / "r" / "stored"
    monkeypatch.setenv("SWEEP_STORAGE", url)
    code, out, err = run_without_ray(study, tmp_path / "r", "--storage", "env:SWEEP_STORAGE")
    assert (code, err) == (0, "") and f"  storage: {url}, study stored\n" in out
    there = RDBStorage(url, {"poolclass": NullPool})
    assert content(there) == content(journal(folder)) and len(content(there)) == 2
    run_without_ray(study, tmp_path / "r", "--trials", "3")
    assert len(content(there)) == 2, "without the option nothing is written there"
    code, out, _ = run_without_ray(study, tmp_path / "r", "--trials", "4", "--storage", url)
    assert code == 0 and content(there) == content(journal(folder)) and len(content(there)) == 4, (
        "what it missed is there, too"
    )
    assert "sqlite" not in str(store.read_study(folder))
    assert run_without_ray(study, tmp_path / "other", "--storage", url)[0] == 2
    assert not (tmp_path / "other").exists(), "nothing is left of a run that was refused"


@pytest.mark.parametrize(
    ("storage", "more", "code", "line"),
    [
        ("postgresql+psycopg2x://me:hunter22@127.0.0.1:1/x", "", 2, "needs the driver psycopg2x"),
        ("sqlite:////no/such/folder/x.db", "", 3, "cannot be used (unable to open database file)"),
        ("sqlite:///x.db", DESIGN, 2, "a study with a design has no search"),
        ("env:SWEEP_NOT_SET", "", 2, "the environment variable SWEEP_NOT_SET is not set"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(storage, more, code, line, study, tmp_path, capsys) -> None:
    text = STUDY.replace("search: {kind: random}\n", "").replace(
        "budget: {trials: 2, steps: 20}", "budget: {steps: 20}"
    )
    study.write_text(text + more if more else STUDY)
    assert main(["run", str(study), "--results", str(tmp_path / "r"), "--storage", storage]) == code
    out, err = capsys.readouterr()
    assert err.startswith("error: --storage: ") and err.count("\n") == 1 and line in err
    assert "hunter22" not in out + err and not (tmp_path / "r").exists()


def test_a_dry_run_connects_to_nothing(study, tmp_path, capsys) -> None:
    file = tmp_path / "x.db"
    assert main(["run", str(study), "--results", str(tmp_path), "--dry-run", "--storage", f"sqlite:///{file}"]) == 0
    assert not file.exists()
