"""The trainings of one process: what each has to tell, and the gradients that some of them share."""

import time
from collections.abc import Hashable, Sequence

import torch

from slr_models.errors import MachineError
from sweep.machine import is_of_machine, refusal
from sweep.records import TrialResult
from sweep.running.job import Job, TrialReport
from sweep.running.own_trial import OwnTrial
from sweep.running.trial import Trial, TrialRunner
from sweep.training.stacked import compute_together, shape
from sweep.training.train import GradientsDue


class Members:
    """Trainings that go on side by side in one process, step by step.

    Gradients of trainings of one shape are computed together. Causes are looked for when all trainings have ended, so
    that none waits for that.
    """

    def __init__(self, jobs: Sequence[Job], runner: TrialRunner, deadline: float) -> None:
        """Begins them.

        Args:
            jobs: the trainings.
            runner: what they share.
            deadline: when no search for a cause begins any more, on `time.time`.
        """
        self._members = [_Member(job, runner, alone=len(jobs) == 1) for job in jobs]
        self._deadline = deadline
        self._due: dict[_Member, GradientsDue] = {}

    @property
    def are_over(self) -> bool:
        """Whether all have told their last."""
        return all(member.is_over for member in self._members)

    @property
    def only(self) -> Trial | OwnTrial:
        """The training of one that is by itself."""
        (member,) = self._members
        return member.trial

    def abandon(self) -> bool:
        """Ends what of the user's own still runs; whether all of it has ended."""
        for member in self._members:
            if isinstance(member.trial, OwnTrial):
                member.trial.abandon()
        return not any(isinstance(member.trial, OwnTrial) and member.trial.is_stuck for member in self._members)

    def advance(self) -> list[TrialReport]:
        """Goes on until there is something to tell.

        Raises:
            MachineError: the machine failed, so that nobody can tell how any of them would have gone.
        """
        while True:
            training = [member for member in self._members if not member.has_ended]
            if not training:
                return [next(member for member in self._members if not member.is_over).explain(self._deadline)]
            reports = []
            for member in training:
                if member not in self._due:
                    reached = member.train(self._deadline)
                    if isinstance(reached, TrialReport):
                        reports.append(reached)
                    else:
                        self._due[member] = reached
            if reports:
                return reports
            self._compute()

    def _compute(self) -> None:
        """Computes the gradients that are due; what cannot be computed together each training computes by itself."""
        by_shape: dict[Hashable, list[_Member]] = {}
        for member in self._due:
            by_shape.setdefault(member.shape, []).append(member)
        for members in by_shape.values():
            started = time.process_time()
            try:
                compute_together([(member.ours.training, self._due[member]) for member in members])
            except (torch.AcceleratorError, MachineError):
                raise
            except Exception as error:
                if is_of_machine(error):
                    raise MachineError(refusal(error)) from error
                # Whoever is to blame, such as one whose memory ran out, meets it again by itself.
            for member in members:
                member.ours.add_cpu_s((time.process_time() - started) / len(members))
        self._due.clear()


class _Member:
    """One of them."""

    def __init__(self, job: Job, runner: TrialRunner, *, alone: bool) -> None:
        self._job = job
        self._runner = runner
        self.shape = None if alone or job.told is not None else shape(job.ctc_config)
        self.trial = runner.start(job, pauses=self.shape is not None)
        self._result = job.told
        self.is_over = False
        """Whether it has told its last."""

    @property
    def ours(self) -> Trial:
        """The training, in our own loop."""
        assert isinstance(self.trial, Trial), "a training in our own loop"
        return self.trial

    @property
    def has_ended(self) -> bool:
        """Whether nothing is left of it but the search for its cause."""
        return self._result is not None

    def train(self, deadline: float) -> TrialReport | GradientsDue:
        """Trains to the next evaluation, the end, or gradients that are due."""
        reached = self.trial.advance()
        if isinstance(reached, TrialResult):
            # It is told before the search for its cause begins: nothing that happens then can lose it. The study's
            # time, which trainings that have begun may overrun, is not spent on explanations.
            self._result, self.is_over = reached, not self.trial.can_explain or time.time() >= deadline
            return self._report()
        if isinstance(reached, GradientsDue):
            return reached
        return TrialReport(self._job.trial_id, progress=reached, note=self.trial.note)

    def explain(self, deadline: float) -> TrialReport:
        """Looks for its cause, if there is time."""
        self.is_over = True
        if self._job.told is not None:
            from sweep.running.past_trial import explain_result

            self._result = explain_result(self._job.told, self._job, self._runner)
        elif time.time() < deadline:
            self._result = self.trial.explain()
        return self._report()

    def _report(self) -> TrialReport:
        return TrialReport(self._job.trial_id, result=self._result, is_last=self.is_over, note=self.trial.note)
