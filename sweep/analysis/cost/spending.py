"""Where the time of a study went: by its phases, what was not training, and by the parts of a training."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from sweep.analysis.cost.audit import AuditResult
from sweep.analysis.cost.costs import with_known_times
from sweep.records import Phase
from sweep.study import Study
from sweep.wording import duration, percent, plural

MUCH = 0.2
"""Share of a training's time beyond which evaluations take much of it."""


@dataclass(frozen=True)
class PhaseCost:
    """What one phase of the study took."""

    name: str
    meaning: str
    num_trials: int | None
    """None of what is no trial."""
    num_steps: int | None
    seconds: float
    """Wall time, summed over trainings that ran at the same time."""


@dataclass(frozen=True)
class Timed:
    """What the records of one trial say of its time."""

    trial_id: str
    steps_s: float
    evals_s: float


@dataclass(frozen=True)
class Parts:
    """What the parts of trainings took together, seconds."""

    num_trials: int
    """Those whose records were looked at."""
    steps_s: float
    evals_s: float
    rest_s: float
    """Building the model, saving checkpoints and records, looking for alarms."""
    median_evals_rate: float
    """Share of its evaluations in the time of a trial, in [0, 1]: the median over trials."""


@dataclass(frozen=True)
class Spending:
    """Where the time went."""

    phases: tuple[PhaseCost, ...]
    busy_s: float
    """Sum of all phases but what is not training."""
    elapsed_s: float
    """From the study's start to its latest result, over all its runs; NaN if unknown."""
    num_lanes: int | None
    """Trainings that could run at once; None if unknown."""
    parts: Parts | None


def spending(
    trials: pd.DataFrame,
    audit: AuditResult,
    timed: Iterable[Timed],
    is_experiment: bool,
    elapsed_s: float,
    num_lanes: int | None,
) -> Spending:
    """Adds up the seconds of each phase. The steps of an audited trial after its alarm are a phase of their own.

    Args:
        trials: all finished ones.
        audit: of these trials.
        timed: of the trials whose time is to be split into parts.
        is_experiment: whether the trainings follow a design.
        elapsed_s: the study's own time; NaN if unknown.
        num_lanes: trainings that could run at once; None if unknown.
    """
    trials = with_known_times(trials)
    explored = ("exploring", "settings that the search asked for")
    if is_experiment:
        explored = ("the design", "trainings of its blocks")
    names = {
        Phase.CONFIRM: ("confirming", "the best settings and the recommended one over fresh seeds"),
        Phase.FULL_SIZE: ("at full size", "tests of the predicted edge"),
    }
    after = (trials["num_steps"] - trials["stop_step"]).astype(float)
    after = after.where(trials["audited"].eq(True), 0.0).fillna(0.0)
    num_steps = trials["num_steps"].astype(float).fillna(0.0)
    wall_s = trials["wall_s"].astype(float).fillna(0.0)
    own_s = wall_s * (1 - (after / num_steps.where(num_steps > 0)).fillna(0.0))
    known = trials["phase"].where(trials["phase"].isin(list(names)), None)
    phases = []
    for key in (None, *names):
        here = known.isna() if key is None else known == key
        if here.any():
            name, meaning = explored if key is None else names[key]
            steps = int((num_steps - after)[here].sum())
            phases.append(PhaseCost(name, meaning, int(here.sum()), steps, float(own_s[here].sum())))
    if audit.num_steps:
        meaning = "audited trials after their alarm, to see whether stopping would have been right"
        phases.append(
            PhaseCost("audit", meaning, audit.false_stops.total, audit.num_steps, float(wall_s.sum() - own_s.sum()))
        )
    explained = trials["forensics_s"].astype(float).fillna(0.0)
    if explained.sum() >= 1.0:
        looked = int((explained >= 1.0).sum())
        phases.append(PhaseCost("explaining", "failed trials replayed for their cause", looked, None, explained.sum()))
    busy_s = sum(phase.seconds for phase in phases)
    idle_s = math.nan if num_lanes is None else num_lanes * elapsed_s - busy_s
    if idle_s > 0:
        meaning = "starting Ray and trials, the search, waiting for the last ones"
        phases.append(PhaseCost("not training", meaning, None, None, idle_s))
    return Spending(tuple(phases), busy_s, elapsed_s, num_lanes, _parts(trials, timed))


def _parts(trials: pd.DataFrame, timed: Iterable[Timed]) -> Parts | None:
    """Of the trials whose times are known; None without any."""
    wall_s = dict(zip(trials["trial_id"].astype(str), trials["wall_s"].astype(float), strict=True))
    known = [
        (t.steps_s, t.evals_s, wall_s[t.trial_id])
        for t in timed
        if t.steps_s > 0 and math.isfinite(t.steps_s + t.evals_s) and wall_s[t.trial_id] > 0
    ]
    if not known:
        return None
    steps_s, evals_s, whole_s = (sum(column) for column in zip(*known, strict=True))
    rates = (min(evals / whole, 1.0) for _, evals, whole in known)
    return Parts(len(known), steps_s, evals_s, max(whole_s - steps_s - evals_s, 0.0), statistics.median(rates))


def elapsed_text(found: Spending) -> str:
    """How the summed times and the study's own time go together; empty where that is unknown."""
    if not found.elapsed_s > 0:
        return "The study's own elapsed time is not in its records."
    at_once = found.busy_s / found.elapsed_s
    lanes = "" if found.num_lanes is None else f" of {found.num_lanes} possible"
    return (
        f"From its start to its latest result the study took {duration(found.elapsed_s)}. Its trainings and replays "
        f"took {duration(found.busy_s)} together: {at_once:.1f}{lanes} ran at a time on average."
    )


def parts_text(found: Parts, how_evaluated: str) -> str:
    """What the parts of a training took, in sentences; how to evaluate less, where evaluations took much.

    Args:
        found: the parts.
        how_evaluated: as the function of this name tells it.
    """
    whole = found.steps_s + found.evals_s + found.rest_s
    steps = f"raining steps took {percent(found.steps_s / whole)}"
    rest = f"the rest {percent(found.rest_s / whole)}: building the model, checkpoints, looking for alarms"
    looked_at = f"({plural(found.num_trials, 'trial')} whose records were looked at)"
    if not found.evals_s:
        return f"T{steps} of the trainings' time and {rest} {looked_at}."
    share, median = percent(found.evals_s / whole), percent(found.median_evals_rate)
    notes = [how_evaluated, "" if median == share else f"{median} in the median trial"]
    told = f" ({'; '.join(filter(None, notes))})" if any(notes) else ""
    text = f"Evaluations took {share} of the trainings' time{told}, t{steps} and {rest} {looked_at}."
    if found.evals_s / whole <= MUCH:
        return text
    return f"{text} training.eval_subset bounds what each takes, training.eval_every_steps how many there are."


def how_evaluated(study: Study, num_valid: int | None) -> str:
    """How often a training of the study was evaluated, and on how much: `every 50 steps, all 120 utterances`; empty
    where that is a matter of the user's program.

    Args:
        study: what of its training is searched is left out.
        num_valid: utterances of the validation split; None if unknown.
    """
    if study.is_own:
        return ""
    every, subset = study.training.eval_every_steps, study.training.eval_subset
    is_all = subset is None or (num_valid is not None and subset >= num_valid)
    words = {
        "training.eval_every_steps": "every epoch" if every is None else f"every {plural(every, 'step')}",
        "training.eval_subset": (
            f"all {plural(num_valid, 'utterance') if num_valid else 'utterances'}"
            if is_all
            else f"{subset} of {num_valid or 'all'} utterances"
        ),
    }
    return ", ".join(text for path, text in words.items() if path not in study.searched)
