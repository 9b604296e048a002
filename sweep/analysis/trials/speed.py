"""How fast trainings ran."""

import numpy as np
import pandas as pd

from sweep.study import Study


def samples_per_s(trials: pd.DataFrame, study: Study) -> pd.Series:
    """Training samples a second of each trial, from the median time of its steps; NaN where none was timed, or how
    many a step takes is a matter of the user's program."""
    if study.is_own:
        return pd.Series(np.nan, index=trials.index)
    training = study.training
    batch_size = _setting(trials, "training.batch_size", training.batch_size)
    return (
        batch_size * _setting(trials, "training.accumulate", training.accumulate) / trials["step_time_s"].astype(float)
    )


def _setting(trials: pd.DataFrame, path: str, fixed: float) -> pd.Series:
    """A number that was set: what the trial was given, else what the study holds."""
    given = trials[path].astype(float) if path in trials else pd.Series(np.nan, index=trials.index)
    return given.where(given.notna(), fixed)
