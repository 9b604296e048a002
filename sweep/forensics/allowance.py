"""How many bad trials of a study may still be explained by replay: one file, shared by all of its processes.

Where these share no folder, its lines are objects where the study is stored (`SharedLines`).

A line a trial that took its share, `<trial id> <outcome>`. Taken is taken: an explanation that failed, or was
interrupted, costs its share too, so that no study spends more than it said.
"""

from collections.abc import Sequence
from pathlib import Path

from sweep.forensics.settings import ForensicsConfig
from sweep.records import Outcome
from sweep.store.lock import locked
from sweep.store.remote.lines import shared_lines

ALLOWANCE_FILE = "replayed.txt"
"""In the folder `evidence` of the results."""


def is_left(results_dir: Path, num_trials: int) -> bool:
    """Whether fewer than `num_trials` trials have been explained."""
    return num_trials > len(taken_by(results_dir))


def most_left(results_dir: Path, settings: ForensicsConfig, num_trainings: int) -> int:
    """How many of so many further trainings may be explained at most; 0 where what is taken cannot be read."""
    try:
        left = settings.trials - len(taken_by(results_dir))
    except (OSError, ValueError):
        return 0
    return max(min(left, settings.most_explained(num_trainings)), 0)


def taken_by(results_dir: Path) -> list[str]:
    """The trials that took their share, by id, in that order."""
    path = results_dir / "evidence" / ALLOWANCE_FILE
    if (shared := shared_lines(results_dir, path)) is not None:
        return [line.split()[0] for line in shared.read()]
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [line.split()[0] for line in lines if line.strip()]


def take(results_dir: Path, trial_id: str, outcome: Outcome, *, num_trials: int, per_outcome: int) -> bool:
    """Takes the right to explain this trial; False where `num_trials` in all, or `per_outcome` of one, have theirs."""
    if num_trials == 0:
        return False

    def may(lines: Sequence[str]) -> bool:
        return len(lines) < num_trials and sum(kind == outcome for _, kind in map(str.split, lines)) < per_outcome

    line = f"{trial_id} {outcome.value}"
    path = results_dir / "evidence" / ALLOWANCE_FILE
    if (shared := shared_lines(results_dir, path)) is not None:
        return shared.add(line, may)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")), path.open("a+", encoding="utf-8") as file:
        file.seek(0)
        taken = file.read().splitlines()
        if line in taken:
            return True
        if not may(taken):
            return False
        file.write(f"{line}\n")
    return True
