"""What a claim measures: one finite number a training, failures counted as complete failures.

No training is left out because it went badly (intention to treat), and no number depends on when an alarm ended one:

| response      | unit            | a training that was not stable                                              |
|---------------|-----------------|-----------------------------------------------------------------------------|
| stable        | 1 or 0          | 0                                                                           |
| learned       | 1 or 0          | 1 if something was learned and kept all the same                            |
| broken        | 1 or 0          | 1 if it failed too hot, else 0                                              |
| wer           | share of labels | 1; more than 1 counts as 1 for every training: nothing beats saying nothing |
| val_loss      | nats a label    | its own, but at least l_const, that of learning nothing, and at most l_unif,|
|               |                 | that of a uniform output (1e6 would drown every mean); l_unif if not finite |
| train_loss    | nats a label    | the same                                                                    |
| score         | as it is        | the worst score of a stable training of the design                          |
| steps_to_loss | steps           | max_steps, as any that never reached the loss ("censored")                  |
| leading_infs, skipped_rate, step_time_s, samples_per_s, peak_memory_mib | as measured, whatever the end       |

An open end (too short, unjudged, still calibrating) is neither stable nor a failure: how well it went, the first eight,
nobody knows, while the others are as measured.

`edge_lr` is a property of several trainings: see edges.py. NaN is a number that nobody knows: a block with one is
left out, and the finding says so.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from slr_models.errors import ResultsError
from sweep.analysis.trials.answers import answers
from sweep.analysis.trials.outcomes import OPEN_ENDS
from sweep.analysis.trials.ranking import ranking
from sweep.analysis.trials.sides import own_sides
from sweep.analysis.trials.speed import samples_per_s
from sweep.records import Learning, Outcome, Side
from sweep.study.claim import Claim
from sweep.study.settings import Study

Evals = Callable[[str], pd.DataFrame]
"""A trial's evaluations by its id, as `store.read_evals` gives them; ResultsError where there are none."""

YES_OR_NO = ("stable", "learned", "broken")
"""Responses that are 1 or 0."""

QUALITY = ("stable", "learned", "wer", "val_loss", "train_loss", "score", "steps_to_loss")
"""Responses that compare how well trainings went, of which two that failed say nothing."""

NOT_JUDGED = tuple(o.value for o in Outcome if o.is_broken_off or o is Outcome.PRUNED)
"""Verdicts of trainings that tell nothing of their setting: what ended them lies outside of it."""


def response(trials: pd.DataFrame, evals: Evals, claim: Claim, study: Study) -> pd.Series:
    """The response of each trial, in its unit; index as `trials`. NaN: unknown, or the training was not judged.

    Args:
        trials: as `store.read_trials` gives them.
        evals: gives the evaluations of a trial; asked for `steps_to_loss` only.
        claim: with `response`, and `loss_fraction` for steps_to_loss.
        study: of the results folder; its training section is used where a setting is no column.
    """
    values = _values(claim.response, trials, evals, claim, study).astype(float)
    unknown = (*NOT_JUDGED, *OPEN_ENDS) if claim.response in (*QUALITY, "broken") else NOT_JUDGED
    return values.where(~trials["verdict"].isin(unknown))


def censored(trials: pd.DataFrame, values: pd.Series, name: str) -> pd.Series:
    """Whether a trial's response only says "at least that much"."""
    if name != "steps_to_loss":
        return pd.Series(False, index=trials.index)
    return values >= trials["max_steps"].astype(float)


def of_failed(trials: pd.DataFrame, name: str, study: Study) -> pd.Series:
    """What each training would count as if it had failed and learned nothing; for the responses of quality."""
    match name:
        case "stable" | "learned":
            return pd.Series(0.0, index=trials.index)
        case "wer":
            return pd.Series(1.0, index=trials.index)
        case "score":
            by = ranking("score", study.score)
            return pd.Series(by.as_reported(by.failure(trials)), index=trials.index)
        case "steps_to_loss":
            return trials["max_steps"].astype(float)
        case _:
            return trials["l_const"].astype(float)


def final_results(trials: pd.DataFrame, name: Literal["wer", "val_loss", "train_loss"]) -> pd.Series:
    """What each training ended with, failures counted as above; NaN where nobody knows."""
    match name:
        case "wer":
            values = trials["wer"].astype(float).clip(upper=1.0).where(trials["stable"].astype(bool), 1.0)
        case "val_loss":
            values = _loss(trials["val_loss"], trials)
        case "train_loss":
            values = _loss(trials["final_train_loss"], trials)
    return values.where(~trials["verdict"].isin((*NOT_JUDGED, *OPEN_ENDS)))


def _values(name: str, trials: pd.DataFrame, evals: Evals, claim: Claim, study: Study) -> pd.Series:
    stable = trials["stable"].astype(bool)
    match name:
        case "stable":
            return stable.astype(float)
        case "learned":
            return pd.Series([float(one.learning == Learning.LEARNED) for one in answers(trials)], index=trials.index)
        case "broken":
            return pd.Series([float(side is Side.TOO_HOT) for side in own_sides(trials)], index=trials.index)
        case "wer" | "val_loss" | "train_loss":
            return final_results(trials, name)
        case "score":
            by = ranking("score", study.score)
            return by.values(trials).map(by.as_reported).where(stable, by.as_reported(by.failure(trials)))
        case "steps_to_loss":
            rows = zip(trials["trial_id"], stable, trials["l_const"], trials["max_steps"], strict=True)
            share = claim.loss_fraction
            reached = [
                _steps_to(evals, str(trial_id), share * float(l_const), float(most)) if ok else float(most)
                for trial_id, ok, l_const, most in rows
            ]
            return pd.Series(reached, index=trials.index, dtype=float)
        case "step_time_s" | "peak_memory_mib":
            return trials[name].astype(float)
        case "samples_per_s":
            return samples_per_s(trials, study)
        case "leading_infs":
            return trials["skipped_calibration"].astype(float)
        case "skipped_rate":
            skipped = trials[["skipped_nonfinite", "skipped_threshold", "skipped_infeasible"]].astype(float).sum(axis=1)
            steps = trials["num_steps"].astype(float) - trials["skipped_calibration"].astype(float)
            # A training that never left calibration made no use of any batch.
            return (skipped / steps.where(steps > 0)).where(steps > 0, 1.0)
        case _:
            raise AssertionError(f"{name} is a property of several trainings")


def _loss(losses: pd.Series, trials: pd.DataFrame) -> pd.Series:
    """Losses, at most that of a uniform output; of a training that failed, at least that of learning nothing."""
    loss, nothing, worst = losses.astype(float), trials["l_const"].astype(float), trials["l_unif"].astype(float)
    known = loss.where(~np.isinf(loss), worst)
    known = known.where(~(known > worst), worst)
    failed = known.where(~(known < nothing), nothing).where(known.notna(), worst)
    return known.where(trials["stable"].astype(bool), failed)


def _steps_to(evals: Evals, trial_id: str, loss: float, most: float) -> float:
    """The first evaluation below a loss; `most` if there is none, NaN if there are no evaluations."""
    try:
        rows = evals(trial_id)
    except ResultsError:
        return float("nan")
    if rows.empty or not np.isfinite(loss):
        return float("nan")
    values: npt.NDArray[np.float64] = rows["val_loss"].to_numpy(np.float64)
    below = rows["step"].to_numpy(np.float64)[values < loss]  # NaN is not below
    return float(min(below.min(), most)) if len(below) else most
