"""Whether there is anything to learn from a dataset, and to judge it by."""

import math
from collections.abc import Sequence

import numpy as np

from slr_models.ctc import constant_floor, uniform_loss
from slr_models.data.batch import Dataset
from slr_models.data.unseen import is_trained, unseen_glosses, unseen_targets
from sweep.training.config import TrialConfig
from sweep.wording import number

SMALLEST_L_CONST = 1e-3
"""Nats a label: verdicts are told by multiples of `L_const`, which below this come down to rounding."""


def output_lengths(config: TrialConfig, dataset: Dataset) -> tuple[int, ...]:
    """Output frames of the model for each training utterance."""
    return tuple(config.model.output_length(int(length)) for length in dataset.train.lengths)


def floors(lengths: Sequence[int], dataset: Dataset) -> tuple[float, float]:
    """`L_const` and `L_unif` of the training split, nats a label, for a model with these `output_lengths`."""
    split, size = dataset.train, len(dataset.vocabulary)
    targets = [split.target(i).tolist() for i in range(len(split))]
    return constant_floor(lengths, targets, size), uniform_loss(lengths, targets, size)


def nothing_to_learn(dataset: Dataset, l_const: float) -> str | None:
    """Why no training on a dataset can be judged, as a sentence that says what to do; None where nothing is wrong.

    Args:
        dataset: of any source.
        l_const: its zero-information loss, nats a label.
    """
    if math.isnan(l_const):
        return (
            "no training target can be aligned by CTC: all have more labels than the model has output frames; use a "
            "smaller stride, or correct the targets"
        )
    trained = np.flatnonzero(is_trained(dataset)).tolist()
    if len(trained) < 2:
        return (
            f"all training targets are made of one label, {dataset.vocabulary[trained[0]]!r}, so that there is nothing "
            f"to learn and nothing to judge a training by (L_const is {number(l_const)} nats a label); add utterances "
            f"with other labels, or correct how the labels are written"
        )
    if not l_const >= SMALLEST_L_CONST:
        return (
            f"the loss of learning nothing, L_const, is {number(l_const)} nats a label: the training targets are "
            f"nearly all the same, so that there is nothing to learn and nothing to judge a training by; add "
            f"utterances with other labels"
        )
    if unseen_glosses(dataset).num_labels == 0:
        return (
            "the clean-up of labels at evaluation leaves none in validation, so that there is no WER; let it leave some"
        )
    if unseen_targets(dataset).all():
        return (
            "every validation target holds a label that no training target holds, so that there is no validation "
            "loss; correct the spelling of labels, or train on more utterances"
        )
    return None
