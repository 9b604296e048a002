"""What texts say in words: overflows, refused steps, values that are not finite."""

import math
from pathlib import Path

import pytest

from sweep.logs.files import read_trace
from sweep.logs.words import parse
from sweep.records import SkipReason, StepRecord

NAN, INF = math.nan, math.inf
LOSSES = [round(4 - k / 16, 4) for k in range(24)]


def records(path: Path, *lines: str) -> list[StepRecord]:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(read_trace(path).records())


@pytest.mark.parametrize(
    ("message", "scale"),
    [
        ("2020-03-23 | INFO | fairseq.trainer | NOTE: overflow detected, setting loss scale to: 64.0", 128),
        ("| WARNING: overflow detected, setting loss scale to: 64.0", 128),
        ("| INFO | NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: 64.0", 128),
        ("Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 64.0", 128),
        ("[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 128, reducing to 64", 128),
        ("[deepscale] OVERFLOW! Skipping step. Attempted loss scale: 128.0, reducing to 64.0", 128),
        (
            "OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 128, but hysteresis is 2. Reducing hysteresis to 1",
            128,
        ),
        ("[deepspeed] fp16 dynamic loss scale overflow! Skipping step. Attempted loss scale: 128, reducing to 64", 128),
        ("FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.", 0.0001),
        ("RuntimeError: grad_scale is too small, exiting: 4.76837158203125e-07", 4.76837158203125e-07),
        (
            " iteration 7/ 1000 | learning rate: 0.0 | loss scale: 128.0 | number of skipped iterations:   1 | "
            "number of nan iterations:   0 |",
            128,
        ),
    ],
)
def test_an_overflow_is_a_refused_step_with_its_scale(tmp_path, message, scale) -> None:
    (found,) = records(tmp_path / "a.log", "Starting.", message)
    assert (found.loss, found.grad_norm, found.loss_scale) == (None, INF, scale)
    assert not found.applied and found.skip_reason is SkipReason.NONFINITE


def test_overflows_between_the_lines_of_steps(tmp_path) -> None:
    overflows = [
        f"NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: {64 / 2**k}" for k in range(5)
    ]
    found = records(tmp_path / "a.log", "loss=9.4, num_updates=700, gnorm=1.0, loss_scale=128", *overflows)
    assert [r.step for r in found] == list(range(700, 706)) and [r.loss for r in found] == [9.4] + [None] * 5
    assert [r.loss_scale for r in found] == [128, 128, 64, 32, 16, 8] and [r.applied for r in found] == [True] + [
        False
    ] * 5


def test_an_overflow_goes_with_the_line_of_its_step_where_each_has_one(tmp_path) -> None:
    lines = [
        line
        for k in range(4)
        for line in (
            f"OVERFLOW! Rank 0 Skipping step. Attempted loss scale: {64 >> k}, reducing to {32 >> k}",
            f"step:{k}, loss:5.5",
        )
    ]
    found = records(tmp_path / "a.log", *lines, "step:4, loss:5.4")
    assert [r.step for r in found] == [0, 1, 2, 3, 4] and all(r.loss is not None for r in found)
    assert [r.loss_scale for r in found] == [64, 32, 16, 8, None] and [r.applied for r in found] == [False] * 4 + [True]


def test_what_each_of_several_processes_says_is_said_once(tmp_path) -> None:
    lines = [f"Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to {64 / 2**k}" for k in range(3)]
    assert len(records(tmp_path / "a.log", *(line for line in lines for _ in range(8)))) == 3


def test_megatron_without_a_loss_and_with_a_nan_norm(tmp_path) -> None:
    sound = [f" iteration {k + 1}/ 1000 | lm loss: {9 - k / 10:.6E} | grad norm: 2.500 |" for k in range(12)]
    broken = [
        f" iteration {k}/ 1000 | loss scale: 1.0 | grad norm: nan | number of skipped iterations:   0 | "
        f"number of nan iterations:   1 |"
        for k in range(13, 17)
    ]
    found = records(tmp_path / "a.log", *sound, *broken)
    assert [r.step for r in found] == list(range(1, 17)) and all(math.isnan(r.grad_norm) for r in found[12:])
    assert all(r.loss is None or math.isnan(r.loss) for r in found[12:])
    norms_alone = [line.replace("number of nan iterations:   1", "number of nan iterations:   0") for line in broken]
    assert [r.loss for r in records(tmp_path / "a.log", *sound, *norms_alone)][12:] == [None] * 4


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ("Loss is nan, stopping training", NAN),
        ("ERROR:tensorflow:Model diverged with loss = NaN.", NAN),
        ("NanLossDuringTrainingError: NaN loss during training.", NAN),
        ("ValueError: The loss returned in `training_step` is nan or inf.", NAN),
        ("Loss has NaN values", NAN),
        ("loss became NaN", NAN),
        ("WARNING: loss is not finite", INF),
        ("Non-finite loss, ending training", INF),
        ("loss contains inf", INF),
        ("NaN or Inf found in loss", NAN),
        ("loss is infinite", INF),
        ("train loss is nan", NAN),
        ("loss: nan%", NAN),
    ],
)
def test_a_message_of_the_loss_at_the_end_is_its_last_value(tmp_path, message, value) -> None:
    found = records(tmp_path / "a.log", *(f"step {k} loss {x}" for k, x in enumerate(LOSSES)), message)
    assert [r.loss for r in found] == pytest.approx([*LOSSES, value], nan_ok=True)
    assert [r.step for r in found] == list(range(25))


@pytest.mark.parametrize(
    "message",
    [
        "No NaN loss found",
        "checking for nan loss",
        "if loss is nan: skip",
        "logging_nan_inf_filter=True",
        "val loss is nan",
        "the loss is never nan",
        "skipped 3 samples that are too long",
        "model: nano, loss function: mse",
        "terminate_on_nan: loss",
        "detect nan or inf in loss: False",
        "Terminating on NaN loss is enabled",
        "the loss scale never reached its minimum",
    ],
)
def test_what_is_no_message_of_a_value(tmp_path, message) -> None:
    found = records(tmp_path / "a.log", *(f"step {k} loss {x}" for k, x in enumerate(LOSSES)), message)
    assert [r.loss for r in found] == LOSSES and all(r.applied for r in found)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("nan", NAN), ("-nan", NAN), ("NaN", NAN), ("nanxxx", NAN), ("nan%", NAN), ("nand", NAN), ("NaN.", NAN),
        ("1.#QNAN", NAN), ("1.#IND", NAN), ("-1.#IND", NAN), ("-1.#IND00", NAN), ("1.#QNAN0e+000", NAN),
        ("-nan(ind)", NAN),
        ("nan(0x8000)", NAN), ("1.#IO", NAN), ("1.#INF", INF), ("-1.#INF", -INF), ("1.#INF00", INF), ("1.#J", INF),
        ("inf", INF), ("-inf", -INF), ("Infinity", INF), ("+inf", INF),
    ],
)  # fmt: skip
def test_spellings_of_what_is_not_finite(tmp_path, word, value) -> None:
    assert parse(word) == pytest.approx(value, nan_ok=True)
    lines = [f"step {k}, loss: {x}, lr: 0.1" for k, x in enumerate((3.5, 3.4))]
    found = records(tmp_path / "a.log", *lines, f"step 2, loss: {word}, lr: 0.1", f"step 3, loss = {word}")
    assert [r.loss for r in found] == pytest.approx([3.5, 3.4, value, value], nan_ok=True)
    (tmp_path / "a.csv").write_text(f"step,loss\n1,3.5\n2,{word}\n")
    assert [r.loss for r in read_trace(tmp_path / "a.csv").records()] == pytest.approx([3.5, value], nan_ok=True)


@pytest.mark.parametrize("word", ["info", "nanometer", "1_000", "", "infinite"])
def test_what_is_no_number(word) -> None:
    with pytest.raises(ValueError):
        parse(word)


def test_a_scale_with_thousands_separators(tmp_path) -> None:
    lines = [f"overflow detected, setting loss scale to: {scale}" for scale in ("32,768.0", "16,384.0", "8192.0")]
    assert [r.loss_scale for r in records(tmp_path / "a.log", *lines)] == [65536, 32768, 16384]


@pytest.mark.parametrize(
    "message",
    [
        "LossTensor is inf or nan. : Tensor had NaN values",
        "Model diverged with loss = NaN.",
        "tensorflow.python.training.basic_session_run_hooks.NanLossDuringTrainingError: NaN loss during training.",
        "Batch 9: Invalid loss, terminating training",
        "Loss went to NaN, aborting",
        "Loss exploded to nan",
        "Training stopped because loss is NaN",
    ],
)
def test_last_words_of_a_loss(tmp_path, message) -> None:
    *before, last = records(tmp_path / "a.log", *(f"step {k} loss {x}" for k, x in enumerate(LOSSES)), message)
    assert [r.loss for r in before] == LOSSES and last.step > 23
    assert last.loss is not None and not math.isfinite(last.loss)


@pytest.mark.parametrize(
    "message",
    [
        "FloatingPointError: Minimum loss scale reached",
        "FloatingPointError: Minimum loss scale reached (0.0001). Your loss is probably exploding.",
        "Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.",
        "Gradient overflow: minimum loss scale reached, stopping",
    ],
)
def test_last_words_of_a_scaler(tmp_path, message) -> None:
    *before, last = records(tmp_path / "a.log", *(f"step {k} loss {x}" for k, x in enumerate(LOSSES)), message)
    assert [r.loss for r in before] == LOSSES
    assert last.loss is None and last.grad_norm == INF and not last.applied
    assert last.skip_reason == SkipReason.NONFINITE
