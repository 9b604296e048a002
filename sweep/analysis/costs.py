"""What the study cost, by outcome, what stopping early saved, and what explaining bad trials took."""

from dataclasses import dataclass

import pandas as pd

from sweep.analysis.wording import duration, percent, plural
from sweep.records import Outcome

LATE_STEPS = 4
"""A stopped training has run so many steps past its alarm at most: values on a GPU are read so late."""


@dataclass(frozen=True)
class OutcomeCost:
    """What the trials of one outcome cost together."""

    outcome: Outcome
    num_trials: int
    num_steps: int
    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Costs:
    """What the study cost."""

    by_outcome: tuple[OutcomeCost, ...]
    num_stopped: int
    """Trials that a detector ended before their last step (crashes are no stops)."""
    num_steps: int
    steps_saved: int
    """Steps that stopped trials did not run."""
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
    broken = trials["verdict"].isin([Outcome.CRASHED.value, Outcome.OUT_OF_MEMORY.value])
    ran_on = (trials["num_steps"] - trials["stop_step"]).astype(float) > LATE_STEPS
    broken |= ran_on & ~trials["audited"].fillna(False).astype(bool)
    return trials[trials["stop_step"].notna() & (trials["num_steps"] < trials["max_steps"]) & ~broken]


def costs(trials: pd.DataFrame) -> Costs:
    """Adds up steps and seconds. Seconds are summed over trials, not elapsed time of the study."""
    rows = []
    for outcome in Outcome:
        part = trials[trials["verdict"] == outcome.value]
        if len(part):
            rows.append(
                OutcomeCost(
                    outcome,
                    len(part),
                    int(part["num_steps"].fillna(0).sum()),
                    float(part["wall_s"].sum()),
                    float(part["cpu_s"].sum()),
                )
            )
    stopped = stopped_early(trials)
    saved = int((stopped["max_steps"] - stopped["num_steps"]).clip(lower=0).fillna(0).sum())
    num_steps = sum(row.num_steps for row in rows)
    return Costs(
        by_outcome=tuple(rows),
        num_stopped=len(stopped),
        num_steps=num_steps,
        steps_saved=saved,
        saved_rate=saved / (num_steps + saved) if num_steps + saved else 0.0,
        saved_s=saved * _step_s(trials) if saved else 0.0,
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
    """What stopping saved and explaining took, in a sentence or two."""
    parts = ["No trial was stopped early."]
    if found.num_stopped:
        parts = [
            f"Stopping early saved {plural(found.steps_saved, 'step')}, {percent(found.saved_rate)} of what running "
            f"every trial to its end would have taken, about {duration(found.saved_s)}."
        ]
    if found.forensics_s >= 1.0:
        parts.append(f"Explaining bad trials took {duration(found.forensics_s)} more, beside the times above.")
    return " ".join(parts)
