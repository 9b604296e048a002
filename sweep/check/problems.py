"""What is wrong with a dataset for a study's training: one function a kind of problem, each with its rank."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from slr_models.data.batch import Dataset, Split
from slr_models.data.feasibility import num_outputs_needed
from slr_models.data.inspection import Duplicates, Inspection, NonfiniteUtterance, ScaleOutlier, UtteranceName
from sweep.check.labels import label_problems
from sweep.check.landmark_problems import landmark_problems
from sweep.check.reading import Problem, SourceReading
from sweep.training.config import TrialConfig
from sweep.training.learnable import nothing_to_learn
from sweep.training.precision import Fp16, Fp16Unscaled, PrecisionConfig
from sweep.training.telemetry import HALF_MAX
from sweep.training.train import infeasible_targets
from sweep.wording import number, plural


def problems_of(
    found: Inspection,
    config: TrialConfig,
    precisions: Sequence[PrecisionConfig],
    source: SourceReading,
    l_const: float,
) -> Iterator[Problem]:
    """All problems that need no training.

    Args:
        found: what the dataset shows by itself.
        config: the model, and how it is trained.
        precisions: every number format of the study.
        source: what was inspected, and its scale as the files have it.
        l_const: zero-information loss of the training targets.
    """
    dataset = source.dataset
    yield from _feasibility(config, dataset)
    if (reason := nothing_to_learn(dataset, l_const)) is not None:
        yield Problem("error", "nothing to learn", reason)
    yield from _nonfinite(found.nonfinite, config, dataset)
    yield from _constant(found, source)
    yield from landmark_problems(found, source)
    yield from _scale(found, source, precisions)
    yield from _utterance_problems(found)
    yield from label_problems(found, source)
    if not source.is_memory:
        yield from _leaked(found.leaked)
    yield from _repeated(found.repeated)


def _feasibility(config: TrialConfig, dataset: Dataset) -> Iterator[Problem]:
    for name, split in (("training", dataset.train), ("validation", dataset.valid)):
        bad = np.flatnonzero(infeasible_targets(config.model, split)).tolist()
        if not bad:
            continue
        items = tuple(
            f"{split.ids[i]}: {config.model.output_length(int(split.lengths[i]))} output frames, needs "
            f"{num_outputs_needed(split.target(i).tolist())}"
            for i in bad
        )
        effect = _spoiled(len(bad), config, split) if name == "training" else "they count in the WER alone"
        yield Problem(
            "error" if name == "training" else "warning",
            "infeasible targets",
            f"{len(bad)} of {len(split)} {name} targets are longer than CTC can align with the model's output "
            f"(U + repeats > output frames): their loss is infinite; {effect}. Leave them out, or use a smaller stride",
            items,
        )


def _spoiled(number: int, config: TrialConfig, split: Split) -> str:
    update = config.training.batch_size * config.training.accumulate
    share = 1 - (1 - number / len(split)) ** update
    return f"about {share:.0%} of the updates (of {update} utterances) hold one and cannot be applied"


def _nonfinite(found: Sequence[NonfiniteUtterance], config: TrialConfig, dataset: Dataset) -> Iterator[Problem]:
    for name, split in (("train", dataset.train), ("valid", dataset.valid)):
        bad = [utterance for utterance in found if utterance.split == name]
        if not bad:
            continue
        effect = _spoiled(len(bad), config, split) if name == "train" else "the validation loss is NaN with them"
        yield Problem(
            "error",
            "non-finite features",
            f"{len(bad)} of {len(split)} utterances of {name} hold NaN or infinite features; {effect}. "
            f"Correct their extraction, or leave them out",
            tuple(_describe_nonfinite(utterance) for utterance in bad),
        )


def _describe_nonfinite(utterance: NonfiniteUtterance) -> str:
    kinds = [f"{n} {kind}" for n, kind in ((utterance.num_nan, "NaN"), (utterance.num_inf, "inf")) if n]
    names = utterance.features
    features = ", ".join(names[:3]) + (f" and {len(names) - 3} more features" if len(names) > 3 else "")
    frames = (
        f"frame {utterance.first_frame}"
        if utterance.first_frame == utterance.last_frame
        else f"frames {utterance.first_frame} to {utterance.last_frame}"
    )
    return f"{utterance.id}: {' and '.join(kinds)} in {features}, {frames}"


def _constant(found: Inspection, source: SourceReading) -> Iterator[Problem]:
    names = found.constant_features
    if len(names) == source.dataset.num_features:
        yield Problem("error", "constant features", "no feature varies in training: there is nothing to learn from")
        return
    # Of a part that is never seen it is told as such.
    unseen = {part.name for part in source.dataset.facts.parts if not part.frames_seen}
    names = tuple(name for name in names if name.partition("[")[0] not in unseen)
    if names and not source.is_made:
        text = f"{len(names)} of {source.dataset.num_features} features never vary in training: they say nothing, "
        yield Problem("warning", "constant features", text + "leave them out when you extract", names)


def _scale(found: Inspection, source: SourceReading, precisions: Sequence[PrecisionConfig]) -> Iterator[Problem]:
    if found.absmax > HALF_MAX and any(isinstance(p, Fp16 | Fp16Unscaled) for p in precisions):
        text = f"the largest feature is {number(found.absmax)}, and fp16 holds {HALF_MAX:g} at most; scale the features"
        yield Problem("error", "features too large for fp16", text)
    # Standardization hides how large a wild utterance is, so that its raw values tell more.
    told = {outlier.name for outlier in source.raw_outliers} | {
        name.id for name in found.still if name.split == "train"
    }
    utterances = [_describe_outlier(outlier, "in the files") for outlier in source.raw_outliers]
    others = [outlier for outlier in found.utterance_outliers if outlier.name not in told]
    utterances += [_describe_outlier(outlier, source.feature_values) for outlier in others]
    # What is made of landmarks here has the scale that it was given.
    wide = () if source.is_made else found.feature_outliers
    features = [_describe_outlier(outlier, source.feature_values) for outlier in wide]
    for what, items in (("training utterance", utterances), ("feature", features)):
        if items:
            text = (
                f"{plural(len(items), what)} far out of the scale of the others: faulty units or extraction, or "
                f"features that want standardizing"
            )
            yield Problem("warning", f"scale outliers ({what}s)", text, tuple(items))


def _describe_outlier(outlier: ScaleOutlier, values: str) -> str:
    return (
        f"{outlier.name}: largest absolute value {number(outlier.absmax)}, "
        f"{number(outlier.absmax / outlier.usual)} times the usual {number(outlier.usual)} "
        f"(robust z {outlier.z:+.1f}; {values})"
    )


def _utterance_problems(found: Inspection) -> Iterator[Problem]:
    """What is odd in single utterances that training takes without complaint."""
    for kind, affected, noun, text in (
        (
            "utterances without change",
            found.still,
            "utterance",
            "with features that never change over time (all zero, or one frame repeated): nothing can be read from "
            "them; extract them again, or leave them out",
        ),
        (
            "utterances of a single frame",
            found.single_frames,
            "utterance",
            "of a single frame: there is no movement in them; extract them again, or leave them out",
        ),
        (
            "duplicated ids",
            found.repeated_ids,
            "id",
            "of more than one utterance of a split: reports cannot tell them apart; give each its own id",
        ),
    ):
        if affected:
            what = f"{plural(len(affected), noun)} {text}"
            yield Problem("warning", kind, what, tuple(_describe_name(name) for name in affected))


def _describe_name(name: UtteranceName) -> str:
    return f"{name.id} ({name.split})"


def _leaked(leaked: Duplicates) -> Iterator[Problem]:
    if leaked.pairs:
        text = (
            f"{plural(len(leaked.pairs), 'validation utterance')} with the features of a training utterance: "
            f"the WER measures memory there; remove them from one split"
        )
        yield Problem("warning", "validation data in training", text, _describe_pairs(leaked))


def _repeated(repeated: Duplicates) -> Iterator[Problem]:
    if repeated.num_other_target:
        text = (
            f"{plural(repeated.num_other_target, 'training utterance')} with another one's features and another target"
        )
        yield Problem("warning", "contradicting targets", text, _describe_pairs(repeated))
    elif repeated.pairs:
        text = f"{plural(len(repeated.pairs), 'training utterance')} with the features and the target of another one"
        yield Problem("warning", "repeated utterances", text, _describe_pairs(repeated))


def _describe_pairs(duplicates: Duplicates) -> tuple[str, ...]:
    return tuple(f"{first} = {second}" for first, second in duplicates.pairs)


def calibration_problems(largest: float) -> list[Problem]:
    """What the largest gradient at the start means for loss scales."""
    if math.isfinite(largest) and largest <= HALF_MAX:
        return []
    text = (
        "fp16 gradients of the model at its start overflow even at a loss scale of 1: "
        "lower the initial weights, or scale the features"
    )
    return [Problem("warning", "no usable loss scale", text)]
