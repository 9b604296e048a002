"""Finding out why a trial went bad, within what the study allows, and keeping what was found as evidence."""

import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from slr_models.data.batch import Dataset
from slr_models.errors import MachineError
from sweep import store
from sweep.forensics import allowance
from sweep.forensics.causes import quick_cause
from sweep.forensics.explaining import explain
from sweep.forensics.settings import ForensicsConfig
from sweep.machine import is_of_machine, refusal
from sweep.records import Explanation, HealthRecord, StepRecord, Verdict
from sweep.redaction import redacted
from sweep.training.config import TrialConfig
from sweep.training.snapshots import SnapshotRing

FORENSICS_ERROR_FILE = "forensics_error.txt"
"""Evidence of why a trial could not be explained."""


@dataclass(frozen=True)
class Case:
    """A training that ended badly, with all that finding its cause takes."""

    results_dir: Path
    trial_id: str
    config: TrialConfig
    dataset: Dataset
    seed: int
    max_steps: int
    device: torch.device
    records: Sequence[StepRecord]
    """All its steps."""
    health: Sequence[HealthRecord]
    """Samples of the model's numeric health."""
    verdict: Verdict
    l_const: float
    l_unif: float
    settings: ForensicsConfig
    snapshots: SnapshotRing | None
    """Of its steps up to the alarm; None if none were taken."""


def explains_more(results_dir: Path, settings: ForensicsConfig) -> bool:
    """Whether a study still explains trials, so that it pays to keep the states that replays start from."""
    try:
        return allowance.is_left(results_dir, settings.trials)
    except (OSError, ValueError):
        # Nothing is lost yet: whether this trial may be explained is asked, and told as evidence, if it goes bad.
        return False


def new_snapshots(results_dir: Path, settings: ForensicsConfig) -> SnapshotRing | None:
    """Where a trial keeps the states that replays start from; None where the study explains no more trials."""
    if not explains_more(results_dir, settings):
        return None
    return SnapshotRing(settings.snapshot_every_steps, settings.num_snapshots)


def free_cause(case: Case) -> str | None:
    """The cause in words, if it can be told without a replay."""
    return _kept(
        case,
        lambda: quick_cause(case.config, case.dataset, seed=case.seed, records=case.records, verdict=case.verdict),
    )


def may_replay(case: Case) -> bool:
    """Whether the study allows this trial to be explained by replays; if so, that takes one from its allowance.

    Not if that cannot be told, as where the results lie on storage that knows no locks.
    """
    return allowed(case.results_dir, case.trial_id, case.verdict, case.settings)


def allowed(results_dir: Path, trial_id: str, verdict: Verdict, settings: ForensicsConfig) -> bool:
    """As `may_replay`, of any training."""
    try:
        return allowance.take(
            results_dir, trial_id, verdict.outcome, num_trials=settings.trials, per_outcome=settings.per_outcome
        )
    except (OSError, ValueError) as error:
        _raise_if_of_machine(error)
        keep_traceback(results_dir, trial_id, error, FORENSICS_ERROR_FILE)
        return False


def replayed_cause(case: Case) -> str | None:
    """The cause in words, found by replays; None if these failed."""
    return _kept(
        case,
        lambda: explain(
            case.config,
            case.dataset,
            seed=case.seed,
            max_steps=case.max_steps,
            device=case.device,
            records=case.records,
            health=case.health,
            verdict=case.verdict,
            l_const=case.l_const,
            l_unif=case.l_unif,
            settings=case.settings,
            snapshots=case.snapshots,
        ),
    )


def keep_traceback(results_dir: Path, trial_id: str, error: Exception, name: str) -> None:
    """Keeps the traceback of an error as evidence; prints it where no file can be written."""
    text = redacted("".join(traceback.format_exception(error)))
    try:
        store.write_text(store.evidence_path(results_dir, trial_id, name), text)
    except OSError:
        # An error that cannot be kept must not cost the result as well.
        sys.stderr.write(text)


def _kept(case: Case, find: Callable[[], Explanation | None]) -> str | None:
    """What `find` finds, in words; kept as evidence, and so is its failure, which costs the cause but not the trial.

    Raises:
        MachineError: the machine fails, as where the disk is full.
    """
    try:
        explanation = find()
        if explanation is not None:
            store.write_explanation(case.results_dir, case.trial_id, explanation)
    except torch.AcceleratorError:
        # The device's context is broken for good: this process can train nothing any more.
        raise
    except Exception as error:
        _raise_if_of_machine(error)
        keep_traceback(case.results_dir, case.trial_id, error, FORENSICS_ERROR_FILE)
        return None
    return None if explanation is None else explanation.text


def _raise_if_of_machine(error: Exception) -> None:
    """Raises MachineError if the machine fails: then a cause is not unknown, but still to be looked for."""
    if is_of_machine(error):
        raise MachineError(refusal(error)) from error
