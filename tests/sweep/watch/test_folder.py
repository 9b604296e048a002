"""What is read of a folder that a run is writing, and that nothing is written there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from slr_models.errors import ResultsError
from sweep import store
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import LEDGER_FILE, Ask
from sweep.watch.folder import Folder, neighbours


def ask(number: int, phase: str = "explore") -> Ask:
    return Ask(f"{number:04d}", number, number, 0, phase, {"training.optimizer.lr": 0.1})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path)
    yield ledger
    ledger.close()


def tell(folder: Path, trial_id: str) -> None:
    with (folder / LEDGER_FILE).open("a") as file:
        file.write(f'{{"event": "tell", "trial_id": "{trial_id}", "spent_s": 1.0, "result": {{}}}}\n')


def test_a_running_study_tells_what_runs_and_what_waits(tmp_path: Path, ledger: Ledger) -> None:
    folder = Folder(tmp_path)
    assert folder.standing().status == "running" and folder.standing().phase is None
    for number in range(4):
        ledger.ask(ask(number))
    (tmp_path / "ray" / "0000").mkdir(parents=True)
    (tmp_path / "ray" / "0001_fp16_lr=0.1").mkdir()
    (tmp_path / "ray" / "tuner.pkl").touch()
    tell(tmp_path, "0000")
    standing = folder.standing()
    assert (standing.num_done, standing.num_asked, standing.num_open, standing.phase) == (1, 4, 2, "explore")
    assert [one.trial_id for one in standing.running] == ["0001"]


def test_the_phase_is_that_of_the_training_asked_for_last(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(ask(0))
    folder = Folder(tmp_path)
    assert folder.standing().phase == "explore"
    ledger.ask(ask(1, "confirm"))
    assert folder.standing().phase == "confirm"


def test_a_study_that_no_run_holds_has_ended(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(ask(0))
    (tmp_path / "ray" / "0000").mkdir(parents=True)
    ledger.close()
    standing = Folder(tmp_path).standing()
    assert (standing.status, standing.running, standing.num_open) == ("ended", (), 1)
    tell(tmp_path, "0000")
    assert Folder(tmp_path).standing().num_open == 0


def test_a_run_may_begin_while_it_is_watched(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "later")
    assert folder.standing().status == "absent" and folder.fingerprint() is None
    ledger = Ledger(tmp_path / "later")
    assert folder.standing().status == "running"
    ledger.ask(ask(0))
    assert folder.standing().num_asked == 1
    ledger.close()
    (tmp_path / "later" / LEDGER_FILE).unlink()
    assert folder.standing().num_asked == 0


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path, ledger: Ledger) -> None:
    ledger.ask(ask(0))
    folder = Folder(tmp_path)
    with (tmp_path / LEDGER_FILE).open("a") as file:
        file.write('{"event": "tell", "tri')
        file.flush()
        assert folder.standing().num_done == 0
        file.write('al_id": "0000", "spent_s": 1.0, "result": {}}\n')
    assert folder.standing().num_done == 1


def test_a_damaged_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / LEDGER_FILE).write_text("nonsense\n")
    with pytest.raises(ResultsError, match="ledger.jsonl:1: this line is damaged"):
        Folder(tmp_path).standing()


@pytest.mark.parametrize("name", ["study.yaml", "trials.parquet", "importance.json", "evidence/0000/explanation.json"])
def test_the_fingerprint_changes_with_what_the_report_shows(tmp_path: Path, name: str) -> None:
    store.write_yaml(tmp_path / "study.yaml", {"name": "x"})
    folder = Folder(tmp_path)
    before = folder.fingerprint()
    assert before is not None and folder.fingerprint() == before
    store.write_text(tmp_path / name, "longer than before")
    changed = folder.fingerprint()
    assert changed not in (before, None)
    os.utime(tmp_path / name, ns=(1, 1))
    assert folder.fingerprint() not in (changed, None)


@pytest.mark.parametrize("name", [LEDGER_FILE, "optuna.journal", "report.html", ".study.yaml.x1", "steps/0000.parquet"])
def test_the_fingerprint_is_blind_to_the_rest(tmp_path: Path, name: str) -> None:
    store.write_yaml(tmp_path / "study.yaml", {"name": "x"})
    folder = Folder(tmp_path)
    before = folder.fingerprint()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}\n")
    assert folder.fingerprint() == before


def test_what_can_never_be_a_study_is_refused(tmp_path: Path) -> None:
    store.write_yaml(tmp_path / "mine" / "study.yaml", {"name": "mine"})
    with pytest.raises(ResultsError, match=r"give one of its studies, such as .*mine"):
        Folder(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="is not a folder"):
        Folder(tmp_path / "file")
    assert neighbours(tmp_path / "mind") == ["mine"]
