"""How the trainings behind a claim ended, and why those fell short that did."""

from collections import Counter

import numpy as np
import numpy.typing as npt
import pandas as pd

from slr_models.errors import ResultsError
from sweep.analysis.claims.pairs import Pairs, behind
from sweep.analysis.claims.responses import Evals, response
from sweep.analysis.trials.outcomes import OUTCOME_ORDER
from sweep.study.claim import Claim
from sweep.study.settings import Study
from sweep.wording import plural

_FALLEN_TO = 0.9
"""A validation loss that fell to this share over the last quarter of the steps was still falling."""


def endings(trials: pd.DataFrame, claim: Claim, study: Study, seen: Pairs, evals: Evals) -> str:
    """The outcomes at each level, counted: `fp32: 24 stable; fp16: 20 stable, 4 blank-collapse.`

    Of a mean that is claimed to be small (a WER or a loss), it goes on with what kept trainings above it.

    Args:
        trials: as `store.read_trials` gives them.
        claim: an entry of the study's claims, without gaps.
        study: of the results folder.
        seen: what the claim saw.
        evals: gives the evaluations of a trial.
    """
    if not len(seen):
        return ""
    parts = behind(trials, claim, seen.blocks.tolist())
    told = "; ".join(f"{label}: {_counted(part)}" for label, part in zip(seen.labels, parts, strict=True))
    return f"{told}.{_shortfall(parts[0], claim, study, evals)}"


def _counted(part: pd.DataFrame) -> str:
    counts = Counter(part["verdict"].astype(str))
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOME_ORDER if counts[outcome])


def _shortfall(part: pd.DataFrame, claim: Claim, study: Study, evals: Evals) -> str:
    """Why trainings lie above a mean that is claimed to be small; empty where none does, or none is claimed."""
    is_small = claim.effect == "mean" and claim.expected in ("equal", "lower")
    if not is_small or claim.response not in ("wer", "val_loss", "train_loss"):
        return ""
    allowed = claim.null + claim.smallest_effect
    missed = part[response(part, evals, claim, study) > allowed]
    if missed.empty:
        return " All of them got there."
    good = missed["stable"].astype(bool)
    falling = sum(_still_falls(evals, str(trial_id)) for trial_id in missed["trial_id"][good])
    reasons = [
        (falling, "still falling over the last quarter of the steps, so more steps may do"),
        (int(good.sum()) - falling, "no longer falling, so more of the same will not do"),
    ]
    told = [f"{num} with a loss {why}" for num, why in reasons if num]
    failed = [f"{_counted(missed[~good])}"] if (~good).any() else []
    return f" Of the {plural(len(missed), 'training')} that did not get there: {'; '.join(told + failed)}."


def _still_falls(evals: Evals, trial_id: str) -> bool:
    """Whether the validation loss fell over the last quarter of the steps; not where that is unknown."""
    try:
        rows = evals(trial_id)
    except ResultsError:
        return False
    if len(rows) < 2:
        return False
    steps: npt.NDArray[np.float64] = rows["step"].to_numpy(np.float64)
    losses: npt.NDArray[np.float64] = rows["val_loss"].to_numpy(np.float64)
    before = losses[np.flatnonzero(steps <= 0.75 * steps[-1])[-1:]]
    return bool(len(before) and losses[-1] <= _FALLEN_TO * before[0])
