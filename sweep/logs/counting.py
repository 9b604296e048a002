"""What numbers the steps of a log: which of several counters, and what is to be done where it starts anew."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sweep.logs.raw import Floats
from sweep.wording import plural

Ints = npt.NDArray[np.int64]

_LARGEST = 2.0**62
_KNOWN = 0.8
"""Share of the steps that a counter should number, lest another be better."""


def best_counter(counters: Mapping[str, Floats]) -> str | None:
    """The name of what counts the steps best; None where nothing does.

    Args:
        counters: name -> its values at the steps, best names first. What never moves is none, unless it is alone.
    """
    scores = {}
    for place, (name, values) in enumerate(counters.items()):
        known = values[np.isfinite(values)]
        if not len(known) or (known % 1 != 0).any() or (np.abs(known) > _LARGEST).any():
            continue
        changes = np.diff(known)
        if len(known) > 1 and not changes.any() and len(counters) > 1:
            continue
        share = len(known) / len(values) >= _KNOWN
        rises = float(max((changes > 0).mean(), (changes < 0).mean())) if len(changes) else 1.0
        # Always upward; else mostly, as a count that starts anew each epoch; else what moves more often.
        scores[name] = share, rises == 1, round(rises, 2), -place
    return max(scores, key=scores.__getitem__, default=None)


def numbered(counts: Floats, name: str) -> tuple[Ints, str, bool]:
    """The numbers of the steps, upward throughout; a note of how, and whether they are the log's own.

    Args:
        counts: what the log calls each step, [steps]; NaN where it says nothing.
        name: of the counter, for the note.
    """
    from_one = np.arange(1, len(counts) + 1)
    known = np.isfinite(counts)
    if not known.any():
        return from_one, "", False
    if (counts[known] % 1 != 0).any() or (np.abs(counts[known]) > _LARGEST).any():
        return from_one, f"{name} holds no whole numbers, so the steps are counted from 1", False
    own = counts[known].astype(np.int64)
    through, num_restarts = _through(own)
    if through is None:
        return from_one, f"{name} does not count upward throughout, so the steps are counted from 1", False
    note = (
        f"{name} starts anew {plural(num_restarts, 'time')}, so the steps are counted through" if num_restarts else ""
    )
    if not known.all():
        filled = _filled(through, known)
        if filled is None:
            return from_one, f"some steps have no number in {name}, so all are counted from 1", False
        num_missing = int((~known).sum())
        of_whom = "it counts" if num_missing == 1 else "they count"
        verb = "has" if num_missing == 1 else "have"
        missing = f"{plural(num_missing, 'step')} {verb} no number in {name}; {of_whom} on from the one before"
        return filled, f"{note}; {missing}" if note else missing, not num_restarts
    return through, note, not num_restarts


def _through(own: Ints) -> tuple[Ints | None, int]:
    """NumberCells that rise throughout, where those given begin again now and then; and how often they do."""
    changes = np.diff(own)
    restarts = np.flatnonzero(changes <= 0) + 1
    if not len(restarts):
        return own, 0
    upward = changes[changes > 0]
    # A count that falls back to somewhere in its middle is that of a resumed run, whose steps overlap.
    if 2 * len(restarts) > len(own) or not len(upward) or (own[restarts] > own[0] + np.median(upward)).any():
        return None, 0
    stride = int(np.median(upward))
    offsets = np.zeros(len(own), dtype=np.int64)
    # Every restart goes on a stride after the number before it.
    offsets[restarts] = own[restarts - 1] + stride - own[restarts]
    return own + np.cumsum(offsets), len(restarts)


def _filled(own: Ints, known: "npt.NDArray[np.bool_]") -> Ints | None:
    """NumberCells for all steps, where those without count on from the one before; None where there is no room."""
    places = np.flatnonzero(known)
    positions = np.arange(len(known))
    before = np.searchsorted(places, positions, side="right") - 1
    numbers = np.where(
        before >= 0,
        own[np.maximum(before, 0)] + positions - places[np.maximum(before, 0)],
        own[0] - (places[0] - positions),
    )
    return numbers if (np.diff(numbers) > 0).all() and numbers[0] >= 0 else None
