"""A training as its study sees it: what was recorded of it, what the judge says, and the row that comes of it.

`trial.py` trains our own loop so, `own_trial.py` a program of the user's.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

from sweep import store
from sweep.judging import ending
from sweep.judging.detectors import RunContext
from sweep.judging.foregone import foregone
from sweep.judging.monitor import StabilityMonitor
from sweep.judging.objective import interim, margin, objective
from sweep.judging.sides import side
from sweep.machine import storing
from sweep.records import (
    NAN,
    UNMEASURED_MARGIN,
    EvalRecord,
    Learning,
    Outcome,
    SkipReason,
    StepRecord,
    TrialResult,
    Verdict,
    is_finite,
)
from sweep.running.job import Job, Progress, RunOptions
from sweep.running.trial_records import TrialRecords
from sweep.store import wishes

_LOOK_EVERY_S = 1.0
"""How often a training looks whether somebody wants it to end."""

_IDENTITY = ("trial_id", "seed", "max_steps", "settings")
"""Of a job: what its checkpoint has to agree with."""

Ending = tuple[Verdict, Outcome | None]
"""A verdict, and what an audited trial would have been stopped as."""


class JudgedTrial:
    """One trial in progress, whatever trains it."""

    def __init__(self, job: Job, options: RunOptions) -> None:
        self.job = job
        self._options = options
        self._l_const = self._l_unif = NAN
        self._records = TrialRecords()
        self._files = OpenFiles(options.results_dir, job.trial_id)
        self._monitor = StabilityMonitor(self._context(has_scaler=False), options.monitor)
        self.can_explain = False
        self.note: str | None = None
        """Why it began anew since the latest report, in a sentence for the user; None where it did not."""
        self._foregone_step: int | None = None
        self._spent_before = (0.0, 0.0)
        self._look_again_at = 0.0
        self._started = time.perf_counter()
        self._cpu_started = time.process_time()

    def pruned(self) -> TrialResult:
        """The row of this trial if it is ended at its latest evaluation by a scheduler, with its records written."""
        last = self._records.evals[-1]
        self._write_health()
        reason = (
            f"a scheduler ended it after step {last.step}{self._of_max_steps}, where others had done better "
            f"({self._told_of(last)}); it was not judged"
        )
        return self._row(self._ended_before(Outcome.PRUNED, reason, last.step), worth=self.worth, margin=NAN)

    @property
    def worth(self) -> float:
        """What its latest evaluation is worth to a scheduler; finite, lower is better. Without one: the worst."""
        last = self._records.evals[-1] if self._records.evals else None
        wer, val_loss = (last.wer, last.val_loss) if last else (NAN, NAN)
        return interim(self._options.metric, wer=wer, val_loss=val_loss, l_const=self._l_const)

    @property
    def _of_max_steps(self) -> str:
        return "" if self.job.max_steps is None else f" of {self.job.max_steps}"

    def _told_of(self, last: EvalRecord) -> str:
        return f"WER {last.wer:.2f}, validation loss {last.val_loss:.2f}"

    def _is_called_off(self) -> bool:
        """Whether somebody wants it to end; looked up once a second at most."""
        now = time.monotonic()
        if now < self._look_again_at:
            return False
        self._look_again_at = now + _LOOK_EVERY_S
        return wishes.is_called_off(self._options.results_dir, self.job.trial_id)

    def _stopped_by_hand(self, step: int) -> Ending:
        reason = f"stopped by hand after step {step}{self._of_max_steps}; it was not judged"
        return self._ended_before(Outcome.PRUNED, reason, step), None

    def _ended_before(self, outcome: Outcome, reason: str, step: int, learning: Learning = Learning.UNKNOWN) -> Verdict:
        """The verdict on a training that was ended before its end, by none of the monitor's rules."""
        so_far = self._monitor.end_verdict()
        return Verdict(outcome, reason, step, learning=learning, numbers=so_far.numbers, basis=so_far.basis)

    def _ending_at(self, alarm: Verdict, record: StepRecord) -> Ending | None:
        """How the trial ends at this step; None if it runs on, to see whether the alarm was right."""
        if not self._options.early_stop:
            return None
        if not (self.job.audit and ending.may_be_wrong(alarm)):
            return alarm, None
        # Once a weight is lost, the rest of the steps can show nothing more.
        return None if record.params_finite else ending.at_end(self._monitor)

    def _foregone_at(self, record: EvalRecord) -> Ending | None:
        """How the trial ends at this evaluation; None if it runs on."""
        config, max_steps = self._options.foregone, self.job.max_steps
        if config is None or max_steps is None or not self.job.maps:
            return None
        if self._foregone_step is not None or self._monitor.is_alarmed:
            return None
        bound = self._options.monitor.stable_below * self._l_const
        if not math.isfinite(bound):
            return None
        why = foregone(config, self._records.steps, record, bound=bound, max_steps=max_steps)
        if why is None:
            return None
        self._foregone_step = record.step
        if self.job.audit or not self._options.early_stop:
            return None
        return self._ended_before(Outcome.FOREGONE, why, record.step, Learning.LEARNED), None

    @property
    def _num_steps(self) -> int:
        """Steps that were run."""
        return self._records.steps[-1].step if self._records.steps else 0

    @property
    def _survived_rate(self) -> float:
        """Share of its budget that it ran through, at the end; NaN where that is unknown."""
        return NAN if self.job.max_steps is None else self._num_steps / self.job.max_steps

    def _context(self, *, has_scaler: bool) -> RunContext:
        return RunContext(
            l_const=self._l_const,
            l_unif=self._l_unif,
            budget_steps=self.job.max_steps,
            has_scaler=has_scaler,
        )

    def _progress(self, last: EvalRecord) -> Progress:
        step = self._records.steps[-1]
        return Progress(
            step=last.step,
            max_steps=self.job.max_steps,
            train_loss=self._records.end_loss(),
            val_loss=last.val_loss,
            wer=last.wer,
            lr=step.lr,
            grad_norm=step.grad_norm,
            samples_per_s=step.num_samples / step.time_s if is_finite(step.time_s) and step.time_s > 0 else None,
            score=NAN if last.score is None else last.score,
        )

    def _finish(self, verdict: Verdict, alarm: Outcome | None = None) -> TrialResult:
        """The result of a trial; `alarm` is what an audited one would have been stopped as."""
        if verdict.outcome.is_open:
            # As one that a scheduler ended: a value to go by, and no side of the edge of stability.
            result = self._row(verdict, worth=self.worth, margin=NAN, alarm=alarm)
        else:
            survived = self._survived(verdict)
            worth, distance = self._end_worth(verdict, survived), self._distance(verdict, survived)
            result = self._row(verdict, worth=worth, margin=distance, alarm=alarm)
        self._write_records(self._options.results_dir, self.job.trial_id)
        self._write_health()
        return result

    def _survived(self, verdict: Verdict) -> float:
        """Share of its budget that a training lived through; NaN where that is unknown."""
        if verdict.stop_step is None or self.job.max_steps is None:
            return self._survived_rate
        # An unstable run that went on after its alarm is worth what it would have been worth without that.
        return verdict.stop_step / self.job.max_steps

    def _end_worth(self, verdict: Verdict, survived_rate: float) -> float:
        """Objective of a trial that ended well or badly; of one that is as good as stable, so far."""
        last = self._records.evals[-1] if self._records.evals else None
        return objective(
            self._options.metric,
            stable=verdict.stable,
            wer=last.wer if last else NAN,
            val_loss=last.val_loss if last else NAN,
            l_const=self._l_const,
            survived_rate=survived_rate,
        )

    def _distance(self, verdict: Verdict, survived_rate: float) -> float:
        """Margin of a trial that ended well or badly."""
        records = self._records
        distance = margin(
            stable=verdict.stable,
            stopped=verdict.stop_step is not None,
            # Where only the training data were learned, their loss says nothing of how far that is from learning.
            end_loss=self._end_val_loss if verdict.outcome is Outcome.MEMORISED else records.end_loss(),
            l_const=self._nothing_learned,
            survived_rate=survived_rate,
            stable_below=self._options.monitor.stable_below,
        )
        # How much deeper one that is as good as stable would have come, nobody knows.
        return min(distance, -UNMEASURED_MARGIN) if verdict.outcome is Outcome.FOREGONE else distance

    @property
    def _end_val_loss(self) -> float:
        """The last validation loss; NaN where there is none."""
        return self._records.evals[-1].val_loss if self._records.evals else NAN

    @property
    def has_evaluations(self) -> bool:
        """Whether it was evaluated, so that a scheduler can compare it with others."""
        return bool(self._records.evals)

    @property
    def _nothing_learned(self) -> float:
        """The loss of learning nothing."""
        return self._l_const

    def _row(self, verdict: Verdict, *, worth: float, margin: float, alarm: Outcome | None = None) -> TrialResult:
        """The result with this verdict and what the records say."""
        records = self._records
        last = records.evals[-1] if records.evals else None
        # What it would have come to in the end, nobody knows.
        end = None if verdict.outcome is Outcome.FOREGONE else last
        wall_s, cpu_s = self._spent()
        row = unmeasured(
            self.job, verdict.outcome, verdict.reason, worth=worth, margin=margin, num_steps=self._num_steps
        )
        return dataclasses.replace(
            row,
            numbers=verdict.numbers,
            learning=verdict.learning,
            side=side(verdict.outcome, verdict.learning, records.steps, self._l_const),
            judged_with=verdict.basis.describe(),
            audited=alarm is not None,
            alarm=alarm,
            foregone_step=self._foregone_step,
            stop_step=verdict.stop_step,
            final_train_loss=NAN if verdict.outcome is Outcome.FOREGONE else records.end_loss(),
            val_loss=end.val_loss if end else NAN,
            best_val_loss=min((e.val_loss for e in records.evals if not math.isnan(e.val_loss)), default=NAN),
            wer=end.wer if end else NAN,
            best_wer=min((e.wer for e in records.evals if not math.isnan(e.wer)), default=NAN),
            wer_raw=end.wer_raw if end and end.wer_raw is not None else NAN,
            l_const=self._l_const,
            l_unif=self._l_unif,
            applied_update_rate=_rate(sum(r.applied for r in records.steps), len(records.steps)),
            skipped_calibration=records.num_skipped(SkipReason.CALIBRATION),
            skipped_nonfinite=records.num_skipped(SkipReason.NONFINITE),
            skipped_threshold=records.num_skipped(SkipReason.THRESHOLD),
            skipped_infeasible=records.num_skipped(SkipReason.INFEASIBLE),
            wall_s=wall_s,
            cpu_s=cpu_s,
            step_time_s=records.step_time_s(),
        )

    @property
    def _checkpoint_dir(self) -> Path:
        return self._options.results_dir / "checkpoints" / self.job.trial_id

    def _write_records(self, folder: Path, name: str) -> None:
        with storing(folder / "steps"):
            store.write_steps(folder, name, self._records.steps)
        with storing(folder / "evals"):
            store.write_evals(folder, name, self._records.evals)

    def _write_health(self) -> None:
        if self._records.health:
            with storing(self._options.results_dir / "health"):
                store.write_health(self._options.results_dir, self.job.trial_id, self._records.health_records)

    @property
    def _identity(self) -> dict[str, Any]:
        return {name: getattr(self.job, name) for name in _IDENTITY}

    def _spent(self) -> tuple[float, float]:
        wall_s = self._spent_before[0] + time.perf_counter() - self._started
        return wall_s, self._spent_before[1] + time.process_time() - self._cpu_started


class OpenFiles:
    """Where the steps and evaluations of a training are written as they come."""

    def __init__(self, results_dir: Path, trial_id: str) -> None:
        self._folder = results_dir
        self._steps = store.record_stream(results_dir, "steps", trial_id)
        self._evals = store.record_stream(results_dir, "evals", trial_id)

    def write(self, records: TrialRecords) -> None:
        """Writes what is new since the call before.

        Raises:
            MachineError: it cannot be written.
        """
        with storing(self._folder / "steps"):
            self._steps.write(records.steps)
        with storing(self._folder / "evals"):
            self._evals.write(records.evals)


def crashed_result(job: Job, options: RunOptions, reason: str, outcome: Outcome = Outcome.CRASHED) -> TrialResult:
    """The result of a trial whose process died before it could tell anything."""
    row = unmeasured(
        job,
        outcome,
        reason,
        worth=objective(options.metric, stable=False, wer=NAN, val_loss=NAN, l_const=NAN, survived_rate=0.0),
        margin=margin(stable=False, stopped=True, end_loss=NAN, l_const=NAN, survived_rate=0.0),
        num_steps=0,
    )
    return dataclasses.replace(row, stop_step=0)


def unmeasured(job: Job, outcome: Outcome, reason: str, *, worth: float, margin: float, num_steps: int) -> TrialResult:
    """What is known of every training, whatever became of it; all else is as if nobody had measured it."""
    return TrialResult(
        trial_id=job.trial_id,
        number=job.number,
        group=job.group,
        seed=job.seed,
        phase=job.phase,
        block=job.block,
        cell=job.cell,
        settings=job.settings,
        verdict=outcome,
        reason=reason,
        num_steps=num_steps,
        max_steps=num_steps if job.max_steps is None else job.max_steps,
        objective=worth,
        margin=margin,
        micro_batch=job.micro_batch,
    )


def _rate(count: int, total: int) -> float:
    return count / total if total else NAN
