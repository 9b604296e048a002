"""Trainings of other studies that the model of a boundary learns from as well, as far as they agree with its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweep.boundary.encoding import Encoding, Floats
from sweep.space import Scalar


@dataclass(frozen=True)
class Prior:
    """N trainings of S other studies.

    Which study a training is of is a feature like a category's: what the studies share is learned by all, and how much
    that is, by how far they agree where both were trained.
    """

    settings: Sequence[Mapping[str, Scalar | None]]
    margins: Sequence[float]
    """In [-1, 1], finite; negative = stable."""
    sources: Sequence[int]
    """Of which study each is, from 1 on."""

    @property
    def num_sources(self) -> int:
        """Studies, S."""
        return max(self.sources, default=0)

    def features(self, encoding: Encoding) -> Floats:
        """As a model takes them, [N, F + S + 1]: the features of the settings, then those of the study."""
        return self.as_of(encoding.encode(self.settings), self.sources)

    def as_of(self, features: Floats, sources: Sequence[int]) -> Floats:
        """Features [M, F] as those of trainings of some studies, [M, F + S + 1]; study 0 is the model's own."""
        # Two studies are one range apart.
        levels = np.sqrt(0.5) * (np.array(sources, dtype=int)[:, None] == np.arange(self.num_sources + 1))
        return np.hstack([features, levels])


NONE = Prior((), (), ())
"""No other study."""
