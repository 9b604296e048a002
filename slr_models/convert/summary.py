"""What a conversion found, measured utterance by utterance.

Dimension legend: T frames, F features.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from slr_models.convert.utterance import Utterance
from slr_models.data.columns import GroupSizes, best_points
from slr_models.data.features_file import Block
from slr_models.data.layout import HOLISTIC
from slr_models.data.missing import mark_missing
from slr_models.data.recognition import recognize


@dataclass
class Measured:
    """The features of the utterances so far."""

    shape: tuple[int, ...] = ()
    """Of a frame."""
    groups: GroupSizes = ()
    """Parts of features that are no landmarks."""
    columns: tuple[str, ...] = ()
    """Names of landmark columns, as the source landmarks will read them."""
    frames: list[int] = field(default_factory=list)
    """Of each utterance."""
    unseen: Counter[str] = field(default_factory=Counter)
    """Hand -> frames in which it is not seen."""
    num_values: int = 0
    num_nan: int = 0

    def add(self, utterance: Utterance) -> None:
        """Counts one more."""
        values = np.asarray(utterance.values, dtype=np.float32)
        if not self.frames:
            found = (
                None if utterance.columns else recognize(values, HOLISTIC.sizes if utterance.is_holistic else (), False)
            )
            self.columns = found.columns if found else utterance.columns
            self.shape, self.groups = values.shape[1:], () if self.columns else utterance.groups
        self.frames.append(len(values))
        self.num_values += values.size
        self.num_nan += int(np.isnan(values).sum())
        if values.size and values[0].size == len(self.columns or values[0].ravel()):
            block = Block(values.reshape(len(values), -1), self.columns, self.groups, values.shape)
            for part in mark_missing(block, self.groups, equal_is_missing=True)[1]:
                if "hand" in part.name:
                    self.unseen[part.name] += part.frames - part.seen


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
            settings["unseen_glosses"] = "count_as_errors"
        if points := best_points(self.measured.columns):
            return {**settings, "points": points}
        if len(self.measured.groups) > 1:
            settings["groups"] = dict(self.measured.groups)
        if self.measured.num_nan:
            settings["missing"] = "zero"
        return settings
