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
    with pytest.raises(UserError, match=r"2 runs \(calm-sea-1, lilac-sun-3\); choose one by --run NAME"):
        of(tmp_path / "a.csv", "Step,lilac-sun-3 - loss,calm-sea-1 - loss\n1,3.5,3.6\n")
    alone = of(tmp_path / "a.csv", "step,val - loss\n1,3.5\n")
    assert losses(alone) == [3.5] and alone.is_held_out and "stands for it" in alone.notes[-1]


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
    assert trace.read_as == {"loss": "loss"} and trace.notes in ((), ("val_loss is read as the validation loss",))
    assert trace.validation == (((1, 9.9), (2, 9.9), (3, 9.9)) if "val_loss" in line else ())


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


LOSSES = [round(4 - k / 16, 4) for k in range(24)]
VALIDATION = tuple((k, x + 1) for k, x in enumerate(LOSSES, start=1))
SERIES = {"loss": LOSSES, "val_loss": [x + 1 for x in LOSSES]}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SERIES),
        json.dumps(SERIES, indent=2),
        json.dumps({"history": SERIES, "params": {"epochs": 24}, "epoch": list(range(24))}),
        json.dumps({"train": {"loss": SERIES["loss"]}, "val": {"loss": SERIES["val_loss"]}}, indent=1),
        json.dumps({"train_losses": SERIES["loss"], "val_losses": SERIES["val_loss"]}),
        json.dumps({name: {str(k): x for k, x in enumerate(values)} for name, values in SERIES.items()}),
        json.dumps(
            {"columns": list(SERIES), "index": list(range(24)), "data": list(zip(*SERIES.values(), strict=True))}
        ),
        json.dumps({f"epoch_{k}": {"loss": x, "val_loss": x + 1} for k, x in enumerate(LOSSES)}),
        json.dumps({"epochs": [{"train": {"loss": x}, "valid": {"loss": x + 1}} for x in LOSSES], "seed": 1}),
        json.dumps([{"main/loss": x, "validation/main/loss": x + 1, "epoch": 1} for x in LOSSES]),
    ],
)
@pytest.mark.parametrize("name", ["history.json", "log"])
def test_series_in_one_json_object(tmp_path, name, content) -> None:
    trace = of(tmp_path / name, content)
    assert trace.format == "JSON" and losses(trace) == LOSSES and trace.validation == VALIDATION


def test_a_history_that_python_printed(tmp_path) -> None:
    trace = of(tmp_path / "a.txt", f"{ {'loss': [3.0, math.nan], 'val_loss': [4, 5]} }\n")
    assert losses(trace) == pytest.approx([3, math.nan], nan_ok=True) and trace.validation == ((1, 4.0), (2, 5.0))


def test_a_metric_exported_from_tensorboard_as_json(tmp_path) -> None:
    trace = of(tmp_path / "run-tag-loss.json", json.dumps([[1.7e9 + k, 10 * k, x] for k, x in enumerate(LOSSES)]))
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(0, 240, 10))
    assert any("run-tag-loss.json is taken for the training loss" in note for note in trace.notes)
    assert math.isnan(losses(of(tmp_path / "a.json", "[[1.0, 1, 3.0], [2.0, 2, NaN]]"))[1])


def test_json_that_is_no_log_names_what_it_holds(tmp_path) -> None:
    with pytest.raises(UserError, match=r"no log that can be read: an object of lr, sizes; give"):
        of(tmp_path / "a.json", '{\n"lr": 0.1,\n"sizes": [[1, 2], [3, 4]]\n}')
    with pytest.raises(UserError, match="its columns are: step, reward. Name the training loss by --loss NAME"):
        of(tmp_path / "a.jsonl", '{"step": 1, "reward": 2.0}\n')


def test_metrics_of_mlflow(tmp_path) -> None:
    metrics = tmp_path / "run" / "metrics"
    (metrics / "train").mkdir(parents=True)
    (tmp_path / "run" / "meta.yaml").write_text("name: x\n")
    lines = [f"{1677000000000 + k} {x} {5 * k}" for k, x in enumerate(LOSSES)]
    (metrics / "train" / "loss").write_text("\n".join(lines) + "\n")
    (metrics / "val_loss").write_text("1677000000000 2.0 25\n1677000000001 nan 50\n")
    for path in (tmp_path / "run", metrics):
        trace = read_trace(path)
        assert trace.format == "MLflow" and losses(trace) == LOSSES and trace.steps.tolist() == list(range(0, 120, 5))
        assert trace.read_as["loss"] == "train/loss" and trace.validation[0] == (25, 2.0)
    alone = read_trace(metrics / "train" / "loss")
    assert losses(alone) == LOSSES and alone.steps.tolist() == list(range(0, 120, 5))
    other = of(tmp_path / "criterion", "\n".join(lines))
    assert losses(other) == LOSSES and any("criterion is the only metric" in note for note in other.notes)
    unnumbered = of(tmp_path / "loss", "\n".join(f"{1677000000000 + k} {x} 0" for k, x in enumerate(LOSSES)))
    assert losses(unnumbered) == LOSSES


@pytest.mark.parametrize(
    ("before", "row", "after"),
    [
        (
            "# Training\n\nWords.\n\n| Step | Training Loss | Validation Loss |\n|---|:---:|---|",
            "| {k} | {x} | {y} |",
            "\nEnd.",
        ),
        ("Step | Training Loss | Validation Loss\n---|---|---", "{k} | {x} | {y}", ""),
        ("+---+---+---+\n| step | loss | val_loss |\n+---+---+---+", "| {k} | {x} | {y} |", "+---+---+---+"),
        ("step loss val_loss", "{k} {x} {y}", ""),
        ("# step loss val_loss", "{k}  {x}   {y}", ""),
        ("   step,   loss,   val_loss", "    {k},   {x},  {y}", ""),
        ("sep=;\nstep;loss;val_loss", "{k};{x};{y}", ""),
        ("# a remark\n# lr,0.1\nstep,loss,val_loss", "{k},{x},{y}", ""),
        ("\n\nstep\tloss\tval_loss", "{k}\t{x}\t{y}", "\n"),
        ('"step","loss","val_loss","note"', '"{k}","{x}","{y}","a, b"', ""),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.md", "a.txt"])
def test_tables_of_many_looks(tmp_path, name, before, row, after) -> None:
    rows = "\n".join(row.format(k=k, x=x, y=x + 1) for k, x in enumerate(LOSSES, start=1))
    trace = of(tmp_path / name, f"{before}\n{rows}\n{after}\n")
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(1, 25)) and trace.validation == VALIDATION


def test_a_header_that_stands_again(tmp_path) -> None:
    for again in ("step,loss", " step , loss ", '"step","loss"'):
        trace = of(tmp_path / "a.csv", f"step,loss\n1,3.5\n{again}\n2,3.4\n{again}\n3,3.3\n")
        assert losses(trace) == [3.5, 3.4, 3.3] and "the header stands again in 2 rows, left out here" in trace.notes
    long = "step,loss\n" + "".join(f"{k},3.5\n" for k in range(400)) + "step,loss\n400,nan\n"
    assert len(of(tmp_path / "a.csv", long)) == 401


def test_tables_without_names(tmp_path) -> None:
    with pytest.raises(UserError, match="has no header: its first line holds numbers alone"):
        of(tmp_path / "a.csv", "1,3.5\n2,3.4\n")
    for content in ("3.5\n3.4\nnan\n", "[3.5, 3.4, NaN]"):
        trace = of(tmp_path / "losses", content)
        assert losses(trace) == pytest.approx([3.5, 3.4, math.nan], nan_ok=True)
        assert any("no names" in note for note in trace.notes)


@pytest.mark.parametrize("name", ["mode", "phase", "split"])
def test_rows_of_held_out_data_stand_apart(tmp_path, name) -> None:
    rows = [f"{k},{kind},{x + add}" for k, x in enumerate(LOSSES, 1) for kind, add in (("train", 0), ("val", 1))]
    trace = of(tmp_path / "a.csv", f"step,{name},loss\n" + "\n".join(rows))
    assert losses(trace) == LOSSES and trace.validation == VALIDATION
    assert f"rows whose {name} is val are held out" in trace.notes


def test_a_column_that_is_odd_far_down_is_read_cell_by_cell(tmp_path) -> None:
    rows = [f"{k},{x},{'true' if k == 900 else 'false'}" for k, x in enumerate(LOSSES * 50)]
    rows[1000] = "1000,-nan(ind),false"
    trace = of(tmp_path / "a.csv", "step,loss,skipped\n" + "\n".join(rows))
    found = losses(trace)
    assert len(found) == 1200 and math.isnan(found[1000]) and found[:24] == LOSSES
    assert [r.step for r in trace.records() if not r.applied] == [900]
    rows[1100] = "1100,oops,false"
    with pytest.raises(UserError, match="line 1102, column loss: 'oops' is not a number"):
        of(tmp_path / "a.csv", "step,loss,skipped\n" + "\n".join(rows))
    rows[1100] = "1100,3.0,false,7"
    with pytest.raises(UserError, match="line 1102 has 4 fields, but the first line names 3"):
        of(tmp_path / "a.csv", "step,loss,skipped\n" + "\n".join(rows))


def test_our_own_steps_of_version_1_wrote_nan_for_unknown(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"step": [1, 2], "loss": [3.0, math.nan], "lr": [math.nan, 0.1], "blank_rate": [0.5, math.nan]})
    for version, unknown in (("1", True), ("2", False), (None, False)):
        metadata = {"schema_version": version} if version else {}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "0.parquet")
        first, second = read_trace(tmp_path / "0.parquet").records()
        assert (first.lr is None) == (second.blank_rate is None) == unknown
        assert second.loss is not None and math.isnan(second.loss), "our own training always logs a loss"


def test_a_table_of_a_model_card_says_no_log_where_nothing_was_logged(tmp_path) -> None:
    rows = [(500, "No log", 3.1), (1000, 2.5, 1.0), (1500, 1.5, 0.9)]
    card = "| Training Loss | Step | Validation Loss |\n|:---:|:---:|:---:|\n"
    card += "".join(f"| {loss} | {step} | {val} |\n" for step, loss, val in rows)
    table = "Step,Training Loss,Validation Loss\n" + "".join(f"{step},{loss},{val}\n" for step, loss, val in rows)
    for name, content in (("README.md", f"# A model\n\nText.\n\n{card}\nMore.\n"), ("a.csv", table)):
        trace = of(tmp_path / name, content)
        assert losses(trace) == [2.5, 1.5] and trace.steps.tolist() == [1000, 1500]
        assert [loss for _, loss in trace.validation] == [3.1, 1.0, 0.9]
