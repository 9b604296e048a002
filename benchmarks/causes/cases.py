"""Trainings with one injected cause each, whose truth is known. The tool sees config, data and records alone."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slr_models.data import SyntheticConfig
from slr_models.data.batch import Dataset, FeatureGroup, Split
from slr_models.models import CtcModel
from slr_models.models.blocks import SelfAttention
from slr_models.models.configs import TeacherConfig
from slr_models.models.norm import Frames
from slr_models.models.teacher import Teacher
from sweep.records import Cause
from sweep.training.config import TrialConfig
from sweep.training.train import Training

DATA: dict[str, Any] = {
    "kind": "synthetic",
    "vocabulary_size": 5,
    "num_train": 96,
    "num_valid": 8,
    "frames_per_label": 6,
    "max_labels": 3,
}
TEACHER: dict[str, Any] = {"kind": "teacher", "width": 0.0625, "num_modules": 2, "num_encoder_layers": 1}
BASELINE: dict[str, Any] = {"kind": "baseline", "width": 0.0625}
MARK = 20.0
"""A feature value that only a marked utterance has."""


@dataclass(frozen=True)
class Case:
    """One injected cause."""

    name: str
    truth: Cause
    training: dict[str, Any] = field(default_factory=dict)
    models: tuple[dict[str, Any], ...] = (TEACHER, BASELINE)
    """Taken in turn, one a seed."""
    data: dict[str, Any] = field(default_factory=dict)
    edit: Callable[[Dataset, int], Dataset] | None = None
    """Changes the data set, given a seed."""
    damage: Callable[[Training], None] | None = None
    """Changes the state of the training in progress after `damage_step`, which no record tells."""
    damage_step: int = 50
    steps: int = 120

    def config(self, seed: int) -> TrialConfig:
        """The configuration of the run with this seed."""
        training = {
            "batch_size": 4,
            "optimizer": {"kind": "adamw", "lr": 1e-3},
            "schedule": {"kind": "constant"},
            "eval_every_steps": 10 * self.steps,
            **self.training,
        }
        model = self.models[seed % len(self.models)]
        data = {**DATA, "seed": seed, **self.data}
        return TrialConfig.model_validate({"model": model, "data": data, "training": training})

    def dataset(self, seed: int) -> Dataset:
        """The data of the run with this seed."""
        dataset = SyntheticConfig.model_validate({**DATA, "seed": seed, **self.data}).build()
        return self.edit(dataset, seed) if self.edit is not None else dataset


def _sgd(lr: float, momentum: float = 0.9) -> dict[str, Any]:
    return {"kind": "sgd", "lr": lr, "momentum": momentum}


def _custom(factory: str, **options: Any) -> dict[str, Any]:
    return {"kind": "custom", "factory": f"{__name__}:{factory}", "options": options, "output_stride": 4}


class ScoredAttention(nn.Module):
    """Attention with its scores written out, as in much user code: in fp16 they are fp16 numbers."""

    def __init__(self, inner: SelfAttention, score_scale: float) -> None:
        super().__init__()
        self.inner = inner
        with torch.no_grad():
            size = inner.query_key_value.out_features // 3
            inner.query_key_value.weight[: 2 * size] *= score_scale

    def forward(self, x_BTD: Tensor, frames: Frames) -> Tensor:
        """As SelfAttention."""
        query_BHTE, key_BHTE, value_BHTE = self.inner._project(x_BTD)
        scores_BHTT = torch.matmul(query_BHTE, key_BHTE.transpose(2, 3)) * query_BHTE.shape[3] ** -0.5
        if frames.attend_B11T is not None:
            scores_BHTT = scores_BHTT.masked_fill(~frames.attend_B11T, -1e4)
        y_BHTE = torch.matmul(scores_BHTT.softmax(dim=-1).to(value_BHTE.dtype), value_BHTE)
        output: Tensor = self.inner.output(y_BHTE.transpose(1, 2).flatten(2))
        return output


class _Backward(torch.autograd.Function):
    """The identity, with a gradient scaled, and infinite if the batch is marked."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float, is_marked: bool) -> Tensor:
        ctx.factor, ctx.is_marked = factor, is_marked
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0] * ctx.factor
        return (torch.full_like(gradient, torch.inf) if ctx.is_marked else gradient), None, None


class WrappedTeacher(CtcModel):
    """A teacher whose features or gradients go through a faulty layer, or which fails outright."""

    def __init__(self, teacher: Teacher, gradient_factor: float, layer: str, fault: str) -> None:
        super().__init__()
        self.teacher = teacher
        self.gradient_factor = gradient_factor
        self.faulty: nn.Module = getattr(teacher, layer)
        self.fault = fault
        self.num_calls = 0

    def output_lengths(self, lengths_B: Tensor) -> Tensor:
        """As the teacher."""
        return self.teacher.output_lengths(lengths_B)

    def forward(self, features_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """As the teacher, up to the fault."""
        self.num_calls += 1
        if self.fault == "memory" and self.num_calls > 5:
            torch.empty(2**50)
        if self.fault == "exception" and self.num_calls > 5:
            raise IndexError("index 7 is out of range")
        is_marked = self.fault == "marked" and bool((features_BTF == MARK).any())
        hook = self.faulty.register_forward_hook(
            lambda module, inputs, output: _Backward.apply(output, self.gradient_factor, is_marked)
        )
        try:
            logits: Tensor = self.teacher(features_BTF, lengths_B)
        finally:
            hook.remove()
        return logits


def wrapped_teacher(
    num_features: int,
    groups: Sequence[FeatureGroup],
    vocabulary_size: int,
    gradient_factor: float = 1.0,
    layer: str = "embedding",
    fault: str = "none",
    score_scale: float = 1.0,
) -> WrappedTeacher:
    """The factory of the custom cases."""
    config = TeacherConfig.model_validate(TEACHER)
    teacher = Teacher(config, groups, vocabulary_size)
    if score_scale != 1.0:
        assert teacher.fusion is not None
        teacher.fusion = ScoredAttention(teacher.fusion, score_scale)  # type: ignore[assignment]
    return WrappedTeacher(teacher, gradient_factor, layer, fault)


def _edited(dataset: Dataset, change: Callable[[np.ndarray, Split], None]) -> Dataset:
    features = dataset.train.features.copy()
    change(features, dataset.train)
    return dataclasses.replace(dataset, train=dataclasses.replace(dataset.train, features=features))


def _nan_in_one(dataset: Dataset, seed: int) -> Dataset:
    def change(features: np.ndarray, split: Split) -> None:
        features[split.offsets[7 * seed + 3] + 2, 5] = np.nan

    return _edited(dataset, change)


def _one_out_of_scale(dataset: Dataset, seed: int) -> Dataset:
    def change(features: np.ndarray, split: Split) -> None:
        start, stop = split.offsets[5 * seed + 2], split.offsets[5 * seed + 3]
        features[start:stop] *= 1e6

    return _edited(dataset, change)


def _one_marked(dataset: Dataset, seed: int) -> Dataset:
    def change(features: np.ndarray, split: Split) -> None:
        features[split.offsets[3 * seed + 1], 0] = MARK

    return _edited(dataset, change)


def _forget_squares(training: Training) -> None:
    """As a checkpoint of a long training that lost Adam's second moments, but not its count of steps."""
    for state in training.optimizer.state.values():
        state["exp_avg_sq"].zero_()
        state["step"].fill_(100_000.0)


NEVER_SKIP = {"bad_batch": {"kind": "never_skip"}}
CASES = (
    Case("learning rate too high, AdamW", Cause.LR_TOO_HIGH, {"optimizer": {"kind": "adamw", "lr": 0.3}}),
    Case("learning rate too high, SGD", Cause.LR_TOO_HIGH, {"optimizer": _sgd(30.0)}),
    Case("learning rate too high, SGD, blows up", Cause.LR_TOO_HIGH, {"optimizer": _sgd(1e4), **NEVER_SKIP}),
    Case("learning rate too low", Cause.LR_TOO_LOW, {"optimizer": {"kind": "adamw", "lr": 1e-6}}),
    Case(
        "no clipping, SGD",
        Cause.NO_CLIPPING,
        {"optimizer": _sgd(0.2), "clip": {"kind": "off"}, **NEVER_SKIP},
        (TEACHER,),
    ),
    Case(
        "clipping far too tight, SGD",
        Cause.CLIP_TOO_TIGHT,
        {"optimizer": _sgd(0.01), "clip": {"max_norm": 1e-5, "kind": "norm"}},
    ),
    Case(
        "initial weights too large",
        Cause.INIT_TOO_LARGE,
        models=({**TEACHER, "init_scale": 1e9}, {**BASELINE, "init_scale": 1e12}),
    ),
    Case(
        "initial weights too small",
        Cause.INIT_TOO_SMALL,
        # The baseline's residual path learns even so.
        models=({**TEACHER, "init_scale": 1e-7},),
    ),
    Case(
        "fp16 overflow in attention scores",
        Cause.HALF_OVERFLOW_ATTENTION,
        {"precision": {"kind": "fp16"}},
        (_custom("wrapped_teacher", score_scale=1000.0),),
    ),
    Case(
        "fp16 overflow in a convolution",
        Cause.HALF_OVERFLOW,
        {"precision": {"kind": "fp16"}},
        ({**TEACHER, "conv_scale": 1e6}, {**BASELINE, "conv_scale": 1e6}),
    ),
    Case(
        "fp16 overflow of gradients",
        Cause.HALF_GRADIENT_OVERFLOW,
        {"precision": {"kind": "fp16_unscaled"}},
        (_custom("wrapped_teacher", gradient_factor=1e9),),
    ),
    Case(
        "fp16 without loss scale flushes gradients",
        Cause.HALF_UNDERFLOW,
        {"precision": {"kind": "fp16_unscaled"}},
        (_custom("wrapped_teacher", gradient_factor=1e-6, layer="classifier"),),
    ),
    Case(
        "initial loss scale far too high",
        Cause.SCALE_CALIBRATION,
        {"precision": {"kind": "fp16", "initial_scale": 2.0**60}},
        steps=160,
    ),
    Case("targets that CTC cannot align", Cause.INFEASIBLE_SAMPLE, {**NEVER_SKIP}, data={"infeasible_rate": 0.05}),
    Case(
        "infeasible targets wear down the loss scale",
        Cause.INFEASIBLE_SAMPLE,
        {"precision": {"kind": "fp16"}},
        data={"infeasible_rate": 0.4},
    ),
    Case("NaN in one utterance", Cause.NONFINITE_FEATURES, {**NEVER_SKIP}, edit=_nan_in_one),
    Case(
        "one utterance scaled by 1e6",
        Cause.FEATURE_OUTLIER,
        {"precision": {"kind": "fp16_unscaled"}, **NEVER_SKIP},
        edit=_one_out_of_scale,
    ),
    Case("skip threshold too strict", Cause.SKIP_THRESHOLD, {"bad_batch": {"kind": "skip_above", "threshold": 1.0}}),
    Case(
        "an infinite gradient is applied",
        Cause.BAD_STEP_APPLIED,
        {**NEVER_SKIP},
        (_custom("wrapped_teacher", fault="marked"),),
        edit=_one_marked,
    ),
    Case(
        "Adam's second moments are lost",
        Cause.OPTIMIZER_STATE,
        {"optimizer": {"kind": "adamw", "lr": 3e-3}},
        (TEACHER,),
        damage=_forget_squares,
        damage_step=75,
        steps=200,
    ),
    Case("out of memory", Cause.OUT_OF_MEMORY, {}, (_custom("wrapped_teacher", fault="memory"),)),
    Case("an exception", Cause.EXCEPTION, {}, (_custom("wrapped_teacher", fault="exception"),)),
)
