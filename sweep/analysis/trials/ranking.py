"""What stable settings are ranked by, and how its numbers are told to a person."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from sweep.own.program import Score
from sweep.records import Metric
from sweep.wording import number, percent


@dataclass(frozen=True)
class Ranking:
    """A column of the trials in which smaller is better."""

    metric: Metric
    """The column."""
    name: str
    """In a sentence."""
    unit: str = ""
    """Behind a number; empty where it stands in the number, or there is none."""
    is_maximized: bool = False
    """Whether a person knows it as a number to be large, so that the column has its sign turned."""

    def values(self, trials: pd.DataFrame) -> pd.Series:
        """Of each trial; NaN where unknown."""
        return trials[self.metric].astype(float)

    def as_reported(self, value: float) -> float:
        """The number as a person knows it."""
        return -value if self.is_maximized else value

    def text(self, value: float) -> str:
        """A value without its unit: `42.1 %`, `1.3`."""
        return percent(value, 1) if self.metric == "wer" else number(self.as_reported(value))

    def difference_text(self, value: float) -> str:
        """How far two are apart, without `difference_unit`."""
        if self.metric == "wer":
            return f"{100 * value:.1f}"
        return number(value, 2) if math.isfinite(value) else "n/a"

    @property
    def difference_unit(self) -> str:
        """Unit of a difference, in a sentence."""
        return "points of WER" if self.metric == "wer" else self.unit or f"of {self.name}"

    @property
    def failure_text(self) -> str:
        """What an unstable training counts as."""
        if self.metric == "score":
            return f"the worst {self.name} of a stable one"
        return "a WER of 100 %" if self.metric == "wer" else "learning nothing"

    def failure(self, trials: pd.DataFrame) -> float:
        """What a complete failure counts: a WER of 1, the loss of learning nothing, or, of a score of which nobody
        knows how bad it can be, the worst of a stable training."""
        if self.metric == "wer":
            return 1.0
        stable = self.values(trials[trials["stable"].astype(bool)])
        worst = float(stable[stable.abs() < math.inf].max()) if len(stable) else math.nan
        if self.metric == "score":
            return worst
        known = trials["l_const"].dropna().astype(float).unique()
        return float(known[0]) if len(known) == 1 else worst

    def scale(self, trials: pd.DataFrame) -> float:
        """The size of a complete failure, a hundredth of which makes no difference; never 0. Of a score: how far those
        of stable trainings lie apart."""
        if self.metric == "wer":
            return 1.0
        if self.metric == "val_loss":
            return largest(trials["l_const"].dropna().astype(float))
        stable = self.values(trials[trials["stable"].astype(bool)])
        stable = stable[stable.abs() < math.inf]
        return float(stable.max() - stable.min() if len(stable) else 0.0) or 1.0


WER = Ranking("wer", "WER")
VAL_LOSS = Ranking("val_loss", "validation loss", "nats a label")


def ranking(metric: Metric, score: Score | None) -> Ranking:
    """What a study ranks by.

    Args:
        metric: its column.
        score: of trainings of the user's own.
    """
    if metric == "score":
        return score_ranking(score or Score())
    return WER if metric == "wer" else VAL_LOSS


def score_ranking(score: Score) -> Ranking:
    """What trainings of the user's own are ranked by."""
    return Ranking("score", score.name, is_maximized=score.is_maximized)


def largest(l_consts: Iterable[float]) -> float:
    """The largest loss of learning nothing, as trainings may differ in their data; 1 where none is known."""
    return max((value for value in l_consts if math.isfinite(value)), default=0.0) or 1.0
