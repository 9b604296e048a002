"""Datasets as flat arrays, and padded batches made from them.

Dimension legend: B batch, T input frames, F features, U labels of a target.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from slr_models.data.labels import LabelsConfig
from slr_models.data.storage import packed, unpacked

BLANK_TOKEN = "<blank>"
"""The vocabulary's entry 0. Labels are 1..V-1."""


@dataclass(frozen=True)
class FeatureGroup:
    """Columns `start:stop` of the features that belong together (a hand, the pose, ...)."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Split:
    """The utterances of one split, end to end in a few flat arrays.

    Flat arrays go through Ray's object store without a copy, so that all trials of a node read one instance; of
    features that are mapped from a file only the place goes there. The arrays may be read-only.
    """

    features: npt.NDArray[np.float32]
    """[sum of T, F], finite unless a study asks for bad samples."""
    offsets: npt.NDArray[np.int64]
    """[N + 1]: utterance i is `features[offsets[i]:offsets[i + 1]]`."""
    labels: npt.NDArray[np.int64]
    """[sum of U], each in 1..V-1."""
    label_offsets: npt.NDArray[np.int64]
    """[N + 1]: the target of utterance i is `labels[label_offsets[i]:label_offsets[i + 1]]`."""
    ids: tuple[str, ...]
    """A name an utterance, for messages and reports."""
    signers: tuple[str, ...]
    """Who signs, an entry an utterance ("" where unknown)."""

    def __len__(self) -> int:
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "features": packed(self.features)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "features": unpacked(state["features"])})

    @property
    def num_features(self) -> int:
        """Features a frame."""
        return int(self.features.shape[1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Frames of each utterance, [N]."""
        return np.diff(self.offsets)

    def utterance(self, index: int) -> npt.NDArray[np.float32]:
        """Features of one utterance, [T, F] (a view)."""
        return self.features[self.offsets[index] : self.offsets[index + 1]]

    def target(self, index: int) -> npt.NDArray[np.int64]:
        """Labels of one utterance, [U] (a view)."""
        return self.labels[self.label_offsets[index] : self.label_offsets[index + 1]]

    @staticmethod
    def from_utterances(
        features: Sequence[npt.NDArray[np.float32]],
        targets: Sequence[Sequence[int]],
        ids: Sequence[str],
        signers: Sequence[str],
        num_features: int,
    ) -> "Split":
        """Joins utterances ([T, F] each) and targets; an empty split is allowed."""
        blocks = [np.asarray(block, dtype=np.float32) for block in features]
        flat = np.concatenate(blocks) if blocks else np.zeros((0, num_features), dtype=np.float32)
        return Split(
            features=flat,
            offsets=offsets_of([len(block) for block in blocks]),
            labels=np.asarray([label for target in targets for label in target], dtype=np.int64),
            label_offsets=offsets_of([len(target) for target in targets]),
            ids=tuple(ids),
            signers=tuple(signers),
        )


def offsets_of(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where each of some stretches begins that lie end to end, and where the last one ends, [N + 1]."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


@dataclass(frozen=True)
class PartSeen:
    """How often an extractor saw a part of the body."""

    name: str
    frames_seen: int
    frames: int
    """In all, of both splits."""
    frames_equal: int
    """Of those not seen, frames in which all of its points lay in one place (zeros, say)."""
    never: tuple[str, ...]
    """Ids of utterances in which it is never seen."""

    @property
    def text(self) -> str:
        """One sentence, in numbers."""
        share = f"{self.frames_seen / self.frames:.0%}" if self.frames else "0%"
        if self.frames_seen < self.frames and share == "100%":
            share = "nearly all"
        text = f"{self.name.replace('_', ' ')} seen in {share} of the frames"
        if self.frames_equal:
            text += f" ({self.frames_equal} frames with all of its points in one place count as not seen)"
        if self.never:
            few = ", ".join(self.never[:3]) + (", ..." if len(self.never) > 3 else "")
            text += f"; in {len(self.never)} utterance{'s' if len(self.never) > 1 else ''} never ({few})"
        return text


@dataclass(frozen=True)
class DataFacts:
    """What a reader of the report has to know of the data."""

    source: str
    """One line: which data, from where."""
    valid_measures: str
    """One sentence: what the validation split measures, and what it does not."""
    frame_rate_hz: float | None = None
    exclusions: dict[str, int] = field(default_factory=dict)
    """Reason -> number of utterances left out because of it."""
    possible_points: str = ""
    """Of raw landmark coordinates: the setting `points` that would place and scale them."""
    parts: tuple[PartSeen, ...] = ()
    """Of landmarks: how often each part was seen; empty where the source does not tell."""
    notes: tuple[str, ...] = ()
    """Anything else that limits what the results mean."""


@dataclass(frozen=True)
class Dataset:
    """Training and validation split with their vocabulary."""

    train: Split
    valid: Split
    vocabulary: tuple[str, ...]
    """V entries; entry 0 is the blank. Some may occur in validation alone: see `slr_models.data.unseen`."""
    groups: tuple[FeatureGroup, ...]
    """A partition of the feature columns, in order."""
    facts: DataFacts
    clean_up: LabelsConfig | None = None
    """Of references and hypotheses before their errors are counted; None: they are compared as they are."""

    @property
    def num_features(self) -> int:
        """Features a frame."""
        return self.train.num_features
