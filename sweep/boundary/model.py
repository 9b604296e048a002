"""How far a setting is from instability, and how likely it is to train stably, learned from finished trainings.

A Gaussian process on the margin of trainings, `sweep.objective.margin`: negative = stable. What it learns is
two-sided by nature: too hot diverges, too cold stalls, and both have a positive margin.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from sweep.boundary.calibration import ChanceCurve
from sweep.boundary.encoding import Encoding, Floats, edge_path
from sweep.boundary.lessons import lessons
from sweep.boundary.prior import NONE, Prior
from sweep.boundary.process import Process
from sweep.space import Scalar, Space

MIN_ROWS = 4
"""Fewer trainings say nothing about a boundary."""

MIN_OWN = 8
"""So many trainings of a study's own, good and bad, say how sure to be of what it has learned from others as well."""
_POWER, _FAR = 0.7, 0.3
"""Power of margins on the model's scale, and the margin beyond which all are alike: how far off a training was that
stopped at once, or learned all there is, says nothing of where the edge lies (docs/LOG.md)."""
_TAILS = 3.0
"""Degrees of freedom of the noise: a seed that fails amid others that do well says little about where the edge lies."""


class MarginModel:
    """The fitted model. Two settings with equal features are the same setting under other seeds."""

    def __init__(
        self,
        encoding: Encoding,
        settings: Sequence[Mapping[str, Scalar | None]],
        margins: Sequence[float],
        *,
        like: "MarginModel | None" = None,
        prior: Prior = NONE,
    ) -> None:
        """Fits N trainings.

        Args:
            encoding: of the space.
            settings: of each training.
            margins: in [-1, 1], finite; negative = stable.
            like: a model of the same space and prior whose length scales, amplitudes and noise to take.
            prior: trainings of other studies.

        Raises:
            ValueError: fewer than MIN_ROWS trainings, those of other studies included.
        """
        if (num := len(settings) + len(prior.settings)) < MIN_ROWS:
            raise ValueError(f"a margin model needs at least {MIN_ROWS} trainings, got {num}")
        self.encoding = encoding
        margin = np.asarray([*margins, *prior.margins], dtype=float)
        self._num_own = len(settings)
        self._stable = margin < 0
        self._prior = prior
        features = self._of_this_study(encoding.encode(settings))
        if prior.settings:
            features = np.concatenate([features, prior.features(encoding)])
        fitted = None if like is None else like._process
        parts = _parts(encoding, features.shape[1])
        self._trained = Process(features, spread(margin), parts=parts, tails=_TAILS, fitted=fitted)
        self._process: Process = self._trained
        """Of what was trained; of `believing` also of what is taken to be."""

    @classmethod
    def fit(
        cls, space: Space, settings: Sequence[Mapping[str, Scalar | None]], margins: Sequence[float]
    ) -> "MarginModel":
        """As the constructor, for a space."""
        return cls(Encoding(space), settings, margins)

    def predict(self, settings: Sequence[Mapping[str, Scalar | None]]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noise-free margin of M settings, on the model's own scale, [M] each.

        The scale keeps the sign: negative = stable.
        """
        return self.predict_features(self.encoding.encode(settings))

    def predict_features(self, features: Floats) -> tuple[Floats, Floats]:
        """As `predict`, for features [M, F]."""
        return self._process.predict(self._of_this_study(features))

    def believing(self, pending: Sequence[Mapping[str, Scalar | None]]) -> "MarginModel":
        """The model as if some settings had been trained and come out at their mean: only its uncertainty changes.

        How sure chances are follows from what was trained all the same.
        """
        believed = copy.copy(self)
        believed._process = self._process.believing(self._of_this_study(self.encoding.encode(pending)))
        return believed

    def lessons(self, candidates: Floats, points: Floats) -> Floats:
        """How much a training of each of M candidates [M, F] is expected to teach about the boundary at P points [P, F]
        (`sweep.boundary.lessons`), [M]."""
        return lessons(self._process, self._of_this_study(candidates), self._of_this_study(points))

    def p_stable(self, settings: Sequence[Mapping[str, Scalar | None]]) -> Floats:
        """Calibrated probability that a training of each setting with a fresh seed is stable, [M].

        N trainings cannot justify more than Laplace's (N + 1) / (N + 2), nor less than its complement, however sure
        the process is.
        """
        return self.p_stable_features(self.encoding.encode(settings))

    def p_stable_features(self, features: Floats) -> Floats:
        """As `p_stable`, for features [M, F]."""
        return self._probability(self._scores(features))

    def least_p_stable(self, settings: Sequence[Mapping[str, Scalar | None]], credibility: float) -> Floats:
        """What P(stable) of each setting is at least, with this credibility: as `p_stable`, but of the less lucky among
        the calibrations that the left-out settings leave possible, [M]."""
        least = self._calibration.least(self._scores(self.encoding.encode(settings)), credibility)
        return np.minimum(least, self._most)

    def p_mostly_stable(self, settings: Sequence[Mapping[str, Scalar | None]]) -> Floats:
        """How sure it is that each setting lies on the stable side of the edge, where P(stable) is above 0.5, [M]."""
        mean, std = self.predict(settings)
        shift, slope = self._calibration.line
        chances: Floats = ndtr((shift / slope * math.sqrt(self._process.noise) - mean) / std)
        return chances

    def drawn_probits(self, settings: Sequence[Mapping[str, Scalar | None]], num: int, seed: int) -> Floats:
        """The probit of P(stable) at M settings, of functions drawn from the model, [num, M]; 0 where P is 0.5."""
        drawn = self._process.draws(self._of_this_study(self.encoding.encode(settings)), num, seed)
        shift, slope = self._calibration.line
        return shift - slope * drawn / math.sqrt(self._process.noise)

    def left_out(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Calibrated P(stable) of each training, predicted from all other *settings*, and what came of it, [N] each.

        Of the study's own trainings alone.
        """
        own = slice(self._num_own)
        return self._probability(self._left_out_scores()[own]), self._stable[own]

    def shared(self, source: int) -> float:
        """How far a study of the prior is believed, from 0 (not at all) to 1: the correlation that the model sees
        between the margins of a setting there and here.

        Args:
            source: which study, from 1 on.
        """
        middle = self.encoding.encode([{}])
        return self._process.correlation(self._prior.as_of(middle, [0]), self._prior.as_of(middle, [source]))

    def _of_this_study(self, features: Floats) -> Floats:
        return self._prior.as_of(features, [0] * len(features)) if self._prior.settings else features

    @property
    def _most(self) -> float:
        """What so many trainings justify at most (Laplace)."""
        return (self._num_own + 1) / (self._num_own + 2)

    def _probability(self, scores: Floats) -> Floats:
        return np.clip(self._calibration.chance(scores), 1 - self._most, self._most)

    def _scores(self, features: Floats) -> Floats:
        """Standardized distance of a training on the stable side, [M]."""
        mean, std = self.predict_features(features)
        return -mean / np.sqrt(std**2 + self._process.noise)

    def _left_out_scores(self) -> Floats:
        """As `_scores`, of each training, predicted from those of other settings."""
        mean, std = self._trained.left_out()
        return -mean / std

    @cached_property
    def _calibration(self) -> ChanceCurve:
        """How sure scores are, learned from the left-out settings."""
        scores, stable = self._left_out_scores(), self._stable
        own = stable[: self._num_own]
        if self._num_own >= MIN_OWN and own.any() and not own.all():
            # How sure to be of this study is a matter of its own trainings.
            scores, stable = scores[: self._num_own], own
        return ChanceCurve(scores, stable)


def _parts(encoding: Encoding, num_features: int) -> list[list[int]]:
    """Columns of which parts of the margin depend alone: all numbers, whatever the categories, and the edge dimension.

    So a precision of which nothing hot was trained is not taken to be stable at learning rates that break the others.
    """
    columns = range(len(encoding.owners))
    along = edge_path(encoding)
    numbers = [column for column in columns if encoding.axis(encoding.owners[column]) is not None]
    edge = [column for column in columns if encoding.owners[column] == along]
    parts = [numbers] if numbers == edge else [numbers, edge]
    return [part for part in parts if part and len(part) < num_features]


def spread(margin: Floats) -> Floats:
    """Margins on the model's scale: small ones lie a little further apart than they are, all far ones together."""
    return np.sign(margin) * np.minimum(np.abs(margin), _FAR) ** _POWER
