"""The model of a study that grows, made anew for every proposal in milliseconds, however many trainings there are."""

import math
from collections.abc import Mapping, Sequence

from sweep.boundary.encoding import Encoding
from sweep.boundary.model import MarginModel
from sweep.boundary.prior import NONE, Prior
from sweep.boundary.thinning import MAX_TRAININGS, MOST_FITTED, informative_rows, model_of
from sweep.space import Scalar

ALWAYS_FITTED = 48
"""Of so few trainings all is fitted anew each time."""
GROWTH = 1.1
"""Beyond, length scales, amplitudes and noise are fitted where the trainings have grown by this factor, to MOST_FITTED
of them."""
MOST_KEPT = MAX_TRAININGS
"""So many are kept, besides those that have come since."""

_Rows = tuple[Sequence[Mapping[str, Scalar | None]], Sequence[float]]


class GrowingModel:
    """Makes the model of a study's trainings, in their order; what it makes follows from these alone.

    It remembers only what it would otherwise compute again.
    """

    def __init__(self, encoding: Encoding, prior: Prior = NONE) -> None:
        """For trainings of a space, and those of other studies."""
        self._encoding = encoding
        self._prior = prior
        self._known: tuple[_Rows, tuple[MarginModel, Sequence[int]]] | None = None

    def of(self, settings: Sequence[Mapping[str, Scalar | None]], margins: Sequence[float]) -> MarginModel:
        """The model of N trainings.

        Args:
            settings: of each, in an order that growing keeps.
            margins: in [-1, 1], finite; negative = stable.

        Raises:
            ValueError: they are too few for a model.
        """
        if len(settings) <= ALWAYS_FITTED:
            return MarginModel(self._encoding, settings, margins, prior=self._prior)
        num = _last_fit(len(settings))
        first = settings[:num], margins[:num]
        if self._known is None or self._known[0] != first:
            self._known = first, self._fitted(*first)
        fitted, kept = self._known[1]
        rows = [*kept, *range(num, len(settings))]
        return model_of(self._encoding, settings, margins, rows, fitted, self._prior)

    def _fitted(
        self, settings: Sequence[Mapping[str, Scalar | None]], margins: Sequence[float]
    ) -> tuple[MarginModel, Sequence[int]]:
        """A model with length scales for these trainings, and the rows to keep."""
        every = range(len(settings))
        rows = (
            every if len(settings) <= MOST_FITTED else informative_rows(self._encoding, settings, margins, MOST_FITTED)
        )
        fitted = model_of(self._encoding, settings, margins, rows, prior=self._prior)
        if len(settings) <= MOST_KEPT:
            return fitted, every
        # Where there are others, a model of these alone has fewer features.
        like = None if self._prior.settings else fitted
        return fitted, informative_rows(self._encoding, settings, margins, MOST_KEPT, like).tolist()


def _last_fit(num: int) -> int:
    """The largest size at which all is fitted, up to `num` trainings."""
    size = ALWAYS_FITTED
    while (larger := math.ceil(GROWTH * size)) <= num:
        size = larger
    return size
