"""Ray's handle on our trials: the process that trains them, one after another. Its imports are those of a training."""

import gc
import time
from pathlib import Path
from typing import Any

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
from sweep.running.job import Job, RunOptions
from sweep.running.trial import TrialRunner
from sweep.running.view import trial_title
from sweep.training.footprint import Footprint, footprint

PROGRESS_KEY = "progress"
"""Of a report after an evaluation; a report of the end has none."""
TIME_KEY = "millionths"
"""How far a training has come: millionths of its own steps. Whole numbers, so that rungs are met exactly."""
WORTH_KEY = "worth"
"""What its latest evaluation is worth; finite, lower is better."""
END = 1_000_000
"""Of a training, for TIME_KEY."""
RESULT_KEY = "trial_result"
NOTE_KEY = "began_anew"
"""Why the trial began again at its first step since the report before."""
FOOTPRINT_KEY = "footprint"
"""What the training has taken of memory so far."""
PROBLEM_KEY = "machine_failed"
"""What the machine failed at, so that the trial has no result."""
IF_PRUNED_KEY = "if_pruned"
"""What the trial comes to if a scheduler ends it at this evaluation."""


class TrialActor(tune.Trainable):
    """A process that trains: one `step()` is the stretch up to the next evaluation."""

    def setup(  # type: ignore[override]  # with_parameters adds the shared objects
        self,
        config: dict[str, Any],
        dataset: Dataset,
        options: RunOptions,
        num_threads: int,
        deadline: float,
        is_scheduled: bool = False,
    ) -> None:
        torch.set_num_threads(num_threads)
        self._deadline = deadline
        self._is_scheduled = is_scheduled
        self._runner = TrialRunner(dataset, options)
        self._start(config["job"])

    def _start(self, job: Job) -> None:
        self._trial = self._runner.start(job)
        self._is_over = False
        # The dashboard shows it as the actor's log.
        print(f"trial {trial_title(job)}", flush=True)

    def __repr__(self) -> str:
        # The dashboard asks once, when the actor is made, so it must hold for all trials to come.
        return f"trials of {self._runner.options.results_dir.name}"

    def step(self) -> dict[str, Any]:
        try:
            return self._report()
        except MachineError as error:
            return {PROBLEM_KEY: str(error), "done": True}

    def _report(self) -> dict[str, Any]:
        if setproctitle is not None:
            # Ray names a process by the method that it runs, and does so again after each.
            setproctitle(f"ray::{trial_title(self._trial.job)}")
        if (told := self._trial.job.told) is not None:
            from sweep.running.past_trial import explain_result

            return self._end(explain_result(told, self._trial.job, self._runner), done=True)
        if self._is_over:
            return self._end(self._trial.explain(), done=True)
        report = self._trial.advance()
        if isinstance(report, TrialResult):
            # The driver has the result before the search for its cause begins: nothing that happens then can lose it.
            # The study's time, which trainings that have begun may overrun, is not spent on explanations.
            self._is_over = self._trial.can_explain and time.time() < self._deadline
            return self._end(report, done=not self._is_over)
        said: dict[str, Any] = {PROGRESS_KEY: report, NOTE_KEY: self._trial.note, "done": False}
        if self._is_scheduled:
            said[TIME_KEY] = millionths(report.step, report.max_steps)
            said[WORTH_KEY] = self._trial.worth
            said[IF_PRUNED_KEY] = self._trial.pruned()
        return said

    def _end(self, result: TrialResult, *, done: bool) -> dict[str, Any]:
        if done:
            print(f"trial {result.trial_id}: {result.verdict.value} after step {result.num_steps}", flush=True)
        said: dict[str, Any] = {RESULT_KEY: result, NOTE_KEY: self._trial.note, "done": done}
        if result.num_steps:
            said[FOOTPRINT_KEY] = self._footprint(result)
        if self._is_scheduled:
            said[TIME_KEY] = millionths(result.num_steps, result.max_steps)
            said[WORTH_KEY] = result.objective
        return said

    def _footprint(self, result: TrialResult) -> Footprint:
        return footprint(torch.device(self._runner.options.device), result.peak_memory_mib)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # The old trial's model goes before the new one's comes: peak memory is each trial's own, and several
        # trials share a GPU.
        del self._trial
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        self._start(new_config["job"])
        return True

    # For schedulers that pause trials, or copy them. A study's own checkpoints lie beside a trial's records, so that
    # they outlive Ray's bookkeeping, and a trial that starts again finds them by itself.

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._trial.save(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: str) -> None:  # type: ignore[override]  # a folder, since one was saved
        self._trial.restore(Path(checkpoint))


def millionths(step: int, max_steps: int) -> int:
    """How far a training has come, for TIME_KEY."""
    return round(END * step / max_steps)
