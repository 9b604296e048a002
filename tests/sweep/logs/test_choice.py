"""Which columns are taken for what, what is said of it, and the options that overrule it."""

import json
import math
from pathlib import Path

import pytest

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.files import read_trace
from sweep.logs.trace import Trace

LOSSES = [round(4 - k / 16, 4) for k in range(24)]


def of(path: Path, content: str, choice: ColumnChoice = ColumnChoice()) -> Trace:  # noqa: B008
    path.write_text(content, encoding="utf-8")
    return read_trace(path, choice)


def losses(trace: Trace) -> list[float | None]:
    return [record.loss for record in trace.records()]


def text(path: Path, *lines: str, before: str = "", after: str = "", choice: ColumnChoice = ColumnChoice()) -> Trace:  # noqa: B008
    """A log that prints these lines for each of 24 steps, with {k} and {x} for number and loss."""
    body = "\n".join(line.format(k=k, x=x) for k, x in enumerate(LOSSES) for line in lines)
    return of(path, f"{before}\n{body}\n{after}\n", choice)


def test_batches_come_before_the_means_of_epochs(tmp_path) -> None:
    body = "\n".join(
        f"Epoch {k // 8} - Batch loss: {x}" + (f"\nEpoch {k // 8} - Average Train Loss: 1.0" if k % 8 == 7 else "")
        for k, x in enumerate(LOSSES)
    )
    trace = of(tmp_path / "a.log", body)
    assert losses(trace) == LOSSES and any("not Average Train Loss" in note for note in trace.notes)
    rows = [f"{k},{x},{9 if k % 8 == 7 else ''}" for k, x in enumerate(LOSSES)]
    for names in ("step,train_loss_step,train_loss_epoch", "step,batch_loss,train_loss"):
        assert losses(of(tmp_path / "a.csv", names + "\n" + "\n".join(rows))) == LOSSES


def test_components_are_no_steps_of_their_own(tmp_path) -> None:
    trace = text(tmp_path / "a.log", "iter:{k} || Loss:{x}", "->> conf loss:6.9 || loc loss:3.5")
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(24))
    same_line = text(tmp_path / "a.log", "loss_att 9 loss_ctc 8 loss {x} step {k}")
    assert losses(same_line) == LOSSES and any("not loss_ctc and loss_att" in note for note in same_line.notes)


@pytest.mark.parametrize(
    "message",
    [
        "WARNING: loss is nan at step 12, skipping this batch",
        "{'loss': 40, 'val_loss': 40}",
        "config.loss: 3.0",
        "final loss: 0.1",
        "loss: 3",
        "total_loss = 0.0",
    ],
)
def test_one_line_that_names_a_loss_is_not_the_loss(tmp_path, message) -> None:
    trace = text(tmp_path / "a.log", "iter: {k}  total_loss: {x}  lr: 0.001", after=message)
    assert trace.read_as["loss"] == "total_loss" and [x for x in losses(trace) if not math.isnan(x)] == LOSSES
    assert trace.validation == ()


def test_printed_source_code_and_options_are_no_log(tmp_path) -> None:
    source = (
        "import torch\ndef f(x):\n    total_loss = 0.0\n    lr = 0.1\n    grad_norm = 1.0\n    return total_loss\n"
        'print(f"step:{step} loss:{loss:.4f}")\nNamespace(clip_grad=1.0, grad_norm=1.0, loss_scale=1024, lr=0.5)\n'
        "--clip-grad 1.0 --grad-norm 5.0\nargs.grad_norm = 1.0\nmax_grad_norm: 1.0\ngradient clipping: 1.0\n"
        "  clip_grad ....................................... 1.0\n  loss_scale ............................. 12.0\n"
        "loss_weight: 0.5\nloss coefficient: 2"
    )
    trace = text(tmp_path / "a.log", "step:{k}/24 loss:{x}", before=source)
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(24))
    assert {"grad_norm", "loss_scale", "lr"}.isdisjoint(trace.values)
    only_validation = text(tmp_path / "a.log", "step:{k}/24 val_loss:{x}", before=source)
    assert losses(only_validation) == LOSSES and only_validation.is_held_out and only_validation.validation == ()


@pytest.mark.parametrize(
    "line",
    [
        "time (ms) | forward-compute: 281.05 | backward-params-all-reduce-grad: 12.3 | copy-to-main-grad: 8.2",
        "clip_grad_norm: 1.0, max grad norm: 2, target_grad_norm: 3, grad_norm_clip=5",
        "[host:0/8] all good",
        "2023-01-30 18:47:07 saved checkpoint 7/9 to /data/test/loss_5.pt",
        "grad accumulation steps: 8, steps per epoch: 100, warmup steps 50, total steps: 1000",
    ],
)
def test_what_only_looks_like_a_measurement(tmp_path, line) -> None:
    trace = text(tmp_path / "a.log", "step {k} | loss {x}", line)
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(24))
    assert "grad_norm" not in trace.values


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("[gpu-1:0/8] 2023-01-30 18:47:07,107 step {k} loss {x}", 0),
        ("2023-01-30 18:47:07 | Global Step {k} | Batch 7/30 | loss {x}", 0),
        ("Epoch [3/50], Step [{k}/500], Loss: {x}", 0),
        ("Epoch 3/50 [{k}/500] loss={x}", 0),
        ("[3/50][{k}/500] loss: {x}", 0),
        ("(3, {k}) iteration={k} loss={x} rank=0", 0),
        ("iter {k}/500 step 0 loss {x}", 0),
        ("Iteration: {k:07d}, loss : {x}", 0),
    ],
)
def test_what_counts_the_steps(tmp_path, line, step) -> None:
    trace = text(tmp_path / "a.log", line)
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(24)), trace.notes


def test_the_finer_counter_is_taken_and_said(tmp_path) -> None:
    lines = [f"Global Step {1000 + k} Batch {k % 8} loss {x}" for k, x in enumerate(LOSSES)]
    trace = of(tmp_path / "a.log", "\n".join(lines))
    assert trace.steps.tolist() == list(range(1000, 1024)) and trace.read_as["step"] == "Global Step"
    assert "steps are counted by Global Step, not by Batch (--step overrules it)" in trace.notes
    other = of(tmp_path / "a.log", "\n".join(lines), ColumnChoice(step="batch"))
    assert other.steps.tolist() == list(range(24)) and "Batch starts anew 2 times" in other.notes[-1]


def test_steps_that_begin_again_each_epoch_are_counted_through(tmp_path) -> None:
    rows = [f"{k // 8},{50 * (k % 8 + 1)},{x}" for k, x in enumerate(LOSSES)]
    trace = of(tmp_path / "a.csv", "epoch,batch,loss\n" + "\n".join(rows))
    assert trace.steps.tolist() == list(range(50, 1250, 50))
    resumed = of(tmp_path / "a.csv", "step,loss\n" + "\n".join(f"{k},3" for k in (1, 2, 3, 4, 5, 3, 4, 5, 6)))
    assert resumed.steps.tolist() == list(range(1, 10)) and "does not count upward" in resumed.notes[-1]


def test_validation_losses_stand_apart(tmp_path) -> None:
    rows = [f"{k},{x},{x + 1 if k % 8 == 7 else ''}" for k, x in enumerate(LOSSES)]
    for name in ("val_loss", "eval_loss", "valid loss", "test/loss", "dev_loss", "CV loss", "validation.loss"):
        trace = of(tmp_path / "a.csv", f"step,loss,{name}\n" + "\n".join(rows))
        assert losses(trace) == LOSSES and [step for step, _ in trace.validation] == [7, 15, 23]
        assert trace.validation[0][1] == LOSSES[7] + 1
        assert f"{name} is read as the validation loss" in trace.notes
    two = of(tmp_path / "a.csv", "loss,test_loss,val_loss\n3,1,2\n2,0.5,1\n")
    assert two.validation == ((1, 2.0), (2, 1.0)), "the test loss is for later"


@pytest.mark.parametrize(
    "line",
    [
        "CV Batch 0/3900 loss 9.5 loss_att 15.6",
        "Validation: loss=9.5, wer=0.4",
        "[valid] loss 9.5",
        "Eval loss: 9.5",
        "dev loss = 9.5",
        "test_loss 9.5",
        "  >> Test | loss 9.5 | acc 0.5",
    ],
)
def test_validation_lines_of_a_text(tmp_path, line) -> None:
    body = "\n".join(f"step {k} loss {x}" + (f"\n{line}\n{line}" if k % 8 == 7 else "") for k, x in enumerate(LOSSES))
    trace = of(tmp_path / "a.log", body)
    assert losses(trace) == LOSSES and trace.validation == ((7, 9.5), (15, 9.5), (23, 9.5))


def test_parts_without_a_total_are_summed(tmp_path) -> None:
    names = "epoch, train/box_loss, train/cls_loss, train/dfl_loss, val/box_loss, val/cls_loss, val/dfl_loss, lr/pg0"
    trace = of(
        tmp_path / "results.csv", f"   {names}\n  0,  1,  2,  3,  4,  5,  6, 0.1\n  1,  1,  1,  nan,  4,  5,  6, 0.1\n"
    )
    assert losses(trace)[0] == 6 and math.isnan(losses(trace)[1]) and trace.validation == ((1, 15.0), (2, 15.0))
    assert any("the sum of train/box_loss, train/cls_loss and train/dfl_loss" in note for note in trace.notes)
    assert (
        trace.read_as["loss"] == "train/box_loss + train/cls_loss + train/dfl_loss" and trace.read_as["lr"] == "lr/pg0"
    )
    one = of(tmp_path / "results.csv", f"{names}\n0,1,2,3,4,5,6,0.1\n", ColumnChoice(loss=("train/cls_loss",)))
    assert losses(one) == [2] and one.validation == ((1, 5.0),)


@pytest.mark.parametrize(
    "line",
    [
        "Iteration: {k:07d}, Generator Learning Rate: 0.0002, Generator Loss : {x}, Discriminator Loss : 0.900",
        "[0/25][{k}/1583]\tLoss_D: 1.9847\tLoss_G: {x}\tD(x): 0.5\tD(G(z)): 0.6 / 0.02",
        "(epoch: 1, iters: {k}, time: 0.3, data: 0.2) D_A: 0.356 G_A: {x} cycle_A: 2.3 idt_A: 1.0 D_B: 0.2 G_B: 0.3",
        "step {k} g_loss: {x} d_loss: 0.7",
        "step {k} disc loss {x} gen loss 0.7",
        "| iter {k} | actor_loss {x} | critic_loss 2 |",
    ],
)
def test_losses_that_work_against_each_other_are_marked(tmp_path, line) -> None:
    trace = text(tmp_path / "a.log", line)
    assert trace.is_adversarial and trace.steps.tolist() == list(range(24)) and len(trace) == 24
    assert any("none is the loss" in note for note in trace.notes)
    (name,) = {
        part for part in ("Generator Loss", "Loss_G", "G_A", "g_loss", "disc loss", "actor_loss") if part in line
    }
    one = text(tmp_path / "a.log", line, choice=ColumnChoice(loss=(name,)))
    assert losses(one) == LOSSES and not one.is_adversarial


@pytest.mark.parametrize("loss", [("a,b",), ("a", "b"), (" a , b ",)])
def test_several_losses_may_be_summed(tmp_path, loss) -> None:
    trace = of(tmp_path / "a.csv", "step,a,b,loss\n1,3,1,9\n2,2,nan,9\n", ColumnChoice(loss=loss))
    assert losses(trace) == pytest.approx([4, math.nan], nan_ok=True) and trace.read_as["loss"] == "a + b"
    assert "the loss is the sum of a and b, as --loss says" in trace.notes


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "log", "parquet"])
def test_options_name_columns_in_any_format(tmp_path, suffix) -> None:
    rows = [{"tick": 10 * k, "reward": x, "my_norm": 2.0, "amp": 8.0, "loss": 9.0} for k, x in enumerate(LOSSES)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "csv":
        path.write_text("tick,reward,my_norm,amp,loss\n" + "\n".join(",".join(map(str, r.values())) for r in rows))
    elif suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    elif suffix == "parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("\n".join(" | ".join(f"{name}: {value}" for name, value in row.items()) for row in rows))
    trace = read_trace(path, ColumnChoice(("Reward",), "my-norm", "AMP", "tick"))
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(0, 240, 10))
    assert {(r.grad_norm, r.loss_scale) for r in trace.records()} == {(2.0, 8.0)}
    for option, choice in {
        "--loss": ColumnChoice(("nothing",)),
        "--norm": ColumnChoice(norm="nothing"),
        "--scale": ColumnChoice(scale="nothing"),
        "--step": ColumnChoice(step="nothing"),
    }.items():
        wrong = (
            rf"no (column nothing for {option}; its columns are|number that follows .* {option} asks for; .*): .*loss"
        )
        with pytest.raises(UserError, match=wrong):
            read_trace(path, choice)


LONG = [
    {"run": run, "step": k, "loss": x + place} for place, run in enumerate(("b", "a")) for k, x in enumerate(LOSSES)
]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", ["run", "run_id", "Experiment", "seed"])
def test_several_runs_in_one_file(tmp_path, suffix, name) -> None:
    import pandas as pd

    frame = pd.DataFrame(LONG).rename(columns={"run": name})
    path = tmp_path / f"a.{suffix}"
    write = {"csv": frame.to_csv, "parquet": frame.to_parquet}.get(suffix)
    path.write_text(frame.to_json(orient="records", lines=True)) if write is None else write(path, index=False)
    with pytest.raises(UserError, match=r"holds 2 runs \(a, b\); choose one by --run NAME"):
        read_trace(path)
    trace = read_trace(path, ColumnChoice(run="a"))
    assert losses(trace) == [x + 1 for x in LOSSES] and "the run is a" in trace.notes
    with pytest.raises(UserError, match="no run c; its runs are: b, a"):
        read_trace(path, ColumnChoice(run="c"))


def test_a_run_of_an_export_and_of_a_folder(tmp_path) -> None:
    from tensorboardX import SummaryWriter

    export = "Step,lilac-sun-3 - loss,calm-sea-1 - loss\n1,3.5,3.6\n"
    assert losses(of(tmp_path / "a.csv", export, ColumnChoice(run="calm-sea-1"))) == [3.6]
    with pytest.raises(UserError, match="does not hold several runs, so --run x chooses nothing"):
        of(tmp_path / "b.csv", "step,loss\n1,3\n", ColumnChoice(run="x"))
    for place, run in enumerate(("one", "two")):
        writer = SummaryWriter(str(tmp_path / "runs" / run))
        writer.add_scalar("loss", 3.5 + place, 1)
        writer.close()
    assert losses(read_trace(tmp_path / "runs", ColumnChoice(run="two"))) == [4.5]
    with pytest.raises(UserError, match="no run three"):
        read_trace(tmp_path / "runs", ColumnChoice(run="three"))


@pytest.mark.parametrize("value", ["0", "-1", "-1.0"])
def test_a_constant_that_stands_for_no_loss_scale(tmp_path, value) -> None:
    trace = of(tmp_path / "a.csv", f"loss,loss_scale\n3,{value}\n2,{value}\n")
    assert not trace.has_scaler and any("so there is no loss scaler" in note for note in trace.notes)
    assert of(tmp_path / "a.csv", f"loss,loss_scale\n3,4\n2,{value}\n").has_scaler, "it fell"


def test_zeros_are_told(tmp_path) -> None:
    hidden = of(tmp_path / "a.csv", "loss,grad_norm\n3,1\n0.0,nan\n0.0,nan\n")
    assert any("2 losses of exactly 0 stand beside" in note for note in hidden.notes)
    assert [(r.loss, math.isnan(r.grad_norm)) for r in hidden.records()] == [(3, False), (0, True), (0, True)]
    dead = of(tmp_path / "a.csv", "loss,grad_norm\n" + "0,0\n" * 12)
    assert any("both exactly 0 in 12 steps in a row" in note for note in dead.notes)
    unmeasured = text(tmp_path / "a.log", "step {k} loss {x} grad norm: 0.000")
    assert "grad_norm" not in unmeasured.values and any("it was not measured" in note for note in unmeasured.notes)


def test_rows_in_falling_order_are_turned_round(tmp_path) -> None:
    rows = [f"{k},{x},{x + 1}" for k, x in enumerate(LOSSES)][::-1]
    for name in ("step", "epoch"):
        trace = of(tmp_path / "a.csv", f"{name},loss,val_loss\n" + "\n".join(rows))
        assert losses(trace) == LOSSES and [loss for _, loss in trace.validation] == [x + 1 for x in LOSSES]
        assert any(f"falling order of {name}" in note for note in trace.notes)
