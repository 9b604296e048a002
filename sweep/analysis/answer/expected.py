"""What result a setting is expected to have, learned from the stable trials, failures counted."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from sweep.analysis.trials.columns import common_value
from sweep.analysis.trials.outcomes import finished
from sweep.analysis.trials.tried import settings_of, telling
from sweep.boundary.encoding import Encoding, Floats
from sweep.boundary.result import MIN_STABLE, ResultModel
from sweep.records import Metric
from sweep.space import Scalar

MAX_RESULTS = 400
"""Stable trials that are learned from; of more, every second, third, ... by number."""


class ExpectedResults:
    """The final WER, validation loss (nats a label) or score of stable trainings over a space.

    The validation loss stands in where the WER of a stable trial is missing.
    """

    def __init__(self, trials: pd.DataFrame, encoding: Encoding, metric: Metric) -> None:
        """Learns from the stable ones of some trials that ran to their end."""
        known = telling(trials)
        # What the others would have come to, nobody knows.
        stable = finished(known[known["stable"].astype(bool)])
        if metric == "wer" and not np.isfinite(stable["wer"].astype(float)).all():
            metric = "val_loss"
        results = stable[metric].astype(float)
        stable = stable[np.isfinite(results)].iloc[:: 1 + len(stable) // MAX_RESULTS]
        results = results[stable.index]
        l_const = common_value(trials, "l_const") if metric == "val_loss" else np.nan
        if metric == "wer":
            self._failed = 1.0
        else:
            self._failed = l_const if np.isfinite(l_const) else float(results.max()) if len(results) else 0.0
        self._model: ResultModel | None = None
        self._best = 0.0
        if len(results) >= MIN_STABLE:
            settings = settings_of(stable, encoding.space)
            self._model = ResultModel(encoding, settings, results.tolist())
            # A trend that goes on beyond what was tried promises more than anybody saw.
            least = 0.0 if results.min() >= 0 else -np.inf
            self._best = max(float(self._model.predict(settings)[0].min()), least)

    @property
    def known(self) -> bool:
        """Whether enough stable trials have a result."""
        return self._model is not None

    def of_stable(self, settings: Sequence[Mapping[str, Scalar]]) -> Floats:
        """Mean result of stable trainings of each setting, [M]; NaN where too few results are known.

        Nowhere better than at the best of the tried settings.
        """
        if self._model is None or not settings:
            return np.full(len(settings), np.nan)
        return np.maximum(self._model.predict(settings)[0], self._best)

    def cautious(self, settings: Sequence[Mapping[str, Scalar]], p_stable: Floats) -> Floats:
        """The result to count on if an unstable training counts as a complete failure, [M]; to rank settings by.

        One standard error of the mean is added, so that a setting that nobody tried wins only where it is clearly
        better. Where no results are known, the chance to fail stands for it.
        """
        if self._model is None or not settings:
            return 1.0 - p_stable
        mean, error = self._model.predict(settings)
        result = np.maximum(mean, self._best) + error
        return p_stable * result + (1.0 - p_stable) * np.maximum(self._failed, result)
