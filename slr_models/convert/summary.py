"""What a conversion found, measured utterance by utterance.

Dimension legend: T frames, F features.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slr_models.convert.utterance import Utterance
from slr_models.data.columns import GroupSizes


@dataclass
class Measured:
    """The features of the utterances so far."""

    shape: tuple[int, ...] = ()
    """Of a frame."""
    groups: GroupSizes = ()
    is_holistic: bool = False
    frames: list[int] = field(default_factory=list)
    """Of each utterance."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Hand -> frames in which all of it is NaN or 0."""
    num_values: int = 0
    num_nan: int = 0

    def add(self, utterance: Utterance) -> None:
        """Counts one more."""
        values = utterance.values
        if not self.frames:
            self.shape, self.groups, self.is_holistic = values.shape[1:], utterance.groups, utterance.is_holistic
        self.frames.append(len(values))
        absent = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, dtype=bool)
        self.num_values += values.size
        self.num_nan += int(absent.sum())
        empty, start = (absent | (values == 0)).reshape(len(values), -1), 0
        for name, size in utterance.groups:
            if "hand" in name:
                self.unseen[name] += int(empty[:, start : start + size].all(axis=1).sum())
            start += size


@dataclass(frozen=True)
class Summary:
    """A conversion that is done."""

    out: Path
    utterances: dict[str, int]
    """By split, as the manifest calls it."""
    num_signers: int
    """0: the source names none."""
    num_labels: int
    """Different ones."""
    measured: Measured
    exclusions: dict[str, int]
    """Reason -> utterances left out."""
    num_untrained: int
    """Utterances to validate on with a label that none to train on has."""
    notes: tuple[str, ...]
    """What else a user should know."""

    @property
    def settings(self) -> dict[str, object]:
        """The `data` of a study that trains on the folder."""
        settings: dict[str, object] = {"kind": "landmarks", "path": str(self.out)}
        if self.num_untrained:
            settings["on_bad"] = "exclude"
        if self.measured.is_holistic:
            return {**settings, "points": "hands_pose"}
        if len(self.measured.groups) > 1:
            settings["groups"] = dict(self.measured.groups)
        if self.measured.num_nan:
            settings["missing"] = "zero"
        return settings
