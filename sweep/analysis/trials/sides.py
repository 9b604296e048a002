"""On which side of what works failed trainings lie, as each says by itself."""

import pandas as pd

from sweep.analysis.trials.dimensions import plain
from sweep.records import Outcome, Side


def own_sides(trials: pd.DataFrame) -> list[Side | None]:
    """What each training tells of its side; a table of an earlier version only that one diverged."""
    told = trials["side"] if "side" in trials else [None] * len(trials)
    rows = zip(map(plain, told), map(Outcome, trials["verdict"]), strict=True)
    return [Side(side) if side is not None else _by_outcome(outcome) for side, outcome in rows]


def _by_outcome(outcome: Outcome) -> Side | None:
    if outcome.is_diverged:
        return Side.TOO_HOT
    has_side = outcome in (Outcome.STALLED, Outcome.BLANK_COLLAPSE, Outcome.SKIP_STARVED)
    return Side.UNTOLD if has_side else None
