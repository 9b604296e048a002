"""Small tables of trials, as the store would hold them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from sweep import store
from sweep.records import Outcome

Rows = Sequence[dict[str, Any]]


def _table(rows: Rows) -> pd.DataFrame:
    counter = itertools.count()
    full = []
    for row in rows:
        number = next(counter)
        outcome = Outcome(row.get("verdict", "stable"))
        full.append(
            {
                "trial_id": f"t{number:03d}",
                "number": number,
                "group": number,
                "seed": number,
                "phase": "explore",
                "verdict": outcome.value,
                "stable": outcome.is_stable,
                "objective": 1.0 if outcome.is_stable else 1e4,
                "num_steps": 100,
                "max_steps": 100,
                "val_loss": 1.0 if outcome.is_stable else None,
                "wer": 0.5 if outcome.is_stable else None,
                "l_const": 3.0,
                "l_unif": 9.0,
                "wall_s": 10.0,
                "cpu_s": 8.0,
                **row,
            }
        )
    frame = pd.DataFrame(full, columns=None if full else store.TRIAL_SCHEMA.names)
    for column in store.TRIAL_SCHEMA.names:
        if column not in frame:
            frame[column] = None
    return frame


@pytest.fixture(scope="session")
def table() -> Callable[[Rows], pd.DataFrame]:
    """Makes a table of trials from the columns that matter to a test."""
    return _table
