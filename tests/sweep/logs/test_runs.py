"""Several runs in one text: epochs that start anew after the last of them."""

import pytest

from slr_models.errors import UserError
from sweep.logs.choice import ColumnChoice
from sweep.logs.files import read_trace


def keras(epoch: int, total: int, loss: float) -> str:
    return f"Epoch {epoch}/{total}\n65s - loss: {loss:.4f} - acc: 0.5 - val_loss: {loss + 1:.4f}\n"


def pytorch(epoch: int, total: int, loss: float) -> str:
    return f"Epoch: [{epoch - 1}/{total}] train loss {loss:.4f} time 3.2\n"


def one(style, num_epochs: int, start: float, slope: float = 0.25) -> str:
    return "".join(style(k + 1, num_epochs, start - slope * k) for k in range(num_epochs))


@pytest.mark.parametrize("style", [keras, pytorch])
@pytest.mark.parametrize("num_epochs", [2, 8])
def test_runs_are_chosen_by_their_number(tmp_path, style, num_epochs) -> None:
    path = tmp_path / "a.log"
    path.write_text("Building the model\n".join(one(style, num_epochs, start) for start in (4.0, 4.5, 5.0)))
    with pytest.raises(UserError, match=r"holds 3 runs \(1, 2, 3\); choose one by --run"):
        read_trace(path)
    for run, start in (("1", 4.0), ("2", 4.5), ("3", 5.0)):
        trace = read_trace(path, ColumnChoice(run=run))
        assert [record.loss for record in trace.records()] == [start - 0.25 * k for k in range(num_epochs)]
        assert any("start anew 2 times" in note and "3 runs" in note for note in trace.notes)
    with pytest.raises(UserError, match="has no run 4"):
        read_trace(path, ColumnChoice(run="4"))


def test_a_training_in_stages_is_one(tmp_path) -> None:
    path = tmp_path / "a.log"
    path.write_text(one(keras, 5, 4.0) + one(keras, 10, 2.75, 0.125))
    trace = read_trace(path)
    assert len(trace) == 15 and len(trace.validation) == 15
    assert any("start anew 1 time but the loss does not" in note for note in trace.notes)
    assert len(read_trace(path, ColumnChoice(run="2"))) == 10


@pytest.mark.parametrize(
    "content",
    [
        one(keras, 8, 4.0),
        # Broken off and begun again: its last epoch was never reached.
        "".join(keras(k, 50, 4.0) for k in (1, 2, 3)) + "".join(keras(k, 50, 4.0) for k in (1, 2, 3)),
        # Each epoch is told of twice, of training and of validation.
        "".join(2 * keras(k, 4, 5.0 - k) for k in (1, 2, 3, 4)),
        # fit() with one epoch, again and again.
        "".join(keras(1, 1, 4.0 - k / 8) for k in range(9)),
    ],
)
def test_one_run_is_not_parted(tmp_path, content) -> None:
    path = tmp_path / "a.log"
    path.write_text(content)
    assert not any("anew" in note for note in read_trace(path).notes)


@pytest.mark.parametrize(
    "lines",
    [
        [f"Epoch[{k}] Batch [20]\tTrain-SmoothL1={4 - k / 8}" for k in (7, 8, 9, 0, 1, 2)],
        [f"Epoch {k}/50 loss: {4 - k / 8}" for k in (1, 2, 3, 1, 2, 3)],
    ],
)
def test_epochs_that_fall_back_are_told(tmp_path, lines) -> None:
    path = tmp_path / "a.log"
    path.write_text("\n".join(lines) + "\n")
    trace = read_trace(path)
    assert len(trace) == 6 and any("fall back 1 time, so several trainings may follow" in note for note in trace.notes)
