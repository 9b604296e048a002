"""What the study cost, by outcome, what stopping early saved, and what explaining bad trials took."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.records import Outcome
from sweep.wording import duration, percent, plural

LATE_STEPS = 4
"""A stopped training has run so many steps past its alarm at most: values on a GPU are read so late."""


@dataclass(frozen=True)
class OutcomeCost:
    """What the trials of one outcome cost together."""

    outcome: Outcome
    num_trials: int
    num_steps: int
    steps_saved: int
    """Steps that those of them that were stopped, or ended as good as stable, did not run."""
    wall_s: float
    saved_s: float
    """What these steps would have taken, at the median time a step of the trials that ran in full; NaN if unknown."""
    cpu_s: float


@dataclass(frozen=True)
class Costs:
    """What the study cost."""

    by_outcome: tuple[OutcomeCost, ...]
    num_stopped: int
    """Trials that a detector ended before their last step (crashes are no stops)."""
    num_foregone: int
    """Trials that were ended where they were as good as stable."""
    num_steps: int
    steps_saved: int
    """Steps that both did not run."""
    steps_stopped: int
    """Those of them that stopped trials did not run."""
    saved_rate: float
    """Share of the steps that running every trial to its end would have taken, in [0, 1]."""
    saved_s: float
    """What these steps would have taken, at the median time a step of the trials that ran in full; NaN if unknown."""
    wall_s: float
    cpu_s: float
    forensics_s: float
    """Wall time of looking for causes; no part of `wall_s`."""


def stopped_early(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials that a detector ended before their last step.

    Crashes are no stops, and neither are those of trials that ran on after an alarm, whose verdict is that of the
    alarm: they came further than a stop lets them, and not to an end that would make them audited.
    """
    broken = trials["verdict"].isin([o.value for o in Outcome if o.is_broken_off])
    ran_on = (trials["num_steps"] - trials["stop_step"]).astype(float) > LATE_STEPS
    broken |= ran_on & ~trials["audited"].eq(True)
    return trials[trials["stop_step"].notna() & (trials["num_steps"] < trials["max_steps"]) & ~broken]


def steps_saved(stopped: pd.DataFrame) -> "pd.Series[float]":
    """Of each trial that was ended early: the steps that it did not run."""
    return (stopped["max_steps"] - stopped["num_steps"]).astype(float).clip(lower=0).fillna(0)


def with_known_times(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials; a time that is infinite, which no clock shows, counts as unknown."""
    times = trials[["wall_s", "cpu_s", "forensics_s"]].astype(float)
    return trials.assign(**times.where(np.isfinite(times)))


def costs(trials: pd.DataFrame) -> Costs:
    """Adds up steps and seconds. Seconds are summed over trials, not elapsed time of the study."""
    trials = with_known_times(trials)
    stopped = stopped_early(trials)
    step_s = _step_s(trials)
    rows = []
    for outcome in Outcome:
        part = trials[trials["verdict"] == outcome.value]
        if len(part):
            cut = part if outcome is Outcome.FOREGONE else stopped[stopped["verdict"] == outcome.value]
            part_saved = int(steps_saved(cut).sum())
            rows.append(
                OutcomeCost(
                    outcome,
                    len(part),
                    int(part["num_steps"].fillna(0).sum()),
                    part_saved,
                    float(part["wall_s"].sum()),
                    part_saved * step_s if part_saved else 0.0,
                    float(part["cpu_s"].sum()),
                )
            )
    saved = sum(row.steps_saved for row in rows)
    num_steps = sum(row.num_steps for row in rows)
    return Costs(
        by_outcome=tuple(rows),
        num_stopped=len(stopped),
        num_foregone=int((trials["verdict"] == Outcome.FOREGONE.value).sum()),
        num_steps=num_steps,
        steps_saved=saved,
        steps_stopped=int(steps_saved(stopped).sum()),
        saved_rate=saved / (num_steps + saved) if num_steps + saved else 0.0,
        saved_s=saved * step_s if saved else 0.0,
        wall_s=sum(row.wall_s for row in rows),
        cpu_s=sum(row.cpu_s for row in rows),
        forensics_s=float(trials["forensics_s"].astype(float).sum()),
    )


def _step_s(trials: pd.DataFrame) -> float:
    """Median seconds a step of the trials that ran in full; of all, where none did; NaN if unknown."""
    timed = trials[trials["wall_s"].notna() & (trials["num_steps"] > 0)]
    full = timed[timed["num_steps"] >= timed["max_steps"]]
    chosen = full if len(full) else timed
    return float((chosen["wall_s"] / chosen["num_steps"]).astype(float).median())


def cost_text(found: Costs) -> str:
    """What stopping saved, in a sentence."""
    if not found.num_stopped:
        return "No trial was stopped early."
    part = found.steps_stopped / found.steps_saved if found.steps_saved else 0.0
    return (
        f"Stopping {plural(found.num_stopped, 'trial')} early saved {found.steps_stopped:,} steps, "
        f"{percent(part * found.saved_rate)} of what running every trial to its end would have taken, about "
        f"{duration(part * found.saved_s)} of wall time."
    )
