"""What a results folder held when it was read: the study, its trials, and why bad ones went bad."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sweep import store
from sweep.analysis.figures.course import EVAL_COLUMNS, MAX_POINTS, STEP_COLUMNS, CourseRows, trace
from sweep.analysis.trials.outcomes import failed
from sweep.records import Explanation
from sweep.report.contents.files import Files
from sweep.store.ledger_lines import tells_results
from sweep.study.reading import StoredStudy, read_study


@dataclass(frozen=True)
class FolderContent:
    """What a results folder held when it was read."""

    folder: Path
    stored: StoredStudy
    trials: pd.DataFrame
    """All finished trials, each with the newest known cause."""
    explanations: Mapping[str, Explanation]
    """Of bad trials, by trial id."""
    files: Files
    """All else that the folder holds."""


def read_source(results_dir: Path) -> FolderContent:
    """Reads the study and its trials, quickly; a `View` makes all that the page shows of it, which takes seconds.

    Raises:
        ResultsError: it is not the results folder of a study.
    """
    stored = read_study(results_dir)
    trials = _trials(results_dir)
    files = Files(results_dir)
    explanations = _explanations(files, trials)
    # An explanation may be younger than the trial's row.
    trials["cause"] = [
        explanations[t].text if t in explanations else c
        for t, c in zip(trials["trial_id"], trials["cause"], strict=True)
    ]
    return FolderContent(results_dir, stored, trials, explanations, files)


def _trials(results_dir: Path) -> pd.DataFrame:
    """The finished trials; none while the first ones still run."""
    if (results_dir / store.TRIALS_FILE).exists() or tells_results(results_dir):
        return store.read_trials(results_dir)
    empty: pd.DataFrame = store.TRIAL_SCHEMA.empty_table().to_pandas()
    return empty


def _explanations(files: Files, trials: pd.DataFrame) -> dict[str, Explanation]:
    """Why the bad trials went bad, as far as anybody looked."""
    bad = [str(t) for t in failed(trials)["trial_id"]]
    found = {trial_id: files.explanation(trial_id) for trial_id in bad}
    return {trial_id: explanation for trial_id, explanation in found.items() if explanation is not None}


def read_traces(files: Files, trial_ids: Iterable[str], max_points: int = MAX_POINTS) -> Iterator[CourseRows]:
    """The courses of these trials, in their order; a trial that left no records has none."""
    for trial_id in trial_ids:
        steps = files.columns("steps", trial_id, STEP_COLUMNS)
        # Its process may have died before it wrote any.
        if steps is not None:
            evals = files.columns("evals", trial_id, EVAL_COLUMNS)
            yield trace(trial_id, steps, evals, max_points)
