"""The single changes that replays try, smallest first.

Small means: touches little of the training. A training that went bad (it diverged, or its steps were refused) tries

    no suspect utterances < refusing non-finite steps < fresh optimizer state < fp32, bf16 < clipping
    < LR / 10 < LR / 100 < ... < initial weights at scale 1

and one that learned nothing tries, from its first step on,

    a loss scale, fp32 (if fp16 flushes its gradients) < no skip threshold < looser clipping
    < initial weights at scale 1 (if far from it) < LR x 10 < LR x 100 < LR / 10 < LR / 100 (the latter two before the
    former where its steps are large) < initial weights at scale 1 < fp32

What a training does not have is left out: no precision is changed under fp32, no optimizer state at its first step or
under gradient descent without momentum. Where half precision is seen to overflow, other precisions come first.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from slr_models.models import ModelConfig
from slr_models.models.configs import NetworkSpec
from slr_models.spec import Spec
from sweep.records import Cause
from sweep.training.config import TrainingConfig, TrialConfig
from sweep.training.optim import ByNorm, NeverSkip, Off, RobustZ, Sgd, SkipAbove, SkipNonfinite
from sweep.training.precision import Bf16, Fp16, Fp16Unscaled, Fp32

LOOSE_CLIP_FACTOR = 10.0
"""Clipping so many times above the usual norm is as good as none."""
TIGHT_CLIP_FACTOR = 0.05
"""Clipping at less than this share of the usual norm changes nearly every step of plain gradient descent."""

USUAL_SCALE_FACTOR = 10.0
"""Initial weights within this factor of the usual ones are a smaller suspect than the learning rate."""
LARGEST_LR_POWER = 6
"""Powers of ten by which a learning rate is lowered at most; each fails within a few steps where it is too high."""


@dataclass(frozen=True)
class Change:
    """One thing that a replay does in another way."""

    name: str
    cause: Cause
    """What went wrong if this change rescues."""
    config: TrialConfig
    fresh_optimizer: bool = False
    dropped_step: int | None = None
    """1-based step whose batch is left out."""
    without: frozenset[int] = frozenset()
    """Positions of utterances whose batches are left out."""
    from_start: bool = False
    """Whether it changes the initial weights, so that it can be tried from the first step alone."""
    any_order: bool = True
    """Whether it means something under another order of the data."""
    group: str = ""
    """Changes of one size share it and are all tried, where one alone would say less."""


def survival_changes(
    config: TrialConfig, *, usual_norm: float, at_start: bool, refuse_nonfinite: bool, overflows: bool
) -> Iterator[Change]:
    """What may rescue a training that went bad, smallest first; data are tried by `without_utterances` before.

    Args:
        config: of the training.
        usual_norm: median gradient norm before it went bad; NaN if unknown.
        at_start: whether the replays begin with the initial weights.
        refuse_nonfinite: whether a step was applied although it was not finite, so that refusing it is worth a try.
        overflows: whether a value was seen that half precision cannot hold and fp32 can.
    """
    training = config.training
    precisions = _other_precisions(config) if is_half(training) else []
    if overflows:
        yield from precisions
    if refuse_nonfinite and isinstance(training.bad_batch, NeverSkip):
        yield Change("skip non-finite steps", Cause.BAD_STEP_APPLIED, _with(config, bad_batch=SkipNonfinite()))
    if not at_start and not (isinstance(training.optimizer, Sgd) and training.optimizer.momentum == 0):
        yield Change("fresh optimizer state", Cause.OPTIMIZER_STATE, config, fresh_optimizer=True)
    if not overflows:
        yield from precisions
    if is_clip_loose(training, usual_norm):
        yield Change("clip norm 1", Cause.NO_CLIPPING, _with(config, clip=ByNorm(max_norm=1.0)))
    for power in range(1, LARGEST_LR_POWER + 1):
        yield Change(f"LR / {10**power}", Cause.LR_TOO_HIGH, with_lr_factor(config, 10.0**-power))
    if at_start and (initial := _initial_weights(config)) is not None:
        yield initial[1]


def _other_precisions(config: TrialConfig) -> list[Change]:
    others: list[Fp32 | Bf16] = [Fp32()]
    if not isinstance(config.training.precision, Bf16):
        others.append(Bf16())
    return [Change(p.kind, Cause.HALF_OVERFLOW, _with(config, precision=p), group="precision") for p in others]


def without_utterances(config: TrialConfig, positions: frozenset[int], cause: Cause) -> Change:
    """Leaves out every batch that holds one of these utterances."""
    return Change("without these utterances", cause, config, without=positions)


def drop(config: TrialConfig, step: int) -> Change:
    """Leaves out the batch of one step."""
    return Change(f"drop step {step}", Cause.SINGLE_BATCH, config, dropped_step=step, any_order=False)


def learning_changes(
    config: TrialConfig, *, usual_norm: float, is_hot: bool, skip_rate: float, flushes: bool
) -> Iterator[Change]:
    """What may make a training learn that learned nothing, smallest first.

    Args:
        config: of the training.
        usual_norm: median gradient norm of its first steps; NaN if unknown.
        is_hot: whether its steps are large for its weights, so that smaller ones are tried before larger ones.
        skip_rate: share of its steps that the skip threshold refused.
        flushes: whether fp16 flushes many of its gradients to zero.
    """
    training = config.training
    if flushes and isinstance(training.precision, Fp16Unscaled):
        yield Change("loss scale", Cause.HALF_UNDERFLOW, _with(config, precision=Fp16()))
    if flushes:
        yield Change("fp32", Cause.HALF_UNDERFLOW, _with(config, precision=Fp32()))
    if skip_rate > 0 and isinstance(training.bad_batch, SkipAbove | RobustZ):
        yield Change("no skip threshold", Cause.SKIP_THRESHOLD, _with(config, bad_batch=SkipNonfinite()))
    clip = training.clip
    # Adam divides by the size of its gradients, and so by the clip value too.
    if (
        isinstance(training.optimizer, Sgd)
        and isinstance(clip, ByNorm)
        and clip.max_norm < TIGHT_CLIP_FACTOR * usual_norm
    ):
        looser = ByNorm(max_norm=_round(usual_norm))
        yield Change(f"clip norm {looser.max_norm:g}", Cause.CLIP_TOO_TIGHT, _with(config, clip=looser))
    initial = _initial_weights(config)
    if initial is not None and not initial[0]:
        yield initial[1]
    lower = [Change(f"LR / {f}", Cause.LR_TOO_HIGH, with_lr_factor(config, 1 / f)) for f in (10, 100)]
    higher = [Change(f"LR x {f}", Cause.LR_TOO_LOW, with_lr_factor(config, f)) for f in (10, 100)]
    yield from [*lower, *higher] if is_hot else [*higher, *lower]
    if initial is not None and initial[0]:
        yield initial[1]
    if is_half(training) and not flushes:
        yield Change("fp32", Cause.UNKNOWN, _with(config, precision=Fp32()))


def same(config: TrialConfig) -> Change:
    """Nothing changed: the first repeat is the training itself, further ones take the data in another order."""
    return Change("same", Cause.UNKNOWN, config)


def is_half(training: TrainingConfig) -> bool:
    """Whether the forward pass computes in half precision."""
    return isinstance(training.precision, Bf16 | Fp16 | Fp16Unscaled)


def is_clip_loose(training: TrainingConfig, usual_norm: float) -> bool:
    """Whether clipping is off, or so far above the usual norm that it hardly ever acts."""
    clip = training.clip
    return isinstance(clip, Off) or (isinstance(clip, ByNorm) and clip.max_norm > LOOSE_CLIP_FACTOR * usual_norm)


def init_scale(model: ModelConfig) -> float:
    """Factor on the initial weights of a built-in model, that of the convolutions if it is farther from 1; else 1."""
    if not isinstance(model, NetworkSpec):
        return 1.0
    scales = (model.init_scale, model.init_scale * model.conv_scale)
    return max(scales, key=lambda scale: max(scale, 1 / scale))


def with_lr_factor(config: TrialConfig, factor: float) -> TrialConfig:
    """The configuration with its base learning rate times a factor."""
    optimizer = config.training.optimizer
    return _with(config, optimizer=optimizer.model_copy(update={"lr": optimizer.lr * factor}))


def _initial_weights(config: TrialConfig) -> tuple[bool, Change] | None:
    """The usual initial weights, and whether the training's own are near to them; None if they are the same."""
    scale = init_scale(config.model)
    if scale == 1.0:
        return None
    model = config.model.model_copy(update={"init_scale": 1.0, "conv_scale": 1.0})
    cause = Cause.INIT_TOO_LARGE if scale > 1.0 else Cause.INIT_TOO_SMALL
    change = Change("initial weights at scale 1", cause, config.model_copy(update={"model": model}), from_start=True)
    return max(scale, 1 / scale) <= USUAL_SCALE_FACTOR, change


def _with(config: TrialConfig, **parts: Spec) -> TrialConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=parts)})


def _round(value: float) -> float:
    return float(f"{value:.1g}")
