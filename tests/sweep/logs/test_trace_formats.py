"""Logs as other programs export and print them: colours, Hugging Face, W&B, TensorBoard, fairseq, Keras, gzip."""

import gzip
import json
import math
from pathlib import Path

import pytest

from slr_models.errors import UserError
from sweep.logs.files import read_trace
from sweep.logs.trace import Trace


def of(path: Path, content: str) -> Trace:
    path.write_bytes(content.encode())
    return read_trace(path)


def losses(trace: Trace) -> list[float]:
    return [record.loss for record in trace.records()]


@pytest.mark.parametrize(
    "line",
    [
        "\x1b[32m2026-11-22\x1b[0m | \x1b[1mINFO\x1b[0m | step \x1b[36m{k}\x1b[0m/500 loss: \x1b[33m{x}\x1b[0m norm: 1",
        "step {k} loss: \x1b[01;31m\x1b[K{x}\x1b[m\x1b[K",
        "\x1b]0;training\x07step {k} \x1b]8;;http://a\x1b\\loss\x1b]8;;\x1b\\ = {x}\x1b[38;5;208m",
        "step {k} loss: \x1b(B{x}",
    ],
)
def test_colours_and_other_terminal_codes_are_no_part_of_a_log(tmp_path, line) -> None:
    trace = of(tmp_path / "a.log", "\n".join(line.format(k=k, x=3.2 - k / 10) for k in (1, 2, 3)))
    assert trace.has_losses and losses(trace) == pytest.approx([3.1, 3.0, 2.9]) and trace.steps.tolist() == [1, 2, 3]
    coloured = of(tmp_path / "a.csv", "\x1b[1mstep,loss\x1b[0m\n1,\x1b[31m3.5\x1b[0m\n")
    assert losses(coloured) == [3.5]


def test_a_bar_that_moves_the_cursor_draws_a_new_line(tmp_path) -> None:
    bar = "".join(f"\x1b[2K\x1b[1G{k}/9 loss={3 - k / 10}" for k in (1, 1, 2, 3))
    assert losses(of(tmp_path / "a.log", bar)) == pytest.approx([2.9, 2.8, 2.7])


def test_equal_lines_with_windows_ends_are_steps_of_their_own(tmp_path) -> None:
    assert len(of(tmp_path / "a.log", "loss=nan\r\n" * 5)) == 5


STATE = {
    "best_metric": None,
    "global_step": 30,
    "log_history": [
        {"epoch": 0.1, "grad_norm": 5.0, "learning_rate": 1e-4, "loss": 3.5, "step": 10},
        {"epoch": 0.1, "eval_loss": 9.0, "step": 10},
        {"epoch": 0.2, "grad_norm": math.inf, "learning_rate": 1e-4, "loss": math.nan, "step": 20},
        {"epoch": 0.2, "train_loss": 1.0, "train_runtime": 3.0, "step": 20},
    ],
}


@pytest.mark.parametrize("indent", [None, 2])
def test_the_state_of_a_hugging_face_trainer(tmp_path, indent) -> None:
    trace = of(tmp_path / "trainer_state.json", json.dumps(STATE, indent=indent))
    assert trace.format == "JSON" and trace.steps.tolist() == [10, 20]
    assert losses(trace) == pytest.approx([3.5, math.nan], nan_ok=True)
    assert [r.grad_norm for r in trace.records()] == [5.0, math.inf] and trace.read_as["loss"] == "loss"


def test_a_list_of_objects_is_a_log_and_its_rows_are_named(tmp_path) -> None:
    assert losses(of(tmp_path / "a.json", '[\n{"loss": 3.5},\n{"loss": 3.4}\n]')) == [3.5, 3.4]
    with pytest.raises(UserError, match="row 2, column loss: 'oops' is not a number"):
        of(tmp_path / "a.json", '[{"loss": 3.5}, {"loss": "oops"}]')


def test_nested_objects_are_columns_by_path(tmp_path) -> None:
    rows = [{"step": k, "train": {"loss": 3.5 - k, "grad": {"norm": 1.5}}, "val": {"loss": 9.0}} for k in (1, 2)]
    trace = of(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    assert losses(trace) == [2.5, 1.5] and trace.read_as["loss"] == "train/loss"
    assert [r.grad_norm for r in trace.records()] == [1.5, 1.5]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", "step,loss\n1,3.5\n2,3.4\n"),
        ("a.jsonl.gz", '{"step": 1, "loss": 3.5}\n{"step": 2, "loss": 3.4}\n'),
        ("a.log.gz", "step 1 loss 3.5\nstep 2 loss 3.4\n"),
        ("a.json.gz", '[{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.4}]'),
        ("no_ending", "step,loss\n1,3.5\n2,3.4\n"),
    ],
)
def test_every_format_may_be_compressed(tmp_path, name, content) -> None:
    packed = gzip.compress(content.encode())
    (tmp_path / name).write_bytes(packed)
    trace = read_trace(tmp_path / name)
    assert losses(trace) == [3.5, 3.4] and trace.steps.tolist() == [1, 2]
    (tmp_path / name).write_bytes(packed[:-10])
    with pytest.raises(UserError, match="cannot be unzipped"):
        read_trace(tmp_path / name)
    (tmp_path / name).write_bytes(gzip.compress(b""))
    with pytest.raises(UserError, match="is empty"):
        read_trace(tmp_path / name)


def test_compressed_event_files_and_parquet(tmp_path) -> None:
    import pandas as pd
    from tensorboardX import SummaryWriter

    pd.DataFrame({"step": [1, 2], "loss": [3.5, 3.25]}).to_parquet(tmp_path / "a.parquet")
    write_run(tmp_path / "run", SummaryWriter)
    for path in (tmp_path / "a.parquet", next((tmp_path / "run").iterdir())):
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert losses(read_trace(packed)) == losses(read_trace(path)) == [3.5, 3.25]
        path.unlink()
    assert losses(read_trace(tmp_path / "run")) == [3.5, 3.25]


def write_run(folder: Path, writer_class) -> None:
    writer = writer_class(str(folder))
    writer.add_scalar("loss", 3.5, 1)
    writer.add_scalar("loss", 3.25, 2)
    writer.close()


WANDB = '"Step","lilac-sun-3 - train/loss","lilac-sun-3 - train/loss__MIN","lilac-sun-3 - train/loss__MAX"\n'


def test_a_chart_exported_from_wandb(tmp_path) -> None:
    trace = of(tmp_path / "a.csv", WANDB + '"0","3.5","1","9"\n"1","3.4","1","9"\n')
    assert losses(trace) == [3.5, 3.4] and trace.steps.tolist() == [0, 1]
    assert "the run is lilac-sun-3" in trace.notes and trace.read_as["loss"] == "train/loss"
    assert losses(of(tmp_path / "a.csv", "Step,test - 3 - loss\n1,3.5\n")) == [3.5], "a run may be called anything"
    with pytest.raises(UserError, match=r"2 runs \(calm-sea-1, lilac-sun-3\); keep the columns of one"):
        of(tmp_path / "a.csv", "Step,lilac-sun-3 - loss,calm-sea-1 - loss\n1,3.5,3.6\n")
    with pytest.raises(UserError, match="no column loss"):
        of(tmp_path / "a.csv", "step,val - loss\n1,3.5\n")


def test_a_metric_exported_from_tensorboard(tmp_path) -> None:
    trace = of(tmp_path / "a.csv", "Wall time,Step,Value\n1700000000.1,0,3.5\n1700000000.2,10,3.4\n")
    assert losses(trace) == [3.5, 3.4] and trace.steps.tolist() == [0, 10]
    assert any("Value is taken for the training loss" in note for note in trace.notes)
    with pytest.raises(UserError, match="no column loss"):
        of(tmp_path / "a.csv", "Wall time,Step,Value,wer\n1700000000.1,0,3.5,1\n")


@pytest.mark.parametrize("name", ["a.log", "a.jsonl"])
def test_fairseq_counts_updates_not_fractions_of_an_epoch(tmp_path, name) -> None:
    rows = [
        json.dumps({"epoch": 1, "update": k / 300, "loss": f"{4 - k / 10:.3f}", "num_updates": f"{k}00", "gnorm": "2"})
        for k in (1, 2, 3)
    ]
    rows = [f"2026-11-22 16:00:00 | INFO | train_inner | {row}" if name == "a.log" else row for row in rows]
    trace = of(tmp_path / name, "\n".join(rows))
    assert trace.steps.tolist() == [100, 200, 300] and losses(trace) == [3.9, 3.8, 3.7]
    assert "num_updates is read as step" in trace.notes and "update is read as step" not in trace.notes


@pytest.mark.parametrize(
    "line",
    [
        "25/25 [=====] - 3s 120ms/step - loss: {x} - accuracy: 0.5 - val_loss: 9.9 - val_accuracy: 0.1",
        "25/25 \u2501\u2501\u2501\u2501 3s 120ms/step - accuracy: 0.5 - loss: {x} - val_accuracy: 0.1 - val_loss: 9.9",
        "25/25 [=====] - 3s 120ms/step loss: {x}",
        "25/25 - 3s - loss: {x} - val_loss: 9.9 - 3s/epoch - 120ms/step",
    ],
)
def test_an_epoch_of_keras_is_one_record(tmp_path, line) -> None:
    epochs = [f"Epoch {k}/3\n{line.format(x=4 - k / 10)}" for k in (1, 2, 3)]
    trace = of(tmp_path / "a.log", "\n".join(epochs))
    assert losses(trace) == [3.9, 3.8, 3.7] and trace.steps.tolist() == [1, 2, 3]
    assert trace.read_as == {"loss": "loss"} and trace.notes == ()


def test_a_slow_bar_of_tqdm_still_counts_its_steps(tmp_path) -> None:
    bar = "\n".join(f"{k}/90 [00:20<03:00, 2.10s/step, loss={4 - k / 10}]" for k in (10, 20))
    assert of(tmp_path / "a.log", bar).steps.tolist() == [10, 20]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (["4,1234", "3,9876"], [4.1234, 3.9876]),
        (["4,123", "0,987"], [4.123, 0.987]),
        (["1,234.5", "1,234"], [1234.5, 1234]),
        (["1,234", "999.5"], [1234, 999.5]),
        (["1,234,567", "nan"], [1234567, math.nan]),
        (["1.234,5", "2,5e-1"], [1234.5, 0.25]),
        (["-4,20", "7"], [-4.2, 7]),
    ],
)
def test_commas_are_read_as_they_are_meant(tmp_path, numbers, expected) -> None:
    lines = "\n".join(f"step={k} loss={number}, lr=0.1" for k, number in enumerate(numbers))
    assert losses(of(tmp_path / "a.log", lines)) == pytest.approx(expected, nan_ok=True)
    rows = "\n".join(f'{k},"{number}"' for k, number in enumerate(numbers))
    assert losses(of(tmp_path / "a.csv", "step,loss\n" + rows)) == pytest.approx(expected, nan_ok=True)


def test_a_comma_that_may_mean_either_is_an_error(tmp_path) -> None:
    with pytest.raises(UserError, match="line 2, column loss: '1,234' is ambiguous, as it may be 1234 or 1.234"):
        of(tmp_path / "a.log", "step=1 loss=5\nstep=2 loss=1,234\n")
    with pytest.raises(UserError, match="line 4, column loss: '1,234' is ambiguous"):
        of(tmp_path / "a.csv", 'loss\n"4,1234"\n"1,234.5"\n"1,234"\n')
    assert of(tmp_path / "a.log", "step 1,000/5,000 loss 3.2\nstep 1,001/5,000 loss 3.1").steps.tolist() == [1000, 1001]
    assert of(tmp_path / "a.log", "[1,000/5,000] loss 3.2\n[1,001/5,000] loss 3.1").steps.tolist() == [1000, 1001]


def test_losses_that_are_no_ctc_losses_are_told(tmp_path) -> None:
    negative = of(tmp_path / "a.csv", "loss\n-1\nnan\n-2\n3\n")
    assert any("2 of 3 losses are negative" in note for note in negative.notes)
    zero = of(tmp_path / "a.csv", "loss\n0\n0\nnan\n")
    assert any("exactly 0" in note and "zero_infinity" in note for note in zero.notes)
    assert of(tmp_path / "a.csv", "loss\n0\n0.5\n").notes == ()
    assert of(tmp_path / "a.csv", "loss\nnan\nnan\n").notes == ()


def test_a_folder_is_one_run_and_is_not_searched_to_its_ground(tmp_path) -> None:
    from tensorboardX import SummaryWriter

    write_run(tmp_path / "deep" / "a" / "b", SummaryWriter)
    with pytest.raises(UserError, match="nor do the folders right below it"):
        read_trace(tmp_path / "deep")
    assert losses(read_trace(tmp_path / "deep" / "a")) == [3.5, 3.25]
    write_run(tmp_path / "deep" / "a" / "c", SummaryWriter)
    with pytest.raises(UserError, match=r"2 runs: give one of \S+deep/a/b, \S+deep/a/c$"):
        read_trace(tmp_path / "deep" / "a")
    write_run(tmp_path / "deep" / "a", SummaryWriter)
    trace = read_trace(tmp_path / "deep" / "a")
    assert losses(trace) == [3.5, 3.25]
    assert any("not those in" in note and "deep/a/b" in note for note in trace.notes)
