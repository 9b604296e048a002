"""What Ray's schedulers decide for a study, without a cluster: whom they end, and that nobody waits for ever."""

import math

import pytest
from ray.tune import Checkpoint
from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import TrialScheduler

from sweep import yaml_source
from sweep.running.job import Job
from sweep.running.ray_scheduler import StudyScheduler
from sweep.running.trial_actor import IF_PRUNED_KEY, JOBS_KEY, TIME_KEY, WORTH_KEY, millionths
from sweep.study import LoadedStudy, validate

TEXT = """
name: s
model: {kind: baseline, width: 0.0625}
data: {kind: synthetic}
space:
  training.optimizer.lr: {loguniform: [1e-4, 1]}
  training.clip.max_norm: {grid: [0.5, 1, 2]}
  training.precision.kind: {choice: [fp32, fp16]}
  training.precision.initial_scale: {grid: [256, 65536], when: {training.precision.kind: [fp16]}}
search: {kind: random}
budget: {trials: 30, steps: 40}
audit: {rate: 0}
"""
NUM_EVALS = 4


def load(scheduler: str) -> LoadedStudy:
    return validate(yaml_source.parse(f"{TEXT}scheduler: {scheduler}\n", "s.yaml"))


class Controller:
    """Ray's controller as far as a scheduler deals with it: trials in lanes, evaluated in turn."""

    search_alg = "a searcher, which population based training refuses"

    def __init__(self, scheduler: str, jobs: list[dict], lanes: int = 2) -> None:
        loaded = load(scheduler)
        self.scheduler = StudyScheduler(loaded.study.scheduler, loaded, NUM_EVALS)
        self.lanes = lanes
        self.trials: list[RayTrial] = []
        self.evals: dict[RayTrial, int] = {}
        self.ended: dict[str, tuple[int, bool]] = {}
        """Trial -> evaluations that it had, and whether the scheduler ended it."""
        self.num_pauses = 0
        self._to_come = list(enumerate(jobs))
        self._plans: dict[RayTrial, dict] = {}
        self._loaded = loaded

    def get_trials(self) -> list[RayTrial]:
        return self.trials

    def get_live_trials(self) -> list[RayTrial]:
        return [t for t in self.trials if t.status != RayTrial.TERMINATED]

    def pause_trial(self, trial: RayTrial, should_checkpoint: bool = True) -> None:
        self.num_pauses += 1
        trial.status = RayTrial.PAUSED

    def stop_trial(self, trial: RayTrial) -> None:
        name = trial.config[JOBS_KEY][0].trial_id
        if trial.status == RayTrial.PAUSED:
            self.scheduler.on_trial_remove(self, trial)
        else:
            self.scheduler.on_trial_complete(self, trial, self._report(trial))
        trial.status = RayTrial.TERMINATED
        self.ended[name] = (self.evals[trial], True)

    def _schedule_trial_save(self, trial: RayTrial, result: dict | None = None) -> Checkpoint:
        return Checkpoint("/nowhere")

    def run(self) -> "Controller":
        while True:
            self._fill()
            running = [t for t in self.trials if t.status == RayTrial.RUNNING]
            if not running:
                return self
            for trial in running:
                if trial.status == RayTrial.RUNNING:
                    self._step(trial)
                self._fill()

    def _fill(self) -> None:
        """Asks the searcher as `runner` does, one ahead at most, and starts what the scheduler chooses."""
        while True:
            status = [t.status for t in self.trials]
            busy = status.count(RayTrial.RUNNING) + status.count(RayTrial.PENDING)
            room = busy < self.lanes + self.scheduler.num_ahead and RayTrial.PENDING not in status
            if self._to_come and room:
                self._add(*self._to_come.pop(0))
                continue
            if status.count(RayTrial.RUNNING) >= self.lanes:
                return
            chosen = self.scheduler.choose_trial_to_run(self)
            if chosen is None:
                return
            chosen.status = RayTrial.RUNNING

    def _add(self, number: int, plan: dict) -> None:
        settings = {
            "training.optimizer.lr": 0.9 if number % 2 else 0.001,
            "training.clip.max_norm": 1,
            "training.precision.kind": "fp32" if number % 2 else "fp16",
        }
        if number % 2 == 0:
            settings["training.precision.initial_scale"] = 256
        config = self._loaded.trial_config(settings)
        phase, audit = plan.get("phase", "explore"), plan.get("audit", False)
        job = Job(f"{number:04d}", number, number, 0, phase, settings, config, 40, audit)
        trial = RayTrial("trainable", stub=True, trial_id=f"{number:08d}", config={JOBS_KEY: [job], **settings})
        self.trials.append(trial)
        self.evals[trial], self._plans[trial] = 0, plan
        self.scheduler.on_trial_add(self, trial)

    def _step(self, trial: RayTrial) -> None:
        plan = self._plans[trial]
        if self.evals[trial] == plan.get("diverges_after", NUM_EVALS):
            trial.status = RayTrial.TERMINATED
            self.ended[trial.config[JOBS_KEY][0].trial_id] = (self.evals[trial], False)
            final = {**self._report(trial), WORTH_KEY: 2.5}
            del final[IF_PRUNED_KEY]
            self.scheduler.on_trial_complete(self, trial, final)
            return
        self.evals[trial] += 1
        decision = self.scheduler.on_trial_result(self, trial, self._report(trial))
        if decision == TrialScheduler.PAUSE:
            self.pause_trial(trial)
        elif decision == TrialScheduler.STOP:
            self.stop_trial(trial)

    def _report(self, trial: RayTrial) -> dict:
        evals = self.evals[trial]
        return {
            IF_PRUNED_KEY: "",
            TIME_KEY: millionths(10 * evals, 10 * NUM_EVALS),
            WORTH_KEY: self._plans[trial]["worth"],
            "training_iteration": evals,
        }


def test_hyperband_halves_every_bracket_and_nobody_waits_for_ever() -> None:
    jobs = [{"worth": 0.1 * (k % 7)} for k in range(20)]
    # Some leave their bracket by themselves: after its last halving, between two, and before the first.
    jobs[3] |= {"worth": 0.0, "diverges_after": 3}
    jobs[8] |= {"diverges_after": 1}
    jobs[16] |= {"diverges_after": 0}
    ran = Controller("{kind: hyperband, reduction_factor: 2}", jobs).run()
    assert sorted(ran.ended) == [f"{k:04d}" for k in range(20)] and not ran.scheduler.num_paused
    assert ran.num_pauses > 5
    # Brackets of four evaluations: 3 trainings that are never halved, 3 that are at 2, 4 that are at 1 and 2.
    assert [ran.ended[f"{k:04d}"] for k in range(3)] == [(4, False)] * 3
    pruned = [name for name, (_, by_scheduler) in ran.ended.items() if by_scheduler]
    assert 4 <= len(pruned) <= 12 and all(ran.ended[name][0] in (1, 2) for name in pruned)
    assert ran.ended["0003"] == (3, False)


@pytest.mark.parametrize("scheduler", ["{kind: asha, grace_rate: 0.25, reduction_factor: 2}", "{kind: median}"])
def test_the_worse_are_ended_and_a_value_that_is_not_finite_is_worst(scheduler) -> None:
    jobs = [{"worth": 0.1}, {"worth": 0.2}, {"worth": 0.3}, {"worth": 0.15}, {"worth": 3.0}, {"worth": 1.9}]
    ended = Controller(scheduler, jobs).run().ended
    assert ended["0000"] == (4, False)
    assert ended["0004"][1] and ended["0005"][1], "both are ended, at their first chance"
    assert ended["0004"][0] == ended["0005"][0] == 1


@pytest.mark.parametrize(
    "scheduler",
    [
        "{kind: asha, grace_rate: 0.25}",
        "{kind: median, min_trials: 1}",
        "{kind: hyperband, reduction_factor: 2}",
        "{kind: pbt, interval_rate: 0.25}",
    ],
)
def test_confirmation_full_size_and_audited_trainings_are_left_alone(scheduler) -> None:
    jobs = [{"worth": 0.01 * k} for k in range(9)]
    kept = [{"worth": 2.0, "phase": "confirm"}, {"worth": 2.0, "phase": "full_size"}, {"worth": 2.0, "audit": True}]
    ran = Controller(scheduler, [*jobs, *kept]).run()
    for trial in ran.trials[-3:]:
        job = trial.config[JOBS_KEY][0]
        assert ran.ended[job.trial_id] == (4, False)
        assert job.settings["training.optimizer.lr"] in (0.9, 0.001), "nor are their settings changed"
    assert len(ran.ended) == 12


def test_a_training_of_a_population_takes_over_settings_and_stays_itself() -> None:
    jobs = [{"worth": 0.1 if k % 2 else 1.0} for k in range(8)]
    ran = Controller("{kind: pbt, interval_rate: 0.25, quantile_rate: 0.5}", jobs).run()
    assert sorted(ran.ended.values()) == [(4, False)] * 8, "nothing is ended"
    assert ran.num_pauses > 8, "they take turns"
    changed = 0
    for number, trial in enumerate(ran.trials):
        job: Job = trial.config[JOBS_KEY][0]
        assert (job.trial_id, job.number, job.group) == (f"{number:04d}", number, number)
        assert 1e-4 <= job.settings["training.optimizer.lr"] <= 1.0, "a factor of 1.2 does not lead out of the space"
        assert job.settings["training.clip.max_norm"] in (0.5, 1, 2)
        assert job.config.training.optimizer.lr == job.settings["training.optimizer.lr"]
        assert job.config.training.precision.kind == job.settings["training.precision.kind"]
        has_scale = job.settings["training.precision.kind"] == "fp16"
        assert ("training.precision.initial_scale" in job.settings) == has_scale
        if number % 2 == 0 and job.settings["training.precision.kind"] == "fp32":
            changed += 1  # what is not a number comes over from the better half
    assert changed >= 2


def test_how_far_a_training_has_come_is_a_whole_number() -> None:
    assert millionths(12, 60) * 3 == millionths(36, 60) and millionths(60, 60) == 1_000_000
    assert math.isclose(millionths(1, 3), 1e6 / 3, rel_tol=1e-5)
