"""python -m sweep.compare: from two results folders to what changed, and the exit code."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweep import store
from sweep.compare import main
from sweep.records import Outcome

LR = "training.optimizer.lr"


def write(folder: Path, verdicts: list[str], start: float = 1e-3, **study: Any) -> Path:
    content = {
        "name": folder.name,
        "model": {"kind": "teacher"},
        "data": {"kind": "synthetic"},
        "budget": {"trials": 40, "steps": 100},
        "space": {LR: {"loguniform": [1e-5, 1e-1]}},
        "search": {"kind": "random"},
        "objective": "wer",
        "training": {"batch_size": 8},
        "provenance": {"versions": {"torch": "2.13.0"}, "host": {"cores": 2}},
        **study,
    }
    store.write_yaml(folder / "study.yaml", content)
    rows = []
    for number, verdict in enumerate(verdicts):
        stable = Outcome(verdict).is_stable
        rows.append(
            {"trial_id": f"{number:04d}", "number": number, "group": number, "seed": number, "phase": "explore",
             "verdict": verdict, "stable": stable, "reason": "", "audited": False, "num_steps": 100,
             "max_steps": 100, "objective": 0.5, "margin": -0.5 if stable else 0.5, "wall_s": 10.0, "cpu_s": 9.0,
             "step_time_s": 0.1, "peak_memory_mib": 500.0, "wer": 0.5 if stable else None, LR: start * 1.1**number}
        )  # fmt: skip
    store.write_trials(folder, rows)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_regression_comes_first_with_its_evidence_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write(tmp_path / "a", ["stable"] * 14)
    b = write(tmp_path / "b", ["stable"] * 4 + ["diverged-nonfinite"] * 10, training={"batch_size": 16})
    code, out, _ = run(capsys, a, b, "--output", tmp_path / "found.json")
    assert code == 1
    assert "3 regressions, 0 improvements" in out.splitlines()[2]
    assert out.index("stable share: -71 points (") < out.index("What was compared")
    assert "14 of 14 (100 %, 77 to 100 %) -> 4 of 14 (29 %, 8 to 58 %)" in out
    assert "shares of 14 trainings of the same settings in A and B, pair by pair" in out
    assert "training.batch_size: 8 -> 16" in out
    assert "diverged-nonfinite: 0 of 14 (0 %, 0 to 23 %) -> 10 of 14 (71 %, 42 to 92 %)  [new in B]" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert [one["subject"] for one in found["regression"]] == [
        "stable share",
        "share of diverged-nonfinite",
        "WER at the same settings",
    ]
    assert found["regression"][0]["p_corrected"] < 0.05 and found["regression"][0]["estimate"] == pytest.approx(
        -10 / 14
    )
    assert found["settings"] == [{"title": "training", "path": "training.batch_size", "before": 8, "after": 16}]
    code, out, err = run(capsys, a, b, "--json")
    assert (code, err) == (1, "") and out == (tmp_path / "found.json").read_text()


def test_an_improvement_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a", ["stable"] * 4 + ["diverged-nonfinite"] * 10)
    b = write(tmp_path / "b", ["stable"] * 14)
    code, out, _ = run(capsys, a, b)
    assert code == 0 and "0 regressions, 3 improvements" in out and "[gone in B]" in out


def better_wer(folder: Path) -> Path:
    """The same trainings with a tenth of the WER."""
    path = folder / "trials.parquet"
    table = store.read_trials(folder)
    pq.write_table(pa.Table.from_pandas(table.assign(wer=table["wer"] / 10), pq.read_schema(path)), path)
    return folder


def test_results_at_the_same_settings_are_told_with_their_power_and_a_regression_of_them_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a", ["stable"] * 12), better_wer(write(tmp_path / "b", ["stable"] * 12))
    code, out, _ = run(capsys, b, a)
    assert code == 1 and "1 regression, 0 improvements" in out
    assert "  WER at the same settings: +45.0 points (+45.0 to +45.0)\n" in out
    assert (
        "      mean 5.0 % -> mean 50.0 %; exact Wilcoxon test of 12 settings: 0 lower, 12 higher, p = 0.00049\n" in out
    )
    assert "5 points of WER does not matter" in out
    code, out, _ = run(capsys, a, b)
    assert code == 0 and "0 regressions, 1 improvement" in out
    assert (
        "power: with 12 pairs a fall of 66 points would be told in 80 % of such comparisons; no rise from 100 %" in out
    )
    code, out, _ = run(capsys, a, b, "--json")
    (told,) = json.loads(out)["improvement"]
    assert told["estimate"] == pytest.approx(-0.45) and told["smallest"] == 0.05 and "power_at" not in told
    assert told["power"]["fall"] is None and told["power"]["text"].startswith("too many settings gave the same")
    assert json.loads(out)["too_small"] == []


def test_a_table_of_an_earlier_version_is_compared_by_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write(tmp_path / "a", ["stable"] * 12), better_wer(write(tmp_path / "b", ["stable"] * 12))
    for folder in (a, b):
        path = folder / "trials.parquet"
        newer = ["numbers", "learning", "judged_with", "margin_break", "margin_learn", "side", "final_train_loss",
                 "val_loss", "l_const", "l_unif"]  # fmt: skip
        pq.write_table(pq.read_table(path).drop_columns(newer), path)
    code, out, _ = run(capsys, a, b)
    assert code == 0 and "0 regressions, 1 improvement" in out
    assert "validation loss at the same settings: not known of both trainings of any setting" in out


def test_studies_that_share_little_say_so_before_any_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a", ["stable"] * 40)
    b = write(tmp_path / "b", ["stable"] * 8, space={LR: {"loguniform": [1e-3, 2e-3]}})
    code, out, _ = run(capsys, a, b, "--output", tmp_path / "found.json")
    headline = out.splitlines()[2]
    assert code == 0 and headline.startswith(
        "A and B share little: 8 of A's 40 trainings and 8 of B's 8 lie where both looked. Of that: 0 regressions, "
    )
    assert json.loads((tmp_path / "found.json").read_text())["overlap"] == {
        "num_a": 8, "of_a": 40, "num_b": 8, "of_b": 8
    }  # fmt: skip
    code, out, _ = run(capsys, a, write(tmp_path / "c", ["stable"] * 40))
    assert out.splitlines()[2].startswith("0 regressions, ")
    assert out.splitlines()[2].endswith("; shared: 40 of A's 40 trainings and 40 of B's 40")


def test_equal_studies_show_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = ["stable"] * 7 + ["stalled"] * 7
    code, out, _ = run(capsys, write(tmp_path / "a", ends), write(tmp_path / "b", ends))
    assert code == 0 and "0 regressions, 0 improvements" in out
    assert "nothing: same settings, data, software and machine" in out


def test_a_few_bad_ends_more_are_no_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a", ["stable"] * 12 + ["stalled"] * 2)
    b = write(tmp_path / "b", ["stable"] * 9 + ["stalled"] * 5, start=1.03e-3)
    code, out, _ = run(capsys, a, b)
    assert code == 0 and "stable share: -21 points (" in out


def test_mistakes_are_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = write(tmp_path / "a", ["stable"] * 6)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(a)
    unborn = write(tmp_path / "unborn", [])
    elsewhere = write(tmp_path / "elsewhere", ["stable"] * 6, space={LR: {"loguniform": [1.0, 2.0]}})
    edited = write(tmp_path / "edited", ["stable"] * 6, space={LR: {"loguniform": [1.0, -2.0]}})
    few = write(tmp_path / "few", ["stable"] * 3)
    for other, message, wanted in (
        (tmp_path / "none", "is not a folder", 2),
        (tmp_path / "empty", "is not the results folder of a study", 2),
        (a, "are the same folder", 2),
        (tmp_path / "link", "are the same folder", 2),
        (unborn, "B has no finished trial yet", 4),
        (elsewhere, "A and B have no value in common of: learning rate", 4),
        (few, "WER at the same settings: 0 points (no interval), but so few settings cannot show anything", 4),
        (edited, "bring the file back as it was", 2),
    ):
        code, out, err = run(capsys, a, other, "--json")
        assert (code, out) == (wanted, "") and err.startswith("error: ") and message in err, err
        assert err.count("\n") == 1
    code, _, err = run(capsys, a, write(tmp_path / "b", ["stable"] * 6), "--output", tmp_path)
    assert code == 2 and "is a folder" in err


@pytest.mark.parametrize("order", [("A", "B", "--json", "found.json"), ("--json", "found.json", "A", "B")])
def test_a_file_name_after_json_is_told_to_be_an_output(
    order: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(order)
    assert left.value.code == 2 and "write --output FILE for a file" in capsys.readouterr().err


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a", ["stable"] * 6), write(tmp_path / "b", ["stable"] * 6)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # A reader that waits for no writer: where the command fails before it writes, so does this test.
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run(capsys, a, b, "--output", pipe)[0] == 0
        assert json.loads(os.read(reader, 65536))["a"] == str(a)
    finally:
        os.close(reader)
    assert pipe.is_fifo()
