"""Causes found by replays on tiny real trainings: the smallest change that rescues, with its particulars."""

import dataclasses
import math

import pydantic
import pytest
import torch

from sweep.forensics import counterfactuals
from sweep.forensics.explaining import explain
from sweep.forensics.settings import ForensicsConfig
from sweep.forensics.trace_ops import trace_step
from sweep.records import Cause, HealthMetric, HealthRecord, Outcome, Place, StepRecord, Verdict
from sweep.training.snapshots import SnapshotRing

L_CONST, L_UNIF = 1.8, 2.04
QUICK = ForensicsConfig(replay_steps=30, learning_replay_steps=60, repeats=1)
NEVER_SKIP = {"bad_batch": {"kind": "never_skip"}}


def explained(told, settings=QUICK, with_snapshots=True, only_snapshot=None, **more):
    records, verdict, snapshots = told.tell()
    if only_snapshot is not None:
        snapshots = ring_with(told, only_snapshot)
    return explain(
        told.config,
        told.dataset,
        seed=0,
        max_steps=told.steps,
        device=torch.device("cpu"),
        records=records,
        verdict=verdict,
        l_const=L_CONST,
        l_unif=L_UNIF,
        settings=settings,
        snapshots=snapshots if with_snapshots else None,
        **more,
    )


def ring_with(told, step):
    """Snapshots of a training that was stopped early: of one step alone."""
    training, ring = told.start(), SnapshotRing(step, 1)
    for record in training.records():
        if isinstance(record, StepRecord) and record.step == step:
            break
    ring.offer(training)
    return ring


@pytest.mark.slow
def test_an_overflow_in_fp16_is_rescued_by_fp32_and_said_with_its_place_and_size(story) -> None:
    explanation = explained(story(training={"precision": {"kind": "fp16"}}, model={"conv_scale": 1e6}))
    assert explanation.cause is Cause.HALF_OVERFLOW
    assert "stem_convs.0, linear reached" in explanation.text and "> 65504 at step 1" in explanation.text
    assert "fp32 from the start rescues it (1 of 1)" in explanation.text
    assert explanation.first_nonfinite.place is Place.FORWARD
    rescued = {c.change: c.num_rescued for c in explanation.counterfactuals}
    assert rescued == {"same": 0, "fp32": 1, "bf16": 1}
    assert explanation.num_replayed_steps > 60
    assert [c.change for c in explanation.counterfactuals] == ["same", "fp32", "bf16"], "seen to overflow: tried first"


def test_a_learning_rate_too_high_under_plain_descent(story) -> None:
    told = story(training={"optimizer": {"kind": "sgd", "lr": 30.0}, **NEVER_SKIP})
    explanation = explained(told)
    assert explanation.cause is Cause.LR_TOO_HIGH
    assert "with 30" in explanation.text and "LR / 10" in explanation.text


def test_missing_clipping_is_a_smaller_change_than_the_learning_rate(story) -> None:
    told = story(training={"optimizer": {"kind": "sgd", "lr": 0.2}, "clip": {"kind": "off"}, **NEVER_SKIP})
    explanation = explained(told)
    assert explanation.cause is Cause.NO_CLIPPING
    assert [c.change for c in explanation.counterfactuals][-1] == "clip norm 1"


def test_a_learning_rate_too_low_is_replayed_from_the_start(story) -> None:
    told = story(training={"optimizer": {"kind": "adamw", "lr": 1e-6}}, steps=80)
    explanation = explained(told)
    assert explanation.cause is Cause.LR_TOO_LOW and explanation.snapshot_step == 0
    assert "makes it begin to learn" in explanation.text


def test_features_out_of_scale_are_named(story) -> None:
    def scale(dataset):
        features = dataset.train.features.copy()
        features[dataset.train.offsets[2] : dataset.train.offsets[3]] *= 1e6
        return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))

    explanation = explained(story(training={"precision": {"kind": "fp16_unscaled"}, **NEVER_SKIP}, edit=scale))
    assert explanation.cause is Cause.FEATURE_OUTLIER
    assert "utterance train-2 (up to" in explanation.text and "without these utterances" in explanation.text


def forget_squares(training) -> None:
    for state in training.optimizer.state.values():
        state["exp_avg_sq"].zero_()
        state["step"].fill_(100_000.0)


@pytest.mark.slow
def test_a_damaged_optimizer_state_is_found_where_only_a_later_snapshot_has_it(story) -> None:
    told = story(
        training={"optimizer": {"kind": "adamw", "lr": 3e-3}},
        damage=forget_squares,
        damage_step=50,
        # Short enough that the state from after the damage is still kept when the training is judged.
        steps=110,
    )
    explanation = explained(told)
    assert explanation.cause is Cause.OPTIMIZER_STATE and explanation.snapshot_step == 50
    assert "no gradients lead to them" in explanation.text
    again = explained(told, with_snapshots=False)
    assert again.cause is Cause.UNKNOWN and "what happened came from outside of the settings" in again.text


@pytest.mark.parametrize("with_snapshots", [True, False])
def test_snapshots_only_save_time(story, with_snapshots) -> None:
    """A rise of the learning rate late in the training, from a snapshot and by training again from the seed."""
    # Gentle enough that no weight leaves fp32 on any processor: what is lost for good, no learning rate rescues.
    schedule = {"kind": "one_cycle", "warmup_steps": 100, "initial_ratio": 1e-6}
    told = story(training={"optimizer": {"kind": "sgd", "lr": 10}, "schedule": schedule, **NEVER_SKIP}, steps=101)
    explanation = explained(told, with_snapshots=with_snapshots)
    assert explanation.cause is Cause.LR_TOO_HIGH
    assert math.isfinite(explanation.counterfactuals[-1].end_loss)


def test_a_training_without_records_is_no_error(story) -> None:
    told = story()
    explanation = explain(
        told.config,
        told.dataset,
        seed=0,
        max_steps=60,
        device=torch.device("cpu"),
        records=[],
        verdict=Verdict(Outcome.DIVERGED_LOSS, "the records are gone", 0),
        l_const=math.nan,
        l_unif=math.nan,
        settings=QUICK,
    )
    assert explanation.cause is Cause.UNKNOWN and "the records are gone" in explanation.text


@pytest.fixture(scope="module")
def late_rise(story):
    """Goes wrong at about step 85, and not before."""
    return story(
        training={"optimizer": {"kind": "adamw", "lr": 3e-3}}, damage=forget_squares, damage_step=80, steps=200
    )


@pytest.mark.slow
@pytest.mark.parametrize(("only_snapshot", "retrained"), [(None, (40, 80)), (30, (10, 50))])
def test_what_has_to_be_trained_again_is_bounded_and_told_before(late_rise, only_snapshot, retrained) -> None:
    plans = []
    known = {"with_snapshots": only_snapshot is not None, "only_snapshot": only_snapshot}
    explanation = explained(late_rise, on_plan=plans.append, **known)
    assert "the same steps from the state after step" in explanation.text, "the damage came from outside"
    (plan,) = plans
    num_retrained = plan - 400
    assert retrained[0] <= num_retrained <= retrained[1] and explanation.num_replayed_steps <= plan
    few = QUICK.model_copy(update={"retrain_steps": num_retrained - 1})
    refused = explained(late_rise, few, on_plan=plans.append, **known)
    assert refused.cause is Cause.UNKNOWN and refused.num_replayed_steps == 0 and len(plans) == 1
    assert f"{num_retrained} steps have to be trained again" in refused.text
    assert "`python -m sweep.explain` does it" in refused.text


def test_replays_end_with_their_budget_and_say_so(story) -> None:
    told = story(training={"optimizer": {"kind": "sgd", "lr": 30.0}, **NEVER_SKIP})
    enough = explained(told)
    assert enough.cause is Cause.LR_TOO_HIGH and enough.num_replayed_steps <= 2 * told.steps
    little = explained(told, QUICK.model_copy(update={"max_replayed_steps": 60}))
    assert little.cause is Cause.UNKNOWN and little.num_replayed_steps <= 60
    assert f"not looked further after {little.num_replayed_steps} replayed steps" in little.text
    assert len(little.counterfactuals) < len(enough.counterfactuals)


def test_a_budget_allows_one_replay_at_least() -> None:
    with pytest.raises(pydantic.ValidationError, match="must allow one replay, which takes up to 200 steps"):
        ForensicsConfig(max_replayed_steps=99)


@pytest.mark.slow
def test_operations_are_watched_only_where_a_value_was_not_finite(story, late_rise, monkeypatch) -> None:
    watched = []

    def counted(training, dataset):
        watched.append(training.step + 1)
        return trace_step(training, dataset)

    monkeypatch.setattr(counterfactuals, "trace_step", counted)
    assert explained(late_rise).num_replayed_steps > 0
    assert watched == []
    explained(story(training={"precision": {"kind": "fp16"}}, model={"conv_scale": 1e6}))
    assert watched == [1]


def test_what_the_health_of_the_model_warned_of_is_added(story) -> None:
    near = HealthRecord(3, HealthMetric.HEADROOM_BITS, "stem_convs.0", 1.5)
    fine = HealthRecord(3, HealthMetric.HEADROOM_BITS, "classifier", 9.0)
    told = story(training={"precision": {"kind": "fp16"}}, model={"conv_scale": 1e6})
    explanation = explained(told, health=[near, fine])
    assert "stem_convs.0 came within 1.5 bits of overflow at step 3 (warned below 3)" in explanation.details
    assert not any("classifier" in detail for detail in explanation.details)
