"""Ray's schedulers, kept to the trainings that they may touch. Beside `runner`, the only file that knows Ray.

Ray's own decide on a metric that each trial reports. Here it is finite for every evaluation (`objective.interim`);
alarms are none of their business, nor are trainings of the confirmation and audited ones: those are not shown to them.
"""

import dataclasses
import math
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import (
    ASHAScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)

from sweep.records import Phase
from sweep.running.job import Job
from sweep.running.trial_actor import END, IF_PRUNED_KEY, JOBS_KEY, TIME_KEY, WORTH_KEY
from sweep.space import Dimension, Grid, Integer, LogUniform, Scalar, Uniform
from sweep.study import LoadedStudy
from sweep.study.scheduler import Asha, HyperBand, Median, Pbt, SchedulerConfig, mutable_dimensions


def checkpoints_kept(config: SchedulerConfig) -> int | None:
    """Saved states of a training that Ray keeps: those of a population's best must outlive the taking over."""
    match config:
        case HyperBand():
            return 1
        case Pbt():
            return 4
        case _:
            return None


class StudyScheduler(TrialScheduler):
    """A study's scheduler: one of Ray's, which sees the exploration's trainings alone."""

    def __init__(self, config: SchedulerConfig, loaded: LoadedStudy, num_evals: int) -> None:
        """Builds Ray's scheduler.

        Args:
            config: which one.
            loaded: the study, to make the configuration of settings that were changed.
            num_evals: evaluations of a full training.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self._loaded = loaded
        self._inner = _build(config, loaded, num_evals)
        self._trials: dict[RayTrial, Job] = {}
        """All that were added, with what each is to train now."""
        self._seen: set[RayTrial] = set()
        """Those that the inner scheduler knows."""
        self._depth = 0
        self.num_ahead = 1 if isinstance(config, HyperBand | Pbt) else 0
        """Trainings that should wait to be started: a scheduler that pauses needs one to go on with instead."""

    @property
    def num_paused(self) -> int:
        """Trainings that wait on disk, without a lane."""
        return sum(trial.status == RayTrial.PAUSED for trial in self._trials)

    def on_trial_add(self, tune_controller: Any, trial: RayTrial) -> None:
        job: Job = trial.config[JOBS_KEY][0]
        self._trials[trial] = job
        if job.phase == Phase.EXPLORE and not job.audit:
            self._seen.add(trial)
            self._close_bracket()
            self._inner.on_trial_add(self._view(tune_controller), trial)

    def on_trial_result(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> str:
        # Its last evaluation ends a training anyway, and so does its result.
        if trial not in self._seen or IF_PRUNED_KEY not in result or result[TIME_KEY] >= END:
            decision: str = TrialScheduler.CONTINUE
            return decision
        self._depth += 1
        decision = self._inner.on_trial_result(self._view(tune_controller), trial, result)
        self._depth -= 1
        self._free_bracket(trial)
        self._keep_identity(trial)
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: RayTrial, result: dict[str, Any]) -> None:
        if self._forget(trial):
            self._inner.on_trial_complete(self._view(tune_controller), trial, result)
            self._free_bracket(trial)

    def on_trial_remove(self, tune_controller: Any, trial: RayTrial) -> None:
        if self._forget(trial):
            self._inner.on_trial_remove(self._view(tune_controller), trial)
            self._free_bracket(trial)

    def on_trial_error(self, tune_controller: Any, trial: RayTrial) -> None:
        if self._forget(trial):
            self._inner.on_trial_error(self._view(tune_controller), trial)
            self._free_bracket(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> RayTrial | None:
        for trial in tune_controller.get_trials():
            if trial not in self._seen and trial.status == RayTrial.PENDING:
                unseen: RayTrial = trial
                return unseen
        chosen: RayTrial | None = self._inner.choose_trial_to_run(self._view(tune_controller))
        return chosen

    def debug_string(self) -> str:
        text: str = self._inner.debug_string()
        return text

    def save(self, checkpoint_path: str) -> None:
        # For Ray's own resume, which is never used: the ledger is the state.
        return

    def restore(self, checkpoint_path: str) -> None:
        # For Ray's own resume, which is never used: the ledger is the state.
        return

    def _view(self, tune_controller: Any) -> Any:
        return _View(tune_controller, self._seen)

    def _forget(self, trial: RayTrial) -> bool:
        """Lets go of a training that is over; returns whether the inner scheduler knew it."""
        self._trials.pop(trial, None)
        return trial in self._seen

    def _close_bracket(self) -> None:
        """Begins a new HyperBand bracket once one has been given its number of trainings.

        Ray counts those that are still in it, so that a bracket whose trainings end as others come would take in all
        trainings of a study. With a searcher, which is asked when a lane is free, that is the rule.
        """
        if isinstance(self._inner, HyperBandScheduler):
            bracket: Any = self._inner._state["bracket"]
            if bracket is not None and len(bracket._all_trials) >= bracket._n0:
                self._inner._state["bracket"] = None

    def _free_bracket(self, trial: RayTrial) -> None:
        """Lets a HyperBand bracket be halved again when a training leaves it.

        Ray 2.60 marks a bracket as being halved and never takes the mark off, so that after its first halving a
        training that ends by itself (one that diverged, say) leaves the others of its bracket waiting for ever.
        """
        if isinstance(self._inner, HyperBandScheduler) and self._depth == 0:
            bracket, _ = self._inner._trial_info[trial]
            bracket.is_being_processed = False

    def _keep_identity(self, trial: RayTrial) -> None:
        """Puts a training's own number, seed and folder back into settings that it has taken over from another."""
        own, given = self._trials[trial], trial.config[JOBS_KEY][0]
        if given.trial_id == own.trial_id:
            return
        space = self._loaded.study.space
        settings = {path: _within(space[path], trial.config[path]) for path in given.settings}
        job = dataclasses.replace(
            own, settings=settings, config=self._loaded.trial_config(settings), max_steps=given.max_steps
        )
        trial.set_config({**trial.config, **settings, JOBS_KEY: [job]})
        self._trials[trial] = job


class _View:
    """What a scheduler sees of Ray's controller: the trainings that it may touch.

    Population based training refuses to run beside a searcher, because it changes settings that the searcher drew;
    ours is told the truth about that, so none is shown.
    """

    search_alg = None

    def __init__(self, controller: Any, seen: set[RayTrial]) -> None:
        self._controller = controller
        self._seen = seen

    def get_trials(self) -> list[RayTrial]:
        return [trial for trial in self._controller.get_trials() if trial in self._seen]

    def get_live_trials(self) -> list[RayTrial]:
        return [trial for trial in self._controller.get_live_trials() if trial in self._seen]

    def pause_trial(self, trial: RayTrial, should_checkpoint: bool = True) -> None:
        self._controller.pause_trial(trial, should_checkpoint=should_checkpoint)

    def stop_trial(self, trial: RayTrial) -> None:
        self._controller.stop_trial(trial)

    def _schedule_trial_save(self, trial: RayTrial, result: dict[str, Any] | None = None) -> Any:
        return self._controller._schedule_trial_save(trial, result=result)


def _build(config: SchedulerConfig, loaded: LoadedStudy, num_evals: int) -> TrialScheduler:
    metric: dict[str, Any] = {"metric": WORTH_KEY, "mode": "min"}
    match config:
        case Asha():
            return ASHAScheduler(
                time_attr=TIME_KEY,
                max_t=END,
                grace_period=round(END * config.grace_rate),
                reduction_factor=config.reduction_factor,
                stop_last_trials=False,
                **metric,
            )
        case Median():
            return MedianStoppingRule(
                time_attr=TIME_KEY,
                grace_period=round(END * config.grace_rate),
                min_samples_required=config.min_trials,
                # It may end trainings, not make them wait for others.
                min_time_slice=math.inf,  # type: ignore[arg-type]
                **metric,
            )
        case HyperBand():
            return HyperBandScheduler(
                time_attr="training_iteration",
                max_t=num_evals,
                reduction_factor=config.reduction_factor,
                stop_last_trials=False,
                **metric,
            )
        case Pbt():
            mutable = mutable_dimensions(loaded.study.space)
            return PopulationBasedTraining(
                time_attr=TIME_KEY,
                perturbation_interval=round(END * config.interval_rate),
                hyperparam_mutations={path: _domain(dimension) for path, dimension in mutable.items()},
                quantile_fraction=config.quantile_rate,
                resample_probability=config.resample_rate,
                log_config=False,
                **metric,
            )


def _domain(dimension: Grid | Uniform | LogUniform | Integer) -> Any:
    match dimension:
        case Grid():
            return sorted(dimension.grid)
        case Uniform():
            return tune.uniform(*dimension.uniform)
        case LogUniform():
            return tune.loguniform(*dimension.loguniform)
        case Integer():
            # Ray leaves the upper bound out.
            low, high = dimension.int_
            return tune.lograndint(low, high + 1) if dimension.log else tune.randint(low, high + 1)


def _within(dimension: Dimension, value: Scalar) -> Scalar:
    """The value, or the nearest that the dimension holds: a factor may lead out of it."""
    match dimension:
        case Uniform():
            low, high = dimension.uniform
        case LogUniform():
            low, high = dimension.loguniform
        case Integer():
            low, high = dimension.int_
        case _:
            return value
    assert isinstance(value, int | float), "a number stays one"
    return min(max(value, low), high)
