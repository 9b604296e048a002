"""Explains a trial of a results folder, by training it again where nothing cheaper tells."""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from slr_models.data.batch import Dataset
from slr_models.errors import ResultsError
from sweep import store
from sweep.analysis.failures.step_trace import observe_all
from sweep.forensics.explaining import explain
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import StabilityMonitor
from sweep.records import NAN, EvalRecord, Outcome, StepRecord, Verdict
from sweep.space import Settings
from sweep.study import LoadedStudy, load_stored
from sweep.training.config import TrialConfig

BROKEN_OFF = (Outcome.CRASHED, Outcome.OUT_OF_MEMORY)


def explain_trial(results_dir: Path, trial: str) -> Path:
    """Explains a finished trial and writes evidence/<trial>/explanation.json, whose path is returned.

    Nothing else of the folder is written, so a running sweep is not disturbed.

    Raises:
        UserError: there is no such trial, or the study can no longer be built as it was.
    """
    content = store.read_study(results_dir)
    row = _row(results_dir, store.read_trials(results_dir), trial)
    trial_id = str(row["trial_id"])
    loaded = load_stored(results_dir / "study.yaml")
    config = loaded.trial_config(_settings(results_dir, row, loaded))
    dataset = loaded.study.data.build()
    _check_unchanged(results_dir, content, dataset)
    records = _records(results_dir, trial_id)
    torch.set_num_threads(loaded.study.resources.cpus)
    max_steps = int(row["max_steps"])
    explanation = explain(
        config,
        dataset,
        seed=int(row["seed"]),
        max_steps=max_steps,
        device=torch.device("cuda" if loaded.study.resources.gpus and torch.cuda.is_available() else "cpu"),
        records=records,
        verdict=_verdict(row, records, _evals(results_dir, trial_id), loaded, config),
        l_const=_float(row["l_const"]),
        l_unif=_float(row["l_unif"]),
        # Nothing waits for the answer here: it may train again as many steps as there were.
        settings=loaded.study.forensics.model_copy(update={"retrain_steps": max_steps}),
        health=store.load_health(results_dir, trial_id),
        on_plan=_say_plan,
    )
    store.write_explanation(results_dir, trial_id, explanation)
    return store.evidence_path(results_dir, trial_id, "explanation.json")


def _row(results_dir: Path, trials: pd.DataFrame, trial: str) -> dict[str, Any]:
    names = [str(name) for name in trials["trial_id"]]
    # Trials are numbered with leading zeros, which nobody types.
    wanted = next((name for name in names if name == trial or name.lstrip("0") == trial.lstrip("0")), None)
    if wanted is None:
        near = difflib.get_close_matches(trial, names, n=3, cutoff=0.4) or names[:3]
        known = f"did you mean {', '.join(near)}? All stand in the report" if near else "none has finished yet"
        raise ResultsError(f"{results_dir} holds no finished trial {trial!r}: {known}")
    (row,) = trials[trials["trial_id"] == wanted].to_dict("records")
    return {str(key): value for key, value in row.items()}


def _settings(results_dir: Path, row: dict[str, Any], loaded: LoadedStudy) -> Settings:
    """What the trial searched, by dotted path; settings that it did not have are left out."""
    settings = {key: value for key, value in row.items() if key not in store.TRIAL_SCHEMA.names and pd.notna(value)}
    foreign = [path for path in settings if path not in loaded.study.searched]
    if foreign:
        raise ResultsError(
            f"{results_dir / 'study.yaml'} was edited since the trials ran: they have the setting {foreign[0]!r}, "
            f"which its space lacks; bring the file back as it was"
        )
    return settings


def _check_unchanged(results_dir: Path, content: dict[str, Any], dataset: Dataset) -> None:
    """Raises ResultsError if the data are no longer those that the study trained on."""
    before = content.get("provenance", {}).get("data", {})
    now = {
        "num_train": len(dataset.train),
        "num_valid": len(dataset.valid),
        "num_features": dataset.num_features,
        "vocabulary_size": len(dataset.vocabulary),
    }
    for key, value in now.items():
        if key in before and before[key] != value:
            raise ResultsError(
                f"{results_dir}: the data are not those that the study trained on ({key} was {before[key]} and is "
                f"{value} now): bring back the data of then, and {results_dir / 'study.yaml'} as it was"
            )


def _records(results_dir: Path, trial_id: str) -> list[StepRecord]:
    if not (results_dir / "steps" / f"{trial_id}.parquet").is_file():
        return []
    return store.load_steps(results_dir, trial_id)


def _evals(results_dir: Path, trial_id: str) -> list[EvalRecord]:
    if not (results_dir / "evals" / f"{trial_id}.parquet").is_file():
        return []
    return store.load_evals(results_dir, trial_id)


def _say_plan(num_steps: int) -> None:
    # Not among the answer, which may be read as JSON.
    print(f"training up to {num_steps} steps again to find out ...", file=sys.stderr, flush=True)


def _verdict(
    row: dict[str, Any],
    records: Sequence[StepRecord],
    evals: Sequence[EvalRecord],
    loaded: LoadedStudy,
    config: TrialConfig,
) -> Verdict:
    """The verdict as the table has it, with the finding that its steps lead to."""
    outcome = Outcome(row["verdict"])
    stop_step = int(row["stop_step"]) if pd.notna(row["stop_step"]) else None
    verdict = Verdict(outcome, str(row["reason"]), int(row["num_steps"]), stop_step)
    if outcome in BROKEN_OFF or outcome.is_stable or outcome.is_open:
        return verdict
    monitor = StabilityMonitor(
        RunContext(
            l_const=_float(row["l_const"]),
            l_unif=_float(row["l_unif"]),
            budget_steps=int(row["max_steps"]),
            has_scaler=config.training.precision.kind == "fp16",
        ),
        loaded.study.monitor,
    )
    observe_all(monitor, records, evals)
    again = monitor.finish()
    return again if again.outcome is outcome else verdict


def _float(value: Any) -> float:
    return NAN if value is None else float(value)
