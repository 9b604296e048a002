"""Trainings that were ended where they were as good as stable: what that saved, and how often it is wrong."""

from dataclasses import dataclass

import pandas as pd

from sweep.analysis.trials.outcomes import Share, share
from sweep.records import Outcome
from sweep.wording import percent, plural


@dataclass(frozen=True)
class ForegoneResult:
    """What the trainings that ran on past that point say of those that were ended there."""

    num_ended: int
    steps_saved: int
    """Steps that those did not run."""
    saved_rate: float
    """Share of the steps that they would have run to their end, in [0, 1]; 0 where none was ended."""
    wrong: Share
    """Of those that ran on: how many did not end stable after all. The interval is (0, 1) where none did."""


def foregone_labels(trials: pd.DataFrame) -> ForegoneResult:
    """Counts over a table of trials.

    Those that ran on were drawn by their number alone (`Audit.chooses`), so their share of wrong labels estimates that
    of all.
    """
    known = trials[trials["foregone_step"].notna()]
    ended = known["verdict"] == Outcome.FOREGONE.value
    saved = int((known["max_steps"] - known["num_steps"])[ended].sum())
    whole = int(known["max_steps"][ended].sum())
    return ForegoneResult(
        num_ended=int(ended.sum()),
        steps_saved=saved,
        saved_rate=saved / whole if whole else 0.0,
        wrong=share(~known["stable"][~ended].astype(bool)),
    )


def foregone_text(found: ForegoneResult) -> str:
    """What that saved and how often it was wrong, in two sentences; empty where no training came so far."""
    wrong = found.wrong
    if not found.num_ended and not wrong.total:
        return ""
    were = "training was" if found.num_ended == 1 else "trainings were"
    saved = (
        f"{found.num_ended} {were} ended where they were as good as stable, which saved {found.steps_saved:,} steps, "
        f"{percent(found.saved_rate)} of theirs"
        if found.num_ended
        else "No training was ended where it was as good as stable"
    )
    if not wrong.total:
        return f"{saved}. None ran on from there, so how often that is wrong was not measured."
    return (
        f"{saved}. Of {plural(wrong.total, 'training')} that ran on from there, {wrong.total - wrong.count} ended "
        f"stable: the label was wrong in {percent(wrong.rate)} (exact 95 % interval {percent(wrong.low)} to "
        f"{percent(wrong.high)})."
    )
