"""python -m sweep.clean: what it frees, what it keeps, and what it never touches."""

import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from slr_models.errors import NothingToCompareError
from sweep import store
from sweep.analysis.comparison.folders import compare_folders
from sweep.clean import main
from sweep.records import Outcome
from sweep.report import build_report
from sweep.running.job import Job, RunOptions
from sweep.running.judged import crashed_result
from sweep.store.ledger import Ledger
from sweep.store.ledger_lines import Ask
from sweep.study import load, stored

MIB = 2**20
LR = "training.optimizer.lr"
HALF = ".report.html.0123456789abcdef0123456789abcdef"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A results folder of two finished trials and one that was interrupted, with all that a run leaves."""
    folder = tmp_path / "smoke"
    ledger = Ledger(folder)
    settings = [{LR: rate, "training.precision.kind": "fp32"} for rate in (1e-3, 1e-2, 1e-1)]
    for number, setting in enumerate(settings):
        ledger.ask(Ask(f"{number:04d}", number, number, 0, "explore", setting))
    results = []
    for number, setting in enumerate(settings[:2]):
        job = Job(f"{number:04d}", number, number, 0, "explore", setting, None, 90)
        blank = crashed_result(job, RunOptions(folder, "wer", None, True, "none"), "")
        stable = dict(verdict=Outcome.STABLE, stop_step=None, num_steps=90, wer=0.5, val_loss=1.0, objective=0.5)
        results.append(dataclasses.replace(blank, margin=-0.5, **stable))
        ledger.tell(results[-1], spent_s=1.0)
    ledger.close()
    store.write_trials(folder, [result.row() for result in results])
    store.write_yaml(folder / "study.yaml", {**stored(load(Path("studies/smoke.yaml")).study), "provenance": {}})
    for trial_id in ("0000", "0001", "0002"):
        put(folder / "checkpoints" / trial_id / "last.pt", 3 * MIB)
    put(folder / "checkpoints" / "0002" / HALF.replace("report.html", "last.pt"), MIB)
    put(folder / "ray" / "0000" / "checkpoint_000000" / "state.pt", MIB)
    put(folder / "ray" / "tuner.pkl", 1000)
    put(folder / HALF, MIB // 2)
    put(folder / "evidence" / "0000" / "traceback.txt", 100)
    put(folder / ".hidden", 10)
    return folder


def put(path: Path, num_bytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * num_bytes)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def clean(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_it_says_what_it_would_free_and_frees_nothing(folder: Path, clean) -> None:
    before = files(folder)
    code, out, err = clean(folder, "--dry-run")
    assert (code, err) == (0, "") and files(folder) == before
    assert out.splitlines() == [
        "checkpoints of 2 finished trials: 6.0 MiB",
        "2 half-written files of killed runs: 1.5 MiB",
        "Ray's own files: 1.0 MiB",
        "kept: checkpoints of 1 unfinished trial, 3.0 MiB (--all frees it too: those then begin anew)",
        "kept: evidence about 1 failed trial, 0.0 MiB (--all frees it too: of a cause only its name is left then)",
        "would free 8.5 MiB",
    ]


def test_report_comparison_and_going_on_need_nothing_of_what_is_freed(folder: Path, clean, tmp_path: Path) -> None:
    before, report = files(folder), build_report(folder).read_text(encoding="utf-8")
    (folder / "report.html").unlink()
    shutil.copytree(folder, tmp_path / "other")
    compared = comparison(folder, tmp_path / "other")
    assert clean(folder)[:2] == (0, clean_lines("freed 8.5 MiB"))
    gone = {"ray/tuner.pkl", "ray/0000/checkpoint_000000/state.pt", HALF, "checkpoints/0002/.last.pt" + HALF[12:]}
    gone |= {f"checkpoints/{trial_id}/last.pt" for trial_id in ("0000", "0001")}
    assert before - files(folder) == gone and files(folder) - before <= {"ledger.lock"}
    assert build_report(folder).read_text(encoding="utf-8") == report
    assert comparison(folder, tmp_path / "other") == compared
    ledger = Ledger(folder)
    ledger.close()
    assert len(ledger.results) == 2 and len(ledger.asks) == 3
    assert clean(folder)[1].splitlines()[-1] == "nothing to free"


def comparison(a: Path, b: Path) -> str:
    """What a comparison says of so few trials."""
    with pytest.raises(NothingToCompareError) as told:
        compare_folders(a, b)
    return str(told.value)


def clean_lines(last: str) -> str:
    return (
        "checkpoints of 2 finished trials: 6.0 MiB\n2 half-written files of killed runs: 1.5 MiB\n"
        "Ray's own files: 1.0 MiB\n"
        "kept: checkpoints of 1 unfinished trial, 3.0 MiB (--all frees it too: those then begin anew)\n"
        "kept: evidence about 1 failed trial, 0.0 MiB (--all frees it too: of a cause only its name is left then)\n"
        f"{last}\n"
    )


def test_all_frees_what_unfinished_trials_would_go_on_from(folder: Path, clean) -> None:
    code, out, _ = clean(folder, "--all")
    assert code == 0 and out.splitlines()[-1] == "freed 11.5 MiB"
    assert not [name for name in files(folder) if name.endswith(".pt") or name.startswith("evidence/0")]
    assert build_report(folder).is_file()


def test_what_lies_behind_a_link_is_left_alone(folder: Path, clean, tmp_path: Path) -> None:
    (folder / "ray").rename(tmp_path / "elsewhere")
    (folder / "ray").symlink_to(tmp_path / "elsewhere")
    put(tmp_path / "precious" / HALF, 10)
    (folder / "checkpoints" / "0000" / "link").symlink_to(tmp_path / "precious")
    (folder / "checkpoints" / "0001" / "last.pt").unlink()
    (folder / "checkpoints" / "0001" / "last.pt").symlink_to(tmp_path / "precious" / HALF)
    (folder / "evidence" / "0001").symlink_to(tmp_path / "precious")
    (folder / HALF.replace("report", "index")).symlink_to(tmp_path / "precious" / HALF)
    code, out, err = clean(folder, "--all")
    assert (code, err) == (0, "") and "Ray" not in out
    assert (tmp_path / "elsewhere" / "tuner.pkl").is_file() and (tmp_path / "precious" / HALF).is_file()
    assert (folder / HALF.replace("report", "index")).is_symlink()


def test_a_running_study_is_left_alone(folder: Path, clean) -> None:
    held, before = Ledger(folder), files(folder)
    for options in ([], ["--dry-run"], ["--all"]):
        code, out, err = clean(folder, *options)
        assert (code, out) == (2, "") and "is in use by another run" in err and err.count("\n") == 1
    held.close()
    assert files(folder) == before | {"ledger.lock"}


def test_another_folder_is_refused(tmp_path: Path, clean) -> None:
    put(tmp_path / "home" / "ray" / "precious", 10)
    put(tmp_path / "home" / HALF, 10)
    (tmp_path / "home" / "study.yaml").write_text(yaml.safe_dump({"name": "x"}))
    before = files(tmp_path)
    for name in ("home", "nowhere", "home/study.yaml"):
        code, out, err = clean(tmp_path / name)
        assert (code, out) == (2, "") and "does not exist" in err and err.count("\n") == 1
    assert files(tmp_path) == before


@pytest.mark.slow
def test_it_is_a_command(folder: Path) -> None:
    command = [sys.executable, "-m", "sweep.clean", str(folder), "--dry-run"]
    assert subprocess.run(command, capture_output=True, text=True).stdout.endswith("would free 8.5 MiB\n")
