"""The training loop: it learns, repeats itself exactly, resumes exactly, and says why a step did nothing."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from slr_models.data import SyntheticConfig
from slr_models.data.labels import LabelsConfig
from sweep.records import EvalRecord, HealthMetric, HealthSample, SkipReason, StepRecord, is_broken, is_finite
from sweep.training.config import TrialConfig, steps_per_epoch
from sweep.training.optim.clippers import grad_norm
from sweep.training.train import Training

torch.set_num_threads(1)

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
            "model": {"kind": "baseline", "width": 0.0625, "dropout": 0.1, "norm": "group"},
            "data": DATA,
            "training": {"batch_size": 4, "optimizer": {"kind": "adamw", "lr": 2e-3}, **training},
        }
    )


@pytest.fixture(scope="module")
def dataset():
    return SyntheticConfig.model_validate(DATA).build()


def start(
    dataset,
    config: TrialConfig,
    max_steps: int = 8,
    seed: int = 0,
    order_seed: int | None = None,
    lag_steps: int | None = None,
    device: torch.device = CPU,
) -> Training:
    return Training(
        config, dataset, seed=seed, max_steps=max_steps, device=device, order_seed=order_seed, lag_steps=lag_steps
    )


def comparable(records) -> list:
    return [r if isinstance(r, HealthSample) else dataclasses.replace(r, time_s=0.0) for r in records]


def same(a, b) -> bool:
    return repr(comparable(a)) == repr(comparable(b))


@pytest.mark.slow
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
    assert all(is_finite(r.loss) and is_finite(r.grad_norm) and r.grad_norm > 0 for r in steps)
    assert {r.loss_scale for r in steps} == {None}, "there is no scaler"
    sampled = [r.step for r in steps if r.blank_rate is not None]
    assert sampled == [r.step for r in steps if r.input_dependence is not None] == [1, 6]


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
        {"clip": {"kind": "adagc", "warmup_steps": 2}},
        {
            "precision": {"kind": "fp16", "initial_scale": 2.0**30},
            "schedule": {"kind": "cosine", "warmup_steps": 4, "count": "applied"},
        },
    ],
    ids=["fp16", "everything-with-state", "tensors-by-their-means", "applied-updates-counted"],
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


LATE = {
    "calibrating": {
        "precision": {"kind": "fp16", "initial_scale": 2.0**26, "growth_interval": 3},
        "health_every_steps": 4,
    },
    "everything-on-the-device": {
        "optimizer": {"kind": "sgd", "lr": 1e-2, "momentum": 0.9},
        "schedule": {"kind": "plateau", "patience_evals": 1},
        "clip": {"kind": "adaptive", "z": 1.0, "warmup_steps": 3},
        "bad_batch": {"kind": "robust_z", "z": 1.0, "window": 8, "warmup_steps": 4},
        "accumulate": 2,
    },
}


@pytest.mark.parametrize("settings", LATE.values(), ids=LATE.keys())
def test_values_that_are_read_late_make_the_same_records_in_the_same_order(settings) -> None:
    """What a GPU does, on a CPU: nothing that is decided may hang on a value that has been read."""
    some_bad = SyntheticConfig.model_validate(
        {**DATA, "nan_rate": 0.05, "infeasible_rate": 0.05, "min_labels": 2}
    ).build()
    late_settings = config(**settings, eval_every_steps=5)
    at_once = list(start(some_bad, late_settings, max_steps=13).records())
    late = list(start(some_bad, late_settings, max_steps=13, lag_steps=3).records())
    assert len({r.skip_reason for r in at_once if isinstance(r, StepRecord)}) >= 3
    assert same(at_once, late)


def test_one_who_stops_has_computed_no_more_than_the_lag(dataset) -> None:
    training = start(dataset, config(), max_steps=9, lag_steps=3)
    ahead = [training.step - record.step for record in training.records() if isinstance(record, StepRecord)]
    assert ahead == [3, 3, 3, 3, 3, 3, 2, 1, 0]


def test_a_state_taken_between_late_records_loses_and_repeats_none(dataset, tmp_path) -> None:
    settings = config(precision={"kind": "fp16", "initial_scale": 2.0**24, "growth_interval": 3})
    whole = list(start(dataset, settings, max_steps=10).records())
    first = start(dataset, settings, max_steps=10, lag_steps=3)
    stream = first.records()
    before = [next(stream) for _ in range(2)]
    torch.save(first.state_dict(), tmp_path / "state.pt")
    before += list(itertools.takewhile(lambda record: record.step <= 5, stream))
    second = start(dataset, settings, max_steps=10, lag_steps=3)
    next(second.records())  # what it did before is forgotten
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert first.step > second.step == 5
    assert same(whole, before + list(second.records()))


@pytest.mark.parametrize("lag_steps", [0, 3])
def test_calibration_of_the_loss_scale_eats_no_warm_up_that_counts_applied_updates(dataset, lag_steps) -> None:
    settings = {"precision": {"kind": "fp16", "initial_scale": 2.0**30}, "eval_every_steps": 7}
    counted = config(**settings, schedule={"kind": "constant", "warmup_steps": 6, "count": "applied"})
    steps = [
        r for r in start(dataset, counted, max_steps=20, lag_steps=lag_steps).records() if isinstance(r, StepRecord)
    ]
    skipped = [r.step for r in steps if not r.applied]
    assert len(skipped) > 6, "the whole warm-up would be eaten"
    for record in steps:
        known = sum(step < record.step - lag_steps for step in skipped)
        assert record.lr == pytest.approx(2e-3 * min(1.0, (record.step - known) / 6))


def test_a_look_at_the_state_moves_no_schedule_that_hears_late_of_skips(dataset) -> None:
    settings = config(
        precision={"kind": "fp16", "initial_scale": 2.0**30},
        schedule={"kind": "constant", "warmup_steps": 6, "count": "applied"},
    )
    plain = list(start(dataset, settings, max_steps=12, lag_steps=3).records())
    training, looked_at = start(dataset, settings, max_steps=12, lag_steps=3), []
    for record in training.records():
        looked_at.append(record)
        training.state_dict()
    assert same(plain, looked_at)


def test_sampling_health_changes_nothing_and_comes_after_its_step(dataset) -> None:
    fp16 = {"precision": {"kind": "fp16"}}
    plain = list(start(dataset, config(**fp16, health_every_steps=None), max_steps=8).records())
    sampled = list(start(dataset, config(**fp16, health_every_steps=3), max_steps=8).records())
    assert same(plain, [r for r in sampled if not isinstance(r, HealthSample)])
    before = [sampled[i - 1] for i, r in enumerate(sampled) if isinstance(r, HealthSample)]
    samples = [r for r in sampled if isinstance(r, HealthSample)]
    assert [r.step for r in samples] == [r.step for r in before] == [2, 5, 8]
    assert all(isinstance(r, StepRecord) for r in before)
    assert all(HealthMetric.OUTPUT_ABSMAX in {r.metric for r in s.records} for s in samples)
    # The comparison with full precision is costly: every other sample has it.
    assert [HealthMetric.FLUSH_RATE in {r.metric for r in s.records} for s in samples] == [True, False, True]


def test_flushed_gradients_are_counted_on_one_micro_batch(dataset) -> None:
    settings = config(
        precision={"kind": "fp16", "initial_scale": 1024.0}, accumulate=3, health_every_steps=1, eval_every_steps=20
    )
    training = start(dataset, settings, max_steps=2)
    forwards = []
    training.model.register_forward_hook(lambda module, args, output: forwards.append(module.training))
    samples = [record for record in training.records() if isinstance(record, HealthSample)]
    counted = [sum(r.metric is HealthMetric.FLUSH_RATE for r in sample.records) for sample in samples]
    assert counted[0] > 0 and counted[1] == 0, "with every other sample"
    assert forwards.count(True) == 3 + 1 + 3, "two steps of three micro-batches, and one of these once more"


@pytest.mark.parametrize("precision", [{"kind": "fp32"}, {"kind": "fp16", "initial_scale": 1024.0}])
def test_the_norms_of_a_micro_batch_and_of_its_update_are_those_of_the_unscaled_gradients(dataset, precision) -> None:
    settings = config(precision=precision, accumulate=3, health_every_steps=1, clip={"kind": "norm", "max_norm": 0.1})
    records = list(start(dataset, settings, max_steps=3).records())
    samples = [
        {r.metric: r.value for r in record.records if not r.path}
        for record in records
        if isinstance(record, HealthSample)
    ]
    update = [sample[HealthMetric.UPDATE_GRAD_NORM] for sample in samples]
    assert update == pytest.approx([r.grad_norm for r in records if isinstance(r, StepRecord)], rel=1e-5)
    alone = start(dataset, settings, max_steps=3)
    batches = alone.next_batches()
    alone.model.train()
    with alone.precision.forward_context():
        _, _, losses_B = alone._forward(alone.batch(batches[0]))
    gradients = torch.autograd.grad(losses_B.mean(), [p for p in alone.model.parameters() if p.requires_grad])
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    assert samples[0][HealthMetric.MICRO_GRAD_NORM] == pytest.approx(norm, rel=1e-2)


def test_one_micro_batch_an_update_tells_no_noise_scale(dataset) -> None:
    records = list(start(dataset, config(health_every_steps=1), max_steps=2).records())
    assert not any(r.path == "" for record in records if isinstance(record, HealthSample) for r in record.records)


def test_full_precision_has_no_flushed_gradients_to_count(dataset) -> None:
    records = list(start(dataset, config(health_every_steps=1), max_steps=3).records())
    samples = [r for r in records if isinstance(r, HealthSample)]
    assert [r.step for r in samples] == [1, 2, 3]
    assert HealthMetric.FLUSH_RATE not in {r.metric for r in samples[1].records}
    assert HealthMetric.UPDATE_RATIO in {r.metric for r in samples[1].records}


def test_a_step_that_is_left_out_is_no_applied_update(dataset) -> None:
    settings = config(schedule={"kind": "constant", "warmup_steps": 3, "count": "applied"})
    training = start(dataset, settings, max_steps=4)
    stream = training.records()
    rates = [next(stream).lr]
    training.skip_step()
    rates += [record.lr for record in stream if isinstance(record, StepRecord)]
    assert rates == pytest.approx([2e-3 / 3, 2e-3 * 2 / 3, 2e-3])


def test_a_skipped_step_leaves_its_batch_out(dataset) -> None:
    training, other = start(dataset, config(), max_steps=4), start(dataset, config(), max_steps=4)
    stream = training.records()
    assert next(stream).step == 1
    left_out = training.next_batches()
    training.skip_step()
    list(itertools.islice(other.records(), 2))
    assert training.next_batches() == other.next_batches() != left_out
    rest = list(stream)
    assert [r.step for r in rest if isinstance(r, StepRecord)] == [3, 4]
    assert isinstance(rest[-1], EvalRecord)


def test_another_order_of_the_data_keeps_the_initial_weights(dataset) -> None:
    usual, shuffled, same_order = (start(dataset, config(), seed=1, order_seed=order) for order in (None, 2, 1))
    weights = [torch.cat([p.flatten() for p in t.model.parameters()]) for t in (usual, shuffled)]
    assert torch.equal(*weights)
    assert shuffled.next_batches() == start(dataset, config(), seed=2).next_batches()
    assert shuffled.next_batches() != usual.next_batches() == same_order.next_batches()


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


def test_updates_of_neighbours_in_length_stay_the_same_with_smaller_micro_batches(dataset) -> None:
    large, small = (
        start(dataset, config(batch_size=size, accumulate=n, length_window=3)) for size, n in ((8, 1), (2, 4))
    )
    for step in range(14):
        large.step = small.step = step
        assert large.next_batches()[0] == [i for batch in small.next_batches() for i in batch]


def test_updates_of_neighbours_in_length_depend_on_the_step_alone(dataset) -> None:
    training, later = (start(dataset, config(length_window=3)) for _ in range(2))
    seen = []
    for training.step in range(15):
        seen.append(training.next_batches())
    later.step = 14
    assert later.next_batches() == seen[14]
    later.step = 2
    assert later.next_batches() == seen[2]


def test_a_subset_is_evaluated_until_the_last_step(dataset) -> None:
    subset = config(eval_every_steps=2, eval_subset=5)
    records = list(start(dataset, subset, max_steps=4, seed=0).records())
    other = list(start(dataset, subset, max_steps=4, seed=1).records())
    full = list(start(dataset, config(eval_every_steps=2), max_steps=4, seed=0).records())
    labels, others, fulls = (
        [r.num_labels for r in rows if isinstance(r, EvalRecord)] for rows in (records, other, full)
    )
    assert labels == others, "all trainings are evaluated on the same utterances"
    assert 0 < labels[0] < labels[1] == fulls[0] == fulls[1]
    steps = [[r.loss for r in rows if isinstance(r, StepRecord)] for rows in (records, full)]
    assert steps[0] == steps[1]


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
        seen += [i for batch in training.next_batches() for i in batch]
    assert sorted(seen) == list(range(48))
    training.step = per_epoch
    assert [i for batch in training.next_batches() for i in batch] != seen[:12], "the next epoch has another order"


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
    assert all(is_broken(r.loss) and is_broken(r.grad_norm) for r in records), "a NaN that was logged stays one"
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


def lose_a_weight(training: Training) -> None:
    with torch.no_grad():
        next(training.model.parameters()).view(-1)[0] = math.nan


def test_a_lost_weight_is_seen_at_the_next_step_even_if_that_is_refused(dataset) -> None:
    training = start(dataset, config(telemetry_every_steps=1000, health_every_steps=None), max_steps=6)
    stream = training.records()
    next(stream), next(stream)
    lose_a_weight(training)
    third = next(stream)
    assert isinstance(third, StepRecord) and third.step == 3
    assert third.skip_reason is SkipReason.NONFINITE and not third.params_finite


def test_a_step_that_is_read_late_tells_of_its_own_weights(dataset, monkeypatch) -> None:
    settings = config(
        telemetry_every_steps=1000,
        health_every_steps=None,
        bad_batch={"kind": "never_skip"},
        clip={"kind": "off"},
    )
    training = start(dataset, settings, max_steps=8, lag_steps=3)

    def norm_with_trouble(parameters) -> torch.Tensor:
        # Step 2 looks bad and does no harm; step 4 does.
        if training.step == 3:
            lose_a_weight(training)
        norm = grad_norm(parameters)
        return torch.full_like(norm, math.inf) if training.step == 1 else norm

    monkeypatch.setattr("sweep.training.train.grad_norm", norm_with_trouble)
    steps = [r for r in itertools.takewhile(lambda r: r.step < 6, training.records()) if isinstance(r, StepRecord)]
    assert math.isinf(steps[1].grad_norm) and steps[1].applied
    assert [r.params_finite for r in steps[:3]] == [True] * 3 and not steps[4].params_finite


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@pytest.mark.parametrize(
    "settings",
    [
        *LATE.values(),
        {"clip": {"kind": "agc"}},
        {"clip": {"kind": "adagc", "warmup_steps": 4}},
        {"precision": {"kind": "bf16"}},
        {"schedule": {"kind": "cosine", "warmup_steps": 4, "count": "applied"}},
    ],
)
def test_no_step_on_a_gpu_waits_for_the_device(settings, monkeypatch) -> None:
    """Every operation that synchronizes raises. torch's own CTC loss, which copies its lengths so, is left out."""

    def frames_of_blank(log_probs_SBV, targets_BU, output_lengths_B, target_lengths_B, **_) -> torch.Tensor:
        assert output_lengths_B.device.type == target_lengths_B.device.type == "cpu"
        return -log_probs_SBV[:, :, 0].sum(0)

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", frames_of_blank)
    data = SyntheticConfig.model_validate(DATA).build()
    cuda = torch.device("cuda")
    training = start(data, config(**settings, eval_every_steps=20), max_steps=20, device=cuda)
    stream = training.records()
    first = [next(stream) for _ in range(2)]  # builds kernels, caches and the optimizer's state
    torch.cuda.set_sync_debug_mode("error")
    try:
        while training.step < 19:
            first.append(next(stream))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    steps = [r for r in [*first, *stream] if isinstance(r, StepRecord)]
    assert [r.step for r in steps] == list(range(1, 21))
    assert all(math.isfinite(r.loss) and r.time_s > 0 for r in steps)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", LATE.values(), ids=LATE.keys())
def test_late_reading_changes_no_record_on_a_gpu(settings) -> None:
    data = SyntheticConfig.model_validate(DATA).build()
    cuda = torch.device("cuda")
    at_once, late = (
        [
            r
            for r in start(data, config(**settings), max_steps=8, device=cuda, lag_steps=lag).records()
            if isinstance(r, StepRecord)
        ]
        for lag in (0, None)
    )
    assert [(r.step, r.applied, r.skip_reason, r.loss_scale) for r in at_once] == [
        (r.step, r.applied, r.skip_reason, r.loss_scale) for r in late
    ]
    # torch's CTC gradient adds up in another order each time on a GPU.
    assert [r.loss for r in late] == pytest.approx([r.loss for r in at_once], rel=1e-2)


def test_a_second_normalization_of_the_output_is_what_the_loss_and_the_evaluation_see(dataset) -> None:
    def losses(normalization: str) -> tuple[list[float], float]:
        records = list(start(dataset, config(normalization=normalization), max_steps=3).records())
        return [r.loss for r in records if isinstance(r, StepRecord)], records[-1].val_loss

    once, twice, capped = (losses(kind) for kind in ("once", "log_softmax_twice", "softmax_then_log_softmax"))
    assert twice[0] == pytest.approx(once[0], rel=1e-4) and twice[1] == pytest.approx(once[1], rel=1e-3)
    assert abs(capped[0][0] - once[0][0]) > 0.01 and abs(capped[1] - once[1]) > 0.01


def test_smoothed_labels_bend_the_gradient_and_not_what_is_recorded(dataset) -> None:
    plain, smoothed = (list(start(dataset, config(label_smoothing=w), max_steps=60).records()) for w in (0.0, 0.5))
    first = [next(r for r in records if isinstance(r, StepRecord)) for records in (plain, smoothed)]
    assert first[0].loss == first[1].loss, "the CTC loss of the same weights"
    assert first[0].grad_norm != first[1].grad_norm
    sure = [[r.input_dependence for r in records if isinstance(r, EvalRecord)][-1] for records in (plain, smoothed)]
    assert sure[1] < sure[0], "its output says less of the frame"


def test_the_mean_of_the_weights_is_what_is_evaluated_and_goes_on_exactly(dataset) -> None:
    training = start(dataset, config(ema=0.9, eval_every_steps=4), max_steps=8)
    by_hand = {name: weight.detach().clone() for name, weight in training.model.named_parameters()}
    records = training.records()
    evals = []
    for record in records:
        if isinstance(record, EvalRecord):
            evals.append(record)
        if isinstance(record, StepRecord):
            kept = min(0.9, record.step / (9 + record.step))
            for name, weight in training.model.named_parameters():
                by_hand[name].lerp_(weight.detach(), 1 - kept)
    for name, mean in training.evaluated_model.named_parameters():
        assert torch.allclose(mean, by_hand[name], atol=1e-6), name
        assert not mean.requires_grad
    plain = [r for r in start(dataset, config(eval_every_steps=4)).records() if isinstance(r, EvalRecord)]
    assert [e.val_loss for e in plain] != [e.val_loss for e in evals]
    again = start(dataset, config(ema=0.9, eval_every_steps=4), max_steps=8)
    halfway = start(dataset, config(ema=0.9, eval_every_steps=4), max_steps=8)
    for record in halfway.records():
        if isinstance(record, EvalRecord):
            break
    again.load_state_dict(halfway.state_dict())
    (end,) = [r for r in again.records() if isinstance(r, EvalRecord)]
    assert end.val_loss == evals[-1].val_loss


def test_unseen_labels_and_clean_up_count_in_the_wer_alone(dataset) -> None:
    """An utterance whose labels are not all trained changes the WER, and no validation loss."""
    names = (*dataset.vocabulary, "unseen")
    labels = dataset.valid.labels.copy()
    labels[dataset.valid.label_offsets[1] - 1] = len(names) - 1
    unseen = dataclasses.replace(dataset, vocabulary=names, valid=dataclasses.replace(dataset.valid, labels=labels))
    first = dataclasses.replace(dataset, vocabulary=names)
    cleaned = dataclasses.replace(unseen, clean_up=LabelsConfig(drop=(names[1],), when="evaluation"))
    settings = config(eval_every_steps=4)
    (seen, other, clean) = (
        next(r for r in start(data, settings, max_steps=4).records() if isinstance(r, EvalRecord))
        for data in (first, unseen, cleaned)
    )
    assert other.val_loss == clean.val_loss != seen.val_loss and math.isfinite(other.val_loss)
    assert other.num_labels == seen.num_labels and other.wer_raw is None
    assert clean.wer_raw == other.wer and clean.num_labels < other.num_labels
