"""Causes found by replays on tiny real trainings: the smallest change that rescues, with its particulars."""

import dataclasses
import math

import pytest
import torch

from sweep.explanation import Cause, Place
from sweep.forensics.explaining import explain
from sweep.forensics.settings import ForensicsConfig
from sweep.records import Outcome, Verdict

L_CONST, L_UNIF = 1.8, 2.04
QUICK = ForensicsConfig(replay_steps=30, learning_replay_steps=60, repeats=1)
NEVER_SKIP = {"bad_batch": {"kind": "never_skip"}}


def explained(told, settings=QUICK, with_snapshots=True):
    records, verdict, snapshots = told.tell()
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
    )


def test_an_overflow_in_fp16_is_rescued_by_fp32_and_said_with_its_place_and_size(story) -> None:
    explanation = explained(story(training={"precision": {"kind": "fp16"}}, model={"conv_scale": 1e6}))
    assert explanation.cause is Cause.HALF_OVERFLOW
    assert "stem_convs.0, linear reached" in explanation.text and "> 65504 at step 1" in explanation.text
    assert "fp32 from the start rescues it (1 of 1)" in explanation.text
    assert explanation.first_nonfinite.place is Place.FORWARD
    rescued = {c.change: c.num_rescued for c in explanation.counterfactuals}
    assert rescued == {"same": 0, "fp32": 1, "bf16": 1}
    assert explanation.num_replayed_steps > 60


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
    assert "makes it learn" in explanation.text


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


def test_a_damaged_optimizer_state_is_found_where_only_a_later_snapshot_has_it(story) -> None:
    told = story(
        training={"optimizer": {"kind": "adamw", "lr": 3e-3}},
        damage=forget_squares,
        damage_step=50,
        steps=150,
    )
    explanation = explained(told)
    assert explanation.cause is Cause.OPTIMIZER_STATE and explanation.snapshot_step == 50
    assert "no gradients lead to them" in explanation.text
    again = explained(told, with_snapshots=False)
    assert again.cause is Cause.UNKNOWN and "what happened came from outside of the settings" in again.text


@pytest.mark.parametrize("with_snapshots", [True, False])
def test_snapshots_only_save_time(story, with_snapshots) -> None:
    """A rise of the learning rate late in the training, from a snapshot and by training again from the seed."""
    schedule = {"kind": "one_cycle", "warmup_steps": 60, "initial_ratio": 1e-6}
    told = story(training={"optimizer": {"kind": "sgd", "lr": 3e3}, "schedule": schedule, **NEVER_SKIP}, steps=61)
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
