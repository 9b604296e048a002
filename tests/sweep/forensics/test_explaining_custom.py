"""Causes inside of a user's own model: attention scores written out, a backward pass that is wrong for one batch."""

import dataclasses

import pytest
import torch

from sweep.forensics.batches import batches_of_steps
from sweep.forensics.explaining import explain
from sweep.forensics.settings import ForensicsConfig
from sweep.records import Cause, Place

MODULE = """
import torch
from torch import nn
from slr_models.models import CtcModel

class Spoil(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, spoils, factor):
        ctx.spoils, ctx.factor = spoils, factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return (gradient * torch.inf if ctx.spoils else gradient * ctx.factor), None, None

class Model(CtcModel):
    def __init__(self, num_features, vocabulary_size, score_scale, factor, tracks_peak):
        super().__init__()
        self.score_scale, self.factor, self.tracks_peak = score_scale, factor, tracks_peak
        self.register_buffer("peak", torch.tensor(1.0))
        self.encode = nn.Linear(4 * num_features, 32)
        self.attend = Attend(score_scale)
        self.classify = nn.Linear(32, vocabulary_size)

    def output_lengths(self, lengths_B):
        return (lengths_B + 3) // 4

    def forward(self, features_BTF, lengths_B):
        B, T, F = features_BTF.shape
        padded = nn.functional.pad(features_BTF, (0, 0, 0, -T % 4))
        x = self.encode(padded.reshape(B, -1, 4 * F)).relu()
        logits = self.classify(self.attend(x))
        if self.tracks_peak:
            self.peak.copy_(torch.maximum(self.peak, features_BTF.abs().max() / 5.0))
            logits = logits / self.peak**4
        return Spoil.apply(logits, bool((features_BTF == 20.0).any()), self.factor)

class Attend(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        scores = torch.matmul(self.scale * x, self.scale * x.transpose(1, 2))
        return x + scores.softmax(-1).to(x.dtype) @ x

def build(num_features, groups, vocabulary_size, score_scale=0.1, factor=1.0, tracks_peak=False):
    return Model(num_features, vocabulary_size, score_scale, factor, tracks_peak)
"""
FACTORY = "forensics_own_model:build"


@pytest.fixture(autouse=True)
def _own_module(tmp_path, monkeypatch):
    (tmp_path / "forensics_own_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def explained(story, options, repeats=1, **more):
    told = story(**more)
    model = {"kind": "custom", "factory": FACTORY, "options": options, "output_stride": 4}
    told.config = type(told.config).model_validate({**told.config.model_dump(by_alias=True), "model": model})
    records, verdict, snapshots = told.tell()
    return explain(
        told.config,
        told.dataset,
        seed=0,
        max_steps=told.steps,
        device=torch.device("cpu"),
        records=records,
        verdict=verdict,
        l_const=1.8,
        l_unif=2.04,
        settings=ForensicsConfig(replay_steps=30, learning_replay_steps=80, repeats=repeats),
        snapshots=snapshots,
    )


def test_scores_that_overflow_are_named_as_such(story) -> None:
    fp16 = {"precision": {"kind": "fp16"}}
    explanation = explained(story, {"score_scale": 300.0}, training=fp16)
    assert explanation.cause is Cause.HALF_OVERFLOW_ATTENTION
    assert "(attend, QK^T reached" in explanation.text and "fp32 from the start rescues it" in explanation.text
    assert explanation.first_nonfinite.operation == "matmul" and explanation.first_nonfinite.dtype == "float16"


def test_one_infinite_gradient_that_was_applied(story) -> None:
    def mark(dataset):
        features = dataset.train.features.copy()
        features[dataset.train.offsets[5], 0] = 20.0
        return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))

    explanation = explained(story, {}, training={"bad_batch": {"kind": "never_skip"}}, edit=mark)
    assert explanation.cause is Cause.BAD_STEP_APPLIED
    assert explanation.first_nonfinite.place is Place.BACKWARD and explanation.first_nonfinite.operation == "Spoil"
    assert "skip non-finite steps" in explanation.text


def test_gradients_that_fp16_flushes_to_zero_are_measured(story) -> None:
    training = {"precision": {"kind": "fp16_unscaled"}, "optimizer": {"kind": "adamw", "lr": 1e-2}}
    explanation = explained(story, {"factor": 1e-7}, training=training, steps=100)
    assert explanation.cause is Cause.HALF_UNDERFLOW
    assert "loss scale from the start makes it begin to learn" in explanation.text
    assert any("fp16 flushes 100.0% of the gradients" in detail for detail in explanation.details)


@pytest.mark.parametrize("repeats", [1, 2])
def test_one_batch_that_leaves_its_mark_is_told_from_the_order_of_the_data(story, repeats) -> None:
    """A running peak that never falls: one loud utterance drives it up for good, whatever the learning rate."""

    def make_loud(dataset):
        features = dataset.train.features.copy()
        loud = batches_of_steps(story().config, dataset, 0, [45])[45][0]
        features[dataset.train.offsets[loud], 0] = 280.0
        return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))

    training = {"optimizer": {"kind": "adamw", "lr": 3e-3}}
    data = {"num_train": 400}
    explanation = explained(
        story, {"tracks_peak": True}, repeats, training=training, data=data, steps=160, edit=make_loud
    )
    assert explanation.cause is Cause.SINGLE_BATCH
    assert "drop step 45" in explanation.text and "(1 of 1)" in explanation.text
    results = {c.change: (c.num_rescued, c.num_repeats) for c in explanation.counterfactuals}
    assert results["same"] == (1, 2) and results["drop step 45"] == (1, 1)
    assert len(results) == len(explanation.counterfactuals), "each change has one result"
