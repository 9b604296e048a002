"""Whether a ledger holds all the trials that the rest of its folder knows: an emptied or shortened one does not.

What may be there without a line of its own: nothing of trials.parquet, which is written after the results; nothing of
steps/ and evals/, which are written after the trial was asked for; of the Optuna journal one setting, since the search
notes it down just before the ledger does.
"""

import re
from collections.abc import Set
from pathlib import Path

from slr_models.errors import ResultsError
from sweep.store.files import check_is_folder, read_bytes
from sweep.store.ledger_lines import LEDGER_FILE, RECOVER, Roster
from sweep.store.tables import MOVE_AWAY, RECORDS, STREAM_SUFFIX, STREAMED, TRIALS_FILE, finished_ids
from sweep.wording import plural

JOURNAL_FILE = "optuna.journal"
_MAX_JOURNAL_MIB = 4096
_GIVEN_BY_A_RUN = re.compile(r"\d{4,}")
"""Ids that a run gives; other files beside them are the user's own."""
_NEW_TRIAL = re.compile(rb'^\{"op_code":4,', re.MULTILINE)
"""A line of Optuna's journal that begins a trial, which is a setting of ours."""


def check_complete(results_dir: Path, roster: Roster, num_explored: int) -> None:
    """Holds a ledger against the rest of its folder.

    Args:
        results_dir: the folder.
        roster: what its ledger says.
        num_explored: settings of the exploration that it asks for.

    Raises:
        ResultsError: it lacks something that the folder knows.
    """
    check_table(results_dir, roster)
    for kind in RECORDS:
        if asked := recorded_ids(results_dir, kind) - roster.asks.keys():
            raise _lacking(results_dir, f"{_listed(asked)}, of which {kind}/ has records")
    check_journal(results_dir, num_explored)


def check_table(results_dir: Path, roster: Roster) -> None:
    """The part of `check_complete` that holds a ledger against the table of trials."""
    told = finished_ids(results_dir) - roster.told - roster.retried
    if told:
        raise _lacking(results_dir, f"the results of {_listed(told)}, which {TRIALS_FILE} holds")


def check_journal(results_dir: Path, num_explored: int) -> None:
    """The part of `check_complete` that holds a ledger against Optuna's journal."""
    if (more := num_searched(results_dir) - num_explored) > 1:
        raise _lacking(results_dir, f"{plural(more, 'setting')} that {JOURNAL_FILE} knows")


def recorded_ids(results_dir: Path, kind: str) -> set[str]:
    """Trials that left records of a kind, as a table or on the way to one.

    Raises:
        ResultsError: something else lies in the folder's place.
    """
    check_is_folder(results_dir / kind, MOVE_AWAY)
    endings = (".parquet", STREAM_SUFFIX) if kind in STREAMED else (".parquet",)
    files = (path for ending in endings for path in (results_dir / kind).glob(f"*{ending}"))
    return {path.stem for path in files if _GIVEN_BY_A_RUN.fullmatch(path.stem)}


def num_searched(results_dir: Path) -> int:
    """Settings that the search was asked for, as its journal has it; 0 where there is none."""
    path = results_dir / JOURNAL_FILE
    if not path.exists():
        return 0
    return len(_NEW_TRIAL.findall(read_bytes(path, _MAX_JOURNAL_MIB, "delete it: each run writes it anew")))


def _lacking(results_dir: Path, what: str) -> ResultsError:
    return ResultsError(
        f"{results_dir / LEDGER_FILE} lacks {what}: it was emptied, shortened or replaced; restore it from a backup, "
        f"or bring back what can be with {RECOVER} {results_dir}"
    )


def _listed(trial_ids: Set[str]) -> str:
    """`trial 0003`, `3 trials (0003 to 0007)`."""
    first, last = min(trial_ids), max(trial_ids)
    return f"trial {first}" if first == last else f"{len(trial_ids)} trials ({first} to {last})"
