"""Runs one trial: training, monitor and store together. Knows nothing of Ray."""

import dataclasses
import gc
import itertools
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from slr_models.data.batch import Dataset
from slr_models.errors import MachineError, ResultsError
from slr_models.models.saved import save_state
from sweep import store
from sweep.analysis.failures.step_trace import observe_all
from sweep.forensics.diagnosis import Case, free_cause, keep_traceback, may_replay, new_snapshots, replayed_cause
from sweep.judging import ending
from sweep.judging.monitor import StabilityMonitor, is_out_of_memory
from sweep.machine import is_of_machine, refusal, storing
from sweep.records import EvalRecord, HealthSample, Outcome, StepRecord, TrialResult, Verdict
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.judged import Ending, JudgedTrial, OpenFiles
from sweep.running.own_trial import OwnTrial
from sweep.running.trial_records import TrialRecords
from sweep.training.config import TrialConfig, with_micro_batch, with_smaller_micro_batch
from sweep.training.learnable import floors, output_lengths
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.training.snapshots import SnapshotRing
from sweep.training.train import GradientsDue, Training
from sweep.wording import first_line

_SAVED = "saved"
"""Name of the trial in a folder that `Trial.save` wrote, whoever it was."""

_NOTHING_BROKE = (Outcome.MEMORISED, Outcome.TOO_SHORT, Outcome.UNJUDGED)
"""Ends of which no step has a cause to look for."""


class TrialRunner:
    """Runs trials one after another in one process, on one shared dataset."""

    def __init__(self, dataset: Dataset | None, options: RunOptions) -> None:
        self._dataset = dataset
        self.options = options
        self._floors: dict[tuple[int, ...], tuple[float, float]] = {}

    @property
    def dataset(self) -> Dataset:
        """Of trainings in our own loop."""
        assert self._dataset is not None, "a program of the user's has its own data"
        return self._dataset

    def start(self, job: Job, *, pauses: bool = False) -> "Trial | OwnTrial":
        """Begins a trial, or goes on with it from its last checkpoint; see `Trial`."""
        return Trial(job, self, pauses=pauses) if self.options.own is None else OwnTrial(job, self.options)

    def floors(self, config: TrialConfig) -> tuple[float, float]:
        """`L_const` and `L_unif` of the training split for the model's output lengths, nats a label."""
        lengths = output_lengths(config, self.dataset)
        if lengths not in self._floors:
            self._floors[lengths] = floors(lengths, self.dataset)
        return self._floors[lengths]


class Trial(JudgedTrial):
    """One trial in progress.

    | call        | effect                                                                                 |
    |-------------|----------------------------------------------------------------------------------------|
    | `advance()` | runs to the next evaluation, or to the end: then it gives the result                   |
    | `explain()` | where `can_explain` is set at the end: looks for the cause, gives the result with it   |
    | `pruned()`  | at an evaluation: what the trial comes to if a scheduler ends it here                  |
    | `save()`    | at an evaluation: keeps all of it in a folder                                          |
    | `restore()` | instead of a beginning: goes on from such a folder, its own or another trial's         |

    What the machine fails at is no result: `MachineError` leaves the trial to be run again.

    One that `pauses` also stops at gradients that can be computed with those of others: `Training.paused_records`.
    """

    def __init__(self, job: Job, runner: TrialRunner, *, pauses: bool = False) -> None:
        super().__init__(job, runner.options)
        self._pauses = pauses
        self._runner = runner
        self._config = with_micro_batch(job.ctc_config, job.micro_batch)
        self._device = torch.device(self._options.device)
        self._training: Training | None = None
        self._stream: Iterator[StepRecord | EvalRecord | HealthSample | GradientsDue] = iter(())
        self._snapshots: SnapshotRing | None = None
        self._case: Case | None = None
        self._result: TrialResult | None = None
        self._is_paused = False
        self._changed_at_step: int | None = None
        self._left_at = self._cpu_started
        """Its CPU time counts from the first; while others go on, from the second on, it does not."""

    def advance(self) -> Progress | TrialResult | GradientsDue:
        """Trains to the next evaluation and saves what was recorded; at the end returns the result.

        Raises:
            MachineError: the machine failed, so that nobody can tell how the training would have gone.
        """
        if not self._is_paused:
            self.note = None
        self._cpu_started += time.process_time() - self._left_at
        try:
            reached = self._advance()
        finally:
            self._left_at = time.process_time()
        self._is_paused = isinstance(reached, GradientsDue)
        return reached

    def add_cpu_s(self, seconds: float) -> None:
        """Takes note of CPU time that was spent on it while it paused."""
        self._cpu_started -= seconds

    @property
    def training(self) -> Training:
        """What is trained; not before the first `advance()`, nor once it has ended."""
        assert self._training is not None, "a trial that is under way"
        return self._training

    def _advance(self) -> Progress | TrialResult | GradientsDue:
        while True:
            smaller = None
            try:
                reached = self._train_on()
            except (torch.AcceleratorError, MachineError):
                # A device whose context is broken for good takes a new process.
                raise
            except Exception as error:
                if is_of_machine(error):
                    raise MachineError(refusal(error)) from error
                if is_out_of_memory(error) and self._options.accumulates:
                    smaller = with_smaller_micro_batch(self._config)
                if smaller is None:
                    # A crash is a result too: the study goes on, and the traceback is kept.
                    keep_traceback(self._options.results_dir, self.job.trial_id, error, "traceback.txt")
                    reached = ending.at_crash(self._monitor, error, self._num_steps), None
            if smaller is None:
                return self._finish(*reached) if isinstance(reached, tuple) else reached
            # Only now is the exception gone, which held what the training had in memory.
            self._begin_anew(smaller_note(smaller), smaller)

    def _train_on(self) -> Progress | GradientsDue | Ending:
        """Trains to the next evaluation, pause or to the end."""
        training = self._training or self._begin()
        for record in self._stream:
            match record:
                case GradientsDue():
                    return record
                case EvalRecord():
                    self._records.evals.append(record)
                    self._monitor.observe_validation(record.step, record.val_loss)
                    ended = self._foregone_at(record)
                    self._save(training)
                    return self._progress(record) if ended is None else ended
                case HealthSample():
                    self._records.keep_health(record)
                case StepRecord():
                    self._records.steps.append(record)
                    if self._is_called_off():
                        return self._stopped_by_hand(record.step)
                    alarm = self._monitor.observe(record)
                    if alarm is None:
                        self._take_snapshot(training)
                    elif (ended := self._ending_at(alarm, record)) is not None:
                        return ended
        return ending.at_end(self._monitor)

    def explain(self) -> TrialResult:
        """Replays the bad end to find its cause. A failure costs the cause, never the result."""
        assert self.can_explain and self._case is not None and self._result is not None, "a bad trial, explained once"
        self.can_explain = False
        # Replays need the memory of the training that is over.
        self._training, self._stream = None, iter(())
        started = time.perf_counter()
        cause = replayed_cause(self._case)
        spent = self._result.forensics_s + time.perf_counter() - started
        self._result = self._result.with_cause(cause or self._result.cause, spent)
        return self._result

    def save(self, directory: Path) -> None:
        """Keeps all that the rest of the trial depends on, at an evaluation."""
        assert self._training is not None, "a trial is saved between two evaluations"
        state = self._state(self._training)
        with storing(directory):
            whole = {**state, "settings": dict(self.job.settings), "changed_at_step": self._changed_at_step}
            save_state(whole, directory / f"{_SAVED}.pt")
        self._write_records(directory, _SAVED)
        if self._records.health:
            store.write_health(directory, _SAVED, self._records.health_records)

    def restore(self, directory: Path) -> None:
        """Goes on from what `save` kept; the rest is bit-identical on a CPU.

        Where the settings saved are others than this trial's, its own hold from here on, and its result says so.
        """
        # To the CPU: random states live there, and loading moves the rest to its device.
        state = torch.load(directory / f"{_SAVED}.pt", map_location="cpu", weights_only=True)
        self._config = with_micro_batch(self.job.ctc_config, state["micro_batch"])
        training = self._begin()
        own = [{k: v for k, v in group.items() if k != "params"} for group in training.optimizer.param_groups]
        self._load(training, state, directory, _SAVED)
        self._changed_at_step = state["changed_at_step"]
        if state["settings"] != self.job.settings:
            self._changed_at_step = training.step
            for group, values in zip(training.optimizer.param_groups, own, strict=True):
                # Loading has put those of the other settings in.
                group.update(values)
        self._snapshots = new_snapshots(self._options.results_dir, self._options.forensics)
        self._take_snapshot(training)
        self._stream = training.paused_records() if self._pauses else training.records()

    @property
    def _num_steps(self) -> int:
        """Steps that were run: on a GPU a few more than were recorded, since values are read late there."""
        recorded = self._records.steps[-1].step if self._records.steps else 0
        return max(recorded, self._training.step if self._training else 0)

    def _begin(self) -> Training:
        reset_peak_memory(self._device)
        self._l_const, self._l_unif = self._runner.floors(self.job.ctc_config)
        training = self._resumed() or self._fresh()
        self._snapshots = new_snapshots(self._options.results_dir, self._options.forensics)
        if self._monitor.finish().stop_step is None:
            # Past its alarm a resumed training has no state left that a replay could start from.
            self._take_snapshot(training)
        self._training = training
        self._stream = training.paused_records() if self._pauses else training.records()
        return training

    def _fresh(self) -> Training:
        """The training before its first step, and a monitor that has seen nothing."""
        training = Training(
            self._config,
            self._runner.dataset,
            seed=self.job.seed,
            max_steps=self.job.length,
            device=self._device,
        )
        self._records = TrialRecords()
        self._files = OpenFiles(self._options.results_dir, self.job.trial_id)
        self._monitor = StabilityMonitor(self._context(has_scaler=training.precision.has_scaler), self._options.monitor)
        return training

    def _begin_anew(self, note: str, config: TrialConfig) -> None:
        """Lets go of all that the trial has done, so that it begins at its first step."""
        self.note, self._config = note, config
        self._training, self._snapshots, self._stream = None, None, iter(())
        self._changed_at_step = self._foregone_step = None
        self._spent_before = self._spent()
        self._started, self._cpu_started = time.perf_counter(), time.process_time()
        with storing(self._checkpoint_dir):
            if self._checkpoint_dir.is_dir():
                shutil.rmtree(self._checkpoint_dir)
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _finish(self, verdict: Verdict, alarm: Outcome | None = None) -> TrialResult:
        result = super()._finish(verdict, alarm)
        return result if verdict.stable or verdict.outcome in _NOTHING_BROKE else self._with_free_cause(result, verdict)

    def _row(self, verdict: Verdict, *, worth: float, margin: float, alarm: Outcome | None = None) -> TrialResult:
        return dataclasses.replace(
            super()._row(verdict, worth=worth, margin=margin, alarm=alarm),
            peak_memory_mib=self._peak_memory_mib(),
            precision_implementation=self._training.precision.implementation if self._training else "",
            settings_changed_at_step=self._changed_at_step,
            micro_batch=self._micro_batch,
            noise_scale=self._noise_scale(),
        )

    def _noise_scale(self) -> float:
        asked = self._config.training
        return self._records.noise_scale(asked.batch_size, asked.accumulate)

    def _with_free_cause(self, result: TrialResult, verdict: Verdict) -> TrialResult:
        """A bad result with its cause, if that can be told without a replay; else the trial may ask to be explained."""
        started = time.perf_counter()
        self._case = self._bad_case(verdict)
        cause = free_cause(self._case)
        self.can_explain = cause is None and may_replay(self._case)
        self._result = result.with_cause(cause, time.perf_counter() - started)
        return self._result

    def _bad_case(self, verdict: Verdict) -> Case:
        return Case(
            results_dir=self._options.results_dir,
            trial_id=self.job.trial_id,
            config=self._config,
            dataset=self._runner.dataset,
            seed=self.job.seed,
            max_steps=self.job.length,
            device=self._device,
            records=self._records.steps,
            health=self._records.health_records,
            verdict=verdict,
            l_const=self._l_const,
            l_unif=self._l_unif,
            settings=self._options.forensics,
            snapshots=self._snapshots,
        )

    def _take_snapshot(self, training: Training) -> None:
        if self._snapshots is not None:
            self._snapshots.offer(training)

    def _save(self, training: Training) -> None:
        self._files.write(self._records)
        kept = self._options.checkpoints
        if kept == "none":
            return
        self._write_health()
        with storing(self._checkpoint_dir), store.atomic_path(self._checkpoint_dir / "last.pt") as temporary:
            save_state(self._state(training), temporary)
        evals = self._records.evals
        if kept == "best_and_last" and evals[-1].wer <= min(e.wer for e in evals):
            with storing(self._checkpoint_dir), store.atomic_path(self._checkpoint_dir / "best.pt") as temporary:
                save_state({"model": training.evaluated_model.state_dict()}, temporary)

    def _resumed(self) -> Training | None:
        """The training as its checkpoint and records have it; None where these are not there, or are of no use."""
        path = self._checkpoint_dir / "last.pt"
        if self._options.checkpoints == "none" or not path.is_file():
            return None
        try:
            # To the CPU: random states live there, and loading moves the rest to its device.
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state.get("of", self._identity) != self._identity:
                raise ResultsError(f"{path} is the checkpoint of another training")
            if state.get("micro_batch") is not None:
                self._config = with_micro_batch(self.job.ctc_config, state["micro_batch"])
            training = self._fresh()
            self._load(training, state, self._options.results_dir, self.job.trial_id)
            return training
        except (torch.AcceleratorError, MachineError):
            raise
        except Exception as error:
            if is_of_machine(error) or is_out_of_memory(error):
                raise
            # Whatever is wrong with them, nothing but time is lost: they are this trial's alone.
            what = str(error) if isinstance(error, ResultsError) else f"{path} cannot be read ({first_line(error)})"
            self._begin_anew(f"{what.partition(': delete')[0]}; it begins anew", self._config)
            return None

    def _state(self, training: Training) -> dict[str, Any]:
        """All but the records."""
        return {
            "of": self._identity,
            "micro_batch": self._micro_batch,
            "training": training.state_dict(),
            "monitor": self._monitor.state_dict(),
            "foregone_step": self._foregone_step,
            "spent": self._spent(),
        }

    def _load(self, training: Training, state: dict[str, Any], folder: Path, name: str) -> None:
        """Puts a state back, with the records up to it that lie in a folder under a name.

        Raises:
            ResultsError: the records are not those of the state.
        """
        training.load_state_dict(state["training"])
        self._foregone_step = state.get("foregone_step")
        wall_s, cpu_s = state["spent"]
        step = training.step
        steps = [r for r in store.load_steps(folder, name) if r.step <= step]
        evals = [r for r in store.load_evals(folder, name) if r.step <= step]
        if [r.step for r in steps] != list(range(1, step + 1)) or not evals or evals[-1].step != step:
            raise ResultsError(f"the steps and evaluations of trial {name} in {folder} do not reach its checkpoint")
        self._records.steps, self._records.evals = steps, evals
        try:
            self._monitor.load_state_dict(state["monitor"])
        except ValidationError:
            # The memory of an earlier version: the records tell it all again.
            observe_all(self._monitor, self._records.steps, self._records.evals)
        health = [r for r in store.load_health(folder, name) if r.step <= step]
        self._records.health = [
            HealthSample(step, tuple(records)) for step, records in itertools.groupby(health, key=lambda r: r.step)
        ]
        self._spent_before = (wall_s, cpu_s)

    @property
    def _micro_batch(self) -> int | None:
        """Utterances a micro-batch where these had to be fewer than asked for."""
        size = self._config.training.batch_size
        return None if size == self.job.ctc_config.training.batch_size else size

    def _peak_memory_mib(self) -> float:
        earlier = self._training.earlier_peak_memory_mib if self._training else 0.0
        return max(peak_memory_mib(self._device), earlier)


def smaller_note(config: TrialConfig) -> str:
    """That a training is tried again with a configuration whose micro-batches are smaller, for the user."""
    training = config.training
    parts = f"{training.accumulate} micro-batches of {training.batch_size} an update"
    return f"memory ran out; it begins anew with {parts}"
