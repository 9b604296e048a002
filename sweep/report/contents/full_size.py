"""Trainings at the full size that a study only extrapolates to."""

import math
from dataclasses import dataclass

import pandas as pd

from sweep.analysis.trials.columns import finite_or_nan
from sweep.analysis.trials.dimensions import Dimension, plain
from sweep.records import Outcome, Phase


@dataclass(frozen=True)
class FullSizeTraining:
    """One of them."""

    trial_id: str
    number: int
    seed: int
    place: float
    """On the edge dimension (the learning rate)."""
    outcome: Outcome
    val_loss: float
    """Nats a label; NaN where there is no finite value."""
    wer: float


def full_size_trainings(
    trials: pd.DataFrame, along: Dimension, path: str, target: float
) -> tuple[FullSizeTraining, ...]:
    """The trainings at full size, in their order; those at another target, named before, are left out.

    Args:
        trials: rows of all finished trials.
        along: the edge dimension.
        path: dotted path of the size.
        target: the full size.
    """
    rows = trials[trials["phase"] == Phase.FULL_SIZE].to_dict("records")
    found = (
        FullSizeTraining(
            trial_id=str(row["trial_id"]),
            number=int(row["number"]),
            seed=int(row["seed"]),
            place=finite_or_nan(plain(row.get(along.path))),
            outcome=Outcome(row["verdict"]),
            val_loss=finite_or_nan(row["val_loss"]),
            wer=finite_or_nan(row["wer"]),
        )
        for row in rows
        if plain(row.get(path)) == target
    )
    return tuple(training for training in found if math.isfinite(training.place))
