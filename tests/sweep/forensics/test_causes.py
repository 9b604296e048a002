"""Causes that take no replay: they are told at once, and only where they hold."""

import dataclasses

import numpy as np
import pytest

from sweep.forensics.batches import DataFaults, batches_of_steps
from sweep.forensics.causes import quick_cause
from sweep.records import Cause, Outcome, Place, SkipReason, StepRecord, Verdict

NEVER_SKIP = {"bad_batch": {"kind": "never_skip"}}


def asked(told):
    records, verdict, _ = told.tell()
    return quick_cause(told.config, told.dataset, seed=0, records=records, verdict=verdict), verdict


def test_a_nan_is_named_with_its_utterance_frame_and_feature(story) -> None:
    def spoil(dataset):
        features = dataset.train.features.copy()
        features[dataset.train.offsets[7] + 3, 17] = np.nan
        return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))

    explanation, verdict = asked(story(training=NEVER_SKIP, edit=spoil))
    assert verdict.outcome is Outcome.DIVERGED_NONFINITE
    assert explanation.cause is Cause.NONFINITE_FEATURES
    assert "NaN in the features of utterance train-7 (frame 3, feature 17)" in explanation.text
    assert explanation.first_nonfinite.place is Place.FEATURES and explanation.first_nonfinite.path == "train-7"
    assert explanation.num_replayed_steps == 0


def test_an_infeasible_target_is_named_with_the_frames_that_it_needs(story) -> None:
    explanation, verdict = asked(story(training=NEVER_SKIP, data={"infeasible_rate": 0.1}))
    assert verdict.outcome is Outcome.INFEASIBLE_DATA and explanation.cause is Cause.INFEASIBLE_SAMPLE
    assert "needs 2 output frames, has 1" in explanation.text or "needs 3 output frames, has 2" in explanation.text
    assert "5 targets of 48" in explanation.details[0]


def test_faults_in_other_batches_are_not_blamed(story) -> None:
    told = story(data={"infeasible_rate": 0.1, "nan_rate": 0.1})
    faults = DataFaults.of(told.config, told.dataset)
    bad = set(faults.infeasible) | set(faults.nonfinite)
    batches = batches_of_steps(told.config, told.dataset, 0, range(1, 13))
    clean = next(step for step, batch in batches.items() if not bad & set(batch))
    records = [StepRecord(step, 2.0, 1.0) for step in range(1, clean)]
    records.append(StepRecord(clean, np.nan, np.nan, params_finite=False))
    verdict = Verdict(Outcome.DIVERGED_NONFINITE, "a weight is NaN", clean)
    assert quick_cause(told.config, told.dataset, seed=0, records=records, verdict=verdict) is None


def test_the_order_of_batches_is_that_of_the_training(story) -> None:
    told = story(training={"schedule": {"kind": "cosine", "warmup_steps": 20}, "accumulate": 2})
    training = told.start()
    training.step = 8
    expected = [i for batch in training.next_batches() for i in batch]
    assert batches_of_steps(told.config, told.dataset, 0, [9]) == {9: expected}


def test_a_strict_threshold_is_told_with_the_norms_that_it_refuses(story) -> None:
    explanation, verdict = asked(story(training={"bad_batch": {"kind": "skip_above", "threshold": 0.5}}))
    assert verdict.outcome is Outcome.SKIP_STARVED and explanation.cause is Cause.SKIP_THRESHOLD
    assert "norms above 0.5 refused" in explanation.text and "median" in explanation.text


def test_norms_that_have_grown_are_not_the_thresholds_fault(story) -> None:
    told = story(training={"bad_batch": {"kind": "skip_above", "threshold": 10.0}})
    records = [StepRecord(step, 2.0, 5.0) for step in range(1, 21)]
    records += [StepRecord(step, 50.0, 5e3, applied=False, skip_reason=SkipReason.THRESHOLD) for step in range(21, 60)]
    verdict = Verdict(Outcome.SKIP_STARVED, "39 of the last 50 batches were skipped", 59)
    assert quick_cause(told.config, told.dataset, seed=0, records=records, verdict=verdict) is None


@pytest.mark.parametrize("outcome", [Outcome.STABLE, Outcome.CALIBRATING])
def test_calibration_is_called_what_it_is(story, outcome) -> None:
    told = story(training={"precision": {"kind": "fp16", "initial_scale": 2.0**40}}, steps=30)
    records, _, _ = told.tell()
    explanation = quick_cause(told.config, told.dataset, seed=0, records=records, verdict=Verdict(outcome, "ended", 30))
    assert explanation.cause is Cause.SCALE_CALIBRATION
    assert explanation.text.startswith("loss-scale calibration, not a divergence")
    assert "on its way from 1.09951e+12; gradients were finite from" in explanation.text


def test_a_good_training_has_nothing_to_explain_and_a_crash_its_exception(story) -> None:
    told = story()
    records = [StepRecord(1, 2.0, 1.0)]
    for outcome, cause in (
        (Outcome.STABLE, Cause.NOTHING),
        (Outcome.TOO_SHORT, Cause.NOTHING),
        (Outcome.MEMORISED, Cause.NOTHING),
        (Outcome.CRASHED, Cause.EXCEPTION),
        (Outcome.OUT_OF_MEMORY, Cause.OUT_OF_MEMORY),
    ):
        verdict = Verdict(outcome, "IndexError: index 7", 1)
        explanation = quick_cause(told.config, told.dataset, seed=0, records=records, verdict=verdict)
        assert explanation.cause is cause
    assert "batch size 4, utterances of up to" in explanation.text
