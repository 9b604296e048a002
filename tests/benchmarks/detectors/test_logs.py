"""A folder of logs with known truth, written here."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.detectors.logs import judge_logs, report_logs
from benchmarks.detectors.rules import End
from slr_models.errors import UserError

STEPS = np.arange(300)
LEARNED = (0.3 + 3 * np.exp(-STEPS / 60)) * np.exp(np.random.default_rng(0).normal(0, 0.02, 300))


def write(path: Path, losses: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{step + 1},{loss:.6g}" for step, loss in zip(STEPS, losses, strict=True)]
    path.write_text("\n".join(["step,loss", *rows]) + "\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "good.csv", LEARNED)
    write(tmp_path / "nan.csv", np.where(STEPS < 150, LEARNED, np.nan))
    write(tmp_path / "up.csv", np.where(STEPS < 150, LEARNED, 30.0))
    return tmp_path


def test_each_log_is_held_against_its_truth_and_its_verdict(folder: Path) -> None:
    rows = [
        "good.csv,healthy,stable",
        "nan.csv,failed,diverged-.*",
        "up.csv,failed,stalled|skip-starved",
        "no.csv,failed,",
    ]
    (folder / "expected.csv").write_text("\n".join(["file,truth,verdicts", *rows]) + "\n", encoding="utf-8")
    good, nan, up, lost = judge_logs(folder)
    assert good.is_right and not good.is_false_stop
    assert nan.is_right and nan.verdict == "diverged-nonfinite" and nan.stop_step is not None
    assert up.end is End.FAILED and not up.is_right, "the wrong kind of failure"
    assert not lost.is_right and "cannot be read" in lost.reason
    text = report_logs(folder)
    assert "healthy: 1 of 1 right (100.0%), 0 left open" in text
    assert "failed: 1 of 3 right (33.3%), 1 left open" in text
    assert "false stops: 0 of 1 healthy logs (0.0%)" in text
    assert text.count("wrong: ") == 2 and "wrong: up.csv (failed, wanted stalled|skip-starved): diverged-loss" in text


def test_the_other_table_names_files_of_its_series(folder: Path) -> None:
    write(folder / "series" / "a.csv", np.where(STEPS < 150, LEARNED, 30.0))
    (folder / "series_truth.csv").write_text("file,truth\na.csv,healthy\n", encoding="utf-8")
    (answer,) = judge_logs(folder)
    assert answer.is_false_stop and not answer.is_right
    assert "false stops: 1 of 1" in report_logs(folder)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "holds neither expected.csv nor series_truth.csv"),
        ("file,truth\n", "has no rows"),
        ("file,truth\na.csv,good\n", r"line 2, column truth: got 'good'; write healthy or failed"),
        ("name,truth\na.csv,failed\n", "line 2: the column file is missing or empty"),
        ("file,truth,verdicts\na.csv,failed,(\n", "line 2, column verdicts: .* is no regular expression"),
    ],
)
def test_a_table_that_cannot_be_right_is_told(tmp_path: Path, table: str | None, message: str) -> None:
    if table is not None:
        (tmp_path / "expected.csv").write_text(table, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        report_logs(tmp_path)
