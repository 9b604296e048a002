"""Causes inside of a user's own model: attention scores written out, a backward pass that is wrong for one batch."""

import dataclasses

import pytest
import torch

from sweep.explanation import Cause, Place
from sweep.forensics.explaining import explain
from sweep.forensics.settings import ForensicsConfig

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
    def __init__(self, num_features, vocabulary_size, score_scale, factor):
        super().__init__()
        self.score_scale, self.factor = score_scale, factor
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
        return Spoil.apply(logits, bool((features_BTF == 20.0).any()), self.factor)

class Attend(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        scores = torch.matmul(self.scale * x, self.scale * x.transpose(1, 2))
        return x + scores.softmax(-1).to(x.dtype) @ x

def build(num_features, groups, vocabulary_size, score_scale=0.1, factor=1.0):
    return Model(num_features, vocabulary_size, score_scale, factor)
"""
FACTORY = "forensics_own_model:build"


@pytest.fixture(autouse=True)
def _own_module(tmp_path, monkeypatch):
    (tmp_path / "forensics_own_model.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def explained(story, options, **more):
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
        settings=ForensicsConfig(replay_steps=30, learning_replay_steps=80, repeats=1),
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
    assert "loss scale from the start makes it learn" in explanation.text
    assert any("fp16 flushes 100.0% of the gradients" in detail for detail in explanation.details)
