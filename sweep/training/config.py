"""How a model is trained and evaluated, as settings; reads without torch."""

from typing import Literal

from pydantic import Field

from slr_models.data import DataConfig
from slr_models.models import ModelConfig
from slr_models.spec import OutputNormalization, Spec
from sweep.training.optim import (
    AdamW,
    BadBatchConfig,
    ByNorm,
    ClipConfig,
    Cosine,
    OptimizerConfig,
    ScheduleConfig,
    SkipNonfinite,
)
from sweep.training.precision import Fp32, PrecisionConfig


class Greedy(Spec):
    """The best label of each frame, repeats merged, blanks dropped."""

    kind: Literal["greedy"] = "greedy"


class Beam(Spec):
    """Prefix beam search; needs the extra `beam`."""

    kind: Literal["beam"] = "beam"
    width: int = Field(10, ge=1, le=10_000)
    """Prefixes kept a frame."""


class TrainingConfig(Spec):
    """How a model is trained and evaluated."""

    precision: PrecisionConfig = Fp32()
    """Numbers that activations and gradients are computed in."""
    optimizer: OptimizerConfig = AdamW()
    """How gradients become updates, and the learning rate."""
    schedule: ScheduleConfig = Cosine()
    """How the learning rate rises and falls over the steps."""
    clip: ClipConfig = ByNorm()
    """How large gradients are cut before an update."""
    bad_batch: BadBatchConfig = SkipNonfinite()
    """Which batches are left out of the updates."""
    batch_size: int = Field(8, ge=1, le=1_000_000)
    """Utterances a micro-batch."""
    accumulate: int = Field(1, ge=1, le=1_000_000)
    """Micro-batches whose gradients are averaged for one update."""
    length_window: int = Field(1, ge=1, le=1_000_000)
    """Updates that share out their utterances by length, so that little of a batch is padding; 1: at random. An epoch's
    random order is cut into windows of so many updates, each update takes neighbours in length of its window, and the
    updates follow one another at random. With 8, the padding falls from a quarter to a twentieth; targets too long for
    their utterance meet in fewer updates."""
    eval_every_steps: int | None = Field(None, ge=1)
    """Steps between evaluations; null: at the end of every epoch. The last step is always evaluated."""
    eval_subset: int | None = Field(None, ge=1)
    """Validation utterances that an evaluation takes, drawn once and the same in all trainings; null for all of them.
    The evaluation after the last step takes all."""
    telemetry_every_steps: int = Field(5, ge=1)
    """Steps between measurements of blank rate, input dependence and finite weights."""
    health_every_steps: int | None = Field(50, ge=1)
    """Steps between samples of the model's numeric health; null for none. The first comes with the second step. For
    fp16, every other sample compares the gradients of a micro-batch with full precision, which costs a second backward
    pass. The time of a sampled step includes all of that; the training's peak memory does not."""
    decoder: Greedy | Beam = Field(Greedy(), discriminator="kind")
    """How validation transcripts are read off."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Weight of a penalty on sure outputs: the gradient is that of (1 - w) CTC + w KL(uniform || output), the mean over
    the valid output frames. Recorded and judged is the CTC loss alone, as without it."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Memory of an exponential mean of the weights, by which the training is evaluated, such as 0.999; null: by the
    weights themselves. It is shorter at the beginning: min(ema, (1 + step) / (10 + step))."""
    normalization: OutputNormalization = "once"
    """How logits become log-probabilities. `once` is right; the others reproduce code whose model normalises before
    the loss does: `log_softmax_twice` changes nothing, `softmax_then_log_softmax` caps every probability at
    e / (e + V - 1)."""


class TrialConfig(Spec):
    """All that one training depends on, apart from its seed and length."""

    model: ModelConfig
    data: DataConfig
    training: TrainingConfig = TrainingConfig()


def with_smaller_micro_batch(config: TrialConfig) -> TrialConfig | None:
    """The same training with the largest smaller micro-batch that divides its own; None where there is none."""
    size = config.training.batch_size
    smaller = next((n for n in range(size // 2, 0, -1) if size % n == 0), None)
    return None if smaller is None else with_micro_batch(config, smaller)


def with_micro_batch(config: TrialConfig, size: int | None) -> TrialConfig:
    """The same training with micro-batches of `size` utterances, which divides them, and as many utterances an update.

    Its order of the data, its updates and its epochs stay as they are; batch normalisation and padding see less at a
    time. None: as it is.
    """
    training = config.training
    if size is None:
        return config
    changed = {"batch_size": size, "accumulate": training.accumulate * training.batch_size // size}
    return config.model_copy(update={"training": training.model_copy(update=changed)})


def steps_per_epoch(config: TrainingConfig, num_train: int) -> int:
    """Updates in one pass over the training split; an incomplete last one is left out if there are others."""
    return max(1, num_train // (config.batch_size * config.accumulate))


def eval_every_steps(config: TrainingConfig, num_train: int) -> int:
    """Steps between two evaluations, for a training split of that many utterances."""
    return config.eval_every_steps or steps_per_epoch(config, num_train)
