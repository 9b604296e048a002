"""Two results folders -> what changed from one to the other."""

from pathlib import Path

from slr_models.errors import ResultsError
from sweep import store
from sweep.analysis.comparison.compare import Comparison, compare
from sweep.analysis.comparison.shared import StudyRun
from sweep.study.reading import read_study


def compare_folders(before: Path, after: Path) -> Comparison:
    """Compares two results folders.

    Raises:
        ResultsError: one of them is no results folder, or both are the same.
        NothingToCompareError: one has no finished trial, or they have nothing in common.
    """
    runs = [_study_run(before), _study_run(after)]
    if before.resolve() == after.resolve():
        raise ResultsError(f"{before} and {after} are the same folder: give two")
    return compare(*runs)


def _study_run(results_dir: Path) -> StudyRun:
    study = read_study(results_dir)
    return StudyRun(study, store.read_trials(results_dir), tuple(store.read_claims(results_dir)))
