"""Bars that draw themselves again: of each step, or of each epoch, one line counts."""

import math
from pathlib import Path

import pytest

from sweep.logs.files import read_trace
from sweep.logs.trace import Trace

LOSSES = [round(4 - k / 16, 4) for k in range(24)]


def of(path: Path, *lines: str) -> Trace:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_trace(path)


def losses(trace: Trace) -> list[float | None]:
    return [record.loss for record in trace.records()]


@pytest.mark.parametrize("end", ["", "    "])
def test_tqdm_prints_a_step_with_the_values_before_it_and_with_its_own(tmp_path, end) -> None:
    lines = []
    for k in range(1, 24):
        for x in LOSSES[k - 1 : k + 1]:
            lines.append(f" 90%|####  | {400 + k}/446 [1:02:54<07:05,  1.08it/s, epoch=11.9, loss={x}]{end}")
    trace = of(tmp_path / "a.txt", *lines)
    assert losses(trace) == LOSSES[1:]
    assert trace.steps.tolist() == list(range(401, 424))


def test_a_nan_of_the_step_before_is_told_once(tmp_path) -> None:
    values = [1.5, math.nan, 1.25, 1.0]
    lines = [
        f"  4%|4 | {k}/99 [00:10<00:07,  1.1it/s, loss={x}]" for k in range(1, 4) for x in (values[k - 1], values[k])
    ]
    found = losses(of(tmp_path / "a.txt", *lines))
    assert found[1:] == [1.25, 1.0] and math.isnan(found[0] or 0)


def test_bars_of_another_kind_do_not_take_each_others_place(tmp_path) -> None:
    lines = []
    for k, x in enumerate(LOSSES):
        lines.append(f"Train: 100%|####| 8/8 [00:10<00:00,  1.1it/s, loss={x}]")
        lines.append(f"Valid: 100%|####| 8/8 [00:10<00:00,  1.1it/s, val_loss={x + 1}]")
        lines.append(f"Epoch {k} done")
    trace = of(tmp_path / "a.txt", *lines)
    assert losses(trace) == LOSSES and len(trace.validation) == 24


BAR, FULL = "[============================>.]", "[==============================]"


@pytest.mark.parametrize("quote", ["", "> ", ">"])
@pytest.mark.parametrize(
    "between", [" - Saving", "Epoch 00022: val_loss improved from 4.1 to 4.08, saving model to a.h5"]
)
@pytest.mark.parametrize("bars", [(BAR, FULL), ("\u2501" * 20, "\u2501" * 20)])
def test_an_epoch_of_keras_is_one_row_beside_its_unfinished_bar(tmp_path, quote, between, bars) -> None:
    lines = []
    for k, x in enumerate(LOSSES):
        lines += [
            f"{quote}Epoch {k + 1}/150",
            f"{quote}517/518 {bars[0]} - ETA: 0s - loss: {x + 0.01:.4f}{between}",
            f"{quote}518/518 {bars[1]} - 537s 1s/step - loss: {x:.4f} - val_loss: {x + 1:.4f}",
        ]
    trace = of(tmp_path / "a.txt", *lines)
    assert losses(trace) == LOSSES
    assert [round(loss, 4) for _, loss in trace.validation] == [x + 1 for x in LOSSES]


def test_a_bar_that_is_kept_throughout_keeps_its_steps(tmp_path) -> None:
    lines = []
    for k, x in enumerate(LOSSES):
        place = k % 8 + 1
        lines.append(f"{place}/9 {BAR} - ETA: 9s - loss: {x}")
        if place == 8:
            lines.append(f"9/9 {FULL} - 10s 1s/step - loss: {x} - val_loss: 1.0")
    trace = of(tmp_path / "a.txt", *lines)
    assert set(LOSSES) <= set(losses(trace)) and len(trace) >= 24


def test_a_number_with_a_word_at_its_end_is_the_whole_number(tmp_path) -> None:
    lines = [f"{k}:      learn 0.{90 - k}55974416passed: 17.4 sec      total: 3m {k}s" for k in range(24)]
    trace = of(tmp_path / "a.txt", *lines)
    assert losses(trace)[:2] == [0.9055974416, 0.8955974416] and trace.steps.tolist() == list(range(24))
