"""What two studies cost. Told and not judged: trainings of one run share the load of their machine."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import quantile_test

from sweep.analysis.comparison.changes import Told, told
from sweep.analysis.cost.costs import costs
from sweep.wording import duration, number, percent

_LEAST = 6
"""Fewer values give no 95 % interval of their median."""


def cost_facts(first: pd.DataFrame, second: pd.DataFrame, *, same_machine: bool) -> Iterator[Told]:
    """Trainings, steps, hours, time of a step, memory, and what stopping early saved.

    Args:
        first: all trials of A.
        second: all trials of B.
        same_machine: whether both ran on machines of one kind with equal resources.
    """
    other = "" if same_machine else "on another machine or with other resources"
    totals = [costs(trials) for trials in (first, second)]
    yield told("trainings", (str(len(trials)) for trials in (first, second)))
    yield told("steps", (str(total.num_steps) for total in totals))
    yield told("training time, summed", (duration(total.wall_s) for total in totals), other)
    yield _median("time of a step, median", first, second, "step_time_s", lambda v: f"{number(v)} s", other)
    yield _median("peak memory, median", first, second, "peak_memory_mib", lambda v: f"{v:.0f} MiB", other)
    yield told(
        "saved by stopping early",
        (f"{percent(total.saved_rate)} of the steps ({total.num_stopped} stopped)" for total in totals),
    )


def _median(
    subject: str, first: pd.DataFrame, second: pd.DataFrame, column: str, text: Callable[[float], str], note: str
) -> Told:
    return told(subject, (_median_text(trials[column].astype(float), text) for trials in (first, second)), note)


def _median_text(values: "pd.Series[float]", text: Callable[[float], str]) -> str:
    known = values.to_numpy()[np.isfinite(values.to_numpy())]
    if not len(known):
        return "not known"
    middle = text(float(np.median(known)))
    if len(known) < _LEAST:
        return f"{middle} (smallest {text(float(known.min()))}, largest {text(float(known.max()))})"
    interval: Any = quantile_test(known, p=0.5).confidence_interval(0.95)
    return f"{middle} ({text(float(interval.low)).split(' ')[0]} to {text(float(interval.high))})"
