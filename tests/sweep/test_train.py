"""The training loop: it learns, repeats itself exactly, resumes exactly, and says why a step did nothing."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from slr_models.data import SyntheticConfig
from sweep.records import EvalRecord, SkipReason, StepRecord
from sweep.train import Training, TrialConfig, steps_per_epoch

CPU = torch.device("cpu")
DATA = {
    "kind": "synthetic",
    "vocabulary_size": 4,
    "num_train": 48,
    "num_valid": 8,
    "frames_per_label": 6,
    "max_labels": 3,
}


def config(**training) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "model": {"kind": "baseline", "width": 0.0625, "dropout": 0.1},
            "data": DATA,
            "training": {"batch_size": 4, "optimizer": {"kind": "adamw", "lr": 2e-3}, **training},
        }
    )


@pytest.fixture(scope="module")
def dataset():
    return SyntheticConfig.model_validate(DATA).build()


def start(dataset, config: TrialConfig, max_steps: int = 8, seed: int = 0) -> Training:
    return Training(config, dataset, seed=seed, max_steps=max_steps, device=CPU)


def comparable(records) -> list:
    return [dataclasses.replace(r, time_s=0.0) for r in records]


def same(a, b) -> bool:
    return repr(comparable(a)) == repr(comparable(b))


def test_a_small_model_learns() -> None:
    easy = SyntheticConfig.model_validate({**DATA, "num_train": 240, "noise": 0.1}).build()
    settings = config(eval_every_steps=40, batch_size=8, optimizer={"kind": "adamw", "lr": 2e-3})
    records = list(start(easy, settings, max_steps=120).records())
    evals = [r for r in records if isinstance(r, EvalRecord)]
    assert [r.step for r in evals] == [40, 80, 120]
    assert evals[-1].val_loss < 0.85 * evals[0].val_loss
    assert evals[-1].wer < 0.4


def test_one_record_a_step_and_an_evaluation_at_each_epoch_and_the_end(dataset) -> None:
    records = list(start(dataset, config(batch_size=8), max_steps=8).records())
    steps = [r for r in records if isinstance(r, StepRecord)]
    assert [r.step for r in steps] == list(range(1, 9))
    assert [r.step for r in records if isinstance(r, EvalRecord)] == [6, 8]
    assert all(r.applied and r.skip_reason is None and r.num_samples == 8 for r in steps)
    assert all(math.isfinite(r.loss) and r.grad_norm > 0 and math.isnan(r.loss_scale) for r in steps)
    assert not math.isnan(steps[0].blank_rate) and math.isnan(steps[1].blank_rate)


def test_a_seed_fixes_everything_and_another_seed_changes_it(dataset) -> None:
    one = list(start(dataset, config(), seed=1).records())
    assert same(one, list(start(dataset, config(), seed=1).records()))
    assert not same(one, list(start(dataset, config(), seed=2).records()))


@pytest.mark.parametrize(
    "settings",
    [
        {"precision": {"kind": "fp16", "initial_scale": 2.0**24, "growth_interval": 3}},
        {
            "optimizer": {"kind": "sgd", "lr": 1e-2, "momentum": 0.9},
            "schedule": {"kind": "plateau", "patience_evals": 1},
            "clip": {"kind": "adaptive"},
            "bad_batch": {"kind": "robust_z"},
            "accumulate": 2,
            "eval_every_steps": 2,
        },
    ],
    ids=["fp16", "everything-with-state"],
)
def test_a_resumed_training_is_bit_identical(dataset, settings, tmp_path) -> None:
    whole = list(start(dataset, config(**settings), max_steps=12).records())
    first = start(dataset, config(**settings), max_steps=12)
    stream = first.records()
    before = []
    while first.step < 7 or isinstance(before[-1], StepRecord) and first._is_eval_due():
        before.append(next(stream))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(999)
    second = start(dataset, config(**settings), max_steps=12)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(whole, before + list(second.records()))


def test_accumulated_micro_batches_make_the_gradient_of_one_large_batch(dataset) -> None:
    def first_step(**settings) -> StepRecord:
        no_dropout = config(**settings).model_copy(
            update={"model": config().model.model_copy(update={"dropout": 0.0, "norm": "layer"})}
        )
        return next(iter(start(dataset, no_dropout).records()))

    large, small = first_step(batch_size=8), first_step(batch_size=2, accumulate=4)
    assert small.num_samples == large.num_samples == 8
    assert small.loss == pytest.approx(large.loss, rel=1e-4)
    assert small.grad_norm == pytest.approx(large.grad_norm, rel=1e-3)


def test_a_split_smaller_than_one_update_is_averaged_over_what_there_is() -> None:
    small = SyntheticConfig.model_validate({**DATA, "num_train": 4}).build()
    plain, accumulated = (
        next(iter(start(small, config(batch_size=4, accumulate=n), max_steps=1).records())) for n in (1, 4)
    )
    assert accumulated.num_samples == plain.num_samples == 4
    assert accumulated.loss == plain.loss and accumulated.grad_norm == plain.grad_norm


def test_an_epoch_shows_every_utterance_once(dataset) -> None:
    training = start(dataset, config(batch_size=4, accumulate=3))
    per_epoch = steps_per_epoch(training.config.training, len(dataset.train))
    assert per_epoch == 4
    seen = []
    for training.step in range(per_epoch):
        seen += [i for batch in training._micro_batches() for i in batch]
    assert sorted(seen) == list(range(48))
    training.step = per_epoch
    assert [i for batch in training._micro_batches() for i in batch] != seen[:12], "the next epoch has another order"


def test_calibration_of_the_loss_scale_is_named_as_such(dataset) -> None:
    records = [
        r
        for r in start(dataset, config(precision={"kind": "fp16", "initial_scale": 2.0**40}), max_steps=40).records()
        if isinstance(r, StepRecord)
    ]
    skipped = [r for r in records if not r.applied]
    assert 5 < len(skipped) < 40
    assert {r.skip_reason for r in skipped} == {SkipReason.CALIBRATION}
    assert [r.loss_scale for r in skipped] == [2.0 ** (40 - k) for k in range(len(skipped))]
    assert not any(r.applied for r in records[:5]) and records[-1].applied


def test_a_threshold_skip_is_not_a_nonfinite_one(dataset) -> None:
    records = list(start(dataset, config(bad_batch={"kind": "skip_above", "threshold": 1e-3}), max_steps=3).records())
    steps = [r for r in records if isinstance(r, StepRecord)]
    assert {r.skip_reason for r in steps} == {SkipReason.THRESHOLD}
    assert not any(r.applied for r in steps)


def test_infeasible_targets_and_nan_features_are_told_apart() -> None:
    infeasible = SyntheticConfig.model_validate({**DATA, "infeasible_rate": 1.0, "min_labels": 2}).build()
    records = [r for r in start(infeasible, config(), max_steps=2).records() if isinstance(r, StepRecord)]
    assert {r.skip_reason for r in records} == {SkipReason.INFEASIBLE}
    assert all(r.num_infeasible == 4 for r in records)
    bad = SyntheticConfig.model_validate({**DATA, "nan_rate": 1.0}).build()
    records = [r for r in start(bad, config(), max_steps=2).records() if isinstance(r, StepRecord)]
    assert {r.skip_reason for r in records} == {SkipReason.NONFINITE}
    assert all(r.params_finite for r in records), "skipping keeps the weights clean"


def test_never_skipping_a_nan_gradient_ruins_the_weights_and_the_record_says_so() -> None:
    bad = SyntheticConfig.model_validate({**DATA, "nan_rate": 1.0}).build()
    records = [
        r
        for r in start(bad, config(bad_batch={"kind": "never_skip"}), max_steps=2).records()
        if isinstance(r, StepRecord)
    ]
    assert all(r.applied for r in records)
    assert not records[0].params_finite


def test_the_data_are_not_changed_and_may_be_read_only(dataset) -> None:
    before = dataset.train.features.copy()
    dataset.train.features.flags.writeable = False
    list(start(dataset, config(), max_steps=2).records())
    dataset.train.features.flags.writeable = True
    assert np.array_equal(before, dataset.train.features)


def test_beam_search_decodes_as_well(dataset) -> None:
    pytest.importorskip("ctc_beam_decoder")
    records = list(start(dataset, config(decoder={"kind": "beam", "width": 4}), max_steps=1).records())
    assert isinstance(records[-1], EvalRecord) and records[-1].num_labels > 0
