"""The text of a study of our own loop: each setting with the reason for it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.init.ramps import COVERAGE, HIGHEST, LOWEST, MARGIN, RangeTest, rounded_down, rounded_up
from sweep.init.writing import comment, inline, number, step_text
from sweep.training.config import TrialConfig
from sweep.wording import duration, percent, plural

USUAL_RATES = (1e-5, 1.0)
"""Learning rates where none were measured."""
USUAL_CLIPS = (0.1, 10.0)


@dataclass(frozen=True)
class Measured:
    """What was read and measured before a study was proposed."""

    read: str
    notes: Sequence[str]
    exclusions: Mapping[str, int]
    machine: str
    lanes: int
    """Trainings at a time."""
    step_s: float
    total_s: float
    """Of the whole study."""
    test: RangeTest | None
    """None where the rates were not measured."""


def study_text(
    name: str,
    data: Mapping[str, Any],
    config: TrialConfig,
    measured: Measured,
    *,
    trials: int,
    steps: int,
    on_gpu: bool,
) -> str:
    """The study file.

    Args:
        name: of the study.
        data: the settings of its data.
        config: model and training.
        measured: what the comments tell.
        trials: of the exploration.
        steps: of a training.
        on_gpu: whether it trains on a GPU.
    """
    paragraphs = [
        _head(name, measured),
        f"name: {inline(name)}\n"
        f"description: {inline(f'Learning rate, clip norm and initial scale of a CNN + BiLSTM on {name}.')}",
        _data(data, measured),
        _model(config, on_gpu),
        _training(config, measured, steps),
        _space(measured.test, steps, on_gpu),
        _budget(measured, trials, steps, on_gpu),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _head(name: str, measured: Measured) -> str:
    return "\n".join(
        (
            comment(f"Where does a training on {name} go well, and why does it fail elsewhere?"),
            comment(
                f"About {duration(measured.total_s)} on this machine, as measured when `slr-sweep init` wrote this. "
                f"A start to be edited: every choice has its reason beside it. `slr-sweep check` looks at the data, "
                f"`slr-sweep run --dry-run` tells the plan."
            ),
        )
    )


def _data(data: Mapping[str, Any], measured: Measured) -> str:
    lines = [comment(f"Read: {measured.read}.")]
    if measured.exclusions:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in measured.exclusions.items())
        lines.append(
            comment(f"Left out ({reasons}): `on_bad: error` ends at the first of them and says what is wrong.")
        )
    if data.get("missing") == "zero":
        lines.append(comment("NaN stands in the features: taken for landmarks that were not found, and 0."))
    if "points" in data:
        lines.append(
            comment(
                "The files hold landmarks: `points` places and scales them by the signer's body, `velocity` adds how "
                "they move (both lower the WER in docs/data.md)."
            )
        )
    lines += [comment(f"Note: {note.rstrip('.')}.") for note in measured.notes]
    return "\n".join((*lines, f"data: {inline({'kind': 'landmarks', 'path': data['path'], **data})}"))


def _model(config: TrialConfig, on_gpu: bool) -> str:
    why = (
        "The field's usual network at full size."
        if on_gpu
        else "The field's usual network, at a width that this machine's cores can sweep; width 1 is the full size."
    )
    return "\n".join(
        (
            comment(f"{why} Others: teacher (Inception + attention), baseline (MobileNetV3), a custom one of yours."),
            f"model: {inline({'kind': config.model.kind, 'width': getattr(config.model, 'width', 1.0)})}",
        )
    )


def _training(config: TrialConfig, measured: Measured, steps: int) -> str:
    training = config.training
    every = max(1, steps // 10)
    lines = [
        "training:",
        "  optimizer: {kind: adamw, weight_decay: 0.01}",
        f"  schedule: {{kind: cosine, warmup_steps: {max(1, steps // 20)}}}",
        f"  # {step_text(measured.step_s)} a step, the median of those that were trained here.",
        "  # At most sixteen utterances, and at least eight updates a pass over the data.",
        f"  batch_size: {training.batch_size}",
    ]
    if training.length_window > 1:
        lines += [
            "  # Utterances differ in length: batches of similar ones have less padding.",
            f"  length_window: {training.length_window}",
        ]
    return "\n".join((*lines, f"  eval_every_steps: {every}"))


def _space(test: RangeTest | None, steps: int, on_gpu: bool) -> str:
    rates = (test.to_search(steps) if test is not None else None) or USUAL_RATES
    lines = [*_rate_comment(test, steps), "space:", f"  training.optimizer.lr: {inline({'loguniform': list(rates)})}"]
    clips = USUAL_CLIPS
    if test is not None and math.isfinite(test.grad_norm) and test.grad_norm > 0:
        norm = test.grad_norm
        clips = (rounded_down(norm / 10), rounded_up(norm * 10))
        where = "where those rates learn" if test.learns is not None else "on the ramps"
        lines.append(
            f"  # Gradient norms were {number(float(f'{norm:.2g}'))} {where}: from a tenth to ten times of that."
        )
    lines += [
        f"  training.clip.max_norm: {inline({'loguniform': list(clips)})}",
        "  # Factor on all first weights.",
        "  model.init_scale: {loguniform: [0.25, 4]}",
    ]
    precision = "  training.precision.kind: {choice: [fp32, bf16, fp16]}"
    if on_gpu:
        lines.append(precision)
    else:
        lines += [
            "  # On a CPU half precision is emulated, and takes longer; to ask whether it costs stability:",
            f"  #{precision[1:]}",
        ]
    return "\n".join(lines)


def _rate_comment(test: RangeTest | None, steps: int) -> Iterator[str]:
    if test is None:
        yield comment("The learning rates were not measured (--no-ramp): five decades.")
        return
    num, forked = len(test.ramps), sum(ramp.is_forked for ramp in test.ramps)
    rise = f"the rate rose from {number(LOWEST)} to {number(HIGHEST)} within {test.steps} steps"
    kinds = f"{num - forked} from fresh weights of other seeds, {forked} forked from a training under way"
    yield comment(f"Learning rates were measured on {plural(num, 'ramp')} ({kinds}), in which {rise}.")
    learns, breaks = test.learns, test.breaks
    if learns is None:
        yield comment("Too few of them show where learning begins (more --seconds train more): five decades.")
        return
    within = f"with a probability of {percent(COVERAGE)} a further ramp lies within"
    yield comment(
        f"Learning begins at {_told(learns.low)} to {_told(learns.high)} ({within}; {learns.seen} of {learns.ramps})."
    )
    if breaks is None:
        yield comment(f"Too few of them break up to {number(HIGHEST)} to tell where.")
        above = "to the end of the ramps"
    else:
        yield comment(
            f"Training breaks at {_told(breaks.low)} to {_told(breaks.high)} ({breaks.seen} of {breaks.ramps})."
        )
        above = f"to {number(MARGIN)} times the upper end of the second"
    yield comment(
        f"A ramp holds each rate for a moment; {steps} steps move the weights as far at a {test.slower(steps):.0f}th "
        f"of its rate. So the range goes from {number(MARGIN)} times below that share of the first interval {above}."
    )


def rates_line(test: RangeTest) -> str:
    """What the ramps showed, in a sentence."""
    told = f"{plural(len(test.ramps), 'ramp')} of {test.steps} steps"
    if test.learns is None:
        return f"{told}: too few show where learning begins"
    learns = f"learning begins at {_told(test.learns.low)} to {_told(test.learns.high)}"
    if test.breaks is None:
        return f"{told}: {learns}; too few break up to {number(HIGHEST)} to tell where"
    return f"{told}: {learns}, training breaks at {_told(test.breaks.low)} to {_told(test.breaks.high)}"


def _told(rate: float) -> str:
    return number(float(f"{rate:.2g}"))


def _budget(measured: Measured, trials: int, steps: int, on_gpu: bool) -> str:
    at_once = plural(measured.lanes, "training")
    return "\n".join(
        (
            comment(
                f"{trials} trainings of {steps} steps, sixteen for each dimension, and six that confirm: about "
                f"{duration(measured.total_s)} with {at_once} at a time, if each ran to its end."
            ),
            f"budget: {{trials: {trials}, steps: {steps}}}",
            comment(f"This machine has {measured.machine}."),
            "resources: {cpus: 1, gpus: auto}" if on_gpu else "resources: {cpus: 1}",
        )
    )
