"""Runs one trial of the user's own: their program in a thread, judged step by step. Knows nothing of Ray."""

import contextlib
import copy
import dataclasses
import functools
import json
import math
import os
import pickle
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from slr_models import user_code
from slr_models.errors import MachineError, ResultsError, UserError
from slr_models.models.saved import save_state
from sweep import store
from sweep.analysis.failures.step_trace import observe_all
from sweep.forensics.diagnosis import FORENSICS_ERROR_FILE, allowed, explains_more, keep_traceback
from sweep.forensics.own_steps import explain_steps
from sweep.judging import ending
from sweep.judging.monitor import StabilityMonitor
from sweep.judging.objective import own_objective
from sweep.judging.sides import LEVEL_STEPS
from sweep.machine import is_of_machine, refusal, storing
from sweep.own import replays
from sweep.own.command import OUTPUT_FILE, run_command
from sweep.own.handle import Metrics, Run, Stop
from sweep.own.output import kept_output
from sweep.own.program import CommandProgram, HungError, OwnConfig, OwnProgram, Target, TimedOutError
from sweep.own.replays import Failed
from sweep.own.seeding import seed_all
from sweep.records import (
    NAN,
    Cause,
    EvalRecord,
    Explanation,
    Numbers,
    Outcome,
    Side,
    StepRecord,
    TrialResult,
    Verdict,
    is_finite,
)
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.judged import Ending, JudgedTrial, OpenFiles
from sweep.running.trial_records import TrialRecords
from sweep.training.peak_memory import peak_memory_mib, reset_peak_memory
from sweep.wording import first_line

TELL_EVERY_S = 2.0
"""How often a training that evaluates nothing says how far it is."""
GRACE_S = 10.0
"""How long a function may take to end once it was told to."""
ENOUGH_RATE = 0.5
"""Share of its planned steps without which a training that ended by itself is not called stable."""
_START_STEPS = 5
"""Losses whose median stands for the beginning."""
_KEPT = "own.pt"


class OwnTrial(JudgedTrial):
    """One trial of a program of the user's; see `Trial` for the calls."""

    def __init__(self, job: Job, options: RunOptions) -> None:
        super().__init__(job, options)
        assert options.own is not None and isinstance(job.config, OwnConfig), "a program of the user's own"
        self._own: OwnProgram = options.own
        self._config = job.config
        self._metrics: Metrics = {}
        self._device = torch.device(options.device)
        self._ending: Ending | None = None
        self._thread: threading.Thread | None = None
        self._replaying: threading.Thread | None = None
        self._changed = threading.Condition()
        self._writing = threading.Lock()
        self._num_told = 0
        """Evaluations that were told of."""
        self._error: BaseException | None = None
        self._overdue: HungError | TimedOutError | None = None
        self._begun_at = self._heard_at = 0.0
        self._next_note: str | None = None
        self._result: TrialResult | None = None
        self._verdict: Verdict | None = None
        self._is_over = False
        l_const, l_unif = self._own.program.references.losses
        self.refer(l_const, l_unif)
        self._run = Run(
            self,
            seed=job.seed,
            steps=job.max_steps,
            folder=options.results_dir / "files" / job.trial_id,
            trial_id=job.trial_id,
            snapshot_every_steps=options.forensics.snapshot_every_steps,
            num_snapshots=(
                2 * options.forensics.num_snapshots if explains_more(options.results_dir, options.forensics) else 0
            ),
        )

    def advance(self) -> Progress | TrialResult:
        """Lets it train until it has something to tell, or a while; at the end returns the result.

        Raises:
            MachineError: the machine failed, so that nobody can tell how the training would have gone.
        """
        if self._thread is None:
            self._begun_at = self._heard_at = time.monotonic()
            self._thread = threading.Thread(target=self._train, name=f"trial {self.job.trial_id}", daemon=True)
            self._thread.start()
        with self._changed:
            self._changed.wait_for(self._has_news, TELL_EVERY_S)
        self.note, self._next_note = self._next_note, None
        if not self._is_over and self._ending is None and self._is_called_off():
            # One that hangs would never hear of it.
            self._run.stop(str(self._end(self._stopped_by_hand(self._num_steps))))
        self._look_at_the_clock()
        if not (self._is_over or self._ending is not None or self._overdue is not None):
            self._write()
            if len(self._records.evals) > self._num_told:
                self._num_told += 1
                return self._progress(self._records.evals[self._num_told - 1])
            return self._progress_so_far()
        # One that was told to end may still clean up.
        self._thread.join(self._grace_s)
        return self._ended()

    def _look_at_the_clock(self) -> None:
        """Gives up a function that is silent for too long, or takes too long; a command is given up by its reader."""
        program, now = self._own.program, time.monotonic()
        if isinstance(program, CommandProgram) or self._is_over or self._ending is not None:
            return
        if program.timeout_s is not None and now - self._begun_at > program.timeout_s:
            self._overdue = TimedOutError(
                f"the function took more than {program.timeout_s:g} s (trial.timeout_s), and was ended"
            )
        elif now - self._heard_at > program.silence_s:
            self._overdue = HungError(
                f"the function reported nothing for {program.silence_s:g} s (trial.silence_s), and was ended: it hangs"
            )
        if self._overdue is not None:
            self._run.stop(str(self._overdue))

    @property
    def is_stuck(self) -> bool:
        """Whether its program goes on although the trial is over, so that this process is lost to others."""
        return any(thread is not None and thread.is_alive() for thread in (self._thread, self._replaying))

    def abandon(self) -> None:
        """Has its program end at its next step; nobody needs it any longer."""
        self._run.stop("nobody needs it any longer")
        if self._thread is not None:
            self._thread.join(self._grace_s)

    @property
    def _grace_s(self) -> float:
        """How long its program may take to end."""
        program = self._own.program
        return GRACE_S + program.grace_s if isinstance(program, CommandProgram) else GRACE_S

    def explain(self) -> TrialResult:
        """Trains the last steps of a training that went bad again, or all of it, with one thing changed.

        A failure costs the cause, never the result.
        """
        assert self.can_explain and self._result is not None and self._verdict is not None, "a bad trial, once"
        self.can_explain = False
        started, result, verdict = time.perf_counter(), self._result, self._verdict
        try:
            explanation = self._by_its_steps(result, verdict)
            self._forget_steps()
            if (explanation is None or explanation.cause is Cause.UNKNOWN) and not self.is_stuck:
                explanation = self._by_whole_runs(result, verdict, explanation)
            shutil.rmtree(self._replay_folder, ignore_errors=True)
            if explanation is not None:
                store.write_explanation(self._options.results_dir, self.job.trial_id, explanation)
            cause = None if explanation is None else explanation.text
        except Exception as error:
            if is_of_machine(error):
                raise MachineError(refusal(error)) from error
            keep_traceback(self._options.results_dir, self.job.trial_id, error, FORENSICS_ERROR_FILE)
            cause = None
        self._result = result.with_cause(cause, result.forensics_s + time.perf_counter() - started)
        return self._result

    @property
    def _replay_folder(self) -> Path:
        """Where replays may keep files, for their time."""
        return self._options.results_dir / "files" / f"{self.job.trial_id}-replay"

    def _by_its_steps(self, result: TrialResult, verdict: Verdict) -> Explanation | None:
        """What its kept steps show; None where there are none, or where they show nothing."""
        kept, settings = self._run.kept_steps, self._options.forensics
        if kept is None or not kept.states:
            return None
        found: list[Explanation | None] = []

        def look() -> None:
            try:
                # What the steps print, they have printed before.
                with kept_output(self._replay_folder / OUTPUT_FILE):
                    found.append(
                        explain_steps(
                            kept,
                            self._records.steps,
                            verdict,
                            l_const=self._l_const,
                            l_unif=self._l_unif,
                            settings=settings,
                        )
                    )
            except Exception as error:
                keep_traceback(self._options.results_dir, self.job.trial_id, error, FORENSICS_ERROR_FILE)

        # In a thread: a step may wait for other processes that are gone.
        self._replaying = threading.Thread(target=look, name="replay", daemon=True)
        self._replaying.start()
        each_s = result.wall_s / max(result.num_steps, 1)
        self._replaying.join(max(replays.SLOWER * each_s * settings.max_replayed_steps, replays.LEAST_S))
        return found[0] if found else None

    def _by_whole_runs(self, result: TrialResult, verdict: Verdict, found: Explanation | None) -> Explanation:
        """What running all of it again shows, beside what its last steps did."""
        failed = Failed(
            values=self._config.values,
            seed=self.job.seed,
            steps=self.job.max_steps,
            verdict=verdict,
            num_steps=result.num_steps,
            wall_s=result.wall_s,
            l_const=self._l_const,
            l_unif=self._l_unif,
            side=result.side or Side.UNTOLD,
        )
        spent = 0 if found is None else found.num_replayed_steps
        left = self._options.forensics.max_replayed_steps - spent
        whole, self._replaying = replays.explain(
            failed,
            target_of(self._own),
            self._own.turns,
            self._options.monitor,
            max_steps=left,
            folder=self._replay_folder,
        )
        if found is None:
            return whole
        if whole.cause is Cause.UNKNOWN:
            return found
        return dataclasses.replace(
            whole,
            details=(*found.details, *whole.details),
            first_nonfinite=found.first_nonfinite,
            num_replayed_steps=spent + whole.num_replayed_steps,
        )

    def _forget_steps(self) -> None:
        if self._run.kept_steps is not None:
            self._run.kept_steps.forget()

    def _finish(self, verdict: Verdict, alarm: Outcome | None = None) -> TrialResult:
        self._result, self._verdict = super()._finish(verdict, alarm), verdict
        goes_wrong = not (verdict.stable or verdict.outcome.is_open or verdict.outcome.is_broken_off)
        fits = self._result.num_steps * replays.BEYOND <= self._options.forensics.max_replayed_steps
        fits |= self._run.kept_steps is not None
        if goes_wrong and fits and verdict.outcome is not Outcome.MEMORISED and not self.is_stuck:
            self.can_explain = allowed(self._options.results_dir, self.job.trial_id, verdict, self._options.forensics)
        if not self.can_explain:
            self._forget_steps()
        return self._result

    # What the program reports, in its own thread.

    def refer(self, l_const: float, l_unif: float) -> None:
        """Losses of learning nothing; those of the study count where it states them."""
        stated = self._own.program.references.losses
        known = [own if math.isfinite(own) else other for own, other in zip(stated, (l_const, l_unif), strict=True)]
        self._l_const, self._l_unif = known
        self._monitor = StabilityMonitor(self._context(has_scaler=False), self._options.monitor)
        # After `restore` there are some.
        observe_all(self._monitor, self._records.steps, self._records.evals)

    def observe(self, record: StepRecord) -> str | None:
        """Takes a step; why the run is to end, where it is."""
        self._heard_at = time.monotonic()
        self._records.steps.append(record)
        if self._is_called_off():
            return self._end(self._stopped_by_hand(record.step))
        alarm = self._monitor.observe(record)
        return None if alarm is None else self._end(self._ending_at(alarm, record))

    def evaluated(self, record: EvalRecord, metrics: Metrics) -> str | None:
        """Takes what was measured after a step; why the run is to end, where it is."""
        self._heard_at = time.monotonic()
        if record.step < 1:
            raise UserError("run.report comes after a step: run.step first")
        score = self._own.score.of(metrics, self._records.end_loss())
        record = dataclasses.replace(record, score=score)
        self._records.evals.append(record)
        if math.isfinite(record.val_loss):
            self._monitor.observe_validation(record.step, record.val_loss)
        self._metrics |= metrics
        stop = self._end(self._foregone_at(record))
        with self._changed:
            self._changed.notify_all()
        return stop

    def ended(self, metrics: Metrics) -> None:
        """Takes what the run came to."""
        self._metrics |= metrics
        val_loss = metrics.get("val_loss", NAN)
        if math.isfinite(val_loss) and self._records.steps:
            self._monitor.observe_validation(self._num_steps, val_loss)

    def keep(self, state: Any, step: int) -> None:
        """Keeps a state of the training, with all that was recorded until then."""
        self._heard_at = time.monotonic()
        if self._options.checkpoints == "none":
            return
        whole = {"of": self._identity, "step": step, "state": state, "monitor": self._monitor.state_dict()}
        whole |= {"spent": self._spent(), "foregone_step": self._foregone_step, "metrics": dict(self._metrics)}
        self._write()
        with storing(self._checkpoint_dir), store.atomic_path(self._checkpoint_dir / _KEPT) as temporary:
            save_state(whole, temporary)
            try:
                torch.load(temporary, map_location="cpu", weights_only=True)
            except pickle.UnpicklingError as error:
                raise UserError(
                    f"run.checkpoint: the state holds more than tensors, numbers, texts, dicts and lists ({error}): "
                    f"keep what a state_dict() gives"
                ) from error

    def kept(self) -> tuple[Any, int] | None:
        """The state kept last, and its step; None where there is none, or none of this training."""
        path = self._checkpoint_dir / _KEPT
        if self._options.checkpoints == "none" or not path.is_file():
            return None
        try:
            whole = torch.load(path, map_location="cpu", weights_only=True)
            if whole["of"] != self._identity:
                raise ResultsError(f"{path} is the checkpoint of another training")
            step, name, folder = int(whole["step"]), self.job.trial_id, self._options.results_dir
            steps = [r for r in store.load_steps(folder, name) if r.step <= step]
            has_evals = store.has_records(folder, "evals", name)
            evals = [r for r in store.load_evals(folder, name) if r.step <= step] if has_evals else []
            if not steps or steps[-1].step != step:
                raise ResultsError(f"the steps of trial {name} in {folder} do not reach its checkpoint")
            self._records = TrialRecords(steps, evals)
            self._metrics, self._foregone_step = dict(whole["metrics"]), whole["foregone_step"]
            self._spent_before = tuple(whole["spent"])
            observe_all(self._monitor, steps, evals)
            return whole["state"], step
        except (ResultsError, OSError, RuntimeError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
            self._next_note = f"{path} cannot be used ({error}); it begins anew"
            self._records, self._files = TrialRecords(), OpenFiles(self._options.results_dir, self.job.trial_id)
            return None

    def _train(self) -> None:
        """Runs the program, in a thread of its own."""
        pid = os.getpid()
        try:
            if self._own.folder is not None and self._own.folder.is_dir():
                # Ray has given its processes folders of their own.
                os.chdir(self._own.folder)
            seed_all(self.job.seed)
            if self._device.type == "cpu" or torch.cuda.is_initialized():
                reset_peak_memory(self._device)
            with self._kept_output():
                # Of its own: what it does with its settings is no matter to whoever runs it again.
                returned = target_of(self._own)(copy.deepcopy(self._config.values), self._run)
            if isinstance(returned, dict):
                self._run.result(returned)
            elif returned is not None:
                raise UserError(
                    f"it returned {type(returned).__name__}: return a dict of results, or nothing and call run.result"
                )
            self._run.finish()
        except Stop:
            pass
        except BaseException as error:
            self._error = error
            # The numbers of the last steps may tell more than the error.
            with contextlib.suppress(BaseException):
                self._run.finish()
        finally:
            if os.getpid() != pid:
                # A process that the program forked, and that came back here.
                os._exit(0)
            with self._changed:
                self._is_over = True
                self._changed.notify_all()

    @contextlib.contextmanager
    def _kept_output(self) -> Iterator[None]:
        """Within, what a function prints goes to a file of its trial; a command's does by itself."""
        if isinstance(self._own.program, CommandProgram):
            yield
            return
        with kept_output(self._options.results_dir / "files" / self.job.trial_id / OUTPUT_FILE):
            yield

    def _write(self) -> None:
        """Writes what is new; its program and the study do, each in its thread."""
        if not self._records.steps:
            # An earlier try may have left records that `restore` is about to take up.
            return
        with self._writing:
            # Copies: the program goes on recording.
            self._files.write(TrialRecords(list(self._records.steps), list(self._records.evals)))

    def _end(self, reached: Ending | None) -> str | None:
        """Takes how the trial ends; the reason for its program."""
        if reached is None:
            return None
        with self._changed:
            self._ending = self._ending or reached
            self._changed.notify_all()
        return self._ending[0].reason

    # What the study hears of it.

    def _has_news(self) -> bool:
        return self._is_over or self._ending is not None or len(self._records.evals) > self._num_told

    def _progress_so_far(self) -> Progress:
        records = self._records
        if not records.steps:
            return Progress(0, self.job.max_steps, NAN, NAN, NAN)
        return self._progress(EvalRecord(records.steps[-1].step, NAN))

    def _ended(self) -> TrialResult:
        error = self._overdue or self._error
        if self._ending is not None:
            return self._finish(*self._ending)
        if error is not None:
            if isinstance(error, MachineError) or is_of_machine(error):
                raise MachineError(str(error) if isinstance(error, MachineError) else refusal(error)) from error
            failed = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
            try:
                str(failed)
            except Exception:
                # One of the program's own, whose words are broken.
                failed = RuntimeError(type(error).__name__)
            keep_traceback(self._options.results_dir, self.job.trial_id, failed, "traceback.txt")
            return self._finish(self._at_crash(failed))
        return self._finish(*self._at_end())

    def _at_crash(self, error: Exception) -> Verdict:
        """The verdict where its program failed."""
        crash = ending.at_crash(self._monitor, error, self._num_steps)
        if isinstance(error, HungError | TimedOutError):
            outcome = Outcome.HUNG if isinstance(error, HungError) else Outcome.TIMED_OUT
            told = f"after step {crash.step}: {error}"
            return crash if crash.finding else dataclasses.replace(crash, outcome=outcome, reason=told)
        end = self._monitor.end_verdict()
        if crash.finding is None and end.outcome.is_diverged:
            # Many a program fails, or ends itself, because its numbers are lost.
            reason = f"{end.reason}; then it failed: {first_line(error)}"
            return dataclasses.replace(end, reason=reason, stop_step=end.step)
        if crash.finding is None and isinstance(error, UserError):
            return dataclasses.replace(crash, reason=f"after step {crash.step}: {error}")
        return crash

    def _at_end(self) -> Ending:
        """How it ended that its program came to its end."""
        verdict, alarm = ending.at_end(self._monitor)
        if not self._records.steps:
            reason = "it reported no step (run.step), so that nobody can tell whether it is stable"
            return dataclasses.replace(verdict, outcome=Outcome.UNJUDGED, reason=reason), None
        if not verdict.stable:
            return verdict, alarm
        planned, num = self.job.max_steps, self._num_steps
        if planned is not None and num < ENOUGH_RATE * planned:
            reason = (
                f"it ended by itself after step {num} of {planned}, too early to tell whether it stays stable; leave "
                f"out budget.steps where the program decides how long it trains"
            )
            return dataclasses.replace(verdict, outcome=Outcome.TOO_SHORT, reason=reason), alarm
        name, score = self._own.score.name, self._score
        if score is None:
            told = ", ".join(self._metrics) or "none"
            is_command = isinstance(self._own.program, CommandProgram)
            how = (
                f"name it in trial.metrics, as its log does, {{{name}: ...}}"
                if is_command
                else f"call run.result({name}=...)"
            )
            reason = (
                f"it ended without {name}, which the study judges trainings by (its results: {told}): {how}, or set "
                f"another objective"
            )
            return dataclasses.replace(verdict, outcome=Outcome.CRASHED, reason=reason, stop_step=verdict.step), None
        if not math.isfinite(score):
            value = self._own.score.as_reported(score)
            reason = f"its result {name} is {value:g}, though its losses are sound: {verdict.reason}"
            broken = dataclasses.replace(verdict, outcome=Outcome.DIVERGED_NONFINITE, reason=reason)
            return dataclasses.replace(broken, numbers=Numbers.BROKEN), alarm
        return verdict, alarm

    @property
    def _score(self) -> float | None:
        return self._own.score.of(self._metrics, self._records.end_loss())

    @property
    def worth(self) -> float:
        """What its latest evaluation is worth to a scheduler; finite, lower is better. Without one: the worst."""
        score = self._records.evals[-1].score if self._records.evals else None
        return own_objective(NAN if score is None else score, stable=True)

    def _told_of(self, last: EvalRecord) -> str:
        score = NAN if last.score is None else self._own.score.as_reported(last.score)
        return f"{self._own.score.name} {score:.4g}"

    def _end_worth(self, verdict: Verdict, survived_rate: float) -> float:
        score = self._score
        return own_objective(NAN if score is None else score, stable=verdict.stable, survived_rate=survived_rate)

    @property
    def _end_val_loss(self) -> float:
        return self._metrics.get("val_loss", super()._end_val_loss)

    @property
    def _nothing_learned(self) -> float:
        """The loss of learning nothing; where it is unknown, that of its own beginning."""
        if math.isfinite(self._l_const):
            return self._l_const
        first = [r.loss for r in self._records.steps[:LEVEL_STEPS] if is_finite(r.loss)][:_START_STEPS]
        return sorted(first)[len(first) // 2] if first else NAN

    def _row(self, verdict: Verdict, *, worth: float, margin: float, alarm: Outcome | None = None) -> TrialResult:
        row = super()._row(verdict, worth=worth, margin=margin, alarm=alarm)
        # A program that computes by another library than torch has memory on the device that nobody here knows of.
        is_known = self._device.type == "cpu" or torch.cuda.is_initialized()
        if is_known and not isinstance(self._own.program, CommandProgram):
            row = dataclasses.replace(row, peak_memory_mib=peak_memory_mib(self._device))
        if verdict.outcome is Outcome.FOREGONE:
            return row
        score, val_loss = self._score, self._metrics.get("val_loss", row.val_loss)
        told = {name: value if math.isfinite(value) else str(value) for name, value in self._metrics.items()}
        return dataclasses.replace(
            row,
            val_loss=val_loss,
            best_val_loss=min((v for v in (row.best_val_loss, val_loss) if not math.isnan(v)), default=NAN),
            score=NAN if score is None else score,
            metrics=json.dumps(told) if told else "",
        )


def target_of(own: OwnProgram) -> Target:
    """What trains: the function, or one that runs the command."""
    if isinstance(own.program, CommandProgram):
        return functools.partial(run_command, own.program)
    if own.function is not None:
        return own.function
    assert own.program.target is not None, "validated when loaded"
    return user_code.imported(own.program.target, "trial.target")
