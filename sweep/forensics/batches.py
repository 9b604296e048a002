"""Which utterances a step trained on, and what is wrong with them: facts that need no training."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from slr_models.data.batch import Dataset, Split
from slr_models.data.feasibility import num_outputs_needed
from sweep.records import FirstNonfinite, Place
from sweep.training.config import TrialConfig
from sweep.training.optim import Constant
from sweep.training.precision import Fp32
from sweep.training.train import Training, infeasible_targets
from sweep.wording import number

OUTLIER_FACTOR = 100.0
"""Largest value of an utterance over the median of the largest values of all, from which it counts as out of scale."""


@dataclass(frozen=True)
class InfeasibleTarget:
    """A target that is longer than CTC can align."""

    utterance: str
    needed: int
    """Output frames: labels and blanks between repeats."""
    available: int
    """Output frames that the model gives."""

    def __str__(self) -> str:
        return f"utterance {self.utterance} (needs {self.needed} output frames, has {self.available})"


@dataclass(frozen=True)
class FeatureOutlier:
    """An utterance whose features are on another scale than the others'."""

    utterance: str
    absmax: float
    usual_absmax: float
    """Median over the utterances."""

    def __str__(self) -> str:
        return f"utterance {self.utterance} (up to {number(self.absmax)}, usually {number(self.usual_absmax)})"


@dataclass(frozen=True)
class DataFaults:
    """What is wrong in a training split, by position of the utterance."""

    nonfinite: dict[int, str]
    """Where the first bad value is, in words."""
    infeasible: dict[int, InfeasibleTarget]
    outliers: dict[int, FeatureOutlier]

    @staticmethod
    def of(config: TrialConfig, dataset: Dataset) -> "DataFaults":
        """Looks at every utterance of the training split once."""
        split = dataset.train
        finite_N, absmax_N = _ranges(split)
        nonfinite = {int(i): describe_bad_feature(split, int(i)) for i in np.flatnonzero(~finite_N)}
        infeasible = {
            int(i): InfeasibleTarget(
                split.ids[i],
                num_outputs_needed(split.target(int(i)).tolist()),
                config.model.output_length(len(split.utterance(int(i)))),
            )
            for i in np.flatnonzero(infeasible_targets(config.model, split))
        }
        usual = statistics.median(absmax_N[finite_N].tolist()) if finite_N.any() else math.nan
        outliers = {
            int(i): FeatureOutlier(split.ids[i], float(absmax_N[i]), usual)
            for i in np.flatnonzero(finite_N & (absmax_N > OUTLIER_FACTOR * usual))
        }
        return DataFaults(nonfinite, infeasible, outliers)


def batches_of_steps(config: TrialConfig, dataset: Dataset, seed: int, steps: Sequence[int]) -> dict[int, list[int]]:
    """Positions of the utterances of some steps (1-based) of a training, which is not run."""
    # Neither part has a say in the order of the data, but each may refuse to be built here.
    plain = config.training.model_copy(update={"precision": Fp32(), "schedule": Constant()})
    training = Training(
        config.model_copy(update={"training": plain}), dataset, seed=seed, max_steps=1, device=torch.device("cpu")
    )
    positions = {}
    for step in steps:
        training.step = step - 1
        positions[step] = [i for batch in training.next_batches() for i in batch]
    return positions


def first_bad_feature(split: Split, batches: Sequence[Sequence[int]], step: int) -> FirstNonfinite | None:
    """The first utterance of these micro-batches with a NaN or infinite feature."""
    for index in (i for batch in batches for i in batch):
        values_TF = split.utterance(index)
        finite_TF = np.isfinite(values_TF)
        if not finite_TF.all():
            return FirstNonfinite(
                place=Place.FEATURES,
                step=step,
                operation="",
                path=split.ids[index],
                dtype=str(values_TF.dtype),
                input_absmax=math.nan,
                output_absmax=float(np.abs(values_TF[finite_TF]).max()) if finite_TF.any() else math.nan,
                num_nan=int(np.isnan(values_TF).sum()),
                num_inf=int(np.isinf(values_TF).sum()),
            )
    return None


def describe_bad_feature(split: Split, index: int) -> str:
    """Which value of an utterance is the first that is not finite; frames and features count from 0."""
    values_TF = split.utterance(index)
    frame, feature = (int(k) for k in np.argwhere(~np.isfinite(values_TF))[0])
    what = "NaN" if np.isnan(values_TF[frame, feature]) else "an infinity"
    return f"{what} in the features of utterance {split.ids[index]} (frame {frame}, feature {feature})"


def _ranges(split: Split) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Whether each utterance is finite, and its largest absolute value, [N] each."""
    # Row by row: the absolute values of all features would be a second copy of the data.
    absmax_T = np.maximum(split.features.max(axis=1), -split.features.min(axis=1))
    absmax_N = np.maximum.reduceat(absmax_T, split.offsets[:-1]).astype(np.float32)
    return np.isfinite(absmax_N), absmax_N
