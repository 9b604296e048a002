"""Logs of other programs: formats, spellings, styles of text, what is missing, and what a user can get wrong."""

import json
import math
import struct
from pathlib import Path

import pandas as pd
import pytest

from slr_models.errors import UserError
from sweep.logs.columns import SPELLINGS, meaning_of
from sweep.logs.files import read_trace
from sweep.logs.trace import Trace
from sweep.records import SkipReason, StepRecord

NAN = math.nan


def of(path: Path, content: str) -> Trace:
    path.write_text(content, encoding="utf-8")
    return read_trace(path)


def records(path: Path, content: str) -> list[StepRecord]:
    return list(of(path, content).records())


def losses(trace: Trace) -> list[float]:
    return [record.loss for record in trace.records()]


def test_no_spelling_stands_for_two_fields() -> None:
    names = [name for spellings in SPELLINGS.values() for name in spellings]
    assert len(set(names)) == len(names)
    for field, spellings in SPELLINGS.items():
        assert all((known := meaning_of(name)) is not None and known.field == field for name in spellings)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("Train/Loss", "loss"),
        ("loss/train", "loss"),
        ("train/grad-norm", "grad_norm"),
        ("gnorm", "grad_norm"),
        ("gradNorm", "grad_norm"),
        ("optim/total_grad_norm", "grad_norm"),
        ("lossScale", "loss_scale"),
        ("_step", "step"),
        ("CTCLoss", "loss"),
        ("train/box_loss", "loss"),
        ("val_loss", "val_loss"),
        ("eval/loss", "val_loss"),
        ("loss_val", "val_loss"),
        ("lr/pg0", "lr"),
        ("epoch", "epoch"),
        ("best_loss", None),
        ("loss_weight", None),
        ("train/loss__MIN", None),
        ("clip-grad", None),
        ("optimizer-copy-to-main-grad", None),
    ],
)
def test_names_are_known_in_any_case_and_with_any_separator(name: str, field: str | None) -> None:
    known = meaning_of(name)
    assert (known.field if known else None) == field


def test_the_exact_name_comes_first(tmp_path) -> None:
    assert of(tmp_path / "a.csv", "train/loss,Loss,loss,avg_loss\n1,2,3,4\n").read_as["loss"] == "loss"
    trace = of(tmp_path / "a.csv", "avg_loss,train_loss\n1,2\n")
    assert trace.read_as["loss"] == "train_loss" and "the loss is train_loss, not avg_loss" in trace.notes[1]


def test_a_csv_is_read_with_all_its_columns(tmp_path) -> None:
    content = (
        "step,loss,grad_norm,loss_scale,applied,skip_reason,blank_rate,input_dependence,params_finite,num_infeasible\n"
        "10,3.5,inf,65536,False,calibration,,,True,0\n"
        "20,NaN,nan,32768,0,nonfinite,0.9,1e-3,true,2\n"
        "30,-Infinity,1.5,32768,true,,,,0,\n"
    )
    first, second, third = records(tmp_path / "log.csv", content)
    assert (first.step, first.loss, first.grad_norm, first.loss_scale) == (10, 3.5, math.inf, 65536)
    assert not first.applied and first.skip_reason is SkipReason.CALIBRATION and first.params_finite
    assert first.blank_rate is None and first.lr is None
    assert (
        second.loss is not None
        and math.isnan(second.loss)
        and second.grad_norm is not None
        and math.isnan(second.grad_norm)
        and not second.applied
    )
    assert second.skip_reason is SkipReason.NONFINITE and second.num_infeasible == 2
    assert (second.blank_rate, second.input_dependence) == (0.9, 1e-3)
    assert third.loss == -math.inf and third.applied and not third.params_finite and third.step == 30


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_other_spellings_and_delimiters_are_told(tmp_path, delimiter) -> None:
    content = "iteration,Train Loss,gnorm,skipped\n1,3.5,1.0,0\n2,3.4,2.0,1\n".replace(",", delimiter)
    trace = of(tmp_path / "log.csv", content)
    assert losses(trace) == [3.5, 3.4] and [r.applied for r in trace.records()] == [True, False]
    assert trace.read_as == {"step": "iteration", "loss": "Train Loss", "grad_norm": "gnorm", "skipped": "skipped"}
    assert "Train Loss is read as loss" in trace.notes and "gnorm is read as grad_norm" in trace.notes
    assert losses(of(tmp_path / "log.txt", content)) == [3.5, 3.4], "found by its header, whatever its name"


def test_rows_without_loss_and_norm_are_no_steps(tmp_path) -> None:
    content = "step,loss,val_loss\n1,3.5,\n2,3.4,\n2,,5.0\n3,3.3,\n3,,4.9\n4,3.2,\n"
    trace = of(tmp_path / "log.csv", content)
    assert losses(trace) == [3.5, 3.4, 3.3, 3.2] and trace.steps.tolist() == [1, 2, 3, 4]


def test_a_step_in_several_rows_is_one_step(tmp_path) -> None:
    content = "step,loss,grad_norm\n1,,0.5\n1,3.5,\n2,,0.6\n2,3.4,\n"
    trace = of(tmp_path / "log.csv", content)
    assert [(r.step, r.loss, r.grad_norm) for r in trace.records()] == [(1, 3.5, 0.5), (2, 3.4, 0.6)]


def test_a_repeated_step_with_its_own_loss_is_a_step(tmp_path) -> None:
    trace = of(tmp_path / "log.csv", "batch,loss\n0,nan\n0,nan\n0,nan\n")
    assert len(trace) == 3 and trace.steps.tolist() == [1, 2, 3]
    assert any("counted from 1" in note for note in trace.notes)


def test_what_is_not_logged_is_none_and_a_nan_is_a_nan(tmp_path) -> None:
    rows = [f"{k},{3 - k / 100 if k % 10 == 0 else ''},{1 + k},{0.5 if k % 20 == 3 else ''}" for k in range(40)]
    trace = of(tmp_path / "log.csv", "step,loss,grad_norm,blank_rate\n" + "\n".join(rows) + "\n")
    assert len(trace) == 40 and losses(trace)[9] is None and losses(trace)[10] == pytest.approx(2.9)
    assert [r.step for r in trace.records() if r.blank_rate is not None] == [3, 23]
    assert "36 of 40 steps log no loss" in trace.notes
    rows = [f"{k},3.0,{'inf' if k == 20 else 'nan' if k == 21 else 1 if k % 10 == 0 else ''}" for k in range(40)]
    norms = [r.grad_norm for r in of(tmp_path / "log.csv", "step,loss,grad_norm\n" + "\n".join(rows)).records()]
    assert norms[20] == math.inf and math.isnan(norms[21]) and norms[22:30] == [None] * 8


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_a_nan_that_pandas_wrote_as_nothing_is_a_nan(tmp_path, suffix) -> None:
    frame = pd.DataFrame({"step": range(1, 31), "loss": [3.0] * 20 + [NAN] * 10, "grad_norm": [1.0] * 20 + [NAN] * 10})
    path = tmp_path / f"log.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    trace = read_trace(path)
    assert len(trace) == 30 and all(map(math.isnan, losses(trace)[20:]))
    assert any("taken for NaN" in note for note in trace.notes)
    frame["loss"] = NAN
    frame.to_csv(tmp_path / "all.csv", index=False)
    assert all(map(math.isnan, losses(read_trace(tmp_path / "all.csv"))))


def test_a_validation_between_training_steps_is_no_nan(tmp_path) -> None:
    training = [f"{k},{3.0},1.0," for k in range(1, 21)]
    validation = [f"{k},,,{2.0}" for k in range(21, 31)]
    trace = of(tmp_path / "log.csv", "\n".join(["step,loss,grad_norm,val_loss", *training, *validation]))
    assert len(trace) == 20


def test_json_lines_with_their_special_numbers(tmp_path) -> None:
    rows = ['{"loss": NaN, "step": 1}', '{"loss": "Infinity", "step": 2}', "", '{"eval_loss": 2, "step": 2}']
    rows += ['{"loss": 3, "step": 3, "skipped": true, "sizes": [1, 2]}', '{"loss": 2.5, "st']
    trace = of(tmp_path / "log.jsonl", "\n".join(rows))
    assert math.isnan(losses(trace)[0]) and losses(trace)[1:] == [math.inf, 3.0]
    assert [r.applied for r in trace.records()] == [True, True, False]
    assert any("line 6 is cut off" in note for note in trace.notes)


def test_parquet_knows_nan_from_null(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"loss": pa.array([3.0, NAN, None, 2.0], pa.float32()), "wer": [None, None, 0.5, None]})
    pq.write_table(table, tmp_path / "log.parquet")
    found = losses(read_trace(tmp_path / "log.parquet"))
    assert len(found) == 3 and math.isnan(found[1])


STYLES = [
    ("Epoch 1: loss=12.345, grad_norm=0.48", (12.345, 0.48, None, True)),
    ("Batch 3: loss=5.1, grad_norm=157.34", (5.1, 157.34, None, True)),
    ("step 100 | loss 3.2 | grad norm 1.1 | scale 65536", (3.2, 1.1, 65536, True)),
    ("Batch 3: loss=5.1, grad_norm=157.34 \u2192 SKIPPED", (5.1, 157.34, None, False)),
    ("Batch 3: loss=5.1, grad_norm=157.34 -> clipped to 1.0 -> UPDATE", (5.1, 157.34, None, True)),
    ("{'loss': 0.5, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': 0.01}", (0.5, 1.2, None, True)),
    ("{'loss': '0.5', 'grad_norm': 'nan', 'epoch': '0.01'}", (0.5, NAN, None, True)),
    ("2026-11-22 13:02:46,123 INFO trainer: iter 250: loss 4.2190, time 12.3ms, mfu 3.2%", (4.219, None, None, True)),
    ("Epoch 3/50 [ 10/100] Loss: 2.31 (2.5) Grad Norm: inf", (2.31, math.inf, None, True)),
    ("Epoch 0:  10%|# | 10/100 [00:01<00:09, loss=2.31, v_num=0]", (2.31, None, None, True)),
    ("loss: tensor(3.2, device='cuda:0') grad_norm: tensor(1.5)", (3.2, 1.5, None, True)),
    ("[deepspeed] OVERFLOW! Skipping step. Attempted loss scale: 65536, loss 2.0", (2.0, math.inf, 65536, False)),
    ("step 7 loss nan", (NAN, None, None, True)),
    ("skipped=0 loss=3.0 step=4", (3.0, None, None, True)),
    ('{"step": 3, "loss": 3.0, "grad_norm": 1e-3}', (3.0, 1e-3, None, True)),
]


@pytest.mark.parametrize(("line", "expected"), STYLES)
def test_styles_of_printing(tmp_path, line, expected) -> None:
    (record,) = records(tmp_path / "train.log", f"Starting.\n{line}\nDone, see you.\n")
    got = (record.loss, record.grad_norm, record.loss_scale, record.applied)
    assert got == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    "line",
    [
        "Validation: loss=2.3 wer=0.4",
        "{'eval_loss': 0.5, 'eval_runtime': 3.1}",
        "Loss: 91 \u2192 67 \u2192 45 \u2192 32",
        "Gradient norms < 1.0",
        "No more batch skipping! All batches contribute to learning.",
        "if grad_norm > 100.0:  # Too strict!",
    ],
)
def test_what_is_no_training_step_is_passed_over(tmp_path, line) -> None:
    assert losses(of(tmp_path / "train.log", f"step 1 loss 3.0\n{line}\nstep 2 loss 2.9\n")) == [3.0, 2.9]


def test_warnings_without_losses_are_a_log_too(tmp_path) -> None:
    lines = [f"WARNING - Infinite gradient norm at batch {k}" for k in range(4)]
    lines += [f"WARNING - Large gradient norm: {norm} at batch {k}, skipping" for k, norm in ((4, 81.88), (5, 66.17))]
    trace = of(tmp_path / "train.log", "\n".join(lines))
    assert not trace.has_losses and trace.steps.tolist() == [0, 1, 2, 3, 4, 5]
    found = list(trace.records())
    assert [r.grad_norm for r in found] == [math.inf] * 4 + [81.88, 66.17] and not any(r.applied for r in found)
    assert [r.skip_reason for r in found] == [SkipReason.NONFINITE] * 4 + [SkipReason.THRESHOLD] * 2
    assert (
        "Large gradient norm is read as grad_norm" not in trace.notes
        and "gradient norm is read as grad_norm" in trace.notes
    )


def test_a_warning_and_the_line_of_its_step_are_one_step(tmp_path) -> None:
    lines = ["Batch 1: loss=3.0, grad_norm=1.0", "Large gradient norm: 90.5 at batch 2, skipping"]
    one, two = records(tmp_path / "train.log", "\n".join([*lines, "Batch 2: loss=3.1, grad_norm=90.51"]))
    assert one.applied and not two.applied and (two.step, two.loss, two.grad_norm) == (2, 3.1, 90.51)


def test_a_progress_bar_that_redraws_itself_is_no_new_step(tmp_path) -> None:
    bar = "".join(f"\r {k}/9 [00:01, loss={3 - k / 10}]" * 3 for k in range(1, 4))
    (tmp_path / "train.log").write_bytes(bar.encode() + b"\n")
    assert losses(read_trace(tmp_path / "train.log")) == pytest.approx([2.9, 2.8, 2.7])


def write_events(folder: Path, values: list[tuple[int, dict[str, float]]]) -> Path:
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))
    for step, tags in values:
        for tag, value in tags.items():
            writer.add_scalar(tag, value, step)
    writer.close()
    (path,) = folder.glob("*tfevents*")
    return path


def test_tensorboard_events_in_a_file_or_a_folder(tmp_path) -> None:
    values = [(k, {"train/loss": 3.0 - k / 10, "val/loss": 9.0}) for k in range(5)]
    values[3] = (3, {"train/loss": math.nan, "train/grad_norm": math.inf})
    path = write_events(tmp_path / "run", values)
    for trace in (read_trace(path), read_trace(tmp_path), read_trace(tmp_path / "run")):
        assert trace.format == "TensorBoard" and trace.steps.tolist() == [0, 1, 2, 3, 4]
        assert losses(trace)[:3] == pytest.approx([3.0, 2.9, 2.8]) and math.isnan(losses(trace)[3])
        assert [r.grad_norm for r in trace.records()][3] == math.inf
    write_events(tmp_path / "other", values)
    with pytest.raises(UserError, match="2 runs"):
        read_trace(tmp_path)


def test_tensorboard_scalars_as_tensors(tmp_path) -> None:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary
    from tensorboardX.proto.tensor_pb2 import TensorProto
    from tensorboardX.record_writer import RecordWriter

    writer = RecordWriter(str(tmp_path / "events.out.tfevents.1"))
    for step, tensor in enumerate(
        (TensorProto(dtype=1, float_val=[2.5]), TensorProto(dtype=1, tensor_content=struct.pack("<f", 1.5)))
    ):
        value = Summary.Value(tag="loss", tensor=tensor)
        writer.write(Event(step=step, summary=Summary(value=[value])).SerializeToString())
    writer.close()
    assert losses(read_trace(tmp_path)) == [2.5, 1.5]


def test_damaged_event_files(tmp_path) -> None:
    path = write_events(tmp_path / "run", [(k, {"loss": 3.0}) for k in range(10)])
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    trace = read_trace(path)
    assert len(trace) == 9 and any("breaks off" in note for note in trace.notes)
    path.write_bytes(content[:-10] + b"\xff" + content[-9:])
    with pytest.raises(UserError, match="wrong checksum"):
        read_trace(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "step,wer\n1,0.5\n", "no column loss.*its columns are: step, wer"),
        ("a.csv", "step,grad_norm\n1,0.5\n", "no column loss"),
        ("a.csv", "loss\n3.0\noops\n", "line 3, column loss: 'oops' is not a number"),
        ("a.csv", "loss,loss\n3.0,1\n", "two columns loss"),
        ("a.csv", "step,loss\n1,2,3\n", "line 2 has 3 fields"),
        ("a.csv", "", "is empty"),
        ("a.jsonl", "[1]\n", "JSON, but no log that can be read: a list"),
        ("a.jsonl", '{"loss": 1}\n[1]\n', "line 2 is not an object"),
        ("a.jsonl", '{"loss": 1}\nhello\n{"loss": 1}\n', "line 2 is not JSON"),
        ("a.jsonl", '{"loss": ["a", [1]]}\n', "no column loss"),
        ("a.log", "nothing to see here\n", "no line with a loss or a gradient norm"),
        ("a.parquet", "PAR1 but not really", "cannot be read as Parquet"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path, name, content, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        of(tmp_path / name, content)
    assert name in str(caught.value)


def test_missing_and_binary_files(tmp_path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_trace(tmp_path / "no.csv")
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04\x00\x00loss")
    with pytest.raises(UserError, match="none of the known formats"):
        read_trace(tmp_path / "model.pt")
    with pytest.raises(UserError, match="no TensorBoard event file"):
        read_trace(tmp_path)


def test_lone_words_of_json_logs_stay_quiet(tmp_path) -> None:
    rows = [json.dumps({"step": k, "loss": 3.0, "skip_reason": "because", "applied": "no"}) for k in range(3)]
    found = records(tmp_path / "log.jsonl", "\n".join(rows))
    assert all(not r.applied and r.skip_reason is None for r in found)
