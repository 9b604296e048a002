"""Made-up sequences: every label is a random prototype vector that is held for a few frames, with noise.

A small CTC model learns the default within about a hundred steps. Bad samples can be mixed into the training
split in an exact share, to see what they do to a training.
"""

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from slr_models.data.batch import BLANK_TOKEN, DataFacts, Dataset, FeatureGroup, Split
from slr_models.data.feasibility import min_frames
from slr_models.data.layout import Floats
from slr_models.memory import check_memory
from slr_models.spec import Spec

_TRAIN, _VALID, _PROTOTYPES = range(3)
_REST_FRAMES = 2


class SyntheticConfig(Spec):
    """Sequences of noisy class prototypes."""

    kind: Literal["synthetic"] = "synthetic"
    """Selects this source."""
    vocabulary_size: int = Field(default=12, ge=1, le=100_000)
    """Labels, without the blank."""
    num_features: int = Field(default=24, ge=1, le=100_000)
    """Features a frame."""
    num_train: int = Field(default=256, ge=1, le=1_000_000)
    """Training utterances."""
    num_valid: int = Field(default=48, ge=1, le=1_000_000)
    """Validation utterances."""
    min_labels: int = Field(default=2, ge=1, le=10_000)
    """Fewest labels of an utterance."""
    max_labels: int = Field(default=5, ge=1, le=10_000)
    """Most labels of an utterance."""
    frames_per_label: int = Field(default=12, ge=1, le=10_000)
    """Mean frames that a label is held; each one varies by up to a quarter either way."""
    noise: float = Field(default=0.3, ge=0, le=1e6)
    """Standard deviation of the noise; prototypes have unit variance."""
    frames_per_output: int = Field(default=4, ge=1, le=1000)
    """Input frames an output frame of the model; decides which targets CTC can align."""
    infeasible_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of training utterances shortened to one frame less than CTC needs; [0, 1]."""
    nan_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of training utterances with one frame of NaN; [0, 1]."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random here."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min_labels > self.max_labels:
            raise ValueError(f"min_labels ({self.min_labels}) must not exceed max_labels ({self.max_labels})")
        if self.infeasible_rate > 0 and self.min_labels < 2:
            raise ValueError(
                "infeasible_rate > 0 needs min_labels >= 2: a single label is feasible in any number of frames"
            )
        return self

    def build(self) -> Dataset:
        """Draws both splits; the validation split is always clean.

        Raises:
            UserError: they would fill the memory.
        """
        frames = (self.min_labels + self.max_labels) / 2 * self.frames_per_label
        num_bytes = 4.0 * ((self.num_train + self.num_valid) * frames + self.vocabulary_size * 2) * self.num_features
        advice = "lower num_train, max_labels, frames_per_label or num_features"
        check_memory(num_bytes, f"{self.num_train} made-up utterances", advice)
        prototypes = np.random.default_rng((self.seed, _PROTOTYPES)).standard_normal(
            (self.vocabulary_size + 1, self.num_features)
        )
        num_infeasible = round(self.num_train * self.infeasible_rate)
        num_nan = round(self.num_train * self.nan_rate)
        train = self._split(prototypes, _TRAIN, self.num_train, num_infeasible, num_nan)
        valid = self._split(prototypes, _VALID, self.num_valid, 0, 0)
        notes = []
        if num_infeasible:
            notes.append(f"{num_infeasible} of {self.num_train} training targets are infeasible on purpose")
        if num_nan:
            notes.append(f"{num_nan} of {self.num_train} training utterances hold NaN on purpose")
        return Dataset(
            train=train,
            valid=valid,
            vocabulary=(BLANK_TOKEN, *(f"w{i}" for i in range(1, self.vocabulary_size + 1))),
            groups=(FeatureGroup("features", 0, self.num_features),),
            facts=DataFacts(
                source=f"synthetic: {self.vocabulary_size} noisy class prototypes, seed {self.seed}",
                valid_measures="New random sequences of the same prototypes with new noise: "
                "whether the training works at all, nothing about signs.",
                notes=tuple(notes),
            ),
        )

    def _split(
        self, prototypes: npt.NDArray[np.float64], stream: int, size: int, num_infeasible: int, num_nan: int
    ) -> Split:
        chosen = np.random.default_rng((self.seed, stream, size))
        infeasible = set(chosen.permutation(size)[:num_infeasible].tolist())
        with_nan = set(chosen.permutation(size)[:num_nan].tolist())
        blocks: list[Floats] = []
        targets: list[list[int]] = []
        for index in range(size):
            rng = np.random.default_rng((self.seed, stream, index, 1))
            labels = [
                int(label)
                for label in rng.integers(
                    1, self.vocabulary_size + 1, size=rng.integers(self.min_labels, self.max_labels + 1)
                )
            ]
            held = np.maximum(1, np.rint(self.frames_per_label * rng.uniform(0.75, 1.25, len(labels)))).astype(int)
            order, lengths = _timeline(labels, held.tolist())
            clean = np.repeat(prototypes[order], lengths, axis=0)
            noisy = (clean + self.noise * rng.standard_normal(clean.shape)).astype(np.float32)
            block = self._fit(noisy, labels, index in infeasible)
            if index in with_nan:
                block[rng.integers(len(block))] = np.nan
            blocks.append(block)
            targets.append(labels)
        name = ("train", "valid")[stream]
        ids = [f"{name}-{index}" for index in range(size)]
        return Split.from_utterances(blocks, targets, ids, [""] * size, self.num_features)

    def _fit(self, block: Floats, labels: list[int], infeasible: bool) -> Floats:
        """Brings the length to where CTC can (or, if asked for, just cannot) align the labels."""
        needed = min_frames(labels, self.frames_per_output)
        length = min(len(block), needed - 1) if infeasible else max(len(block), needed)
        if length == len(block):
            return block
        kept: Floats = block[np.linspace(0, len(block) - 1, length).astype(int)]
        return kept


def _timeline(labels: list[int], held: list[int]) -> tuple[list[int], list[int]]:
    """Prototypes and their frames: rest (0) at both ends, and between equal labels, which would merge otherwise."""
    order, lengths = [0], [_REST_FRAMES]
    for label, frames in zip(labels, held, strict=True):
        if label == order[-1]:
            order.append(0)
            lengths.append(_REST_FRAMES)
        order.append(label)
        lengths.append(frames)
    return [*order, 0], [*lengths, _REST_FRAMES]
