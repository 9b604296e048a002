"""What the study cost, by outcome, and what stopping early saved."""

from dataclasses import dataclass

import pandas as pd

from sweep.records import Outcome


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
    wall_s: float
    cpu_s: float


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
    broken = trials["verdict"].isin([Outcome.CRASHED.value, Outcome.OUT_OF_MEMORY.value])
    stopped = trials[trials["stop_step"].notna() & (trials["num_steps"] < trials["max_steps"]) & ~broken]
    saved = int((stopped["max_steps"] - stopped["num_steps"]).clip(lower=0).fillna(0).sum())
    num_steps = sum(row.num_steps for row in rows)
    return Costs(
        by_outcome=tuple(rows),
        num_stopped=len(stopped),
        num_steps=num_steps,
        steps_saved=saved,
        saved_rate=saved / (num_steps + saved) if num_steps + saved else 0.0,
        wall_s=sum(row.wall_s for row in rows),
        cpu_s=sum(row.cpu_s for row in rows),
    )
