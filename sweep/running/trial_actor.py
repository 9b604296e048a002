"""Ray's handle on our trials: the process that trains them, and imports what a training needs alone."""

import dataclasses
import gc
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

try:
    from ray._raylet import setproctitle  # type: ignore[attr-defined]  # part of the compiled module
except ImportError:
    # No public part of Ray. Without it, `top` and the dashboard's list of processes name trials no more.
    setproctitle = None

from slr_models.data.batch import Dataset
from slr_models.errors import MachineError
from sweep.records import TrialResult
from sweep.running.job import Job, RunOptions, TrialReport
from sweep.running.members import Members
from sweep.running.trial import Trial, TrialRunner
from sweep.running.view import trial_title, trials_title
from sweep.store.remote.process import TrainingFiles
from sweep.training.footprint import Footprint, footprint

JOBS_KEY = "jobs"
"""Of a trial of Ray's: the trainings that it is of, which go on side by side in one process."""
REPORTS_KEY = "reports"
"""What the process's trainings tell, a list of `TrialReport`."""
TIME_KEY = "millionths"
"""How far a training has come: millionths of its own steps. Whole numbers, so that rungs are met exactly."""
WORTH_KEY = "worth"
"""What its latest evaluation is worth; finite, lower is better."""
NOT_REUSED = "the program before it would not end"
"""What is raised where a process cannot take the next training."""
END = 1_000_000
"""Of a training, for TIME_KEY."""
FOOTPRINT_KEY = "footprint"
"""What the process has taken of memory so far."""
PROBLEM_KEY = "machine_failed"
"""What the machine failed at, so that the trainings have no result."""
IF_PRUNED_KEY = "if_pruned"
"""What the training comes to if a scheduler ends it at this evaluation."""


class TrialActor(tune.Trainable):
    """A process that trains: one `step()` is the stretch up to the next evaluation of one of its trainings."""

    def setup(  # type: ignore[override]  # with_parameters adds the shared objects
        self,
        config: dict[str, Any],
        dataset: Dataset | None,
        options: RunOptions,
        deadline: float,
        is_scheduled: bool = False,
    ) -> None:
        self._deadline = deadline
        self._is_scheduled = is_scheduled
        self._files = None if options.stored_at is None else TrainingFiles(options.stored_at)
        if self._files is not None:
            options = dataclasses.replace(options, results_dir=self._files.folder)
        self._runner = TrialRunner(dataset, options)
        self._start(config[JOBS_KEY])

    def _start(self, jobs: list[Job]) -> None:
        torch.set_num_threads(jobs[0].num_threads)
        self._members = Members(jobs, self._runner, self._deadline)
        self._title, self._ids = trials_title(jobs), [job.trial_id for job in jobs]
        self._are_here = self._files is None
        # The dashboard shows it as the actor's log.
        for job in jobs:
            print(f"trial {trial_title(job)}", flush=True)

    def __repr__(self) -> str:
        # The dashboard asks once, when the actor is made, so it must hold for all trials to come.
        return f"trials of {self._runner.options.results_dir.name}"

    def node_id(self) -> str:
        """Of the node that it runs on, as Ray has it."""
        return str(ray.get_runtime_context().get_node_id())

    def step(self) -> dict[str, Any]:
        if setproctitle is not None:
            # Ray names a process by the method that it runs, and does so again after each.
            setproctitle(f"ray::{self._title}")
        try:
            reports = self._advance()
        except MachineError as error:
            return {PROBLEM_KEY: str(error), "done": True}
        said: dict[str, Any] = {REPORTS_KEY: reports, "done": self._members.are_over}
        for report in reports:
            result = report.result
            if result is None:
                continue
            if report.is_last:
                print(f"trial {result.trial_id}: {result.verdict.value} after step {result.num_steps}", flush=True)
            if result.num_steps:
                said[FOOTPRINT_KEY] = self._footprint(result)
        return {**said, **self._for_scheduler(reports[0])} if self._is_scheduled else said

    def _advance(self) -> list[TrialReport]:
        """Goes on until there is something to tell; what is told of is where the study is stored."""
        if self._files is None:
            return self._members.advance()
        if not self._are_here:
            self._files.bring(self._ids)
            self._are_here = True
        reports = self._members.advance()
        # A scheduler may end a training at any evaluation, and then asks for no result.
        self._files.send([one.trial_id for one in reports if one.result is not None or self._is_scheduled])
        if self._members.are_over:
            self._files.settle()
        return reports

    def _footprint(self, result: TrialResult) -> Footprint:
        return footprint(torch.device(self._runner.options.device), result.peak_memory_mib)

    def _for_scheduler(self, report: TrialReport) -> dict[str, Any]:
        """What a scheduler hears of a training; it has the process to itself."""
        if (result := report.result) is not None:
            return {TIME_KEY: millionths(result.num_steps, result.max_steps), WORTH_KEY: result.objective}
        assert report.progress is not None, "a report without a result is one of an evaluation"
        trial = self._members.only
        if not trial.has_evaluations:
            return {}
        return {
            TIME_KEY: millionths(report.progress.step, report.progress.max_steps),
            WORTH_KEY: trial.worth,
            IF_PRUNED_KEY: trial.pruned(),
        }

    def cleanup(self) -> None:
        if self._files is not None:
            self._files.end()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        if not self._members.abandon():
            # To return False tells Ray, and nobody who waits for the training that was to come.
            raise RuntimeError(NOT_REUSED)
        # The old trial's model goes before the new one's comes: peak memory is each trial's own, and several
        # trials share a GPU.
        del self._members
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        self._start(new_config[JOBS_KEY])
        return True

    # For schedulers that pause trials, or copy them. A study's own checkpoints lie beside a trial's records, so that
    # they outlive Ray's bookkeeping, and a trial that starts again finds them by itself.

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._ours.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:  # type: ignore[override]  # a folder, since one was saved
        self._ours.restore(Path(checkpoint))

    @property
    def _ours(self) -> Trial:
        trial = self._members.only
        assert isinstance(trial, Trial), "a training in our own loop"
        return trial


def millionths(step: int, max_steps: int | None) -> int:
    """How far a training has come, for TIME_KEY."""
    assert max_steps is not None, "with a scheduler, budget.steps is asked for"
    return round(END * step / max_steps)
