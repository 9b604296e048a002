"""What a run exports through `ray.util.metrics`, for Prometheus: names, meanings, and the view that sets the values.

Ray puts `ray_` before each name and `_total` behind a counter's, and serves them on every node's metrics port. The
Grafana dashboard `sweep/grafana.json` draws them.
"""

import string
import time
import urllib.parse
from collections import Counter as Counts
from collections.abc import Callable, Sequence
from enum import StrEnum

from ray.util.metrics import Counter, Gauge

from sweep.analysis.cost.costs import LATE_STEPS
from sweep.records import Outcome, Phase, TrialResult
from sweep.running.job import Job, Progress
from sweep.running.view import Outlook


class Exported(StrEnum):
    """The names, each tagged with `study`. Numbers of trials are over all runs of the study."""

    TRIALS = "sweep_trials"
    """Finished trials; the tag `outcome` says how they ended."""
    STABLE = "sweep_trials_stable"
    """Finished trials that are stable."""
    DIVERGED = "sweep_trials_diverged"
    """Finished trials that blew up."""
    PLANNED = "sweep_trials_planned"
    """Trials that the study will have when it is done, as far as is known now."""
    RUNNING = "sweep_trials_running"
    """Trials under way."""
    STEPS = "sweep_steps"
    """Training steps of this run, counted at evaluations."""
    STEPS_PER_SECOND = "sweep_steps_per_second"
    """Training steps a second of the trials under way together, each over its latest stretch up to an evaluation."""
    STEPS_SAVED = "sweep_steps_saved"
    """Training steps that stopped trials did not run."""
    BEST_OBJECTIVE = "sweep_best_objective"
    """Lowest objective of a stable trial; absent until there is one."""
    AUDITED = "sweep_trials_audited"
    """Finished trials that ran on to their end after an alarm."""
    FALSE_STOPS = "sweep_false_stops"
    """Those of them that ended stable after all."""

    @property
    def series(self) -> str:
        """The name under which Prometheus has it."""
        return f"ray_{self.value}_total" if self is Exported.STEPS else f"ray_{self.value}"


class Metrics:
    """Exports the progress of one run. Needs a running Ray."""

    def __init__(
        self, study: str, course: Outlook, done: Sequence[TrialResult], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Exports where the study stands.

        Args:
            study: its name, the tag of every value.
            course: what the study has still before it.
            done: trials that earlier runs finished.
            clock: seconds.
        """
        self._tags = {"study": tag(study)}
        self._course = course
        self._clock = clock
        gauges = [name for name in Exported if name is not Exported.STEPS]
        self._gauges = {name: _gauge(name) for name in gauges}
        self._steps = Counter(Exported.STEPS, "training steps of this run", ("study",))
        self._counts = Counts[Exported]()
        self._outcomes = Counts[Outcome]()
        self._reached: dict[str, tuple[int, float]] = {}
        """Of each trial under way: its latest known step, and when that was."""
        self._rates: dict[str, float] = {}
        self._best = float("inf")
        for result in done:
            self._count(result)
        self._export()

    def __str__(self) -> str:
        return "Ray's metrics"

    def started(self, job: Job) -> None:
        """A training starts."""
        self._reached[job.trial_id] = (0, self._clock())
        self._export()

    def progressed(self, job: Job, progress: Progress) -> None:
        """A training was evaluated."""
        self._advance(job.trial_id, progress.step)
        self._export()

    def retried(self, job: Job, reason: str) -> None:
        """A training begins again at its first step."""
        self._forget(job.trial_id)
        self._export()

    def explaining(self, job: Job) -> None:
        """A training ended badly; the search for its cause begins."""
        self._rates.pop(job.trial_id, None)
        self._export()

    def explained(self, result: TrialResult) -> None:
        """The search for the cause of a training that an earlier run finished, and counted, has ended."""

    def finished(self, result: TrialResult) -> None:
        """A training ended."""
        self._advance(result.trial_id, result.num_steps)
        self._forget(result.trial_id)
        self._count(result)
        self._export()

    def _advance(self, trial_id: str, step: int) -> None:
        now = self._clock()
        before, then = self._reached.get(trial_id, (step, now))
        if step > before:
            self._steps.inc(step - before, self._tags)
            self._rates[trial_id] = (step - before) / max(now - then, 1e-9)
        self._reached[trial_id] = (step, now)

    def _forget(self, trial_id: str) -> None:
        self._reached.pop(trial_id, None)
        self._rates.pop(trial_id, None)

    def _count(self, result: TrialResult) -> None:
        self._outcomes[result.verdict] += 1
        self._counts[Exported.STABLE] += result.stable
        self._counts[Exported.DIVERGED] += result.verdict.is_diverged
        self._counts[Exported.STEPS_SAVED] += steps_saved(result)
        self._counts[Exported.AUDITED] += result.audited
        self._counts[Exported.FALSE_STOPS] += result.audited and result.stable
        if result.stable and result.phase != Phase.FULL_SIZE:
            self._best = min(self._best, result.objective)

    def _export(self) -> None:
        for outcome, count in self._outcomes.items():
            self._gauges[Exported.TRIALS].set(count, {**self._tags, "outcome": outcome.value})
        for name in (
            Exported.STABLE,
            Exported.DIVERGED,
            Exported.STEPS_SAVED,
            Exported.AUDITED,
            Exported.FALSE_STOPS,
        ):
            self._gauges[name].set(self._counts[name], self._tags)
        self._gauges[Exported.PLANNED].set(self._course.num_planned, self._tags)
        self._gauges[Exported.RUNNING].set(len(self._reached), self._tags)
        self._gauges[Exported.STEPS_PER_SECOND].set(sum(self._rates.values()), self._tags)
        if self._best < float("inf"):
            self._gauges[Exported.BEST_OBJECTIVE].set(self._best, self._tags)


def tag(name: str) -> str:
    """A name as the value of a tag, which Ray takes in ASCII alone: an o with dots is `%C3%B6`, as in an address."""
    return name if name.isascii() else urllib.parse.quote(name, safe=string.punctuation.replace("%", "") + " ")


def _gauge(name: Exported) -> Gauge:
    tags = ("study", "outcome") if name is Exported.TRIALS else ("study",)
    return Gauge(name, name.value.replace("_", " "), tags)


def steps_saved(result: TrialResult) -> int:
    """Steps that a trial did not run since a detector stopped it, or as it was as good as stable; as
    `sweep.analysis.costs` counts them."""
    if result.verdict is Outcome.FOREGONE:
        return max(result.max_steps - result.num_steps, 0)
    broken = result.verdict.is_broken_off
    if result.stop_step is None or broken:
        return 0
    ran_on = result.num_steps - result.stop_step > LATE_STEPS and not result.audited
    return 0 if ran_on else max(result.max_steps - result.num_steps, 0)
