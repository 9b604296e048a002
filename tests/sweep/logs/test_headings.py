"""Tables that a program aligns by blanks, with headings of several words, rulers, and marks of progress."""

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


TABLES = {
    "Lasagne": (
        "  epoch    train loss    valid loss    train/val    valid acc  dur\n"
        "-------  ------------  ------------  -----------  -----------  -----",
        "{k:7d}  {x:12.5f}  {y:12.5f}  {x:11.5f}      0.00000  0.05s",
    ),
    "xLearn": (
        "[------------] Epoch      Train log_loss       Test log_loss            Test AUC     Time cost (sec)",
        "[ {k:3d}%      ]   {k:3d}         {x:11.6f}         {y:11.6f}            0.500000               11.07",
    ),
    "fastai": (
        "epoch     train_loss  valid_loss  accuracy  time    ",
        "{k}         {x:.6f}    {y:.6f}    0.850000  00:10     ",
    ),
    "fastai of old": (
        "epoch      trn_loss   val_loss   accuracy",
        "[ {k}.       {x:.5f}  {y:.5f}  0.912 ]",
    ),
    "skorch": (
        "  epoch    train_loss    valid_acc    valid_loss     dur\n"
        "-------  ------------  -----------  ------------  ------",
        "{k:7d}        {x:.4f}       0.6650        {y:.4f}  0.0331",
    ),
    "tabs": ("epoch\ttrain loss\tvalid loss\tsecs", "{k}\t{x}\t{y}\t12"),
    "rich": (
        "\u250f\u2501\u2501\u2533\u2501\u2501\u2513\n\u2503 epoch \u2503 loss \u2503 val loss \u2503\n"
        "\u2521\u2501\u2501\u2547\u2501\u2501\u2529",
        "\u2502 {k} \u2502 {x} \u2502 {y} \u2502",
    ),
    "box": (
        "+-------+--------+----------+\n| Epoch |  loss  | val loss |\n+-------+--------+----------+",
        "|   {k:3d} | {x:.4f} | {y:.6f} |\n+-------+--------+----------+",
    ),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("before", ["", "Using device cuda\nBuilding the model\n"])
def test_tables_aligned_by_blanks(tmp_path, name, before) -> None:
    head, row = TABLES[name]
    if name == "tabs" and before:
        before = "# made by hand\n"
    body = "\n".join(row.format(k=k, x=x, y=x + 1) for k, x in enumerate(LOSSES))
    trace = of(tmp_path / "a.txt", f"{before}{head}\n{body}\n")
    assert losses(trace) == LOSSES
    assert [round(loss, 4) for _, loss in trace.validation] == [x + 1 for x in LOSSES]


@pytest.mark.parametrize("name", ["Lasagne", "xLearn", "skorch"])
def test_a_nan_in_such_a_table_is_one(tmp_path, name) -> None:
    head, row = TABLES[name]
    body = "\n".join(row.format(k=k, x=math.nan, y=math.nan) for k in range(1, 9))
    found = losses(of(tmp_path / "a.txt", f"{head}\n{body}\n"))
    assert len(found) == 8 and all(loss is not None and math.isnan(loss) for loss in found)


def test_spacy_sums_its_losses_and_counts_by_the_hash(tmp_path) -> None:
    head = (
        "E    #       LOSS TOK2VEC  LOSS NER  ENTS_F  ENTS_P  ENTS_R  SCORE \n"
        "---  ------  ------------  --------  ------  ------  ------  ------"
    )
    body = "\n".join(
        f"  0  {200 * k:6d}  {x:12.2f}  {2 * x:8.2f}    0.00    0.00    0.00    0.00" for k, x in enumerate(LOSSES)
    )
    trace = of(tmp_path / "a.txt", f"=== Training pipeline ===\n{head}\n{body}\n")
    assert losses(trace) == [pytest.approx(round(x, 2) + round(2 * x, 2), abs=0.02) for x in LOSSES]
    assert trace.steps.tolist() == [200 * k for k in range(24)]


def test_a_heading_may_end_in_colons_and_name_a_norm_in_brackets(tmp_path) -> None:
    body = "\n".join(f"{1881 + k}:\t{x}\t3.25" for k, x in enumerate(LOSSES))
    trace = of(tmp_path / "a.txt", f"ITER:       LOSS               SUM(GRADNORM)\n{body}\n")
    assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(1881, 1905))
    assert {record.grad_norm for record in trace.records()} == {3.25}


def test_prose_is_no_heading(tmp_path) -> None:
    lines = ["The epoch  loss of the validation set is  computed here", "1 2 3 4 5"]
    lines += [f"step {k} loss {x}" for k, x in enumerate(LOSSES)]
    assert losses(of(tmp_path / "a.txt", "\n".join(lines))) == LOSSES


@pytest.mark.parametrize("metric", ["MultiClass", "RMSE", "Logloss", "MAE", "SmoothL1"])
@pytest.mark.parametrize("suffix", ["tsv", "txt"])
def test_catboost_names_its_loss_by_the_objective(tmp_path, metric, suffix) -> None:
    body = "\n".join(f"{k}\t{x}\t0.5" for k, x in enumerate(LOSSES))
    trace = of(tmp_path / f"learn_error.{suffix}", f"iter\t{metric}\tAUC\n{body}\n")
    assert losses(trace) == LOSSES and trace.read_as == {"loss": metric, "step": "iter"}


def test_a_metric_beside_a_loss_is_none(tmp_path) -> None:
    body = "\n".join(f"{k},0.5,{x}" for k, x in enumerate(LOSSES))
    assert losses(of(tmp_path / "a.csv", f"epoch,mae,loss\n{body}\n")) == LOSSES


@pytest.mark.parametrize("suffix", ["csv", "txt", "dat"])
@pytest.mark.parametrize("delimiter", [",", " ", "\t", ";"])
def test_columns_without_names_are_named_by_their_number(tmp_path, suffix, delimiter) -> None:
    content = "\n".join(delimiter.join([f"{k}", f"{x}", "0.001"]) for k, x in enumerate(LOSSES)) + "\n"
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(UserError, match=r"no header: .* column 1, column 2, column 3; .*\(or --loss 1\)"):
        of(path, content)
    for spelled in ("2", "column 2", "Column 2"):
        trace = of(path, content, ColumnChoice((spelled,), step="1"))
        assert losses(trace) == LOSSES and trace.steps.tolist() == list(range(24))
    with pytest.raises(UserError, match="no column 7 for --loss; its columns are: column 1"):
        of(path, content, ColumnChoice(("7",)))
