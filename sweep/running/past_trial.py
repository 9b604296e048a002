"""Explains a trial of a results folder, by training it again where nothing cheaper tells."""

import difflib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from slr_models.data.batch import Dataset
from slr_models.errors import ResultsError
from sweep import store
from sweep.analysis.failures.step_trace import observe_all
from sweep.forensics.diagnosis import FORENSICS_ERROR_FILE, Case, keep_traceback, replayed_cause
from sweep.forensics.explaining import explain
from sweep.judging.detectors import RunContext
from sweep.judging.monitor import MonitorConfig, StabilityMonitor
from sweep.machine import storing
from sweep.records import NAN, EvalRecord, Outcome, StepRecord, TrialResult, Verdict
from sweep.running.job import Job
from sweep.running.signing import check_trusted
from sweep.running.trial import TrialRunner
from sweep.space import Settings
from sweep.study import LoadedStudy, Resources, load_stored, read_study
from sweep.study.code import named_in
from sweep.training.config import TrialConfig, with_micro_batch


def explain_trial(results_dir: Path, trial: str, *, trust: bool = False) -> Path:
    """Explains a finished trial and writes evidence/<trial>/explanation.json, whose path is returned.

    Nothing else of the folder is written, so a running sweep is not disturbed. Where a program of the user's own
    trains, only its run can look for causes: what that found is the answer.

    Args:
        results_dir: the folder.
        trial: a trial's name; leading zeros may be left out.
        trust: run the code that the study names, whoever named it.

    Raises:
        UserError: there is no such trial, or the study can no longer be built as it was, or names code that no run of
            this user has signed.
    """
    if (known := _explained_by_its_run(results_dir, trial)) is not None:
        return known
    past = past_trial(results_dir, trial, trust=trust)
    row, trial_id, loaded, config = past.row, past.trial_id, past.loaded, past.config
    records = _records(results_dir, trial_id)
    if not records and int(row["num_steps"]):
        raise ResultsError(
            f"{results_dir / 'steps' / trial_id}.parquet is missing, and an explanation starts from the "
            f"{int(row['num_steps'])} steps of the trial: restore it from a backup"
        )
    torch.set_num_threads(past.resources.cpus)
    max_steps = int(row["max_steps"])
    context = _context(config, _float(row["l_const"]), _float(row["l_unif"]), max_steps)
    explanation = explain(
        config,
        past.dataset,
        seed=int(row["seed"]),
        max_steps=max_steps,
        device=torch.device("cuda" if past.resources.gpus and torch.cuda.is_available() else "cpu"),
        records=records,
        verdict=_with_finding(_verdict(row), records, _evals(results_dir, trial_id), context, loaded.study.monitor),
        l_const=context.l_const,
        l_unif=context.l_unif,
        # Nothing waits for the answer here: it may train again as many steps as there were.
        settings=loaded.study.forensics.model_copy(update={"retrain_steps": max_steps}),
        health=store.load_health(results_dir, trial_id),
        on_plan=_say_plan,
    )
    store.write_explanation(results_dir, trial_id, explanation)
    return store.evidence_path(results_dir, trial_id, "explanation.json")


def _explained_by_its_run(results_dir: Path, trial: str) -> Path | None:
    """The explanation that its run wrote of a training of the user's own; None where our own loop trained.

    Raises:
        ResultsError: the run did not look for the cause.
    """
    read_study(results_dir)
    row = _row(results_dir, store.read_trials(results_dir), trial)
    trial_id = str(row["trial_id"])
    if not load_stored(results_dir / "study.yaml").study.is_own:
        return None
    path = store.evidence_path(results_dir, trial_id, "explanation.json")
    if not path.is_file():
        ended = f"{row['verdict']}, {row['reason']}" if row["reason"] else row["verdict"]
        printed = results_dir / "files" / trial_id / "output.txt"
        raise ResultsError(
            f"{results_dir}: trial {trial_id} is a training of your own, of which only its run can find the cause, and "
            f"that looked into others (forensics.trials of the study says how many). It ended so: {ended}"
            f"{f'; what it printed: {printed}' if printed.is_file() else ''}"
        )
    return path


@dataclass(frozen=True)
class PastTrial:
    """A finished trial in our own loop, with all that it takes to train it again."""

    trial_id: str
    """Its name."""
    row: dict[str, Any]
    """Of the table of trials."""
    loaded: LoadedStudy
    """Its study."""
    resources: Resources
    """What it could use."""
    config: TrialConfig
    dataset: Dataset


def past_trial(results_dir: Path, trial: str, *, trust: bool = False) -> PastTrial:
    """Reads a finished trial of a results folder that our own loop trained, and its data.

    Args:
        results_dir: the folder.
        trial: a trial's name; leading zeros may be left out.
        trust: run the code that the study names, whoever named it.

    Raises:
        UserError: as `explain_trial`.
    """
    made = read_study(results_dir).made
    row = _row(results_dir, store.read_trials(results_dir), trial)
    trial_id = str(row["trial_id"])
    loaded = load_stored(results_dir / "study.yaml")
    settings = _settings(results_dir, row, loaded)
    loaded.check_stored(settings)
    config = with_micro_batch(loaded.trial_config(settings), _micro_batch(row))
    _, data = loaded.study.made
    if not trust:
        check_trusted(results_dir, loaded, named_in(data, config.model))
    dataset = data.build()
    check_unchanged(results_dir, made, dataset)
    return PastTrial(trial_id, row, loaded, loaded.study.resources.of(settings), config, dataset)


def explain_result(result: TrialResult, job: Job, runner: TrialRunner) -> TrialResult:
    """Looks for the cause of a training that an earlier run finished and left unexplained, from what it recorded.

    A failure costs the cause, which is then None.

    Raises:
        MachineError: the machine failed; the cause is still to be looked for.
    """
    options, started = runner.options, time.perf_counter()
    config = with_micro_batch(job.ctc_config, result.micro_batch)
    context = _context(config, result.l_const, result.l_unif, result.max_steps)
    try:
        with storing(options.results_dir):
            records = _records(options.results_dir, result.trial_id)
            evals = _evals(options.results_dir, result.trial_id)
            health = store.load_health(options.results_dir, result.trial_id)
    except ResultsError as error:
        keep_traceback(options.results_dir, result.trial_id, error, FORENSICS_ERROR_FILE)
        return result
    as_told = Verdict(result.verdict, result.reason, result.num_steps, result.stop_step)
    cause = replayed_cause(
        Case(
            results_dir=options.results_dir,
            trial_id=result.trial_id,
            config=config,
            dataset=runner.dataset,
            seed=result.seed,
            max_steps=result.max_steps,
            device=torch.device(options.device),
            records=records,
            health=health,
            verdict=_with_finding(as_told, records, evals, context, options.monitor),
            l_const=result.l_const,
            l_unif=result.l_unif,
            settings=options.forensics,
            snapshots=None,
        )
    )
    return result.with_cause(cause, result.forensics_s + time.perf_counter() - started)


def _row(results_dir: Path, trials: pd.DataFrame, trial: str) -> dict[str, Any]:
    names = [str(name) for name in trials["trial_id"]]
    # Trials are numbered with leading zeros, which nobody types.
    wanted = next((name for name in names if name == trial or _short(name) == _short(trial)), None)
    if wanted is None:
        near = difflib.get_close_matches(trial, names, n=3, cutoff=0.4) or names[:3]
        known = f"did you mean {', '.join(near)}? All stand in the report" if near else "none has finished yet"
        raise ResultsError(f"{results_dir} holds no finished trial {trial!r}: {known}")
    (row,) = trials[trials["trial_id"] == wanted].to_dict("records")
    return {str(key): value for key, value in row.items()}


def _short(name: str) -> str:
    """A name without leading zeros, of which the last stays: an empty name is none."""
    return name[: max(len(name) - 1, 0)].lstrip("0") + name[-1:]


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


def check_unchanged(results_dir: Path, made: Mapping[str, Any], dataset: Dataset) -> None:
    """Raises ResultsError if the data are no longer those that the study trained on."""
    before = made.get("data") or {}
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


def _micro_batch(row: dict[str, Any]) -> int | None:
    size = row["micro_batch"]
    return int(size) if pd.notna(size) else None


def _records(results_dir: Path, trial_id: str) -> list[StepRecord]:
    return store.load_steps(results_dir, trial_id) if store.has_records(results_dir, "steps", trial_id) else []


def _evals(results_dir: Path, trial_id: str) -> list[EvalRecord]:
    return store.load_evals(results_dir, trial_id) if store.has_records(results_dir, "evals", trial_id) else []


def _say_plan(num_steps: int) -> None:
    # Not among the answer, which may be read as JSON.
    print(f"training up to {num_steps} steps again to find out ...", file=sys.stderr, flush=True)


def _verdict(row: dict[str, Any]) -> Verdict:
    """The verdict as the table has it."""
    stop_step = int(row["stop_step"]) if pd.notna(row["stop_step"]) else None
    return Verdict(Outcome(row["verdict"]), str(row["reason"]), int(row["num_steps"]), stop_step)


def _context(config: TrialConfig, l_const: float, l_unif: float, max_steps: int) -> RunContext:
    has_scaler = config.training.precision.kind == "fp16"
    return RunContext(l_const=l_const, l_unif=l_unif, budget_steps=max_steps, has_scaler=has_scaler)


def _with_finding(
    verdict: Verdict,
    records: Sequence[StepRecord],
    evals: Sequence[EvalRecord],
    context: RunContext,
    rules: MonitorConfig,
) -> Verdict:
    """The verdict with the finding that its steps lead to."""
    if verdict.outcome.is_broken_off or verdict.stable or verdict.outcome.is_open:
        return verdict
    monitor = StabilityMonitor(context, rules)
    observe_all(monitor, records, evals)
    again = monitor.finish()
    return again if again.outcome is verdict.outcome else verdict


def _float(value: Any) -> float:
    return NAN if value is None else float(value)
