"""Gradients of several trainings computed together: each training goes as it would have gone alone."""

import dataclasses
import math

import pytest
import torch

from slr_models.data import SyntheticConfig
from sweep.records import EvalRecord, StepRecord
from sweep.training.config import TrialConfig
from sweep.training.stacked import compute_together, shape, train_together
from sweep.training.train import GradientsDue, Training

torch.set_num_threads(1)

CPU = torch.device("cpu")
DATA = {
    "kind": "synthetic",
    "vocabulary_size": 4,
    "num_train": 46,
    "num_valid": 8,
    "frames_per_label": 6,
    "max_labels": 3,
}
TOLERANCE = 1e-4
"""Of the losses and norms of the first steps, relative: float32, summed in another order."""


@pytest.fixture(scope="module")
def dataset():
    return SyntheticConfig.model_validate(DATA).build()


def config(model: dict | None = None, **training) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "model": {"kind": "baseline", "width": 0.0625, **(model or {})},
            "data": DATA,
            "training": {"batch_size": 4, "health_every_steps": None, **training},
        }
    )


def start(dataset, config: TrialConfig, seed: int = 0, max_steps: int = 5) -> Training:
    return Training(config, dataset, seed=seed, max_steps=max_steps, device=CPU)


def together(dataset, configs: list[TrialConfig], seeds: list[int], max_steps: int = 5) -> list[list]:
    trainings = [start(dataset, one, seed, max_steps) for one, seed in zip(configs, seeds, strict=True)]
    records: list[list] = [[] for _ in trainings]
    for position, record in train_together(trainings):
        records[position].append(record)
    return records


UNLIKE = [
    ({}, {"optimizer": {"kind": "adamw", "lr": 2e-3}}),
    ({"init_scale": 0.5}, {"optimizer": {"kind": "sgd", "lr": 0.1}, "clip": {"kind": "off"}}),
    ({"conv_scale": 3.0}, {"clip": {"kind": "norm", "max_norm": 0.1}, "telemetry_every_steps": 2}),
]


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({}, {}),
        ({"norm": "batch"}, {"accumulate": 2}),
        ({"norm": "layer"}, {"normalization": "softmax_then_log_softmax"}),
        ({"kind": "teacher", "num_modules": 2, "num_encoder_layers": 1}, {"health_every_steps": 3}),
    ],
)
def test_each_goes_as_it_would_alone(dataset, model, training) -> None:
    configs = [config({**own, **model}, **{**settings, **training}) for own, settings in UNLIKE]
    assert len({shape(one) for one in configs}) == 1
    # Few steps: with batch normalization rounding grows tenfold a step, as a few frames decide a mean.
    side_by_side = together(dataset, configs, [0, 1, 2], max_steps=3)
    for number, (one, records) in enumerate(zip(configs, side_by_side, strict=True)):
        alone = list(start(dataset, one, seed=number, max_steps=3).records())
        assert [type(r) for r in records] == [type(r) for r in alone]
        for here, there in zip(records, alone, strict=True):
            if isinstance(there, StepRecord):
                tolerance = TOLERANCE * 10 ** (there.step - 1)
                assert here.loss == pytest.approx(there.loss, rel=tolerance)
                assert here.grad_norm == pytest.approx(there.grad_norm, rel=tolerance)
                assert (here.blank_rate is None) == (there.blank_rate is None)
                assert here.blank_rate == pytest.approx(there.blank_rate, abs=0.03)
                blank = {"loss": 0.0, "grad_norm": 0.0, "blank_rate": 0.0, "input_dependence": 0.0, "time_s": 0.0}
                assert dataclasses.replace(here, **blank) == dataclasses.replace(there, **blank)
                assert here.time_s > 0
            elif isinstance(there, EvalRecord):
                assert here.val_loss == pytest.approx(there.val_loss, rel=1e-3)


def test_one_that_is_lost_takes_nobody_with_it(dataset) -> None:
    hot = config(optimizer={"kind": "sgd", "lr": 1e30}, clip={"kind": "off"}, bad_batch={"kind": "never_skip"})
    lost, sound = together(dataset, [hot, config()], [0, 1])
    assert any(not math.isfinite(r.loss) for r in lost if isinstance(r, StepRecord))
    alone = [r for r in start(dataset, config(), seed=1).records() if isinstance(r, StepRecord)]
    for here, there in zip([r for r in sound if isinstance(r, StepRecord)], alone, strict=True):
        assert here.loss == pytest.approx(there.loss, rel=TOLERANCE)


def test_who_is_alone_or_has_a_batch_of_another_size_computes_by_itself(dataset) -> None:
    configs, seeds = [config(), config(), config(batch_size=5)], [0, 1, 2]
    trainings = [start(dataset, one, seed) for one, seed in zip(configs, seeds, strict=True)]
    pauses = [(training, next(iter(training.paused_records()))) for training in trainings]
    assert all(isinstance(due, GradientsDue) for _, due in pauses)
    compute_together(pauses)
    assert [p.grad is not None for t in trainings for p in list(t.parameters.values())[:1]] == [True, True, False]
    *_, alone = together(dataset, configs, seeds)
    assert repr(without_time(alone)) == repr(without_time(start(dataset, configs[2], 2).records()))


def without_time(records) -> list:
    return [dataclasses.replace(r, time_s=0.0) for r in records]


def test_what_cannot_be_computed_with_others() -> None:
    assert shape(config({"dropout": 0.1})) is None, "each would draw other zeros than alone"
    assert shape(config(precision={"kind": "fp16"})) is None
    assert shape(config()) != shape(config({"width": 0.125})) != shape(config({"norm": "layer"}))
    assert shape(config(batch_size=2, accumulate=3, optimizer={"kind": "sgd", "lr": 1.0})) == shape(config())


def test_an_lstm_is_left_alone_as_torch_cannot_stack_it(dataset) -> None:
    lstm = config({"kind": "cnn_bilstm"})
    assert shape(lstm) is None
    with pytest.raises(RuntimeError):
        together(dataset, [lstm, lstm], [0, 1], max_steps=1)


def test_a_pause_that_nobody_uses_changes_nothing(dataset) -> None:
    paused = [r for r in start(dataset, config()).paused_records() if not isinstance(r, GradientsDue)]
    assert repr(without_time(paused)) == repr(without_time(start(dataset, config()).records()))
